//! What readers made of an event, kept for the next reader who wants the same.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

/// Most forms that an event remembers, so that no mix of readers makes it grow.
const MOST: usize = 8;

/// The forms of one event, each made once and shared by all who ask for it, until they are to be forgotten. Reading takes
/// no lock.
#[derive(Debug)]
pub struct Renditions(ArcSwapOption<Forms>);

/// A chain of forms that only grows.
#[derive(Debug, Default)]
struct Forms(OnceLock<Box<Entry>>);

#[derive(Debug)]
struct Entry {
    kind: &'static str,
    form: Arc<str>,
    bytes: Bytes,
    next: Forms,
}

impl Default for Renditions {
    fn default() -> Self {
        Self(ArcSwapOption::from_pointee(Forms::default()))
    }
}

impl Renditions {
    /// Lets go of all forms, and keeps no new ones.
    pub(super) fn forget(&self) {
        self.0.store(None);
    }

    /// Returns the bytes for this kind of event in this form; the first to ask makes them. Once there are too many forms,
    /// or they are to be forgotten, each asker makes its own.
    pub fn get_or_make(
        &self,
        kind: &'static str,
        form: &Arc<str>,
        make: impl FnOnce() -> Bytes,
    ) -> Bytes {
        let forms = self.0.load();
        let Some(forms) = &*forms else { return make() };
        let mut make = Some(make);
        let mut at = &**forms;
        for _ in 0..MOST {
            let entry = at.0.get_or_init(|| {
                let make = make.take().expect("it is made at one place, and found there");
                Box::new(Entry {
                    kind,
                    form: Arc::clone(form),
                    bytes: make(),
                    next: Forms::default(),
                })
            });
            if entry.kind == kind && entry.form == *form {
                return entry.bytes.clone();
            }
            at = &entry.next;
        }
        let make = make.expect("what was made has been returned");
        make()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn each_form_is_made_once() {
        let renditions = Renditions::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert_eq!(renditions.get_or_make("ADDED", &a, || bytes("1")), "1");
        assert_eq!(renditions.get_or_make("ADDED", &b, || bytes("2")), "2");
        assert_eq!(renditions.get_or_make("DELETED", &a, || bytes("3")), "3");
        let again =
            |kind, form| renditions.get_or_make(kind, form, || panic!("it is made already"));
        assert_eq!(again("ADDED", &a), "1");
        assert_eq!(again("ADDED", &b), "2");
        assert_eq!(again("DELETED", &a), "3");
    }

    #[test]
    fn what_is_forgotten_is_made_for_each_asker_and_not_kept() {
        let renditions = Renditions::default();
        let form: Arc<str> = "a".into();
        let large = Bytes::from(vec![b'x'; 100]);
        drop(renditions.get_or_make("ADDED", &form, || large.clone()));
        assert!(!large.is_unique());
        renditions.forget();
        assert!(large.is_unique());
        assert_eq!(renditions.get_or_make("ADDED", &form, || bytes("1")), "1");
        assert_eq!(renditions.get_or_make("ADDED", &form, || bytes("2")), "2");
    }

    #[test]
    fn too_many_forms_are_made_for_each_asker_and_not_kept() {
        let renditions = Renditions::default();
        let form = |n: usize| -> Arc<str> { n.to_string().into() };
        (0..MOST).for_each(|n| drop(renditions.get_or_make("ADDED", &form(n), || bytes("x"))));
        let late = form(MOST);
        assert_eq!(renditions.get_or_make("ADDED", &late, || bytes("1")), "1");
        assert_eq!(renditions.get_or_make("ADDED", &late, || bytes("2")), "2");
        assert_eq!(renditions.get_or_make("ADDED", &form(0), || bytes("2")), "x");
    }
}

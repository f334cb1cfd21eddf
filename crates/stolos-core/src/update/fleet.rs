//! The members of a fleet, as runs read them: shared between plans and copied only where something changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use super::cluster::Member;

/// The members of a fleet by their name within it.
///
/// It is used like the map that it holds. Copies share the members until one of them is changed, so a copy costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Members(Arc<Shared>);

#[derive(Clone, Debug, Default)]
struct Shared {
    by_name: BTreeMap<String, Member>,
    /// Found when somebody asks, forgotten when something changes.
    facts: OnceLock<Facts>,
}

/// What plans ask about all members together.
#[derive(Clone, Debug, Default)]
struct Facts {
    any_windows: bool,
    held: BTreeMap<String, BTreeSet<String>>,
}

impl Facts {
    fn of(members: &BTreeMap<String, Member>) -> Self {
        let mut facts = Self::default();
        for (name, member) in members {
            facts.any_windows |= member.has_windows();
            if let Some(holder) = &member.holder {
                facts.held.entry(holder.uid.clone()).or_default().insert(name.clone());
            }
        }
        facts
    }
}

impl Members {
    /// Whether these are the same members, and not only equal ones.
    pub(super) fn are(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.0, &others.0)
    }

    /// Whether any member has a maintenance window, of whatever kind.
    pub(super) fn any_windows(&self) -> bool {
        self.facts().any_windows
    }

    /// Returns the names of the members whose lease a run has.
    pub(super) fn held_by(&self, run_uid: &str) -> impl Iterator<Item = &String> {
        self.facts().held.get(run_uid).into_iter().flatten()
    }

    fn facts(&self) -> &Facts {
        self.0.facts.get_or_init(|| Facts::of(&self.0.by_name))
    }
}

impl Deref for Members {
    type Target = BTreeMap<String, Member>;

    fn deref(&self) -> &Self::Target {
        &self.0.by_name
    }
}

impl DerefMut for Members {
    fn deref_mut(&mut self) -> &mut Self::Target {
        let shared = Arc::make_mut(&mut self.0);
        shared.facts = OnceLock::new();
        &mut shared.by_name
    }
}

impl FromIterator<(String, Member)> for Members {
    fn from_iter<I: IntoIterator<Item = (String, Member)>>(members: I) -> Self {
        let shared = Shared { by_name: members.into_iter().collect(), facts: OnceLock::new() };
        Self(Arc::new(shared))
    }
}

impl<'a> IntoIterator for &'a Members {
    type Item = (&'a String, &'a Member);
    type IntoIter = std::collections::btree_map::Iter<'a, String, Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Members {
    type Item = (&'a String, &'a mut Member);
    type IntoIter = std::collections::btree_map::IterMut<'a, String, Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::cluster::{Holder, Inspection};

    fn held(members: &Members) -> Vec<&str> {
        members.held_by("uid").map(String::as_str).collect()
    }

    #[test]
    fn a_change_of_a_copy_is_seen_in_that_copy_alone() {
        let member = Member::new("cluster", Inspection::Unknown("not yet".into()));
        let names = ["a", "b"].map(|name| (name.to_owned(), member.clone()));
        let mut first: Members = names.into_iter().collect();
        assert_eq!(held(&first), [""; 0]);
        first.get_mut("a").unwrap().holder =
            Some(Holder { update_run: "run".into(), uid: "uid".into() });
        let mut second = first.clone();
        assert_eq!((held(&first), held(&second)), (vec!["a"], vec!["a"]));
        second.remove("a");
        assert_eq!((held(&first), held(&second)), (vec!["a"], vec![]));
        assert_eq!((first.len(), second.len()), (2, 1));
    }
}

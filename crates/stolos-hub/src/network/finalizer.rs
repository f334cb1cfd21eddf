//! Finalizers on the objects of this wing.

use kube::Resource;
use stolos_controller::Write;

use super::Object;
use super::look::Act;

/// Returns the write after which an object has a finalizer, or has it no longer; nothing if that is so already.
pub(super) fn write<K>(object: &K, finalizer: &str, wanted: bool) -> Option<Act>
where
    K: Resource + Clone + Into<Object>,
{
    let known = object.meta().finalizers.iter().flatten();
    let others: Vec<String> = known.clone().filter(|one| *one != finalizer).cloned().collect();
    if (known.count() > others.len()) == wanted {
        return None;
    }
    let mut object = object.clone();
    let own = wanted.then(|| finalizer.to_owned());
    object.meta_mut().finalizers = Some(others.into_iter().chain(own).collect());
    Some(Act::Write(Write::Replace(object.into())))
}

//! Steps of the write pipeline whose engines are still on their way into the tree; each does the least that is right.

pub(crate) mod builtin {
    use serde_json::Value;

    use crate::names::GroupVersion;
    use crate::status::Cause;

    pub(crate) fn default_object(_: &GroupVersion, _: &str, _: &mut Value) {}

    pub(crate) fn validate(_: &GroupVersion, _: &str, _: &Value, _: Option<&Value>) -> Vec<Cause> {
        Vec::new()
    }
}

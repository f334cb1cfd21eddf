//! Owner references that say the same thing twice.

use serde_json::Value;

use crate::rest::meta;

/// Drops repeated owner references and returns the warning for the client, if there were any.
pub(crate) fn without_duplicate_owners(object: &mut Value) -> Option<String> {
    let owners = meta::of(object).get_mut("ownerReferences")?.as_array_mut()?;
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut repeated = Vec::new();
    for owner in owners.drain(..) {
        if kept.contains(&owner) {
            repeated.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    repeated.sort();
    repeated.dedup();
    (!repeated.is_empty()).then(|| {
        let uids = repeated.join(", ");
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {uids}"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repeated_owners_are_dropped_with_a_warning() {
        let owner = json!({"kind": "Pod", "name": "p", "uid": "u"});
        let mut object = json!({"metadata": {"ownerReferences": [owner, owner]}});
        assert!(without_duplicate_owners(&mut object).unwrap().ends_with(": u"));
        assert_eq!(object["metadata"]["ownerReferences"], json!([owner]));
        assert_eq!(without_duplicate_owners(&mut object), None);
    }
}

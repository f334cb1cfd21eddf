//! Compiled schemas that are in use, each of them once: a process may serve thousands of logical clusters that all have
//! the same definitions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::compile;
use crate::schema::{SchemaRef, WeakSchemaRef};
use crate::status::Cause;

/// Every schema that somebody uses, by the digest of what the client wrote.
static IN_USE: Mutex<BTreeMap<[u8; 32], WeakSchemaRef>> = Mutex::new(BTreeMap::new());

/// As [`compile`], but returns the schema that was made of the same source before, if it is still in use.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn compile_shared(source: &Value) -> Result<SchemaRef, Vec<Cause>> {
    let key: [u8; 32] = Sha256::digest(source.to_string()).into();
    let known = || {
        let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.get(&key).and_then(WeakSchemaRef::upgrade)
    };
    if let Some(schema) = known() {
        return Ok(schema);
    }
    // Without the lock: it takes a while, and of two who do it at once one is forgotten soon.
    let schema = compile(source)?;
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    in_use.retain(|_, schema| schema.upgrade().is_some());
    in_use.insert(key, schema.downgrade());
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_kept(description: &str) -> bool {
        let source = json!({"type": "object", "description": description});
        let key: [u8; 32] = Sha256::digest(source.to_string()).into();
        IN_USE.lock().unwrap().contains_key(&key)
    }

    fn compiled(description: &str) -> SchemaRef {
        compile_shared(&json!({"type": "object", "description": description})).unwrap()
    }

    #[test]
    fn equal_sources_share_a_schema_for_as_long_as_somebody_uses_it() {
        let first = compiled("shared: one");
        assert!(first.is_same(&compiled("shared: one")));
        assert!(!first.is_same(&compiled("shared: other")));
        assert_eq!(first.description.as_deref(), Some("shared: one"));

        drop(first);
        let _other = compiled("shared: a third");
        assert!(is_kept("shared: a third") && !is_kept("shared: one"));
    }

    #[test]
    fn what_is_wrong_is_told_each_time() {
        for _ in 0..2 {
            compile_shared(&json!({"type": "string"})).unwrap_err();
        }
    }
}

//! Steps of the write pipeline whose engines are still on their way into the tree; each does the least that is right.

use serde_json::Value;

use crate::status::Cause;

pub(crate) mod protobuf {
    pub(crate) fn decode(_: &[u8]) -> Result<serde_json::Value, String> {
        Err("protobuf bodies are not understood yet".to_owned())
    }
}

pub(crate) mod schema {
    use super::{Cause, Value};
    use crate::schema::SchemaRef;

    pub(crate) mod builtin {
        use super::{Cause, Value};

        pub(crate) fn default_object(_: &crate::names::GroupVersion, _: &str, _: &mut Value) {}

        pub(crate) fn validate(
            _: &crate::names::GroupVersion,
            _: &str,
            _: &Value,
            _: Option<&Value>,
        ) -> Vec<Cause> {
            Vec::new()
        }
    }

    pub(crate) fn prune(_: &SchemaRef, _: &mut Value) -> Vec<String> {
        Vec::new()
    }

    pub(crate) fn default(_: &SchemaRef, _: &mut Value) {}

    pub(crate) fn validate(_: &SchemaRef, _: &Value, _: Option<&Value>) -> Vec<Cause> {
        Vec::new()
    }
}

pub(crate) mod managed_fields {
    use super::{Cause, Value};
    use crate::schema::SchemaRef;

    pub(crate) struct Manager {
        pub(crate) name: String,
        pub(crate) api_version: String,
        pub(crate) subresource: String,
        pub(crate) now: jiff::Timestamp,
    }

    pub(crate) struct ResetFields;

    impl ResetFields {
        pub(crate) fn none() -> Self {
            Self
        }
        pub(crate) fn status() -> Self {
            Self
        }
        pub(crate) fn all_but_status() -> Self {
            Self
        }
        pub(crate) fn all_but_status_of_custom() -> Self {
            Self
        }
    }

    #[derive(Debug, thiserror::Error)]
    pub(crate) enum ApplyError {
        #[error("conflicts")]
        Conflicts(Vec<Cause>),
        #[error("{0}")]
        Malformed(String),
    }

    pub(crate) fn update(
        _: &SchemaRef,
        _: Option<&Value>,
        _: &mut Value,
        manager: &Manager,
        _: &ResetFields,
    ) {
        let _ = (&manager.name, &manager.api_version, &manager.subresource, manager.now);
    }

    pub(crate) fn apply(
        _: &SchemaRef,
        _: Option<&Value>,
        _: &Value,
        _: &Manager,
        _: bool,
        _: &ResetFields,
    ) -> Result<Option<Value>, ApplyError> {
        Err(ApplyError::Malformed("server-side apply is not understood yet".to_owned()))
    }

    pub(crate) fn same_but_times(live: &Value, new: &Value) -> bool {
        live == new
    }
}

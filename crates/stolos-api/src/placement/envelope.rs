//! Wrappers that keep objects inert on the hub.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Objects by a name of the user's choice. The names have no meaning; a member never sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvelopeData(pub BTreeMap<String, Value>);

impl JsonSchema for EnvelopeData {
    fn schema_name() -> Cow<'static, str> {
        "EnvelopeData".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": 50,
            "additionalProperties": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            },
        })
    }
}

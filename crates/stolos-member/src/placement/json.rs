//! Objects of any kind as JSON.

use kube::api::DynamicObject;
use serde_json::Value;

pub(super) fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn resource_version(object: &Value) -> String {
    text(object, "/metadata/resourceVersion")
}

pub(super) fn uid(object: &Value) -> String {
    text(object, "/metadata/uid")
}

pub(super) fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn to_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object that came as JSON goes as JSON")
}

pub(super) fn from_value(object: Value) -> Result<DynamicObject, kube::Error> {
    serde_json::from_value(object).map_err(kube::Error::SerdeError)
}

//! Bodies of requests: protobuf, JSON, YAML, and what becomes of any object of a built-in kind.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::input::{Input, documents};
use crate::registry::{Registry, Resource};
use crate::schema::{self, parse};
use crate::store::Attributes;
use crate::table::{self, IncludeObject};
use crate::{protobuf, schema::builtin};

/// Kinds whose messages between them use every special type of the encoding.
const KINDS: [(&str, &str); 10] = [
    ("v1", "Pod"),
    ("v1", "DeleteOptions"),
    ("v1", "Secret"),
    ("v1", "Event"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("coordination.k8s.io/v1", "Lease"),
    ("networking.k8s.io/v1", "Ingress"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
];

/// Decoding never panics, and what it yields is an object that names its kind. The first byte picks a kind whose envelope
/// is put around the rest; 255 takes the rest as it is.
pub(super) fn protobuf(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let first = input.byte();
    let body = if first == u8::MAX {
        input.rest().to_vec()
    } else {
        let (api_version, kind) = KINDS[usize::from(first) % KINDS.len()];
        envelope(api_version, kind, input.rest())
    };
    if let Ok(object) = protobuf::decode(&body) {
        assert!(object["kind"].is_string() && object["apiVersion"].is_string(), "{object}");
        // What was decoded goes on as JSON.
        let again: Value = serde_json::from_str(&object.to_string()).expect("JSON");
        assert_eq!(again, object);
    }
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, raw)].concat()
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes.extend_from_slice(content);
    bytes
}

/// Reading JSON and YAML never panics; what was read and written again reads to the same value, without duplicates.
pub(super) fn reader(bytes: &[u8]) {
    for (value, _) in [parse::json(bytes), parse::yaml(bytes)].into_iter().flatten() {
        let written = value.to_string();
        let again = parse::json(written.as_bytes()).expect("what we wrote is JSON");
        assert!(again.0 == value && again.1.is_empty(), "{written}");
    }
}

static RESOURCES: LazyLock<Vec<std::sync::Arc<Resource>>> =
    LazyLock::new(|| Registry::builtin().all());

/// Whatever is sent as an object of a built-in kind can be pruned, defaulted, validated, indexed and printed; pruning and
/// defaulting a second time change nothing. Bytes: which kind, then the object and an older state of it as JSON.
pub(super) fn objects(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let resource = &RESOURCES[usize::from(input.byte()) % RESOURCES.len()];
    let [object, old] = documents::<2>(input.rest()).map(|document| completed(resource, document));
    let (Some(object), old) = (object, old) else { return };
    let (group_version, kind) = (&resource.group_version, &resource.kind);
    let _ = builtin::validate(group_version, kind, &object, None);
    let _ = builtin::validate(group_version, kind, &object, old.as_ref());
    let attributes = Attributes::of(&object);
    assert_eq!(attributes.uid, object["metadata"]["uid"].as_str().unwrap_or_default());
    let _ = resource.field_attributes(&object);
    let items = [object];
    let table = table::render(
        resource,
        &items,
        Timestamp::UNIX_EPOCH,
        IncludeObject::Metadata,
        json!({}),
        true,
    );
    let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
    let cells = table["rows"][0]["cells"].as_array().map_or(0, Vec::len);
    assert_eq!(cells, columns, "{}: a cell for each column", resource.kind);
}

/// Prunes and defaults an object as a create does; `None` when it is no object.
fn completed(resource: &Resource, mut object: Value) -> Option<Value> {
    object.as_object()?;
    schema::prune(&resource.schema, &mut object);
    assert_eq!(schema::prune(&resource.schema, &mut object), [""; 0], "pruned");
    builtin::default_object(&resource.group_version, &resource.kind, &mut object);
    let mut again = object.clone();
    builtin::default_object(&resource.group_version, &resource.kind, &mut again);
    assert_eq!(again, object, "defaulting {} twice", resource.kind);
    Some(object)
}

//! Writes an OpenAPI v2 document in the protobuf form that Go clients ask for, the messages of the gnostic project.
//!
//! Only what our documents use is written. Values without a fixed form (defaults, extensions) travel as YAML text, of
//! which JSON is a part.

use serde_json::{Map, Value};

/// Writes a whole document.
#[must_use]
pub(super) fn document(json: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &json["swagger"]);
    out.message(2, |info| {
        info.text(1, &json["info"]["title"]);
        info.text(2, &json["info"]["version"]);
    });
    out.message(8, |paths| {
        for (path, item) in fields(&json["paths"]) {
            paths.named(2, path, |out| path_item(out, item));
        }
    });
    out.message(9, |definitions| {
        for (name, definition) in fields(&json["definitions"]) {
            definitions.named(1, name, |out| schema(out, definition));
        }
    });
    for requirement in elements(&json["security"]) {
        out.message(12, |out| {
            for (name, _) in fields(requirement) {
                out.named(1, name, |_| {});
            }
        });
    }
    out.message(13, |definitions| {
        for (name, key) in fields(&json["securityDefinitions"]) {
            definitions.named(1, name, |out| out.message(2, |out| api_key(out, key)));
        }
    });
    out.0
}

fn api_key(out: &mut Message, key: &Value) {
    for (number, field) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
        out.text(number, &key[field]);
    }
}

fn path_item(out: &mut Message, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (7, "patch")] {
        if let Some(operation) = item.get(method) {
            out.message(number, |out| write_operation(out, operation));
        }
    }
    for parameter in elements(&item["parameters"]) {
        out.message(9, |out| parameters_item(out, parameter));
    }
}

fn write_operation(out: &mut Message, operation: &Value) {
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    for parameter in elements(&operation["parameters"]) {
        out.message(8, |out| parameters_item(out, parameter));
    }
    out.message(9, |responses| {
        for (code, response) in fields(&operation["responses"]) {
            responses.named(1, code, |value| {
                value.message(1, |out| {
                    out.text(1, &response["description"]);
                    if let Some(shape) = response.get("schema") {
                        out.message(2, |item| item.message(1, |out| schema(out, shape)));
                    }
                });
            });
        }
    });
    out.texts(10, &operation["schemes"]);
    out.extensions(13, operation);
}

fn parameters_item(out: &mut Message, parameter: &Value) {
    out.message(1, |out| match parameter["in"].as_str() {
        Some("body") => out.message(1, |out| {
            out.text(2, &parameter["name"]);
            out.text(3, &parameter["in"]);
            out.flag(4, &parameter["required"]);
            out.message(5, |out| schema(out, &parameter["schema"]));
        }),
        Some("path") => out.message(2, |out| out.message(4, |out| plain(out, parameter, 5, 18))),
        _ => out.message(2, |out| out.message(3, |out| plain(out, parameter, 6, 20))),
    });
}

/// Writes a parameter of the path or of the query; the two number their later fields differently.
fn plain(out: &mut Message, parameter: &Value, type_: u32, unique_items: u32) {
    out.flag(1, &parameter["required"]);
    out.text(2, &parameter["in"]);
    out.text(3, &parameter["description"]);
    out.text(4, &parameter["name"]);
    out.text(type_, &parameter["type"]);
    out.flag(unique_items, &parameter["uniqueItems"]);
}

fn schema(out: &mut Message, json: &Value) {
    for (number, field) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description")] {
        out.text(number, &json[field]);
    }
    out.any(5, json.get("default"));
    out.number(6, &json["multipleOf"]);
    out.number(7, &json["maximum"]);
    out.flag(8, &json["exclusiveMaximum"]);
    out.number(9, &json["minimum"]);
    out.flag(10, &json["exclusiveMinimum"]);
    out.integer(11, &json["maxLength"]);
    out.integer(12, &json["minLength"]);
    out.text(13, &json["pattern"]);
    out.integer(14, &json["maxItems"]);
    out.integer(15, &json["minItems"]);
    out.flag(16, &json["uniqueItems"]);
    out.integer(17, &json["maxProperties"]);
    out.integer(18, &json["minProperties"]);
    out.texts(19, &json["required"]);
    for value in elements(&json["enum"]) {
        out.any(20, Some(value));
    }
    match json.get("additionalProperties") {
        Some(Value::Bool(_)) => out.message(21, |item| item.flag(2, &json["additionalProperties"])),
        Some(values) => out.message(21, |item| item.message(1, |out| schema(out, values))),
        None => {}
    }
    if json["type"].is_string() {
        out.message(22, |item| item.text(1, &json["type"]));
    }
    if let Some(items) = json.get("items") {
        out.message(23, |item| item.message(1, |out| schema(out, items)));
    }
    if let Some(properties) = json.get("properties") {
        out.message(25, |out| {
            for (name, property) in fields(properties) {
                out.named(1, name, |out| schema(out, property));
            }
        });
    }
    out.extensions(31, json);
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The bytes of a message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        self.varint(u64::from(number) << 3 | wire_type);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Writes a text; absent and empty ones are left out.
    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, values: &Value) {
        for text in elements(values).filter_map(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value.as_bool() == Some(true) {
            self.tag(number, 0);
            self.varint(1);
        }
    }

    fn integer(&mut self, number: u32, value: &Value) {
        if let Some(integer) = value.as_i64().filter(|integer| *integer != 0) {
            self.tag(number, 0);
            self.varint(integer.cast_unsigned());
        }
    }

    fn number(&mut self, number: u32, value: &Value) {
        if let Some(float) = value.as_f64().filter(|float| *float != 0.0) {
            self.tag(number, 1);
            self.0.extend_from_slice(&float.to_le_bytes());
        }
    }

    fn message(&mut self, number: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(number, &inner.0);
    }

    /// Writes one entry of a map: a name and a message.
    fn named(&mut self, number: u32, name: &str, fill: impl FnOnce(&mut Self)) {
        self.message(number, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.message(2, fill);
        });
    }

    fn any(&mut self, number: u32, value: Option<&Value>) {
        if let Some(value) = value {
            self.message(number, |any| any.bytes(2, format!("{value}\n").as_bytes()));
        }
    }

    fn extensions(&mut self, number: u32, json: &Value) {
        for (name, value) in fields(json).filter(|(name, _)| name.starts_with("x-")) {
            self.message(number, |entry| {
                entry.bytes(1, name.as_bytes());
                entry.any(2, Some(value));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_small_document_has_the_known_bytes() {
        let bytes = document(&json!({
            "swagger": "2.0",
            "info": {"title": "T", "version": "v"},
            "paths": {},
            "definitions": {"A": {"type": "object", "x-y": "z"}},
        }));
        let extension = b"\x0a\x03x-y\x12\x06\x12\x04\"z\"\n";
        let schema = [b"\xb2\x01\x08\x0a\x06object\xfa\x01\x0d", &extension[..]].concat();
        let entry = [b"\x0a\x01A\x12\x1b", &schema[..]].concat();
        let definitions = [b"\x0a\x20", &entry[..]].concat();
        let head = b"\x0a\x032.0\x12\x06\x0a\x01T\x12\x01v\x42\x00";
        let want = [&head[..], b"\x4a\x22", &definitions, b"\x6a\x00"].concat();
        assert_eq!(bytes, want);
    }
}

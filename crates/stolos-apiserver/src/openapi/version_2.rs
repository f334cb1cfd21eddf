//! The OpenAPI v2 document: one for everything served, made from the same parts as the documents of version 3.
//!
//! Clients from before Kubernetes 1.27, and those that check manifests on their own side, read it. It says less than
//! version 3: alternatives and nullability have no form in it, and clients take an object with known properties for one
//! without others, so that objects with unknown fields are described as anything at all.

use serde_json::{Map, Value, json};

const JSON: &str = "application/json";

/// Turns shapes and paths of version 3 into a version 2 document.
#[must_use]
pub(super) fn document(
    version: &str,
    paths: &Map<String, Value>,
    schemas: impl IntoIterator<Item = (String, Value)>,
) -> Value {
    let paths: Map<String, Value> =
        paths.iter().map(|(path, item)| (path.clone(), path_item(item))).collect();
    let definitions: Map<String, Value> = schemas
        .into_iter()
        .map(|(name, shape)| {
            let keeps_all = shape["x-kubernetes-preserve-unknown-fields"] == true;
            let kinds = shape.get("x-kubernetes-group-version-kind").cloned();
            let mut shape = schema(&shape);
            if let (true, Some(kinds)) = (keeps_all, kinds) {
                shape = json!({ "type": "object", "x-kubernetes-group-version-kind": kinds });
            }
            (name, shape)
        })
        .collect();
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes-compatible API", "version": version },
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {
            "BearerToken": {
                "type": "apiKey", "name": "authorization", "in": "header",
                "description": "Bearer token authentication",
            },
        },
        "security": [{ "BearerToken": [] }],
    })
}

fn path_item(item: &Value) -> Value {
    let mut out = Map::new();
    for (field, value) in item.as_object().into_iter().flatten() {
        let value = match field.as_str() {
            "parameters" => value.as_array().into_iter().flatten().map(parameter).collect(),
            _ => operation(value),
        };
        out.insert(field.clone(), value);
    }
    out.into()
}

fn operation(source: &Value) -> Value {
    let mut out = source.clone();
    let given = source["parameters"].as_array().into_iter().flatten().map(parameter);
    let (mut consumes, mut parameters) = (json!(["*/*"]), Vec::new());
    if let Some(body) = source.get("requestBody") {
        let content = body["content"].as_object();
        consumes = content.into_iter().flat_map(Map::keys).cloned().collect();
        let shape = content.and_then(|content| content.values().next());
        let shape = shape.map_or_else(|| json!({}), |content| schema(&content["schema"]));
        let mut parameter = json!({ "in": "body", "name": "body", "schema": shape });
        if body["required"] == true {
            parameter["required"] = json!(true);
        }
        parameters.push(parameter);
    }
    parameters.extend(given);
    if let Some(fields) = out.as_object_mut() {
        fields.remove("requestBody");
        if let Some(responses) = fields.get_mut("responses").and_then(Value::as_object_mut) {
            for response in responses.values_mut() {
                let shape = response["content"][JSON].get("schema").map(schema);
                let description = response["description"].take();
                *response = json!({ "description": description });
                if let Some(shape) = shape {
                    response["schema"] = shape;
                }
            }
        }
        fields.insert("consumes".to_owned(), consumes);
        fields.insert("produces".to_owned(), json!([JSON, "application/yaml"]));
        fields.insert("schemes".to_owned(), json!(["https"]));
        fields.insert("parameters".to_owned(), parameters.into());
    }
    out
}

/// Parameters carry their type themselves.
fn parameter(source: &Value) -> Value {
    let mut out = source.clone();
    if let Some(fields) = out.as_object_mut()
        && let Some(Value::Object(schema)) = fields.remove("schema")
    {
        fields.extend(schema);
    }
    out
}

/// Keywords of version 3 that version 2 lacks, or that schemas of custom resources may hold without any effect.
const DROPPED: [&str; 12] = [
    "$schema",
    "additionalItems",
    "allOf",
    "anyOf",
    "definitions",
    "dependencies",
    "example",
    "externalDocs",
    "id",
    "not",
    "nullable",
    "oneOf",
];

/// Turns a schema of version 3 into one of version 2.
fn schema(source: &Value) -> Value {
    let Some(source) = source.as_object() else { return json!({}) };
    let mut out = source.clone();
    let referred = source
        .get("$ref")
        .or_else(|| source.get("allOf")?.as_array()?.first()?.get("$ref"))
        .and_then(Value::as_str);
    if let Some(reference) = referred {
        let name = reference.rsplit('/').next().unwrap_or_default();
        out.insert("$ref".to_owned(), format!("#/definitions/{name}").into());
    } else if is_text_or_number(source) {
        out.insert("type".to_owned(), json!("string"));
    }
    for keyword in DROPPED {
        out.remove(keyword);
    }
    let nullable = source.get("nullable") == Some(&json!(true));
    let keeps_unknown = source.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if nullable || keeps_unknown {
        out.remove("items");
        out.remove("properties");
    }
    let is = |type_: &str| source.get("type").is_some_and(|own| own == type_);
    if nullable || (keeps_unknown && is("object")) || (is("array") && !out.contains_key("items")) {
        out.remove("type");
    }
    convert_below(&mut out);
    out.into()
}

/// Quantities and numbers that may be texts are shown as texts, as Go clients know them.
fn is_text_or_number(source: &Map<String, Value>) -> bool {
    let alternatives = source.get("oneOf").and_then(Value::as_array);
    !source.contains_key("type")
        && alternatives.is_some_and(|all| all.iter().any(|one| one["type"] == "string"))
}

fn convert_below(out: &mut Map<String, Value>) {
    if let Some(Value::Object(properties)) = out.get_mut("properties") {
        let nullable: Vec<String> = properties
            .iter()
            .filter(|(_, property)| property["nullable"] == true)
            .map(|(name, _)| name.clone())
            .collect();
        properties.values_mut().for_each(|property| *property = schema(property));
        if let Some(Value::Array(required)) = out.get_mut("required") {
            required.retain(|name| !nullable.iter().any(|nullable| name == nullable));
            if required.is_empty() {
                out.remove("required");
            }
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(below) = out.get_mut(keyword).filter(|below| below.is_object()) {
            *below = schema(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_keep_what_stands_beside_them() {
        let source = json!({
            "allOf": [{"$ref": "#/components/schemas/a.B"}], "description": "d",
            "x-kubernetes-patch-strategy": "retainKeys",
        });
        let want = json!({
            "$ref": "#/definitions/a.B", "description": "d", "x-kubernetes-patch-strategy": "retainKeys",
        });
        assert_eq!(schema(&source), want);
        assert_eq!(
            schema(
                &json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
            ),
            json!({"type": "string", "format": "int-or-string"})
        );
    }

    /// Old clients refuse unknown fields beside known ones, and null where a type is named.
    #[test]
    fn what_version_2_cannot_say_is_described_as_anything() {
        let source = json!({"type": "object", "required": ["a", "n"], "properties": {
            "a": {"type": "string", "anyOf": [{"pattern": "x"}], "maxLength": 3},
            "n": {"type": "object", "nullable": true, "properties": {"x": {"type": "string"}}},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"x": {}}},
            "either": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "list": {"type": "array", "items": {"type": "string", "nullable": true}},
            "map": {"type": "object", "additionalProperties": {"type": "integer", "not": {"minimum": 3}}},
        }});
        let want = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "maxLength": 3},
            "n": {},
            "open": {"x-kubernetes-preserve-unknown-fields": true},
            "either": {"x-kubernetes-int-or-string": true},
            "list": {"type": "array", "items": {}},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        }});
        assert_eq!(schema(&source), want);
    }

    #[test]
    fn bodies_become_parameters() {
        let source = json!({
            "operationId": "createThing",
            "parameters": [{"name": "dryRun", "in": "query", "schema": {"type": "string", "uniqueItems": true}}],
            "requestBody": {"required": true, "content": {"*/*": {"schema": {"$ref": "#/components/schemas/T"}}}},
            "responses": {"200": {"description": "OK", "content": {JSON: {"schema": {"$ref": "#/components/schemas/T"}}}},
                "401": {"description": "Unauthorized"}},
        });
        let want = json!({
            "operationId": "createThing",
            "consumes": ["*/*"], "produces": [JSON, "application/yaml"], "schemes": ["https"],
            "parameters": [
                {"in": "body", "name": "body", "required": true, "schema": {"$ref": "#/definitions/T"}},
                {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": true},
            ],
            "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/T"}},
                "401": {"description": "Unauthorized"}},
        });
        assert_eq!(operation(&source), want);
    }
}

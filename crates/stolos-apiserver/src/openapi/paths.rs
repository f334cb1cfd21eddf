//! The operations of a resource.

use serde_json::{Map, Value, json};

use super::components::{Components, gvk, list_name, reference};
use super::names;
use crate::registry::{Resource, Subresource};

const JSON: &str = "application/json";

/// Adds the paths of a resource and of its subresources.
pub(super) fn add(
    paths: &mut Map<String, Value>,
    components: &mut Components,
    resource: &Resource,
) {
    let root = if resource.group_version.group.is_empty() { "/api" } else { "/apis" };
    let base = format!("{root}/{}", resource.group_version);
    let place = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{place}/{}", resource.plural);
    let name = components.add_resource(resource);
    let shape = reference(&name);
    let list = reference(&list_name(&name, resource));
    let mut writer = Writer { components, resource };

    let mut operations = Map::new();
    writer.add(&mut operations, "get", "list", LIST, None, &list);
    writer.add(&mut operations, "post", "create", WRITE, Some(&shape), &shape);
    let chooses =
        LIST.iter().filter(|(name, ..)| !matches!(*name, "allowWatchBookmarks" | "watch"));
    let delete_all: Vec<Parameter> = DELETE.iter().chain(chooses).copied().collect();
    writer.add(&mut operations, "delete", "deletecollection", &delete_all, None, &Value::Null);
    writer.insert(paths, &collection, operations, false);
    if resource.namespaced {
        let mut operations = Map::new();
        writer.add(&mut operations, "get", "list", LIST, None, &list);
        if let Some(list) = operations.get_mut("get") {
            list["operationId"] = names::list_everywhere(resource).into();
        }
        let everywhere = format!("{base}/{}", resource.plural);
        writer.insert(paths, &everywhere, operations, false);
    }
    let mut operations = Map::new();
    writer.add(&mut operations, "get", "get", &[], None, &shape);
    writer.add(&mut operations, "put", "update", WRITE, Some(&shape), &shape);
    writer.add(&mut operations, "patch", "patch", PATCH, None, &shape);
    writer.add(&mut operations, "delete", "delete", DELETE, None, &Value::Null);
    writer.insert(paths, &format!("{collection}/{{name}}"), operations, true);
    for subresource in resource.subresources() {
        let operations = writer.subresource(&subresource, &shape);
        let path = format!("{collection}/{{name}}/{}", subresource.name);
        writer.insert(paths, &path, operations, true);
    }
}

/// Query parameters: name, type, what it is for.
type Parameter = (&'static str, &'static str, &'static str);

const DRY_RUN: Parameter =
    ("dryRun", "string", "When set to All, everything is checked and nothing is stored.");
const WRITE: &[Parameter] = &[
    DRY_RUN,
    ("fieldManager", "string", "Name under which the changed fields are owned."),
    (
        "fieldValidation",
        "string",
        "What happens to unknown and repeated fields: Ignore drops them, Warn drops them with a warning (the default), \
         Strict refuses the request.",
    ),
];
const PATCH: &[Parameter] = &[
    WRITE[0],
    WRITE[1],
    WRITE[2],
    ("force", "boolean", "Apply patches take over fields that others own."),
];
const DELETE: &[Parameter] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds until the object is removed; 0 removes it at once."),
    ("orphanDependents", "boolean", "The older form of propagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "What happens to dependents: Orphan, Background or Foreground.",
    ),
];
const PRETTY: Parameter = ("pretty", "string", "Asks for output with line breaks and indentation.");
const LIST: &[Parameter] = &[
    (
        "allowWatchBookmarks",
        "boolean",
        "Watches may send events that only carry a resource version.",
    ),
    ("continue", "string", "Where the next page begins, as the page before said."),
    ("fieldSelector", "string", "Restricts the objects by their fields."),
    ("labelSelector", "string", "Restricts the objects by their labels."),
    ("limit", "integer", "Most objects of a page."),
    ("resourceVersion", "string", "Version that is read or watched from."),
    ("resourceVersionMatch", "string", "How resourceVersion is understood: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Watches begin with the objects that exist."),
    ("timeoutSeconds", "integer", "Longest duration of the request."),
    ("watch", "boolean", "Streams changes instead of listing."),
];

struct Writer<'a> {
    components: &'a mut Components,
    resource: &'a Resource,
}

impl Writer<'_> {
    /// Adds an operation if the resource offers its verb.
    fn add(
        &mut self,
        operations: &mut Map<String, Value>,
        method: &str,
        verb: &str,
        parameters: &[Parameter],
        body: Option<&Value>,
        answer: &Value,
    ) {
        if self.resource.offers(verb) {
            let kind = gvk(self.resource, &self.resource.kind);
            let id = names::operation(self.resource, verb, "");
            let operation = self.operation(verb, id, &kind, parameters, body, answer);
            operations.insert(method.to_owned(), operation);
        }
    }

    fn subresource(&mut self, subresource: &Subresource, parent: &Value) -> Map<String, Value> {
        let resource = self.resource;
        let (kind, shape) = match (subresource.api_version, subresource.kind) {
            (Some(api_version), Some(kind)) => {
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                let shape = self.components.kind(group, version, kind);
                (json!({ "group": group, "version": version, "kind": kind }), shape)
            }
            _ => (gvk(resource, &resource.kind), parent.clone()),
        };
        let mut operations = Map::new();
        for (verb, method, parameters) in [
            ("get", "get", &[] as &[Parameter]),
            ("create", "post", WRITE),
            ("update", "put", WRITE),
            ("patch", "patch", PATCH),
        ] {
            if subresource.verbs.contains(&verb) {
                let body = matches!(verb, "create" | "update").then_some(&shape);
                let id = names::operation(resource, verb, subresource.name);
                let operation = self.operation(verb, id, &kind, parameters, body, &shape);
                operations.insert(method.to_owned(), operation);
            }
        }
        operations
    }

    fn operation(
        &mut self,
        verb: &str,
        id: String,
        kind: &Value,
        parameters: &[Parameter],
        body: Option<&Value>,
        answer: &Value,
    ) -> Value {
        let answer = if answer.is_null() { self.components.meta("Status") } else { answer.clone() };
        let content = json!({ JSON: { "schema": answer } });
        let mut operation = json!({
            "operationId": id,
            "tags": [names::tag(self.resource)],
            "parameters": parameters.iter().map(query).collect::<Vec<_>>(),
            "responses": {
                "200": { "description": "OK", "content": content },
                "401": { "description": "Unauthorized" },
            },
            "x-kubernetes-action": action(verb),
            "x-kubernetes-group-version-kind": kind,
        });
        if matches!(verb, "create" | "patch" | "update") {
            operation["responses"]["201"] = json!({ "description": "Created", "content": content });
        }
        if matches!(verb, "create" | "delete") {
            let accepted = json!({ "description": "Accepted", "content": content });
            operation["responses"]["202"] = accepted;
        }
        if verb == "patch" {
            operation["requestBody"] = json!({ "required": true, "content": self.patches() });
        } else if verb.starts_with("delete") {
            let schema = self.components.meta("DeleteOptions");
            operation["requestBody"] = json!({ "content": { "*/*": { "schema": schema } } });
        } else if let Some(body) = body {
            operation["requestBody"] =
                json!({ "required": true, "content": { "*/*": { "schema": body } } });
        }
        operation
    }

    fn patches(&mut self) -> Value {
        let patch = self.components.meta("Patch");
        let mut types = vec![
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
        ];
        if !self.resource.custom {
            types.push("application/strategic-merge-patch+json");
        }
        types
            .into_iter()
            .map(|media| (media.to_owned(), json!({ "schema": patch })))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Adds a path with its operations and the parameters that are part of it.
    fn insert(
        &self,
        paths: &mut Map<String, Value>,
        path: &str,
        mut operations: Map<String, Value>,
        named: bool,
    ) {
        if operations.is_empty() {
            return;
        }
        let mut parameters = Vec::new();
        if named {
            parameters.push(in_path("name", &format!("name of the {}", self.resource.kind)));
        }
        if path.contains("{namespace}") {
            parameters.push(in_path(
                "namespace",
                "object name and auth scope, such as for teams and projects",
            ));
        }
        parameters.push(query(&PRETTY));
        operations.insert("parameters".to_owned(), Value::Array(parameters));
        paths.insert(path.to_owned(), Value::Object(operations));
    }
}

fn action(verb: &str) -> &str {
    match verb {
        "create" => "post",
        "update" => "put",
        other => other,
    }
}

fn query((name, kind, description): &Parameter) -> Value {
    let schema = json!({ "type": kind, "uniqueItems": true });
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn in_path(name: &str, description: &str) -> Value {
    let schema = json!({ "type": "string", "uniqueItems": true });
    json!({ "name": name, "in": "path", "description": description, "required": true, "schema": schema })
}

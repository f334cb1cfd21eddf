//! Whether a definition can be accepted at all.

use std::collections::BTreeSet;

use serde_json::Value;

use super::resources::{column_cause, compile};
use super::status::{APPROVAL, is_protected};
use super::versions;
use crate::conditions;
use crate::schema::{Schema, Type};
use crate::status::Cause;
use crate::table;

/// Most selectable fields of one version, as upstream.
const MAX_SELECTABLE_FIELDS: usize = 8;
/// Types that a printer column can have.
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

/// Returns what is wrong with a definition, given its stored state for an update.
#[must_use]
pub fn validate(crd: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(old) = old {
        check_change(crd, old, &mut causes);
        // Compiling the schemas is most of the work, and most updates are of the status.
        if crd["spec"] == old["spec"] {
            return causes;
        }
    }
    check_group(crd, &mut causes);
    check_names(crd, &mut causes);
    check_scope(crd, &mut causes);
    check_versions(crd, &mut causes);
    check_conversion(crd, &mut causes);
    causes
}

fn check_group(crd: &Value, causes: &mut Vec<Cause>) {
    let group = &crd["spec"]["group"];
    let Some(text) = group.as_str().filter(|text| !text.is_empty()) else {
        return causes.push(required("spec.group", ""));
    };
    if !is_subdomain(text) {
        causes.push(invalid("spec.group", group, SUBDOMAIN));
    } else if !text.contains('.') {
        causes.push(invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    let annotation = crd["metadata"]["annotations"][APPROVAL].as_str().unwrap_or_default();
    if is_protected(text) && annotation.is_empty() {
        let field = format!("metadata.annotations[{APPROVAL}]");
        causes.push(required(
            &field,
            &format!("protected groups must have the approval annotation \"{APPROVAL}\""),
        ));
    }
}

fn check_names(crd: &Value, causes: &mut Vec<Cause>) {
    let names = &crd["spec"]["names"];
    for (field, is_kind) in
        [("plural", false), ("singular", false), ("kind", true), ("listKind", true)]
    {
        check_name(&format!("spec.names.{field}"), &names[field], is_kind, causes);
    }
    for field in ["shortNames", "categories"] {
        for (n, name) in names[field].as_array().into_iter().flatten().enumerate() {
            check_name(&format!("spec.names.{field}[{n}]"), name, false, causes);
        }
    }
    if names["kind"].is_string() && names["kind"] == names["listKind"] {
        causes.push(invalid(
            "spec.names.listKind",
            &names["listKind"],
            "kind and listKind may not be the same",
        ));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let wanted = format!("{}.{}", text(&names["plural"]), text(&crd["spec"]["group"]));
    let name = &crd["metadata"]["name"];
    if *name != wanted {
        causes.push(invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
}

/// Kinds may have capitals; otherwise they follow the rule for resource names.
fn check_name(field: &str, name: &Value, is_kind: bool, causes: &mut Vec<Cause>) {
    let Some(text) = name.as_str().filter(|text| !text.is_empty()) else {
        return causes.push(required(field, ""));
    };
    let text = if is_kind { text.to_lowercase() } else { text.to_owned() };
    if !is_label_with_letter_first(&text) {
        causes.push(invalid(field, name, LABEL));
    }
}

fn check_scope(crd: &Value, causes: &mut Vec<Cause>) {
    match crd["spec"]["scope"].as_str().unwrap_or_default() {
        "Cluster" | "Namespaced" => {}
        "" => causes.push(required("spec.scope", "")),
        other => causes.push(not_supported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
}

fn check_versions(crd: &Value, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    for (index, version) in versions(crd).enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = &version["name"];
        match name.as_str() {
            Some(text) if is_label_with_letter_first(text) => {
                if !seen.insert(text) {
                    causes.push(invalid(
                        "spec.versions",
                        name,
                        "must contain unique version names",
                    ));
                }
            }
            Some(text) if !text.is_empty() => {
                causes.push(invalid(&format!("{at}.name"), name, LABEL))
            }
            Some(_) | None => causes.push(required(&format!("{at}.name"), "")),
        }
        check_schema(&at, index, version, causes);
        check_scale(&at, &version["subresources"]["scale"], causes);
        check_columns(&at, index, &version["additionalPrinterColumns"], causes);
    }
    let n_stored = versions(crd).filter(|version| version["storage"] == true).count();
    if n_stored != 1 {
        let list = &crd["spec"]["versions"];
        causes.push(invalid(
            "spec.versions",
            list,
            "must have exactly one version marked as storage version",
        ));
    }
    if crd["spec"]["preserveUnknownFields"] == true {
        let why = "must be false; set x-kubernetes-preserve-unknown-fields in the schema instead";
        causes.push(invalid("spec.preserveUnknownFields", &true.into(), why));
    }
}

fn check_schema(at: &str, index: usize, version: &Value, causes: &mut Vec<Cause>) {
    if !version["schema"]["openAPIV3Schema"].is_object() {
        return causes
            .push(required(&format!("{at}.schema.openAPIV3Schema"), "schemas are required"));
    }
    match compile(index, version) {
        Ok(schema) => check_selectable_fields(at, &version["selectableFields"], &schema, causes),
        Err(found) => causes.extend(found),
    }
}

fn check_scale(at: &str, scale: &Value, causes: &mut Vec<Cause>) {
    if scale.is_null() {
        return;
    }
    let fields: [(&str, bool, &[&str]); 3] = [
        ("specReplicasPath", true, &[".spec."]),
        ("statusReplicasPath", true, &[".status."]),
        ("labelSelectorPath", false, &[".spec.", ".status."]),
    ];
    for (name, is_required, roots) in fields {
        let field = format!("{at}.subresources.scale.{name}");
        match scale[name].as_str().unwrap_or_default() {
            "" if is_required => causes.push(required(&field, "")),
            "" => {}
            path if roots.iter().any(|root| path.starts_with(root)) && is_simple_path(path) => {}
            _ => {
                let roots: Vec<&str> =
                    roots.iter().map(|root| root.trim_end_matches('.')).collect();
                let why = format!("should be a json path under {}", roots.join(" or "));
                causes.push(invalid(&field, &scale[name], &why));
            }
        }
    }
}

fn check_columns(at: &str, index: usize, columns: &Value, causes: &mut Vec<Cause>) {
    for (n, column) in columns.as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| format!("{at}.additionalPrinterColumns[{n}].{name}");
        for name in ["name", "jsonPath"] {
            if column[name].as_str().is_none_or(str::is_empty) {
                causes.push(required(&field(name), ""));
            }
        }
        match column["type"].as_str().unwrap_or_default() {
            "" => causes.push(required(&field("type"), "")),
            known if COLUMN_TYPES.contains(&known) => {}
            other => causes.push(not_supported(&field("type"), other, &COLUMN_TYPES)),
        }
    }
    if let Err(error) = table::custom_columns(columns) {
        causes.push(column_cause(index, &error));
    }
}

fn check_selectable_fields(at: &str, fields: &Value, schema: &Schema, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    let list = fields.as_array().map_or(&[][..], Vec::as_slice);
    if list.len() > MAX_SELECTABLE_FIELDS {
        causes.push(Cause {
            reason: "FieldValueTooMany".to_owned(),
            message: format!(
                "Too many: {}: must have at most {MAX_SELECTABLE_FIELDS} items",
                list.len()
            ),
            field: format!("{at}.selectableFields"),
        });
    }
    for (n, selectable) in list.iter().enumerate() {
        let field = format!("{at}.selectableFields[{n}].jsonPath");
        let path = &selectable["jsonPath"];
        match path.as_str().unwrap_or_default() {
            "" => causes.push(required(&field, "")),
            text if !seen.insert(text) => causes.push(Cause {
                reason: "FieldValueDuplicate".to_owned(),
                message: format!("Duplicate value: \"{text}\""),
                field,
            }),
            text if !is_simple_path(text) || text.starts_with(".metadata") => {
                causes.push(invalid(
                    &field,
                    path,
                    "must be a simple path to a field outside metadata",
                ));
            }
            text if !is_selectable(schema, text) => {
                causes.push(invalid(
                    &field,
                    path,
                    "must be a field of type string, integer or boolean in the schema",
                ));
            }
            _ => {}
        }
    }
}

fn is_selectable(schema: &Schema, path: &str) -> bool {
    fn walk(schema: &Schema, mut steps: std::str::Split<'_, char>) -> bool {
        match steps.next() {
            None => matches!(schema.type_, Type::String | Type::Integer | Type::Boolean),
            Some(step) => schema.properties.get(step).is_some_and(|field| walk(field, steps)),
        }
    }
    walk(schema, path.trim_start_matches('.').split('.'))
}

fn check_conversion(crd: &Value, causes: &mut Vec<Cause>) {
    match crd["spec"]["conversion"]["strategy"].as_str().unwrap_or_default() {
        "" | "None" => {}
        // Conversion webhooks are not called, and to serve objects unconverted would be wrong.
        other => causes.push(not_supported("spec.conversion.strategy", other, &["None"])),
    }
}

fn check_change(crd: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let mut fixed = vec!["/spec/group", "/spec/names/plural"];
    if conditions::is_true(old, "Established") {
        fixed.extend(["/spec/scope", "/spec/names/kind"]);
    }
    for pointer in fixed {
        if crd.pointer(pointer) != old.pointer(pointer) {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            causes.push(invalid(
                &field,
                crd.pointer(pointer).unwrap_or(&Value::Null),
                "field is immutable",
            ));
        }
    }
    let names: Vec<&Value> = versions(crd).map(|version| &version["name"]).collect();
    let stored = crd["status"]["storedVersions"].as_array().into_iter().flatten();
    for (n, version) in stored.enumerate().filter(|(_, version)| !names.contains(version)) {
        causes.push(invalid(
            &format!("status.storedVersions[{n}]"),
            version,
            "must appear in spec.versions",
        ));
    }
}

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                     character, and end with an alphanumeric character";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                         and must start and end with an alphanumeric character";

fn is_label_with_letter_first(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && is_label(text)
}

fn is_label(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(inner)
        && bytes.last().is_some_and(inner)
        && bytes.iter().all(|byte| inner(byte) || *byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// `.a.b`, without lists, filters and wildcards.
fn is_simple_path(path: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    path.strip_prefix('.').is_some_and(|path| path.split('.').all(is_name))
}

fn required(field: &str, detail: &str) -> Cause {
    let message = if detail.is_empty() {
        "Required value".to_owned()
    } else {
        format!("Required value: {detail}")
    };
    Cause { reason: "FieldValueRequired".to_owned(), message, field: field.to_owned() }
}

fn invalid(field: &str, value: &Value, why: &str) -> Cause {
    let message = format!("Invalid value: {value}: {why}");
    Cause { reason: "FieldValueInvalid".to_owned(), message, field: field.to_owned() }
}

fn not_supported(field: &str, value: &str, supported: &[&str]) -> Cause {
    let list: Vec<String> = supported.iter().map(|text| format!("\"{text}\"")).collect();
    Cause {
        reason: "FieldValueNotSupported".to_owned(),
        message: format!("Unsupported value: \"{value}\": supported values: {}", list.join(", ")),
        field: field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn crd() -> Value {
        json!({
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string"}}}},
                    }},
                }],
            },
        })
    }

    /// Fields that are wrong after a change to a sound definition.
    fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut crd = crd();
        change(&mut crd);
        validate(&crd, None).into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn a_sound_definition_is_accepted() {
        assert_eq!(validate(&crd(), None), []);
        assert_eq!(validate(&crd(), Some(&crd())), []);
    }

    #[test]
    fn names_and_group_are_checked() {
        assert_eq!(wrong(|crd| crd["metadata"]["name"] = json!("other")), ["metadata.name"]);
        assert_eq!(
            wrong(|crd| crd["spec"]["group"] = json!("example")),
            ["spec.group", "metadata.name"]
        );
        assert_eq!(wrong(|crd| crd["spec"]["names"]["kind"] = json!("")), ["spec.names.kind"]);
        assert_eq!(
            wrong(|crd| crd["spec"]["names"]["shortNames"] = json!(["1w"])),
            ["spec.names.shortNames[0]"]
        );
        assert_eq!(
            wrong(|crd| crd["spec"]["names"]["listKind"] = json!("Widget")),
            ["spec.names.listKind"]
        );
        assert_eq!(wrong(|crd| crd["spec"]["scope"] = json!("Galaxy")), ["spec.scope"]);
        let protected = wrong(|crd| {
            crd["spec"]["group"] = json!("example.k8s.io");
            crd["metadata"]["name"] = json!("widgets.example.k8s.io");
        });
        assert_eq!(protected, ["metadata.annotations[api-approved.kubernetes.io]"]);
    }

    #[test]
    fn exactly_one_version_is_stored_and_names_are_unique() {
        let second = |storage: bool, name: &str| {
            let mut version = crd()["spec"]["versions"][0].clone();
            version["storage"] = json!(storage);
            version["name"] = json!(name);
            version
        };
        let add = |version: Value| {
            wrong(|crd| crd["spec"]["versions"].as_array_mut().unwrap().push(version))
        };
        assert_eq!(add(second(false, "v2")), Vec::<String>::new());
        assert_eq!(add(second(true, "v2")), ["spec.versions"]);
        assert_eq!(add(second(false, "v1")), ["spec.versions"]);
        assert_eq!(
            wrong(|crd| crd["spec"]["versions"][0]["storage"] = json!(false)),
            ["spec.versions"]
        );
    }

    #[test]
    fn schemas_are_required() {
        let fields = wrong(|crd| crd["spec"]["versions"][0]["schema"] = json!({}));
        assert_eq!(fields, ["spec.versions[0].schema.openAPIV3Schema"]);
    }

    #[test]
    fn scale_paths_stay_in_their_part_of_the_object() {
        let scale = |spec: &str, status: &str, selector: &str| {
            wrong(|crd| {
                crd["spec"]["versions"][0]["subresources"] = json!({"scale": {
                    "specReplicasPath": spec, "statusReplicasPath": status, "labelSelectorPath": selector,
                }});
            })
        };
        assert_eq!(
            scale(".spec.replicas", ".status.replicas", ".status.selector"),
            Vec::<String>::new()
        );
        assert_eq!(scale(".spec.replicas", ".status.replicas", ""), Vec::<String>::new());
        let at = |name: &str| format!("spec.versions[0].subresources.scale.{name}");
        assert_eq!(
            scale(".status.a", "", ".metadata.x"),
            [at("specReplicasPath"), at("statusReplicasPath"), at("labelSelectorPath"),]
        );
    }

    #[test]
    fn columns_have_a_name_a_known_type_and_a_readable_path() {
        let columns = |column: Value| {
            wrong(|crd| crd["spec"]["versions"][0]["additionalPrinterColumns"] = json!([column]))
        };
        let good = json!({"name": "Color", "type": "string", "jsonPath": ".spec.color"});
        assert_eq!(columns(good), Vec::<String>::new());
        let at = |name: &str| format!("spec.versions[0].additionalPrinterColumns[0].{name}");
        let odd = json!({"name": "Color", "type": "colour", "jsonPath": ".spec.color"});
        assert_eq!(columns(odd), [at("type")]);
        let broken = json!({"name": "Color", "type": "string", "jsonPath": ".spec[?("});
        assert_eq!(columns(broken), [at("jsonPath")]);
    }

    #[test]
    fn conversion_webhooks_are_refused() {
        let fields = wrong(|crd| crd["spec"]["conversion"] = json!({"strategy": "Webhook"}));
        assert_eq!(fields, ["spec.conversion.strategy"]);
    }

    #[test]
    fn identity_does_not_change_once_established() {
        let mut old = crd();
        let mut new = crd();
        new["spec"]["scope"] = json!("Cluster");
        assert_eq!(validate(&new, Some(&old)), []);
        old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        assert_eq!(validate(&new, Some(&old))[0].field, "spec.scope");
    }

    #[test]
    fn versions_that_may_be_stored_stay() {
        let mut new = crd();
        new["status"]["storedVersions"] = json!(["v1", "v1beta1"]);
        assert_eq!(validate(&new, Some(&crd()))[0].field, "status.storedVersions[1]");
    }

    #[test]
    fn only_scalar_fields_of_the_schema_are_selectable() {
        let schema = |type_| crate::schema::SchemaRef::new(Schema { type_, ..Schema::default() });
        let spec = Schema {
            properties: [
                ("color".to_owned(), schema(Type::String)),
                ("list".to_owned(), schema(Type::Array)),
            ]
            .into(),
            ..Schema::default()
        };
        let root = Schema {
            properties: [("spec".to_owned(), crate::schema::SchemaRef::new(spec))].into(),
            ..Schema::default()
        };
        assert!(is_selectable(&root, ".spec.color"));
        assert!(!is_selectable(&root, ".spec.list"));
        assert!(!is_selectable(&root, ".spec.missing"));
        assert!(!is_selectable(&root, ".spec"));
    }
}

//! Whether a definition can be accepted at all.

mod versions;

use serde_json::{Value, json};

use super::conversion;
use super::status::{APPROVAL, is_protected};
use super::storage_version;
use crate::conditions;
use crate::status::Cause;

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
    check_own_name(crd, &mut causes);
    check_group(crd, &mut causes);
    check_scope(crd, &mut causes);
    versions::check_versions(crd, &mut causes);
    check_names(crd, &mut causes);
    versions::check_subresources(crd, &mut causes);
    versions::check_schemas(crd, &mut causes);
    conversion::check(crd, &mut causes);
    if old.is_none() {
        check_stored(crd, &mut causes);
    }
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
    if is_protected(text) {
        check_approval(&crd["metadata"]["annotations"][APPROVAL], causes);
    }
}

fn check_approval(annotation: &Value, causes: &mut Vec<Cause>) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let field = format!("metadata.annotations[{APPROVAL}]");
    match annotation.as_str().unwrap_or_default() {
        "" => {
            let why =
                format!("protected groups must have approval annotation \"{APPROVAL}\", {SEE}");
            causes.push(required(&field, &why));
        }
        text if text.starts_with("unapproved") || is_absolute_url(text) => {}
        _ => {
            let why = format!(
                "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason \
                 starting with \"unapproved\", {SEE}"
            );
            causes.push(invalid(&field, annotation, &why));
        }
    }
}

fn is_absolute_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some() && uri.scheme().is_some())
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
    let is_named = names["kind"].as_str().is_some_and(|kind| !kind.is_empty());
    if is_named && names["kind"] == names["listKind"] {
        causes.push(invalid(
            "spec.names.listKind",
            &names["listKind"],
            "kind and listKind may not be the same",
        ));
    }
}

fn check_own_name(crd: &Value, causes: &mut Vec<Cause>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let wanted =
        format!("{}.{}", text(&crd["spec"]["names"]["plural"]), text(&crd["spec"]["group"]));
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
    if is_kind && !is_label_with_letter_first(&text.to_lowercase()) {
        let why = format!("may have mixed case, but should otherwise match: {LABEL}");
        causes.push(invalid(field, name, &why));
    } else if !is_kind && !is_label_with_letter_first(text) {
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

/// The storage version is among those that objects may be stored in, from the beginning.
fn check_stored(crd: &Value, causes: &mut Vec<Cause>) {
    let stored = super::versions(crd).filter(|version| version["storage"] == true);
    match stored.last().and_then(|version| version["name"].as_str()) {
        None => causes.push(Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: "Invalid value: null: must have at least one stored version".to_owned(),
            field: "status.storedVersions".to_owned(),
        }),
        Some(last) => {
            let first = storage_version(crd).unwrap_or_default();
            if first != last {
                let why = format!("must have the storage version {last}");
                causes.push(invalid("status.storedVersions", &json!([first]), &why));
            }
        }
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
    let names: Vec<&Value> = super::versions(crd).map(|version| &version["name"]).collect();
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
                     character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                         and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                         validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

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

    use super::versions::selected;
    use super::*;
    use crate::schema::Type;

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
            ["metadata.name", "spec.group"]
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
        assert_eq!(add(second(true, "v2")), ["spec.versions", "status.storedVersions"]);
        assert_eq!(add(second(false, "v1")), ["spec.versions"]);
        assert_eq!(
            wrong(|crd| crd["spec"]["versions"][0]["storage"] = json!(false)),
            ["spec.versions", "status.storedVersions"]
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
        let at = |name: &str| format!("spec.subresources.scale.{name}");
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
        let at = |name: &str| format!("spec.additionalPrinterColumns[0].{name}");
        let odd = json!({"name": "Color", "type": "colour", "jsonPath": ".spec.color"});
        assert_eq!(columns(odd), [at("type")]);
        let broken = json!({"name": "Color", "type": "string", "jsonPath": ".spec[?("});
        assert_eq!(columns(broken), ["spec.versions[0].additionalPrinterColumns[0].jsonPath"]);
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
        let schema = crate::schema::structural::compile(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "color": {"type": "string"},
                "list": {"type": "array", "items": {"type": "string"}}}}}}))
        .unwrap();
        assert_eq!(selected(&schema, ".spec.color"), Ok(Type::String));
        assert_eq!(selected(&schema, ".spec.list"), Ok(Type::Array));
        assert!(selected(&schema, ".spec.missing").is_err());
        assert!(selected(&schema, ".metadata.name").is_err());
        assert!(selected(&schema, "spec.color").is_err());
    }

    #[test]
    fn definitions_are_refused_as_kube_apiserver_refuses_them() {
        let path = format!("{}/src/crd/testdata/definitions.json", env!("CARGO_MANIFEST_DIR"));
        let cases: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        // Values that are written in another form than the client's are not compared.
        let text = |field: &str, message: &str| {
            let tail = message
                .split_once("Invalid value: [{")
                .and_then(|(_, rest)| rest.split_once("}]: "));
            format!("{field}: {}", tail.map_or(message, |(_, tail)| tail))
        };
        let mut differences = Vec::new();
        for case in cases.as_array().unwrap() {
            let mut crd = case["crd"].clone();
            crate::crd::default(&mut crd);
            let mut got: Vec<String> = validate(&crd, None)
                .iter()
                .map(|cause| text(&cause.field, &cause.message))
                .collect();
            let wants = case["wants"].as_array().unwrap();
            let mut want: Vec<String> = wants
                .iter()
                .map(|want| text(want[0].as_str().unwrap(), want[2].as_str().unwrap()))
                .collect();
            got.sort();
            want.sort();
            if got != want {
                differences.push(format!("{}\n  want {want:#?}\n  got  {got:#?}", case["name"]));
            }
        }
        assert!(differences.is_empty(), "{}:\n{}", differences.len(), differences.join("\n"));
    }
}

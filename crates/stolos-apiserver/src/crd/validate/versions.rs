//! What the versions of a definition offer: schemas, columns, subresources, selectable fields.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{LABEL, invalid, is_label_with_letter_first, required};
use crate::crd::resources::{column_cause, compile};
use crate::crd::versions;
use crate::schema::{SchemaRef, Type};
use crate::status::Cause;
use crate::table;

/// Most selectable fields of one version, as upstream.
const MAX_SELECTABLE_FIELDS: usize = 8;
/// Most bytes of the warning about a deprecated version, as upstream.
const MAX_WARNING_BYTES: usize = 256;
/// Formats that a printer column can have.
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Types that a printer column can have.
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

pub(super) fn check_versions(crd: &Value, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    let mut is_unique = true;
    for (index, version) in versions(crd).enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = &version["name"];
        let text = name.as_str().unwrap_or_default();
        is_unique &= seen.insert(text);
        if !is_label_with_letter_first(text) {
            causes.push(invalid(&format!("{at}.name"), name, LABEL));
        }
        check_deprecation(&at, version, causes);
    }
    let list = &crd["spec"]["versions"];
    if !is_unique {
        causes.push(invalid("spec.versions", list, "must contain unique version names"));
    }
    let n_stored = versions(crd).filter(|version| version["storage"] == true).count();
    if n_stored != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.push(invalid("spec.versions", list, why));
    }
    // The first version is known by a field of its own, too.
    let first = &crd["spec"]["versions"][0]["name"];
    if first.as_str().is_some_and(|text| !text.is_empty() && !is_label_with_letter_first(text)) {
        causes.push(invalid("spec.version", first, LABEL));
    }
    if crd["spec"]["preserveUnknownFields"] == true {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                   spec.versions[*].schema instead";
        causes.push(invalid("spec.preserveUnknownFields", &true.into(), why));
    }
}

fn check_deprecation(at: &str, version: &Value, causes: &mut Vec<Cause>) {
    let warning = &version["deprecationWarning"];
    let Some(text) = warning.as_str() else { return };
    let field = format!("{at}.deprecationWarning");
    if version["deprecated"] != true {
        causes.push(invalid(&field, warning, "can only be set for deprecated versions"));
    }
    if text.len() > MAX_WARNING_BYTES {
        let why = format!("must be <= {MAX_WARNING_BYTES} characters long");
        causes.push(invalid(&field, warning, &why));
    }
    if text.is_empty() {
        causes.push(invalid(&field, warning, "must not be an empty string"));
    }
    if let Some(at) = text.find(char::is_control) {
        let why = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        );
        causes.push(invalid(&field, warning, &why));
    }
}

/// Returns where a field of the versions is reported: what all have in common is reported once, as if it stood beside them.
fn places<'a>(crd: &'a Value, field: &str, common: &str) -> Vec<(String, usize, &'a Value)> {
    if common_field(crd, field) {
        let first = versions(crd).next();
        return first.map(|version| (common.to_owned(), 0, version)).into_iter().collect();
    }
    let each = versions(crd).enumerate();
    each.map(|(index, version)| (format!("spec.versions[{index}].{field}"), index, version))
        .collect()
}

/// Reports whether all versions agree in a field, and one has it.
fn common_field(crd: &Value, field: &str) -> bool {
    let mut all = versions(crd).map(|version| &version[field]);
    all.next().is_some_and(|first| !first.is_null() && all.all(|other| other == first))
}

pub(super) fn check_schemas(crd: &Value, causes: &mut Vec<Cause>) {
    let has_schema = |version: &Value| version["schema"]["openAPIV3Schema"].is_object();
    for (index, _) in versions(crd).enumerate().filter(|(_, version)| !has_schema(version)) {
        causes.push(required(&format!("spec.versions[{index}].schema.openAPIV3Schema"), ""));
    }
    for (at, _, version) in places(crd, "schema", "spec.validation") {
        if has_schema(version)
            && let Err(found) = compile(&at, version)
        {
            causes.extend(found);
        }
    }
    check_all_selectable_fields(crd, causes);
}

fn check_all_selectable_fields(crd: &Value, causes: &mut Vec<Cause>) {
    let is_common = common_field(crd, "selectableFields");
    for (at, _, version) in places(crd, "selectableFields", "spec.selectableFields") {
        let fields = &version["selectableFields"];
        if fields.is_null() {
            continue;
        }
        if !is_common && common_field(crd, "schema") {
            if fields.as_array().is_some_and(|fields| !fields.is_empty()) {
                let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
                causes.push(invalid(&at, &"".into(), why));
            }
            continue;
        }
        // Whatever is wrong with the schema has been said.
        if let Ok(schema) = compile("", version) {
            check_selectable_fields(&at, fields, &schema, causes);
        }
    }
}

pub(super) fn check_subresources(crd: &Value, causes: &mut Vec<Cause>) {
    for (at, _, version) in places(crd, "subresources", "spec.subresources") {
        check_scale(&at, &version["subresources"]["scale"], causes);
    }
    let common = "spec.additionalPrinterColumns";
    for (at, index, version) in places(crd, "additionalPrinterColumns", common) {
        check_columns(&at, index, &version["additionalPrinterColumns"], causes);
    }
}

fn check_scale(at: &str, scale: &Value, causes: &mut Vec<Cause>) {
    if scale.is_null() {
        return;
    }
    let fields: [(&str, bool, &[&str], &str); 3] = [
        ("specReplicasPath", true, &[".spec."], ".spec"),
        ("statusReplicasPath", true, &[".status."], ".status"),
        ("labelSelectorPath", false, &[".spec.", ".status."], "either .spec or .status"),
    ];
    for (name, is_required, roots, under) in fields {
        let field = format!("{at}.scale.{name}");
        match scale[name].as_str().unwrap_or_default() {
            "" if is_required => causes.push(required(&field, "")),
            "" => {}
            path if !path.starts_with('.') => {
                causes.push(invalid(
                    &field,
                    &scale[name],
                    "must be a simple json path starting with .",
                ));
            }
            path if roots.iter().any(|root| path.starts_with(root)) => {}
            _ => {
                let why = format!("should be a json path under {under}");
                causes.push(invalid(&field, &scale[name], &why));
            }
        }
    }
}

fn check_columns(at: &str, index: usize, columns: &Value, causes: &mut Vec<Cause>) {
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    let before = causes.len();
    for (n, column) in columns.as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| format!("{at}[{n}].{name}");
        let text = |name: &str| column[name].as_str().unwrap_or_default();
        if text("name").is_empty() {
            causes.push(required(&field("name"), ""));
        }
        match text("type") {
            "" => causes.push(required(&field("type"), &types)),
            known if COLUMN_TYPES.contains(&known) => {}
            _ => causes.push(invalid(&field("type"), &column["type"], &types)),
        }
        if !text("format").is_empty() && !COLUMN_FORMATS.contains(&text("format")) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            causes.push(invalid(&field("format"), &column["format"], &why));
        }
        match text("jsonPath") {
            "" => causes.push(required(&field("JSONPath"), "")),
            path if path.starts_with('.') => {}
            _ => {
                let why = "must be a simple json path starting with .";
                causes.push(invalid(&field("JSONPath"), &column["jsonPath"], why));
            }
        }
    }
    // A path that cannot be read would leave its column empty for ever; it is refused here, unlike upstream.
    if causes.len() == before
        && let Err(error) = table::custom_columns(columns)
    {
        causes.push(column_cause(index, &error));
    }
}

fn check_selectable_fields(at: &str, fields: &Value, schema: &SchemaRef, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    let list = fields.as_array().map_or(&[][..], Vec::as_slice);
    if list.len() > MAX_SELECTABLE_FIELDS {
        return causes.push(Cause {
            reason: "FieldValueTooMany".to_owned(),
            message: format!(
                "Too many: {}: must have at most {MAX_SELECTABLE_FIELDS} items",
                list.len()
            ),
            field: at.to_owned(),
        });
    }
    for (n, selectable) in list.iter().enumerate() {
        let field = format!("{at}[{n}].jsonPath");
        let path = &selectable["jsonPath"];
        let text = path.as_str().unwrap_or_default();
        if text.is_empty() {
            causes.push(required(&field, ""));
            continue;
        }
        if !seen.insert(text) {
            causes.push(Cause {
                reason: "FieldValueDuplicate".to_owned(),
                message: format!("Duplicate value: \"{text}\""),
                field,
            });
            continue;
        }
        match selected(schema, text) {
            Err(why) => causes.push(invalid(&field, path, &format!("is an invalid path: {why}"))),
            Ok(Type::String | Type::Integer | Type::Boolean) => {}
            Ok(_) => {
                let why = "must point to a field of type string, boolean or integer. Enum string fields and strings \
                           with formats are allowed.";
                causes.push(invalid(&field, path, why));
            }
        }
    }
}

/// Finds the type of the field that a path selects.
pub(super) fn selected(schema: &SchemaRef, path: &str) -> Result<Type, String> {
    if path.contains(['[', ']']) {
        return Err("array notation is not allowed".to_owned());
    }
    let Some(steps) = path.strip_prefix('.') else {
        let end = path.find('.').unwrap_or(path.len());
        return Err(format!("expected [ or . but got: {}", &path[..end]));
    };
    let mut node = schema.clone();
    for (depth, step) in steps.split('.').enumerate() {
        // Of the fields that every object has, none can be selected: labels and names are for that.
        let is_shared = depth == 0 && ["apiVersion", "kind", "metadata"].contains(&step);
        let below = node.properties.get(step).filter(|_| !is_shared).cloned();
        node = below.ok_or("does not refer to a valid field")?;
    }
    Ok(node.type_)
}

//! From a definition to rows of the registry.

use std::sync::Arc;

use serde_json::Value;

use super::conversion::Conversion;
use super::names::Names;
use super::{deprecation, storage_version, versions};
use crate::names::GroupVersion;
use crate::registry::{Generation, Resource, Scale, resource_id};
use crate::schema::{SchemaRef, structural};
use crate::status::Cause;
use crate::table;
use crate::webhook::Webhooks;

/// Verbs of custom resources, in the order in which kube-apiserver names them.
const ALL: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// Verbs while a definition is being deleted: its objects can go, and no new ones come.
const WITHOUT_CREATE: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Turns a definition into one resource per served version.
///
/// # Errors
///
/// What is wrong with its schemas or columns, located in the definition. [`super::validate`] finds the same.
pub fn resources(crd: &Value, webhooks: &Webhooks) -> Result<Vec<Resource>, Vec<Cause>> {
    established(crd, &Names::parse(&crd["spec"]["names"]), webhooks)
}

/// Turns a definition into resources under the names that were accepted.
pub(super) fn established(
    crd: &Value,
    names: &Names,
    webhooks: &Webhooks,
) -> Result<Vec<Resource>, Vec<Cause>> {
    rows(crd, names, webhooks, ALL, |version| version["served"] == true)
}

/// As [`established`], for the time of the deletion: the stored version must be there to be emptied.
pub(super) fn terminating(
    crd: &Value,
    names: &Names,
    webhooks: &Webhooks,
) -> Result<Vec<Resource>, Vec<Cause>> {
    let is_needed = |version: &Value| version["served"] == true || version["storage"] == true;
    rows(crd, names, webhooks, WITHOUT_CREATE, is_needed)
}

/// Returns where the store keeps the objects of a definition.
pub(super) fn storage_id(crd: &Value) -> crate::store::ResourceId {
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    resource_id(&text(&crd["spec"]["group"]), &text(&crd["spec"]["names"]["plural"])).into()
}

fn rows(
    crd: &Value,
    names: &Names,
    webhooks: &Webhooks,
    verbs: &'static [&'static str],
    is_wanted: impl Fn(&Value) -> bool,
) -> Result<Vec<Resource>, Vec<Cause>> {
    let schemas: Vec<_> = versions(crd)
        .enumerate()
        .map(|(index, version)| compile(&format!("spec.versions[{index}].schema"), version))
        .collect();
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    let of_version = versions(crd).zip(&schemas).filter_map(|(version, schema)| {
        let name = version["name"].as_str().unwrap_or_default();
        Some((GroupVersion::new(group, name).to_string(), schema.as_ref().ok()?.clone()))
    });
    let conversion = Conversion::of(crd, webhooks, of_version.collect()).map(Arc::new);
    let mut rows = Vec::new();
    let mut causes = Vec::new();
    let all = versions(crd).zip(schemas).enumerate();
    for (index, (version, schema)) in all.filter(|(_, (version, _))| is_wanted(version)) {
        let row = schema.and_then(|schema| {
            row(crd, names, verbs, (index, version), schema, conversion.clone())
        });
        match row {
            Ok(row) => rows.push(row),
            Err(found) => causes.extend(found),
        }
    }
    if causes.is_empty() { Ok(rows) } else { Err(causes) }
}

fn row(
    crd: &Value,
    names: &Names,
    verbs: &'static [&'static str],
    (index, version): (usize, &Value),
    schema: SchemaRef,
    conversion: Option<Arc<Conversion>>,
) -> Result<Resource, Vec<Cause>> {
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    let subresources = &version["subresources"];
    let columns = table::custom_columns(&version["additionalPrinterColumns"]);
    Ok(Resource {
        group_version: GroupVersion::new(group, version["name"].as_str().unwrap_or_default()),
        storage_version: storage_version(crd).unwrap_or_default().to_owned(),
        plural: names.plural.clone(),
        singular: names.singular.clone(),
        kind: names.kind.clone(),
        list_kind: names.list_kind.clone(),
        short_names: names.short_names.clone(),
        categories: names.categories.clone(),
        namespaced: crd["spec"]["scope"] == "Namespaced",
        verbs,
        status_subresource: subresources["status"].is_object(),
        scale: scale(&subresources["scale"]),
        other_subresources: &[],
        generation: Generation::Counted,
        create_on_update: false,
        unconditional_update: false,
        orphans_dependents: false,
        returns_deleted: false,
        custom: true,
        schema: schema.into(),
        columns: columns.map_err(|error| vec![column_cause(index, &error)])?,
        selectable_fields: selectable_fields(version),
        deprecation: deprecation::warning(crd, &names.kind, version),
        storage: storage_id(crd),
        conversion,
    })
}

/// Compiles the schema of a version; errors are located in the definition.
pub(super) fn compile(root: &str, version: &Value) -> Result<SchemaRef, Vec<Cause>> {
    structural::compile_shared(&version["schema"]["openAPIV3Schema"]).map_err(|causes| {
        let locate = |cause: Cause| Cause {
            field: format!("{root}.{}", cause.field),
            // One text names a place in the schema.
            message: cause
                .message
                .replace("within openAPIV3Schema", &format!("within {root}.openAPIV3Schema")),
            ..cause
        };
        causes.into_iter().map(locate).collect()
    })
}

pub(super) fn column_cause(version: usize, error: &table::ColumnError) -> Cause {
    Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: \"{}\": {}", error.path, error.source),
        field: format!(
            "spec.versions[{version}].additionalPrinterColumns[{}].jsonPath",
            error.index
        ),
    }
}

fn scale(scale: &Value) -> Option<Scale> {
    let path =
        |field: &str| scale[field].as_str().map(|path| path.trim_start_matches('.').to_owned());
    Some(Scale {
        spec_replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        label_selector: path("labelSelectorPath").filter(|path| !path.is_empty()),
    })
}

fn selectable_fields(version: &Value) -> Vec<String> {
    let fields = version["selectableFields"].as_array().into_iter().flatten();
    let paths = fields.filter_map(|field| field["jsonPath"].as_str());
    paths.map(|path| path.trim_start_matches('.').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn crd() -> Value {
        let version = |name: &str, served: bool, storage: bool| {
            json!({
                "name": name, "served": served, "storage": storage,
                "schema": {"openAPIV3Schema": {"type": "object"}},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "selectableFields": [{"jsonPath": ".spec.color"}],
            })
        };
        json!({"spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [version("v1alpha1", false, true), version("v1", true, false)],
        }})
    }

    #[test]
    fn each_served_version_becomes_a_resource() {
        let rows = resources(&crd(), &Webhooks::new(None)).unwrap();
        let [row] = rows.as_slice() else { panic!("one version is served") };
        assert_eq!(row.group_version, GroupVersion::new("example.com", "v1"));
        assert_eq!(
            (row.storage_version.as_str(), &*row.storage),
            ("v1alpha1", "widgets.example.com")
        );
        assert!(row.namespaced && row.status_subresource && row.custom);
        assert_eq!(row.generation, Generation::Counted);
        assert_eq!(row.selectable_fields, ["spec.color"]);
        let scale = row.scale.as_ref().unwrap();
        assert_eq!((scale.spec_replicas.as_str(), &scale.label_selector), ("spec.replicas", &None));
        assert!(row.offers("create"));
    }

    #[test]
    fn a_definition_on_its_way_out_takes_no_new_objects() {
        let rows =
            terminating(&crd(), &Names::parse(&crd()["spec"]["names"]), &Webhooks::new(None))
                .unwrap();
        assert_eq!(rows.len(), 2, "the stored version is served to empty it");
        assert!(rows.iter().all(|row| !row.offers("create") && row.offers("delete")));
    }
}

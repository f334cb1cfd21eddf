//! Compares the generated definitions with those that KubeFleet, fleet-networking and the MCS API publish.
//!
//! Descriptions are not compared; they are our own words. Everything else that a client or an API
//! server can notice is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;
use stolos_api::{cluster, network, placement};

/// Differences that we want, as `<definition> <path>`, with the reason.
const WANTED: &[(&str, &str)] = &[
    ("serviceexports.multicluster.x-k8s.io spec.names.listKind", LIST_KIND),
    ("serviceimports.multicluster.x-k8s.io spec.names.listKind", LIST_KIND),
];

const LIST_KIND: &str = "an API server fills in the same where it is absent";

#[test]
fn definitions_of_clusters_and_placements_equal_those_of_kubefleet() {
    let kinds = [
        cluster::crds(),
        cluster::profile::crds(),
        placement::hub_crds(),
        placement::member_crds(),
    ];
    equal_the_published_ones("kubefleet", &kinds.concat());
}

#[test]
fn definitions_of_the_network_equal_those_of_fleet_networking() {
    equal_the_published_ones("fleet-networking", &network::hub_crds());
}

#[test]
fn definitions_of_the_standard_equal_those_of_the_mcs_api() {
    equal_the_published_ones("mcs-api", &network::mcs::crds());
}

#[test]
fn members_get_the_network_kinds_that_users_write_there() {
    let names = |crds: Vec<CustomResourceDefinition>| -> BTreeSet<_> {
        crds.into_iter().filter_map(|crd| crd.metadata.name).collect()
    };
    let want = [
        "appliedworks.placement.kubernetes-fleet.io",
        "multiclusterservices.networking.fleet.azure.com",
        "serviceexports.networking.fleet.azure.com",
        "serviceimports.networking.fleet.azure.com",
    ];
    assert_eq!(names(stolos_api::member_crds()), want.map(str::to_owned).into());
    let all = stolos_api::crds();
    let (n_all, all) = (all.len(), names(all));
    assert_eq!(all.len(), n_all, "a kind that lives on hub and members is defined once");
    assert!(names(stolos_api::member_crds()).is_subset(&all));
}

#[expect(clippy::print_stderr, reason = "a skipped comparison must not go unseen")]
fn equal_the_published_ones(publisher: &str, kinds: &[CustomResourceDefinition]) {
    let Some(folder) = published_folder(publisher) else {
        eprintln!("skipped: no published definitions of {publisher} next to the workspace");
        return;
    };
    let mut differences = BTreeSet::new();
    let names: BTreeSet<_> = kinds.iter().map(file_name).collect();
    assert_eq!(names, published_files(&folder), "kinds that only one side has");
    for crd in kinds {
        let file = folder.join(file_name(crd));
        let text = fs::read_to_string(&file).expect("a published definition of every kind");
        let published: Value = serde_saphyr::from_str(&text).expect("a YAML document");
        let generated = serde_json::to_value(crd).expect("a definition serialises");
        let name = crd.metadata.name.as_deref().expect("a name");
        compare(name, &facts(&published), &facts(&generated), &mut differences);
    }
    let unwanted: Vec<_> = differences.iter().filter(|difference| !wanted(difference)).collect();
    assert!(unwanted.is_empty(), "{} differences:\n{unwanted:#?}", unwanted.len());
    let defined = |path: &str| {
        let names = kinds.iter().filter_map(|crd| crd.metadata.name.as_deref());
        names.into_iter().any(|name| path.starts_with(name))
    };
    for (path, reason) in WANTED.iter().filter(|(path, _)| defined(path)) {
        let found = differences.iter().any(|difference| difference.starts_with(path));
        assert!(found, "no longer different: {path} ({reason})");
    }
}

fn published_folder(publisher: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = workspace.join("../shared/reference/crds").join(publisher);
    folder.is_dir().then_some(folder)
}

fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

fn published_files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let definitions = paths.filter(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    let name = |path: PathBuf| path.file_name()?.to_str().map(str::to_owned);
    definitions.filter_map(name).collect()
}

fn wanted(difference: &str) -> bool {
    WANTED.iter().any(|(path, _)| difference.starts_with(path))
}

/// Flattens a definition into facts by path, with lists whose order means nothing sorted.
fn facts(definition: &Value) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut spec = definition["spec"].clone();
    let versions = spec["versions"].as_array().expect("versions").clone();
    spec.as_object_mut().expect("a spec").remove("versions");
    collect("spec", &spec, &mut facts);
    for mut version in versions {
        let name = version["name"].as_str().expect("a version has a name").to_owned();
        let schema = version["schema"].take();
        collect(&name, &version, &mut facts);
        collect(&name, &schema["openAPIV3Schema"], &mut facts);
    }
    facts
}

fn collect(path: &str, value: &Value, facts: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            if fields.is_empty() {
                facts.insert(path.into(), "{}".into());
            }
            for (name, field) in fields {
                if !is_text(name, field) {
                    collect(&format!("{path}.{name}"), field, facts);
                }
            }
        }
        Value::Array(items) => {
            let is_set = [".required", ".enum", ".x-kubernetes-validations", ".categories"]
                .iter()
                .any(|suffix| path.ends_with(suffix));
            let mut items: Vec<_> = items.iter().map(canonical).collect();
            if is_set {
                items.sort();
            }
            for (i, item) in items.iter().enumerate() {
                facts.insert(format!("{path}[{i}]"), item.clone());
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            facts.insert(path.into(), canonical(value));
        }
    }
}

fn is_text(name: &str, field: &Value) -> bool {
    name == "description" && field.is_string()
}

/// Prints a value so that `1` and `1.0` are the same number.
fn canonical(value: &Value) -> String {
    match value {
        Value::Number(number) => number.as_f64().expect("a finite number").to_string(),
        Value::Object(fields) => {
            let told = fields.iter().filter(|(name, field)| !is_text(name, field));
            let sorted: BTreeMap<_, _> =
                told.map(|(name, field)| (name, canonical(field))).collect();
            format!("{sorted:?}")
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => value.to_string(),
    }
}

fn compare(
    name: &str,
    published: &BTreeMap<String, String>,
    generated: &BTreeMap<String, String>,
    differences: &mut BTreeSet<String>,
) {
    let paths: BTreeSet<_> = published.keys().chain(generated.keys()).collect();
    for path in paths {
        let (want, got) = (published.get(path), generated.get(path));
        if want != got {
            let show = |fact: Option<&String>| fact.map_or("absent".into(), Clone::clone);
            differences.insert(format!(
                "{name} {path}: published {}, generated {}",
                show(want),
                show(got)
            ));
        }
    }
}

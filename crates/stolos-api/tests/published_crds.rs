//! Compares the generated definitions with those that KubeFleet publishes.
//!
//! Descriptions are not compared; they are our own words. Everything else that a client or an API
//! server can notice is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;
use stolos_api::{cluster, placement};

/// Differences that we want, as `<definition> <path>`, with the reason. There are none.
const WANTED: &[(&str, &str)] = &[];

#[test]
#[expect(clippy::print_stderr, reason = "a skipped comparison must not go unseen")]
fn generated_definitions_equal_the_published_ones() {
    let Some(folder) = published_folder() else {
        eprintln!("skipped: no published definitions next to the workspace");
        return;
    };
    let mut differences = BTreeSet::new();
    let kinds = [
        cluster::crds(),
        cluster::profile::crds(),
        placement::hub_crds(),
        placement::member_crds(),
    ];
    let kinds = kinds.concat();
    let names: BTreeSet<_> = kinds.iter().map(file_name).collect();
    assert_eq!(names, published_files(&folder), "kinds that only one side has");
    for crd in kinds {
        let file = folder.join(file_name(&crd));
        let text = fs::read_to_string(&file).expect("a published definition of every kind");
        let published: Value = serde_saphyr::from_str(&text).expect("a YAML document");
        let generated = serde_json::to_value(&crd).expect("a definition serialises");
        let name = crd.metadata.name.expect("a name");
        compare(&name, &facts(&published), &facts(&generated), &mut differences);
    }
    let unwanted: Vec<_> = differences.iter().filter(|difference| !wanted(difference)).collect();
    assert!(unwanted.is_empty(), "{} differences:\n{unwanted:#?}", unwanted.len());
    for (path, reason) in WANTED {
        let found = differences.iter().any(|difference| difference.starts_with(path));
        assert!(found, "no longer different: {path} ({reason})");
    }
}

fn published_folder() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = workspace.join("../shared/reference/crds/kubefleet");
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
                let is_text = name == "description" && field.is_string();
                if !is_text {
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

/// Prints a value so that `1` and `1.0` are the same number.
fn canonical(value: &Value) -> String {
    match value {
        Value::Number(number) => number.as_f64().expect("a finite number").to_string(),
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> =
                fields.iter().map(|(name, field)| (name, canonical(field))).collect();
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

//! The floors of ARCHITECTURE.md: dependencies point down, and the two lowest floors do no I/O.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::process;

/// Crates by floor, the lowest first. A crate may use crates of lower floors only, but for the listed siblings.
const FLOORS: &[&[&str]] = &[
    &["stolos-api"],
    &["stolos-core"],
    &[
        "stolos-apiserver",
        "stolos-controller",
        "stolos-upgrade",
        "stolos-dataplane",
        "stolos-dns",
        "stolos-sim",
    ],
    &["stolos-hub", "stolos-member", "stolos-envtest"],
    &["stolos", "stolos-bench"],
];

/// Crates that do no I/O, and what they must therefore never bring in, even indirectly.
const PURE: &[&str] = &["stolos-api", "stolos-core"];
const IMPURE: &[&str] = &["tokio", "hyper", "axum", "reqwest", "kube-client"];

/// Crates that know nothing about fleets.
const STANDALONE: &[&str] = &["stolos-apiserver", "stolos-controller", "stolos-sim"];

/// Fails on an edge that points up, on I/O in a pure crate, and on a crate that has no floor.
pub(crate) fn check() -> anyhow::Result<()> {
    let json =
        process::output(process::cargo().args(["metadata", "--format-version=1", "--locked"]))?;
    let metadata: Value = serde_json::from_slice(&json).context("cargo metadata is not JSON")?;
    let edges = normal_dependencies(&metadata)?;
    let mut problems = Vec::new();
    for (name, dependencies) in &edges {
        if !name.starts_with("stolos") {
            continue;
        }
        let Some(floor) = floor_of(name) else {
            problems.push(format!("crate `{name}` has no floor; add it to xtask/src/layers.rs"));
            continue;
        };
        for dependency in dependencies.iter().filter(|d| d.starts_with("stolos")) {
            if STANDALONE.contains(&name.as_str()) {
                problems.push(format!("`{name}` must stand alone but uses `{dependency}`"));
            } else if floor_of(dependency).is_none_or(|below| below >= floor) {
                problems
                    .push(format!("`{name}` uses `{dependency}`, which is not on a lower floor"));
            }
        }
    }
    for name in PURE {
        let reached = reach(name)?;
        for banned in IMPURE.iter().filter(|banned| reached.contains(**banned)) {
            problems.push(format!("`{name}` must do no I/O but brings in `{banned}`"));
        }
    }
    if !problems.is_empty() {
        bail!("the layers do not hold:\n  {}", problems.join("\n  "));
    }
    println!("layers: ok");
    Ok(())
}

fn floor_of(name: &str) -> Option<usize> {
    FLOORS.iter().position(|crates| crates.contains(&name))
}

/// Returns for each package name the names of its normal (not dev, not build) dependencies.
fn normal_dependencies(metadata: &Value) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let names: BTreeMap<String, String> = list(metadata, "packages")
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo metadata has no graph")?;
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes {
        let to = list(node, "deps")
            .iter()
            .filter(|dep| list(dep, "dep_kinds").iter().any(|kind| kind["kind"].is_null()))
            .filter_map(|dep| names.get(&text(&dep["pkg"])).cloned())
            .collect::<Vec<_>>();
        if let Some(name) = names.get(&text(&node["id"])) {
            edges.entry(name.clone()).or_default().extend(to);
        }
    }
    Ok(edges)
}

/// Returns every package that a crate brings in by itself. `cargo metadata` cannot tell: it unites the features of the
/// whole workspace.
fn reach(name: &str) -> anyhow::Result<BTreeSet<String>> {
    let args =
        ["tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}", "--package", name];
    let lines = process::output(process::cargo().args(args))?;
    let lines = String::from_utf8(lines).context("cargo tree is not UTF-8")?;
    Ok(lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

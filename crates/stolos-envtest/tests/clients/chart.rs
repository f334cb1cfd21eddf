//! A real-world chart, rendered by Helm's own engine and applied by kubectl as Helm users do.

use crate::kubectl::{Kubectl, newest};
use crate::program::skipped;
use crate::{cluster::Cluster, go};

const LEAST_OBJECTS: usize = 60;

fn applied_twice(flags: &str, first: &str) {
    let Some(tests) = go::tests() else { return skipped("chart", go::PREPARE) };
    let Some(program) = newest() else { return skipped("chart", "`kubectl` is not installed") };
    let cluster = Cluster::start();
    let kubectl = Kubectl::new(&program, &cluster, "istio-system");
    let file = cluster.folder().join("chart.yaml");
    go::render_chart(tests, &file);
    let apply = format!("apply {flags} -f {}", file.display());

    let output = kubectl.run(&apply);
    assert!(output.lines().count() >= LEAST_OBJECTS, "{output}");
    for line in output.lines() {
        assert!(line.ends_with(first), "at first: {line}");
    }
    // Definitions change once more when their kinds are established.
    // kubectl fails on one that has no conditions yet.
    kubectl.run_until_done("wait --for=condition=Established crd --all --timeout=60s");
    let revisions = format!(
        "get --ignore-not-found -o custom-columns=K:.kind,N:.metadata.name,R:.metadata.resourceVersion -f {}",
        file.display()
    );
    let before = kubectl.run(&revisions);
    // kubectl says `configured` where a quantity is written otherwise than the server does; what counts is that no
    // object has a new revision.
    let output = kubectl.run(&apply);
    assert!(output.lines().all(|line| !line.ends_with(" created")), "{output}");
    assert_eq!(kubectl.run(&revisions), before);
    assert_eq!(kubectl.run(&format!("diff {flags} -f {}", file.display())), "");
    kubectl.run(&format!("delete --wait=false -f {}", file.display()));
}

#[test]
fn a_chart_applied_twice_by_the_client_is_unchanged() {
    applied_twice("", " created");
}

#[test]
fn a_chart_applied_twice_by_the_server_is_unchanged() {
    applied_twice("--server-side", " serverside-applied");
}

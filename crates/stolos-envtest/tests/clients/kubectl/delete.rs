//! `delete` with its cascade modes, finalizers, selectors and namespaces.

use super::{Kubectl, with_every_version, with_oldest_and_newest};

/// Makes a parent and a child that it owns.
fn family(kubectl: &Kubectl) {
    kubectl.run("create configmap parent");
    let uid = kubectl.value("configmap parent", ".metadata.uid");
    kubectl.feed(
        "create -f -",
        &format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: child, ownerReferences: [\
             {{apiVersion: v1, kind: ConfigMap, name: parent, uid: {uid}, blockOwnerDeletion: true}}]}}}}"
        ),
    );
}

#[test]
fn the_cascade_mode_decides_what_becomes_of_dependents() {
    with_every_version(|kubectl| {
        for mode in ["background", "foreground"] {
            family(kubectl);
            let output = kubectl.run(&format!("delete configmap parent --cascade={mode}"));
            assert!(output.starts_with("configmap \"parent\" deleted"), "{output}");
            kubectl.run("wait --for=delete configmap/child --timeout=30s");
            assert!(!kubectl.exists("configmap child") && !kubectl.exists("configmap parent"));
        }
        family(kubectl);
        kubectl.run("delete configmap parent --cascade=orphan");
        assert_eq!(kubectl.value("configmap child", ".metadata.ownerReferences"), "");
    });
}

#[test]
fn finalizers_hold_an_object_until_they_are_gone() {
    with_every_version(|kubectl| {
        kubectl.feed(
            "create -f -",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/hold]}}",
        );
        kubectl.run("delete configmap held --wait=false");
        assert!(kubectl.value("configmap held", ".metadata.deletionTimestamp").ends_with('Z'));
        let error = kubectl.fail("delete configmap held --timeout=1s");
        assert!(error.contains("timed out waiting for the condition"), "{error}");
        let mut waiting = kubectl.start("wait --for=delete configmap/held --timeout=60s");
        kubectl.run("patch configmap held --type=merge -p '{\"metadata\":{\"finalizers\":null}}'");
        assert!(waiting.wait().unwrap().success());
        assert!(!kubectl.exists("configmap held"));
    });
}

#[test]
fn selectors_files_and_all_choose_what_is_deleted() {
    with_oldest_and_newest(|kubectl| {
        for name in ["a", "b", "c", "d"] {
            kubectl.run(&format!("create secret generic {name}"));
        }
        kubectl.run("label secret a b odd=y");
        let output = kubectl.run("delete secret -l odd=y");
        assert_eq!(output.lines().count(), 2, "{output}");
        kubectl.run("delete secret --field-selector metadata.name=c");
        let error = kubectl.fail("delete secret c");
        assert_eq!(error, "Error from server (NotFound): secrets \"c\" not found\n");
        assert_eq!(kubectl.run("delete secret c --ignore-not-found"), "");
        kubectl.run("delete secret d --dry-run=server");
        assert!(kubectl.exists("secret d"));
        kubectl.run("delete secret --all");
        assert_eq!(kubectl.run("get secret -o name"), "");
    });
}

#[test]
fn pods_go_at_once_when_forced() {
    with_oldest_and_newest(|kubectl| {
        kubectl.run("run p --image=i");
        let output = kubectl.run("delete pod p --force --grace-period=0");
        assert!(output.starts_with("pod \"p\" force deleted"), "{output}");
        assert!(!kubectl.exists("pod p"));
    });
}

#[test]
fn a_namespace_goes_with_all_it_holds() {
    with_every_version(|kubectl| {
        let doomed = format!("{}-doomed", kubectl.namespace());
        kubectl.run(&format!("create namespace {doomed}"));
        kubectl.run(&format!("create configmap c -n {doomed}"));
        kubectl.run(&format!("create deployment d --image=i --replicas=0 -n {doomed}"));
        let output = kubectl.run(&format!("delete namespace {doomed} --timeout=60s"));
        assert!(output.starts_with(&format!("namespace \"{doomed}\" deleted")), "{output}");
        assert!(!kubectl.exists(&format!("namespace {doomed}")));
        let error = kubectl.fail(&format!("create configmap c -n {doomed}"));
        assert!(error.contains(&format!("namespaces \"{doomed}\" not found")), "{error}");
        let error = kubectl.fail("delete namespace kube-system");
        assert!(error.contains("this namespace may not be deleted"), "{error}");
    });
}

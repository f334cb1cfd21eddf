//! `edit` with a scripted editor, and `replace`.

use super::{Kubectl, with_every_version, with_oldest_and_newest};

/// Runs `edit` with `sed` as the editor and returns whether it succeeded with everything it said.
fn edit(kubectl: &Kubectl, line: &str, script: &str) -> (bool, String) {
    let mut command = kubectl.command(line);
    command.env("KUBE_EDITOR", format!("sed -i -e '{script}'"));
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn edits_are_written_back_as_patches() {
    with_every_version(|kubectl| {
        kubectl.run("create deployment web --image=web:1 --replicas=0");
        let (done, said) = edit(kubectl, "edit deployment web", "s/web:1/web:2/");
        assert!(done && said == "deployment.apps/web edited\n", "{said}");
        let image = ".spec.template.spec.containers[0].image";
        assert_eq!(kubectl.value("deployment web", image), "web:2");
        let (done, said) = edit(kubectl, "edit deployment web", "s/nothing//");
        assert!(done && said.contains("Edit cancelled, no changes made."), "{said}");
        // The editor opens again with the reason, finds the same, and kubectl keeps the text in a file.
        let (done, said) = edit(kubectl, "edit deployment web", "s/replicas: 0/replicas: -1/");
        assert!(!done && said.contains("deployments.apps \"web\""), "{said}");
        let (done, said) = edit(kubectl, "edit -o json deployment web", "s/web:2/web:3/");
        assert!(done, "{said}");
        assert_eq!(kubectl.value("deployment web", image), "web:3");
        let status = "edit deployment web --subresource=status";
        let (done, said) =
            edit(kubectl, status, "s/^status:.*/status: {readyReplicas: 1, replicas: 1}/");
        assert!(done, "{said}");
        assert_eq!(kubectl.value("deployment web", ".status.readyReplicas"), "1");
    });
}

#[test]
fn replacing_needs_the_object_and_force_makes_another() {
    with_oldest_and_newest(|kubectl| {
        let manifest = |value: &str| {
            format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {{k: {value}}}}}"
            )
        };
        let error = kubectl.fail_fed("replace -f -", &manifest("a"));
        assert!(error.contains("configmaps \"c\" not found"), "{error}");
        kubectl.feed("create -f -", &manifest("a"));
        assert_eq!(kubectl.feed("replace -f -", &manifest("b")), "configmap/c replaced\n");
        let uid = kubectl.value("configmap c", ".metadata.uid");
        let file = kubectl.file("replace.yaml", &manifest("c"));
        let output = kubectl.run(&format!("replace --force -f {file}"));
        assert!(output.ends_with("configmap/c replaced\n"), "{output}");
        assert_ne!(kubectl.value("configmap c", ".metadata.uid"), uid);
        let old = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, resourceVersion: '1'}}";
        let error = kubectl.fail_fed("replace -f -", old);
        assert!(error.contains("the object has been modified"), "{error}");
    });
}

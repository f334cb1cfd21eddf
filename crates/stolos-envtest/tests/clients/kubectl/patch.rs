//! `patch`, `label`, `annotate`, `scale`, `set`.

use super::{with_every_version, with_oldest_and_newest};

#[test]
fn patches_of_all_types_are_taken() {
    with_every_version(|kubectl| {
        kubectl.run("create deployment web --image=web:1 --replicas=0");
        let patch = |kind: &str, body: &str| {
            kubectl.run(&format!("patch deployment web --type={kind} -p '{body}'"))
        };
        let body = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}"#;
        assert_eq!(patch("strategic", body), "deployment.apps/web patched\n");
        assert_eq!(patch("strategic", body), "deployment.apps/web patched (no change)\n");
        let names = ".spec.template.spec.containers[*].name";
        assert_eq!(kubectl.value("deployment web", names), "side web");
        patch("merge", body);
        assert_eq!(kubectl.value("deployment web", names), "side");
        patch("json", r#"[{"op":"replace","path":"/spec/replicas","value":2}]"#);
        assert_eq!(kubectl.value("deployment web", ".spec.replicas"), "2");
        let error = kubectl.fail(
            r#"patch deployment web --type=json -p '[{"op":"test","path":"/spec/replicas","value":9}]'"#,
        );
        assert!(error.contains("the server rejected our request due to an error"), "{error}");
        let error =
            kubectl.fail(r#"patch deployment web --type=merge -p '{"spec":{"replicas":-1}}'"#);
        assert!(error.contains("must be greater than or equal to 0"), "{error}");
        kubectl.run(r#"patch deployment web --subresource=status --type=merge -p '{"status":{"replicas":3}}'"#);
        assert_eq!(kubectl.value("deployment web", ".status.replicas"), "3");
        kubectl.run(
            r#"patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":4}}'"#,
        );
        assert_eq!(kubectl.value("deployment web", ".spec.replicas"), "4");
        let output = kubectl.run("get deployment web --subresource=scale -o 'jsonpath={.kind}'");
        assert_eq!(output, "Scale");
    });
}

#[test]
fn labels_and_annotations_are_set_and_taken_off() {
    with_oldest_and_newest(|kubectl| {
        kubectl.run("create configmap a");
        kubectl.run("create configmap b");
        assert_eq!(
            kubectl.run("label configmap a b k=v"),
            "configmap/a labeled\nconfigmap/b labeled\n"
        );
        let error = kubectl.fail("label configmap a k=w");
        assert!(error.contains("'k' already has a value (v), and --overwrite is false"), "{error}");
        kubectl.run("label configmap a k=w --overwrite");
        assert_eq!(kubectl.run("get configmap -l k=w -o name"), "configmap/a\n");
        assert_eq!(kubectl.run("label configmap b k-"), "configmap/b unlabeled\n");
        let error = kubectl.fail("label configmap a 'k=not a value' --overwrite");
        assert!(error.contains("a valid label must be"), "{error}");
        kubectl.run("annotate configmap -l k=w 'text=any text: at all'");
        assert_eq!(kubectl.value("configmap a", ".metadata.annotations.text"), "any text: at all");
        kubectl.run("annotate configmap a text-");
        let stale = kubectl.fail("label configmap a x=y --resource-version=1");
        assert!(stale.contains("the object has been modified"), "{stale}");
    });
}

#[test]
fn scaling_looks_at_the_current_size_when_told() {
    with_oldest_and_newest(|kubectl| {
        kubectl.run("create deployment web --image=web:1 --replicas=1");
        assert_eq!(
            kubectl.run("scale deployment web --replicas=2"),
            "deployment.apps/web scaled\n"
        );
        let error = kubectl.fail("scale deployment web --current-replicas=1 --replicas=3");
        assert!(error.contains("Expected replicas to be 1, was 2"), "{error}");
        kubectl.run("scale deployment web --current-replicas=2 --replicas=0");
        assert_eq!(kubectl.value("deployment web", ".spec.replicas"), "0");
        let error = kubectl.fail("scale configmap kube-root-ca.crt --replicas=1");
        assert!(error.contains("could not find the requested resource"), "{error}");
    });
}

#[test]
fn set_changes_one_thing_of_a_template() {
    with_oldest_and_newest(|kubectl| {
        kubectl.run("create deployment web --image=web:1 --replicas=0");
        kubectl.run("create service clusterip web --tcp=80");
        kubectl.run("create configmap vars --from-literal=FROM=map");
        let container = ".spec.template.spec.containers[0]";
        kubectl.run("set image deployment/web web=web:2");
        assert_eq!(kubectl.value("deployment web", &format!("{container}.image")), "web:2");
        kubectl.run("set env deployment/web A=1 --from=configmap/vars");
        let names = kubectl.value("deployment web", &format!("{container}.env[*].name"));
        assert!(names.contains('A') && names.contains("FROM"), "{names}");
        kubectl.run("set env deployment/web A-");
        kubectl.run("set resources deployment web --limits=cpu=1,memory=1Gi --requests=cpu=500m");
        assert_eq!(
            kubectl.value("deployment web", &format!("{container}.resources.requests.cpu")),
            "500m"
        );
        kubectl.run("set serviceaccount deployment web robot");
        assert_eq!(
            kubectl.value("deployment web", ".spec.template.spec.serviceAccountName"),
            "robot"
        );
        kubectl.run("set selector service web app=other");
        assert_eq!(kubectl.value("service web", ".spec.selector.app"), "other");
        kubectl.run("create rolebinding b --clusterrole=view --user=u");
        kubectl.run("set subject rolebinding b --user=v --group=g");
        assert_eq!(kubectl.value("rolebinding b", ".subjects[*].name"), "u v g");
    });
}

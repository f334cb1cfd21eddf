//! `apply` by the client and by the server, `diff`, pruning, kustomize.

use super::{Kubectl, with_every_version, with_oldest_and_newest};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: main:1
        args: [a, b]
        env: [{name: A, value: '1'}, {name: B, value: '2'}]
";

fn config(name: &str, data: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\n\
         metadata: {{name: {name}, labels: {{set: s}}}}\ndata: {data}\n"
    )
}

#[test]
fn three_way_apply_keeps_what_others_have_set() {
    with_every_version(|kubectl| {
        assert_eq!(kubectl.feed("apply -f -", WEB), "deployment.apps/web created\n");
        assert_eq!(kubectl.feed("apply -f -", WEB), "deployment.apps/web unchanged\n");
        kubectl.run("annotate deployment web by=others");
        kubectl.run("set env deployment/web C=3");
        kubectl.run("patch deployment web -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"side\",\"image\":\"side:1\"}]}}}}'");

        let changed = WEB.replace("main:1", "main:2").replace("{name: A, value: '1'}, ", "");
        assert_eq!(kubectl.feed("apply -f -", &changed), "deployment.apps/web configured\n");
        let containers = ".spec.template.spec.containers";
        let names = kubectl.value("deployment web", &format!("{containers}[*].name"));
        assert_eq!(names.split(' ').count(), 2, "{names}");
        let main = format!("{containers}[?(@.name==\"main\")]");
        assert_eq!(kubectl.value("deployment web", &format!("{main}.image")), "main:2");
        assert_eq!(kubectl.value("deployment web", &format!("{main}.env[*].name")), "B C");
        assert_eq!(kubectl.value("deployment web", ".metadata.annotations.by"), "others");
        assert!(kubectl.run("apply view-last-applied deployment web").contains("image: main:2"));
    });
}

#[test]
fn diff_and_dry_run_show_what_apply_would_do_and_do_nothing() {
    with_every_version(|kubectl| {
        kubectl.feed("apply -f -", WEB);
        let before = kubectl.value("deployment web", ".metadata.resourceVersion");
        let same = kubectl.file("same.yaml", WEB);
        let changed = kubectl.file("changed.yaml", &WEB.replace("main:1", "main:9"));
        assert_eq!(kubectl.run(&format!("diff -f {same}")), "");
        for flags in ["", "--server-side --force-conflicts"] {
            let output = kubectl.output(&format!("diff {flags} -f {changed}"));
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(1), "{shown}");
            assert!(shown.contains("-        image: main:1"), "{shown}");
            assert!(shown.contains("+        image: main:9"), "{shown}");
        }
        let output = kubectl.run(&format!("apply --dry-run=server -f {changed}"));
        assert_eq!(output, "deployment.apps/web configured (server dry run)\n");
        let new = config("never", "{}");
        let output = kubectl.feed("apply --dry-run=server -f -", &new);
        assert_eq!(output, "configmap/never created (server dry run)\n");
        assert!(!kubectl.exists("configmap never"));
        assert_eq!(kubectl.value("deployment web", ".metadata.resourceVersion"), before);
    });
}

#[test]
fn server_side_apply_has_owners_and_conflicts() {
    with_every_version(|kubectl| {
        let ours = "apply --server-side --field-manager=ours -f -";
        let theirs = "apply --server-side --field-manager=theirs -f -";
        let first = "deployment.apps/web serverside-applied\n";
        assert_eq!(kubectl.feed(ours, WEB), first);
        let changed = WEB.replace("main:1", "main:2");
        let error = kubectl.fail_fed(theirs, &changed);
        assert!(error.contains("Apply failed with 1 conflict: conflict with \"ours\""), "{error}");
        assert!(error.contains(".spec.template.spec.containers[name=\"main\"].image"), "{error}");
        assert!(error.contains("--force-conflicts"), "{error}");
        kubectl.feed(&theirs.replace(" -f", " --force-conflicts -f"), &changed);
        let owners = kubectl.run("get deployment web --show-managed-fields -o 'jsonpath={.metadata.managedFields[*].manager}'");
        assert_eq!(owners, "ours theirs");
        assert!(!kubectl.run("get deployment web -o yaml").contains("managedFields"));
        // Of a field that two own, nothing goes when one lets go.
        let less = WEB.replace("args: [a, b]", "");
        kubectl.feed(&ours.replace(" -f", " --force-conflicts -f"), &less);
        assert_eq!(
            kubectl.value("deployment web", ".spec.template.spec.containers[0].args"),
            "[\"a\",\"b\"]"
        );
    });
}

#[test]
fn objects_move_from_client_side_to_server_side_apply() {
    with_every_version(|kubectl| {
        kubectl.feed("apply -f -", WEB);
        kubectl.feed("apply --server-side -f -", WEB);
        let less = WEB.replace("{name: A, value: '1'}, ", "");
        kubectl.feed("apply --server-side -f -", &less);
        let env = kubectl.value("deployment web", ".spec.template.spec.containers[0].env[*].name");
        assert_eq!(env, "B", "what the client applied can be taken back by the server");
        assert!(!kubectl.run("apply view-last-applied deployment web").contains("name: A"));
    });
}

#[test]
fn pruning_deletes_what_is_applied_no_longer() {
    with_oldest_and_newest(|kubectl| {
        let both = config("one", "{}") + &config("two", "{}");
        kubectl.feed("apply -f -", &both);
        kubectl.run("create configmap stranger");
        kubectl.run("label configmap stranger set=s");
        let prune = "apply --prune -l set=s --prune-allowlist=core/v1/ConfigMap -f -";
        let output = kubectl.feed(prune, &config("one", "{}"));
        assert!(output.contains("configmap/two pruned"), "{output}");
        assert!(kubectl.exists("configmap stranger"), "nobody applied it");
        assert!(!kubectl.exists("configmap two"));
    });
}

#[test]
fn apply_sets_track_and_prune_their_members() {
    with_oldest_and_newest(|kubectl| {
        let apply = |manifest: &str| {
            let mut command = kubectl.command("apply --prune --applyset=configmaps/set -f -");
            command.env("KUBECTL_APPLYSET", "true");
            let path = kubectl.file("set.yaml", manifest);
            command.stdin(std::fs::File::open(path).unwrap());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        apply(&(config("one", "{}") + &config("two", "{}")));
        let output = apply(&config("one", "{}"));
        assert!(output.contains("configmap/two pruned"), "{output}");
        assert!(kubectl.exists("configmap one") && kubectl.exists("configmap set"));
    });
}

#[test]
fn manifests_with_mistakes_are_refused_with_the_place() {
    with_every_version(|kubectl| {
        let unknown = WEB.replace("replicas: 0", "replcas: 0");
        let error = kubectl.fail_fed("apply -f -", &unknown);
        assert!(error.contains("strict decoding error: unknown field \"spec.replcas\""), "{error}");
        kubectl.feed("apply --validate=ignore -f -", &unknown);
        let wrong = WEB.replace("replicas: 0", "replicas: many");
        let error = kubectl.fail_fed("apply -f -", &wrong);
        assert!(error.contains("replicas"), "{error}");
        let error = kubectl.fail_fed(
            "apply -f -",
            "{apiVersion: example.com/v1, kind: Gadget, metadata: {name: g}}",
        );
        assert!(
            error.contains("no matches for kind \"Gadget\" in version \"example.com/v1\""),
            "{error}"
        );
        let error = kubectl.fail_fed("apply -f -", &config("bad", "[]"));
        assert!(error.contains("data"), "{error}");
    });
}

#[test]
fn kustomizations_are_built_and_applied() {
    with_oldest_and_newest(|kubectl| {
        kubectl.file("base/web.yaml", WEB);
        let kustomization = kubectl.file(
            "base/kustomization.yaml",
            "resources: [web.yaml]\nnamePrefix: pre-\nlabels: [{pairs: {by: kustomize}}]\n\
             configMapGenerator: [{name: generated, literals: [k=v]}]\n",
        );
        let folder = kustomization.trim_end_matches("/kustomization.yaml");
        let output = kubectl.run(&format!("apply -k {folder}"));
        assert!(output.contains("deployment.apps/pre-web created"), "{output}");
        assert!(output.contains("configmap/pre-generated-"), "{output}");
        assert_eq!(kubectl.value("deployment pre-web", ".metadata.labels.by"), "kustomize");
        assert!(kubectl.run(&format!("kustomize {folder}")).contains("name: pre-web"));
        assert!(kubectl.run(&format!("delete -k {folder}")).contains("deleted"));
    });
}

#[test]
fn lists_and_folders_are_applied_as_a_whole() {
    with_oldest_and_newest(|kubectl: &Kubectl| {
        kubectl.file("many/a.yaml", &config("a", "{k: v}"));
        let last = kubectl.file(
            "many/deep/b.json",
            r#"{"apiVersion":"v1","kind":"List","items":[
                {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}},
                {"apiVersion":"v1","kind":"Secret","metadata":{"name":"c"},"stringData":{"k":"v"}}]}"#,
        );
        let folder = last.trim_end_matches("/deep/b.json");
        let output = kubectl.run(&format!("apply -R -f {folder}"));
        assert_eq!(output, "configmap/a created\nconfigmap/b created\nsecret/c created\n");
        let output = kubectl.run(&format!("apply -R -f {folder}"));
        assert_eq!(output.matches(" unchanged").count(), 2, "{output}");
        assert_eq!(kubectl.value("secret c", ".data.k"), "dg==");
    });
}

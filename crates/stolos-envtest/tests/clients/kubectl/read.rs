//! `get` in all its forms, `describe`, `explain`, `events`, and what tells about the server.

use std::io::{BufRead, BufReader};

use super::{with_every_version, with_oldest_and_newest};

#[test]
fn get_prints_what_is_asked_for() {
    with_every_version(|kubectl| {
        for (name, size) in [("a", "3"), ("b", "1"), ("c", "2")] {
            kubectl.run(&format!("create configmap {name} --from-literal=size={size}"));
            kubectl.run(&format!("label configmap {name} in=story"));
        }
        let get = |rest: &str| kubectl.run(&format!("get configmap -l in=story {rest}"));
        assert_eq!(get("-o name --sort-by=.data.size"), "configmap/b\nconfigmap/c\nconfigmap/a\n");
        assert_eq!(get("-o 'jsonpath={.items[*].data.size}'"), "3 1 2");
        assert_eq!(
            get("-o 'jsonpath={range .items[?(@.data.size==\"1\")]}{.metadata.name}{end}'"),
            "b"
        );
        let columns = get("-o custom-columns=NAME:.metadata.name,SIZE:.data.size,NONE:.data.none");
        assert_eq!(
            columns.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
            ["a", "3", "<none>"]
        );
        assert_eq!(get("-o 'go-template={{range .items}}{{.data.size}}{{end}}'"), "312");
        assert_eq!(get("--no-headers --chunk-size=1").lines().count(), 3);
        let table = get("-L in --show-labels");
        let heading: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(heading, ["NAME", "DATA", "AGE", "IN", "LABELS"]);
        assert!(table.lines().nth(1).unwrap().ends_with("in=story"), "{table}");
        assert_eq!(get("--field-selector metadata.name=b -o name"), "configmap/b\n");
        let all = get("-A --sort-by=.metadata.name");
        assert!(all.starts_with("NAMESPACE"), "{all}");
        assert_eq!(kubectl.run("get configmap nothing --ignore-not-found"), "");
        let error = kubectl.fail("get configmap nothing");
        assert_eq!(error, "Error from server (NotFound): configmaps \"nothing\" not found\n");
        let error = kubectl.fail("get gadgets");
        assert_eq!(error, "error: the server doesn't have a resource type \"gadgets\"\n");
        let yaml = get("-o yaml");
        assert!(yaml.starts_with("apiVersion: v1\nitems:\n- apiVersion: v1\n"), "{yaml}");
        let raw =
            format!("get --raw '/api/v1/namespaces/{}/configmaps?limit=1'", kubectl.namespace());
        assert!(kubectl.run(&raw).contains("\"remainingItemCount\":"));
        let mixed = kubectl.run("get configmap/a serviceaccount/default -o name");
        assert_eq!(mixed, "configmap/a\nserviceaccount/default\n");
    });
}

#[test]
fn watching_prints_each_change() {
    with_every_version(|kubectl| {
        kubectl.run("create configmap a");
        let mut watching = kubectl.start("get configmap --watch --output-watch-events --field-selector metadata.name!=kube-root-ca.crt");
        let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
        let mut next = || {
            let line = lines.next().unwrap().unwrap();
            line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(next(), "EVENT NAME");
        assert_eq!(next(), "ADDED a");
        kubectl.run("label configmap a k=v");
        assert_eq!(next(), "MODIFIED a");
        kubectl.run("create configmap b");
        assert_eq!(next(), "ADDED b");
        kubectl.run("delete configmap a");
        assert_eq!(next(), "DELETED a");
        watching.kill().unwrap();
        watching.wait().unwrap();

        let mut table = kubectl.start("get configmap b -w");
        let mut lines = BufReader::new(table.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        assert!(next().starts_with("NAME"));
        assert!(next().starts_with("b "));
        kubectl.run("patch configmap b --type=merge -p '{\"data\":{\"k\":\"v\"}}'");
        let row = next();
        assert_eq!(row.split_whitespace().nth(1), Some("1"), "{row}");
        table.kill().unwrap();
        table.wait().unwrap();
    });
}

#[test]
fn explain_knows_built_in_kinds_and_custom_ones() {
    with_every_version(|kubectl| {
        let text = kubectl.run("explain deployment.spec.strategy.rollingUpdate.maxSurge");
        assert!(
            text.contains("maxSurge <IntOrString>") || text.contains("maxSurge <string>"),
            "{text}"
        );
        let tree = kubectl.run("explain pod --recursive");
        for field in ["containers\t<[]Container> -required-", "emptyDir\t<EmptyDirVolumeSource>"] {
            assert!(tree.contains(field), "{tree}");
        }
        let group = format!("{}.example.com", kubectl.namespace());
        kubectl.feed("create -f -", &format!(
            "{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: widgets.{group}}}, \
             spec: {{group: {group}, scope: Namespaced, names: {{plural: widgets, kind: Widget, shortNames: [wd], categories: [all]}}, \
             versions: [{{name: v1, served: true, storage: true, additionalPrinterColumns: [{{name: Size, type: integer, jsonPath: .spec.size}}], \
             schema: {{openAPIV3Schema: {{type: object, description: A widget., properties: {{spec: {{type: object, required: [size], \
             properties: {{size: {{type: integer, description: How large it is.}}}}}}}}}}}}}}]}}}}"
        ));
        kubectl.run(&format!("wait --for=condition=Established crd/widgets.{group} --timeout=30s"));
        let text =
            kubectl.run_until_done(&format!("explain widgets.spec --api-version={group}/v1"));
        assert!(
            text.contains("size\t<integer> -required-") && text.contains("How large it is."),
            "{text}"
        );
        assert!(
            kubectl
                .run(&format!("explain widgets --recursive --api-version={group}/v1"))
                .contains("spec\t<Object>")
        );
        kubectl.feed(
            "create -f -",
            &format!(
                "{{apiVersion: {group}/v1, kind: Widget, metadata: {{name: w}}, spec: {{size: 4}}}}"
            ),
        );
        let table = kubectl.run("get wd");
        assert_eq!(
            table.lines().map(|l| l.split_whitespace().nth(1).unwrap()).collect::<Vec<_>>(),
            ["SIZE", "4"]
        );
        assert!(kubectl.run("get all -o name").contains(&format!("widget.{group}/w")));
        let error = kubectl.fail_fed(
            "create -f -",
            &format!("{{apiVersion: {group}/v1, kind: Widget, metadata: {{name: v}}, spec: {{}}}}"),
        );
        assert!(error.contains("spec.size: Required value"), "{error}");
        assert!(kubectl.run("describe widget w").contains("Size:  4"));
        kubectl.run(&format!("delete crd widgets.{group}"));
        let error = kubectl.fail("get widgets");
        assert!(
            error.contains("the server doesn't have a resource type")
                || error.contains("could not find"),
            "{error}"
        );
    });
}

#[test]
fn the_server_tells_what_it_is_and_has() {
    with_every_version(|kubectl| {
        let resources = kubectl.run("api-resources --no-headers");
        for (name, short) in
            [("pods", "po"), ("deployments", "deploy"), ("customresourcedefinitions", "crd")]
        {
            let row = resources.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(row.contains(short), "{row}");
        }
        let wide =
            kubectl.run("api-resources -o wide --api-group=apps --namespaced --verbs=list,patch");
        assert!(
            wide.contains("create,delete,deletecollection,get,list,patch,update,watch"),
            "{wide}"
        );
        assert!(kubectl.run("api-resources --categories=all -o name").contains("deployments.apps"));
        let versions = kubectl.run("api-versions");
        assert!(versions.contains("apps/v1\n") && versions.ends_with("v1\n"), "{versions}");
        assert!(kubectl.run("version -o json").contains("\"serverVersion\""));
        assert!(kubectl.run("cluster-info").contains("is running at"));
        assert!(kubectl.run("get --raw /readyz").starts_with("ok"));
        let warned = kubectl.output("get endpoints").stderr;
        let warned = String::from_utf8_lossy(&warned).into_owned();
        assert!(warned.contains("Warning: v1 Endpoints is deprecated in v1.33+; use"), "{warned}");
        assert!(kubectl.run("get --raw '/livez?verbose'").contains("check passed"));
    });
}

#[test]
fn descriptions_and_events_are_complete() {
    with_oldest_and_newest(|kubectl| {
        kubectl.run("create deployment web --image=web:1 --replicas=0");
        kubectl.run("run p --image=i");
        let uid = kubectl.value("pod p", ".metadata.uid");
        let ns = kubectl.namespace();
        kubectl.feed("create -f -", &format!(
            "{{apiVersion: v1, kind: Event, metadata: {{name: p.1}}, reason: Tested, message: it was, type: Normal, count: 2, \
             firstTimestamp: '2030-01-01T00:00:00Z', lastTimestamp: '2030-01-01T00:00:00Z', \
             involvedObject: {{apiVersion: v1, kind: Pod, name: p, namespace: {ns}, uid: {uid}}}}}"
        ));
        let pod = kubectl.run("describe pod p");
        assert!(pod.contains("Pending") && pod.contains("Tested"), "{pod}");
        assert!(
            kubectl
                .run("describe deployment web")
                .contains("StrategyType:           RollingUpdate")
        );
        for object in [
            format!("namespace {ns}"),
            "serviceaccount default".into(),
            "configmap kube-root-ca.crt".into(),
        ] {
            kubectl.run(&format!("describe {object}"));
        }
        assert!(kubectl.run("events --for pod/p").contains("it was"));
        let table = kubectl.run("get events --field-selector involvedObject.name=p");
        assert!(table.contains("pod/p") && table.contains("Tested"), "{table}");
        assert!(kubectl.run("get all").contains("deployment.apps/web"));
        assert!(kubectl.run("get pod p -o wide").contains("NOMINATED NODE"));
    });
}

//! Nodes: `taint`, `cordon`, `uncordon`, `drain`.

use super::{Kubectl, with_newest, with_oldest_and_newest};

/// Makes a node with two pods that somebody controls; nobody would drain pods that nobody makes again.
fn node_with_pods(kubectl: &Kubectl) -> String {
    let node = format!("{}-node", kubectl.namespace());
    kubectl.feed("create -f -", &manifest(&node));
    let uid = kubectl.value("configmap kube-root-ca.crt", ".metadata.uid");
    for name in ["free", "guarded"] {
        kubectl.feed(
            "create -f -",
            &format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}, ownerReferences: [\
                 {{apiVersion: v1, kind: ConfigMap, name: kube-root-ca.crt, uid: {uid}, controller: true}}]}}, \
                 spec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, containers: [{{name: c, image: i}}]}}}}"
            ),
        );
    }
    node
}

fn manifest(node: &str) -> String {
    format!("{{apiVersion: v1, kind: Node, metadata: {{name: {node}}}}}")
}

#[test]
fn a_drained_node_is_empty_but_for_what_a_budget_guards() {
    // Clients ask again for more than a minute before they give up.
    with_newest(|kubectl| {
        let node = node_with_pods(kubectl);
        // A budget guards only pods that run.
        kubectl.run("patch pod guarded --subresource=status --type=merge -p '{\"status\":{\"phase\":\"Running\"}}'");
        kubectl.run("create poddisruptionbudget guard --selector=app=guarded --min-available=1");
        let error = kubectl.fail(&format!("drain {node} --timeout=3s"));
        assert!(error.contains("violate the pod's disruption budget"), "{error}");
        assert!(!kubectl.exists("pod free"));
        assert!(kubectl.exists("pod guarded"));
        assert_eq!(kubectl.value(&format!("node {node}"), ".spec.unschedulable"), "true");
        kubectl.run("delete poddisruptionbudget guard");
        let output = kubectl.run(&format!("drain {node}"));
        assert!(output.ends_with(&format!("node/{node} drained\n")), "{output}");
        assert!(!kubectl.exists("pod guarded"));
        kubectl.run(&format!("uncordon {node}"));
        assert_eq!(kubectl.value(&format!("node {node}"), ".spec.unschedulable"), "");
        kubectl.run(&format!("delete node {node}"));
    });
}

#[test]
fn taints_and_cordons_are_set_and_taken_off() {
    with_oldest_and_newest(|kubectl| {
        let node = format!("{}-node", kubectl.namespace());
        kubectl.feed("create -f -", &manifest(&node));
        kubectl.run(&format!("taint node {node} alpha=v:NoSchedule omega:NoExecute"));
        let taints = kubectl.value(&format!("node {node}"), ".spec.taints[*].key");
        assert!(taints.contains("alpha") && taints.contains("omega"), "{taints}");
        kubectl.run(&format!("taint node {node} alpha-"));
        assert!(!kubectl.value(&format!("node {node}"), ".spec.taints[*].key").contains("alpha"));
        assert_eq!(kubectl.run(&format!("cordon {node}")), format!("node/{node} cordoned\n"));
        assert_eq!(
            kubectl.run(&format!("cordon {node}")),
            format!("node/{node} already cordoned\n")
        );
        let table = kubectl.run(&format!("get node {node}"));
        assert!(table.contains("SchedulingDisabled"), "{table}");
        assert!(kubectl.run(&format!("describe node {node}")).contains("Unschedulable:      true"));
        kubectl.run(&format!("delete node {node}"));
    });
}

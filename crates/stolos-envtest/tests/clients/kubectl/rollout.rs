//! `rollout`, with a status that the test writes in place of a controller.

use super::{Kubectl, with_oldest_and_newest};

/// Reports a deployment as rolled out, as its controller would.
fn report(kubectl: &Kubectl, replicas: u32) {
    let generation = kubectl.value("deployment web", ".metadata.generation");
    kubectl.run(&format!(
        "patch deployment web --subresource=status --type=merge -p '{{\"status\":{{\"observedGeneration\":{generation},\
         \"replicas\":{replicas},\"updatedReplicas\":{replicas},\"readyReplicas\":{replicas},\"availableReplicas\":{replicas}}}}}'"
    ));
}

/// Makes the ReplicaSet of one revision.
fn revision(kubectl: &Kubectl, number: u32, image: &str) {
    let uid = kubectl.value("deployment web", ".metadata.uid");
    kubectl.feed("create -f -", &format!(
        "{{apiVersion: apps/v1, kind: ReplicaSet, metadata: {{name: web-{number}, labels: {{app: web}}, \
         annotations: {{deployment.kubernetes.io/revision: '{number}'}}, ownerReferences: [\
         {{apiVersion: apps/v1, kind: Deployment, name: web, uid: {uid}, controller: true}}]}}, \
         spec: {{replicas: 0, selector: {{matchLabels: {{app: web, pod-template-hash: '{number}'}}}}, template: {{metadata: \
         {{labels: {{app: web, pod-template-hash: '{number}'}}}}, spec: {{containers: [{{name: web, image: '{image}'}}]}}}}}}}}"
    ));
}

#[test]
fn rollouts_are_paused_restarted_undone_and_awaited() {
    with_oldest_and_newest(|kubectl| {
        kubectl.run("create deployment web --image=web:2 --replicas=2");
        let waiting = kubectl.start("rollout status deployment/web --timeout=60s");
        report(kubectl, 2);
        let output = waiting.wait_with_output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("successfully rolled out"));
        assert_eq!(kubectl.run("rollout pause deployment web"), "deployment.apps/web paused\n");
        assert_eq!(kubectl.value("deployment web", ".spec.paused"), "true");
        let error = kubectl.fail("rollout restart deployment web");
        assert!(error.contains("can't restart paused deployment"), "{error}");
        kubectl.run("rollout resume deployment web");
        kubectl.run("rollout restart deployment web");
        let restarted = ".spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt";
        assert!(!kubectl.value("deployment web", restarted).is_empty());

        kubectl.run("annotate deployment web deployment.kubernetes.io/revision=2");
        revision(kubectl, 1, "web:1");
        revision(kubectl, 2, "web:2");
        let history = kubectl.run("rollout history deployment web");
        assert!(history.lines().any(|line| line.starts_with('1')), "{history}");
        assert!(kubectl.run("rollout history deployment web --revision=1").contains("web:1"));
        kubectl.run("rollout undo deployment web --to-revision=1");
        assert_eq!(
            kubectl.value("deployment web", ".spec.template.spec.containers[0].image"),
            "web:1"
        );
    });
}

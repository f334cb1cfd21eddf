//! `wait` for conditions, values and deletion.

use super::{Kubectl, with_every_version};

fn set_status(kubectl: &Kubectl, status: &str) {
    kubectl.run(&format!(
        "patch pod p --subresource=status --type=merge -p '{{\"status\":{status}}}'"
    ));
}

#[test]
fn waiting_ends_when_it_is_so() {
    with_every_version(|kubectl| {
        kubectl.run("run p --image=i");
        let ready = kubectl.start("wait --for=condition=Ready pod/p --timeout=60s");
        let phase =
            kubectl.start("wait --for=jsonpath={.status.phase}=Running pod -l run=p --timeout=60s");
        let gone = kubectl.start("wait --for=delete pod/p --timeout=60s");
        set_status(kubectl, r#"{"phase":"Running"}"#);
        set_status(kubectl, r#"{"conditions":[{"type":"Ready","status":"True"}]}"#);
        for child in [ready, phase] {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "pod/p condition met\n");
        }
        kubectl.run("wait --for=condition=Ready=true pod/p");
        let error = kubectl.fail("wait --for=condition=Other pod/p --timeout=1s");
        assert!(error.contains("timed out waiting for the condition on pods/p"), "{error}");
        kubectl.run("delete pod p --force");
        let output = gone.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let error = kubectl.fail("wait --for=condition=Ready pod/p --timeout=1s");
        assert!(error.contains("pods \"p\" not found"), "{error}");
        kubectl.run("wait --for=delete pod/p --timeout=1s");
    });
}

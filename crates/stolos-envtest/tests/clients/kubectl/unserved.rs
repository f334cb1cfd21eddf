//! What only a kubelet or the metrics server can do is refused with a clear word, at once.

use super::with_oldest_and_newest;

#[test]
fn what_a_kubelet_would_do_is_refused_cleanly() {
    if std::env::var_os("STOLOS_TEST_KUBECONFIG").is_some() {
        return crate::program::skipped("refusals", "another server has its own");
    }
    with_oldest_and_newest(|kubectl| {
        kubectl.run("run p --image=i");
        kubectl.run("patch pod p --subresource=status --type=merge -p '{\"status\":{\"phase\":\"Running\"}}'");
        let file = kubectl.file("copied.txt", "text");
        for line in [
            "logs p".to_owned(),
            "exec p -- true".to_owned(),
            format!("cp {file} p:/tmp/x"),
            "port-forward pod/p 0:80".to_owned(),
        ] {
            let error = kubectl.fail(&line);
            assert!(
                error.contains("needs a kubelet, and this API server has none"),
                "{line}: {error}"
            );
        }
        let error = kubectl.fail("top pod");
        assert_eq!(error, "error: Metrics API not available\n");
    });
}

//! The guided tour holds.

use crate::backend::stolos;

#[test]
fn every_step_of_the_demo_holds() {
    let output = stolos(&["demo"], None);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(!stdout.contains('✗') && stdout.contains("steps held"), "{stdout}\n{stderr}");
}

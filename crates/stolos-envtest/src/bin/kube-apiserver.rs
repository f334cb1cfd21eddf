//! `kube-apiserver` for envtest suites.

use std::process::ExitCode;

fn main() -> ExitCode {
    stolos_envtest::main(&stolos_envtest::apiserver::PROGRAM)
}

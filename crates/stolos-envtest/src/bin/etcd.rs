//! `etcd` for envtest suites: healthy, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    stolos_envtest::main(&stolos_envtest::etcd::PROGRAM)
}

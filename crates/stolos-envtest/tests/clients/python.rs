//! The Python client: the tests in `tests/clients/python`, in a virtual environment with a pinned `kubernetes`.

use std::path::PathBuf;
use std::process::Command;

use crate::cluster::Cluster;
use crate::program::{kept, root, run, skipped};

/// Returns the Python of the environment that `cargo xtask clients` has made with the client of this version.
fn environment() -> Option<PathBuf> {
    let wanted = std::fs::read_to_string(root().join("tests/clients/python/requirements.txt"));
    let folder = kept().join("python");
    let installed = std::fs::read_to_string(folder.join("installed.txt"));
    (installed.ok() == Some(wanted.unwrap())).then(|| folder.join("bin/python"))
}

#[test]
fn the_python_client_works_as_on_any_cluster() {
    let Some(python) = environment() else {
        return skipped("Python client", "run `cargo xtask clients` where there is Python");
    };
    let cluster = Cluster::start();
    let mut tests = Command::new(python);
    tests.args(["-m", "unittest", "discover", "--start-directory", "."]);
    tests.current_dir(root().join("tests/clients/python"));
    run(tests.env("KUBECONFIG", cluster.kubeconfig()).env("PYTHONDONTWRITEBYTECODE", "1"));
}

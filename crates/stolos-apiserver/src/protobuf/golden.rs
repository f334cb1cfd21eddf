//! The fixtures that Kubernetes publishes with its API packages: every kind with every field filled, in protobuf and in
//! JSON. They are looked for in the Go module cache; without them the test says so and passes.

use std::path::PathBuf;
use std::{env, fs};

use serde_json::Value;

use super::{DecodeError, decode};
use crate::registry::Registry;

const MODULE: &str = "k8s.io/api@v0.34.4";

fn is_served(api_version: &str) -> bool {
    Registry::builtin()
        .all()
        .iter()
        .any(|resource| resource.group_version.to_string() == api_version)
}

fn fixtures() -> Option<PathBuf> {
    let cache = env::var_os("GOMODCACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("GOPATH")?).join("pkg/mod")));
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join("go/pkg/mod")))?;
    Some(cache.join(MODULE).join("testdata/HEAD")).filter(|directory| directory.is_dir())
}

/// Nulls mean absence, and which of them Go writes has no bearing on the object.
pub(super) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that does nothing should say so")]
fn the_fixtures_of_kubernetes_decode_to_their_json() {
    let Some(directory) = fixtures() else {
        eprintln!("skipped: `go mod download {MODULE}` brings the fixtures");
        return;
    };
    let mut n_equal = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        let mut got = match decode(&fs::read(&path).unwrap()) {
            Ok(got) => got,
            Err(DecodeError::UnknownKind { api_version, .. }) if !is_served(&api_version) => {
                continue;
            }
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let mut want: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        without_nulls(&mut got);
        without_nulls(&mut want);
        assert_eq!(got, want, "{}", path.display());
        n_equal += 1;
    }
    assert!(n_equal >= 82, "only {n_equal} fixtures are of kinds that are served");
}

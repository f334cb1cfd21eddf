//! What fuzzing checks: one function per target, each a law that must hold for any bytes.
//!
//! The programs in `fuzz/` feed these functions with what libFuzzer invents; the tests below feed them with the committed
//! seeds and changed copies of them, so that every build runs the same code. A function panics when its law is broken.

mod apply;
mod expressions;
mod input;
mod objects;
mod patches;
mod requests;

/// A law for any bytes.
pub type Check = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Check); 13] = [
    ("apply", apply::apply),
    ("cel", expressions::cel),
    ("json_patch", patches::json_patch),
    ("jsonpath", expressions::jsonpath),
    ("kubeconfig", requests::kubeconfig),
    ("merge_patch", patches::merge_patch),
    ("objects", objects::objects),
    ("protobuf", objects::protobuf),
    ("reader", objects::reader),
    ("schema", expressions::schema),
    ("selectors", requests::selectors),
    ("token", requests::token),
    ("url", requests::url),
];

/// Runs one target.
///
/// # Panics
/// When the law of the target does not hold for these bytes, and when there is no such target.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, check) = TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .unwrap_or_else(|| panic!("there is no target `{target}`"));
    check(bytes);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    /// The committed seeds of a target, in order of their names.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/fuzzing/seeds").join(target);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("{target} has seeds"));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    }

    /// A change to bytes: at a place, so many go and these come.
    type Change = (prop::sample::Index, usize, Vec<u8>);

    fn change() -> impl Strategy<Value = Change> {
        let bytes = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8),
            "[ -~]{0,6}".prop_map(String::into_bytes),
        ];
        (any::<prop::sample::Index>(), 0..6usize, bytes)
    }

    fn changed(mut bytes: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
        for (at, gone, new) in changes {
            let at = at.index(bytes.len() + 1);
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, new);
        }
        bytes
    }

    #[test]
    fn every_target_holds_for_its_seeds() {
        for (name, check) in TARGETS {
            let seeds = seeds(name);
            assert!(seeds.len() >= 2, "{name} has seeds");
            for seed in &seeds {
                check(seed);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_target_holds_near_its_seeds(
            seed: prop::sample::Index,
            changes in prop::collection::vec(change(), 0..4),
        ) {
            for (name, check) in TARGETS {
                let seeds = seeds(name);
                let bytes = seeds[seed.index(seeds.len())].clone();
                check(&changed(bytes, changes.clone()));
            }
        }

        #[test]
        fn every_target_holds_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for (_, check) in TARGETS {
                check(&bytes);
            }
        }
    }
}

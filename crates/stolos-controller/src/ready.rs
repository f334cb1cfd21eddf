//! Whether a process can do its work yet: what each of its parts still waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What the parts of a process wait for before they can work. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Vec<&'static str>>>>);

impl Readiness {
    /// Notes everything that a part waits for; nothing makes it ready.
    pub fn waits_for(&self, part: &'static str, what: impl IntoIterator<Item = &'static str>) {
        let what: Vec<_> = what.into_iter().collect();
        let mut parts = self.0.lock().expect("no holder of this lock panics");
        if what.is_empty() {
            parts.remove(part);
        } else {
            parts.insert(part, what);
        }
    }

    /// Notes that a part waits for nothing.
    pub fn has(&self, part: &'static str) {
        self.waits_for(part, []);
    }

    /// Returns a line for each part that is not ready, with the names of what it waits for.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let parts = self.0.lock().expect("no holder of this lock panics");
        parts.iter().map(|(part, what)| format!("{part} waits for {}", what.join(", "))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_once_all_its_parts_are() {
        let readiness = Readiness::default();
        readiness.waits_for("placement", ["Work", "MemberCluster"]);
        readiness.clone().waits_for("fleet", ["Fleet"]);
        assert_eq!(
            readiness.missing(),
            ["fleet waits for Fleet", "placement waits for Work, MemberCluster"]
        );
        readiness.waits_for("placement", ["MemberCluster"]);
        readiness.has("fleet");
        assert_eq!(readiness.missing(), ["placement waits for MemberCluster"]);
        readiness.has("placement");
        assert_eq!(readiness.missing(), [] as [&str; 0]);
    }
}

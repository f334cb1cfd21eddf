//! Since when a version of an object is exported, which tells how long an export takes (networking 8.1).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::network::names::annotation;

use super::keys;
use crate::condition;

/// Returns when a version was first seen, as the annotations say: `annotation` names the version.
fn seen_at(metadata: &ObjectMeta, name: &str, version: &str) -> Option<Timestamp> {
    let seen = keys::annotation(metadata, name)?;
    let at = keys::annotation(metadata, annotation::LAST_SEEN_TIMESTAMP)?;
    if seen != version {
        return None;
    }
    at.parse().ok()
}

/// The stamp of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Since when the version is exported.
    pub since: Timestamp,
    /// Annotations to write, if they do not say so already.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Decides since when a version of an object is exported: what the annotations say, unless they speak of another
/// version or of the future. `name` is the annotation that names the version.
#[must_use]
pub fn stamp(metadata: &ObjectMeta, name: &str, version: &str, now: Timestamp) -> Stamp {
    if let Some(since) = seen_at(metadata, name, version).filter(|since| *since <= now) {
        return Stamp { since, annotations: None };
    }
    let since = condition::time(now).0;
    let annotations = [
        (name.to_owned(), version.to_owned()),
        (annotation::LAST_SEEN_TIMESTAMP.to_owned(), since.to_string()),
    ];
    Stamp { since, annotations: Some(annotations.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: &str, at: &str) -> ObjectMeta {
        let annotations = [
            (annotation::LAST_SEEN_GENERATION.to_owned(), version.to_owned()),
            (annotation::LAST_SEEN_TIMESTAMP.to_owned(), at.to_owned()),
        ];
        ObjectMeta { annotations: Some(annotations.into()), ..ObjectMeta::default() }
    }

    #[test]
    fn a_stamp_stays_while_the_version_does_and_is_never_of_the_future() {
        let now: Timestamp = "2026-01-01T00:00:10.5Z".parse().unwrap();
        let of = |metadata: &ObjectMeta| {
            let stamp = stamp(metadata, annotation::LAST_SEEN_GENERATION, "7", now);
            (stamp.since.to_string(), stamp.annotations.is_some())
        };
        let kept = ("2026-01-01T00:00:05Z".to_owned(), false);
        let renewed = ("2026-01-01T00:00:10Z".to_owned(), true);
        assert_eq!(of(&seen("7", "2026-01-01T00:00:05Z")), kept);
        assert_eq!(of(&seen("6", "2026-01-01T00:00:05Z")), renewed);
        assert_eq!(of(&seen("7", "2026-01-01T00:00:11Z")), renewed);
        assert_eq!(of(&seen("7", "yesterday")), renewed);
        assert_eq!(of(&ObjectMeta::default()), renewed);
    }
}

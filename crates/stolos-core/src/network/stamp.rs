//! Since when a version of an object is exported, which tells how long an export takes (networking 8.1).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::network::ExportedObjectReference;
use stolos_api::network::names::{EXPORTED_AT_ANNOTATION, annotation};

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

/// Notes on an object of the hub when its version was exported, to the millisecond. An object that stands for the same version
/// already, `stored`, says so.
pub fn note(
    metadata: &mut ObjectMeta,
    stored: Option<&ExportedObjectReference>,
    version: &ExportedObjectReference,
    now: Timestamp,
) {
    // Services have no generation.
    let is_same = |stored: &ExportedObjectReference| {
        stored.uid == version.uid
            && stored.generation == version.generation
            && (version.generation != 0 || stored.resource_version == version.resource_version)
    };
    if stored.is_some_and(is_same) {
        return;
    }
    let at = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(EXPORTED_AT_ANNOTATION.to_owned(), at.to_string());
}

/// Returns when the version of an object was exported, to the millisecond, if it says so.
#[must_use]
pub fn exported_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    keys::annotation(metadata, EXPORTED_AT_ANNOTATION)?.parse().ok()
}

/// How long an export took, as the histograms of fleet-networking get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Milliseconds between 1 and 100000. What took no time at all counts as a second, because stamps
    /// are whole seconds.
    pub millis: u32,
    /// Milliseconds between 0 and 100000, if the object says when it was exported to the millisecond.
    pub exact: Option<u32>,
    /// Whether no version of the object has been measured before.
    pub is_first: bool,
}

impl Measured {
    /// Returns the milliseconds.
    #[must_use]
    pub fn millis(&self) -> f64 {
        f64::from(self.millis)
    }
}

/// Decides what to measure of a version of an object that has arrived: nothing if it has been measured, which the
/// annotation `name` says and which is to be noted first, or if nobody says since when it is exported.
#[must_use]
pub fn duration(
    metadata: &ObjectMeta,
    name: &str,
    version: &str,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Option<Measured> {
    const LEAST: i64 = 1_000;
    const MOST: i64 = 100_000;
    let measured = keys::annotation(metadata, name);
    if measured == Some(version) {
        return None;
    }
    let millis = now.as_millisecond() - since?.as_millisecond();
    let millis = if millis <= 0 { LEAST } else { millis.min(MOST) };
    let exact = exported_at(metadata).map(|at| now.as_millisecond() - at.as_millisecond());
    let exact = exact.map(|exact| exact.clamp(0, MOST));
    Some(Measured {
        millis: u32::try_from(millis).unwrap_or(0),
        exact: exact.and_then(|exact| u32::try_from(exact).ok()),
        is_first: measured.is_none(),
    })
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
    fn every_version_is_measured_once_and_within_bounds() {
        let at = |millis: i64| Timestamp::from_millisecond(1_000_000 + millis).unwrap();
        let of = |metadata: &ObjectMeta, since: Option<Timestamp>| {
            let duration = duration(metadata, annotation::LAST_SEEN_GENERATION, "7", since, at(0));
            duration.map(|duration| (duration.millis, duration.is_first))
        };
        let new = ObjectMeta::default();
        assert_eq!(of(&new, Some(at(-2_500))), Some((2_500, true)));
        assert_eq!(of(&seen("6", ""), Some(at(-2_500))), Some((2_500, false)));
        assert_eq!(of(&seen("7", ""), Some(at(-2_500))), None);
        assert_eq!(of(&new, None), None);
        assert_eq!(of(&new, Some(at(5))), Some((1_000, true)), "clocks of two clusters differ");
        assert_eq!(of(&new, Some(at(-200_000))), Some((100_000, true)));
    }

    #[test]
    fn when_a_version_was_exported_is_noted_once_and_measured_to_the_millisecond() {
        let at = |millis: i64| Timestamp::from_millisecond(1_000_000 + millis).unwrap();
        let version = |generation| ExportedObjectReference {
            uid: "u".to_owned(),
            generation,
            ..ExportedObjectReference::default()
        };
        let mut metadata = ObjectMeta::default();
        note(&mut metadata, None, &version(1), at(7));
        assert_eq!(exported_at(&metadata), Some(at(7)));
        note(&mut metadata, Some(&version(1)), &version(1), at(9));
        assert_eq!(exported_at(&metadata), Some(at(7)), "it is the same version");
        note(&mut metadata, Some(&version(1)), &version(2), at(12));
        assert_eq!(exported_at(&metadata), Some(at(12)));
        let exact = |metadata: &ObjectMeta, now| {
            let name = annotation::LAST_OBSERVED_GENERATION;
            duration(metadata, name, "2", Some(at(0)), now).unwrap().exact
        };
        assert_eq!(exact(&metadata, at(20)), Some(8));
        assert_eq!(exact(&metadata, at(5)), Some(0), "clocks of two clusters differ");
        assert_eq!(exact(&metadata, at(500_000)), Some(100_000));
        assert_eq!(exact(&ObjectMeta::default(), at(20)), None, "an agent that does not say");
        metadata.annotations.as_mut().unwrap().insert(EXPORTED_AT_ANNOTATION.into(), "?".into());
        assert_eq!(exact(&metadata, at(20)), None);
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

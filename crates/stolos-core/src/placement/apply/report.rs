//! What the member agent reports about a Work.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::placement::names::{condition as type_, work_reason};
use stolos_api::placement::{ManifestCondition, WorkResourceIdentifier, WorkStatus};

use super::Availability;
use crate::condition;

/// How one manifest came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is applied.
    Applied {
        /// Generation of the object on the member.
        generation: i64,
        /// Whether it serves.
        availability: Availability,
    },
    /// It is not.
    Failed {
        /// Condition reason.
        reason: &'static str,
        /// What is wrong.
        message: String,
        /// Generation of the object on the member; 0 when there is none.
        generation: i64,
    },
}

/// Builds the status of a Work at `generation`. Times of unchanged conditions are taken from the status before.
#[must_use]
pub fn status(
    before: Option<&WorkStatus>,
    generation: i64,
    results: &[(WorkResourceIdentifier, Outcome)],
    now: Timestamp,
) -> WorkStatus {
    let previous = |identifier: &WorkResourceIdentifier| {
        let list = before.map_or(&[][..], |status| &status.manifest_conditions);
        list.iter().find(|manifest| same_object(&manifest.identifier, identifier))
    };
    let report = |(identifier, outcome): &(WorkResourceIdentifier, Outcome)| {
        let old =
            previous(identifier).map(|manifest| manifest.conditions.clone()).unwrap_or_default();
        ManifestCondition {
            identifier: identifier.clone(),
            conditions: of_manifest(&old, outcome, now),
            ..ManifestCondition::default()
        }
    };
    let old = before.map(|status| status.conditions.clone()).unwrap_or_default();
    WorkStatus {
        conditions: merged(&old, of_work(results, generation, now)),
        manifest_conditions: results.iter().map(report).collect(),
    }
}

/// Tells whether two identifiers name one object, whatever their place in the Work.
#[must_use]
pub fn same_object(a: &WorkResourceIdentifier, b: &WorkResourceIdentifier) -> bool {
    (&a.group, &a.kind, &a.namespace, &a.name) == (&b.group, &b.kind, &b.namespace, &b.name)
}

fn of_manifest(old: &[Condition], outcome: &Outcome, now: Timestamp) -> Vec<Condition> {
    let wanted = match outcome {
        Outcome::Failed { reason, message, generation } => {
            vec![condition::new(type_::APPLIED, "False", reason, message, *generation, now)]
        }
        Outcome::Applied { generation, availability } => {
            let (status, reason, message) = match availability {
                Availability::Available => ("True", work_reason::AVAILABLE, "the object serves"),
                Availability::NotTrackable => (
                    "True",
                    work_reason::NOT_TRACKABLE,
                    "nothing tells whether an object of this kind serves",
                ),
                Availability::NotYet => (
                    "False",
                    work_reason::MANIFEST_NOT_AVAILABLE_YET,
                    "the object does not serve yet",
                ),
            };
            vec![
                condition::new(
                    type_::APPLIED,
                    "True",
                    work_reason::APPLIED,
                    "the manifest is applied",
                    *generation,
                    now,
                ),
                condition::new(type_::AVAILABLE, status, reason, message, *generation, now),
            ]
        }
    };
    merged(old, wanted)
}

fn of_work(
    results: &[(WorkResourceIdentifier, Outcome)],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let new = |type_: &str, status, reason, message: &str| {
        condition::new(type_, status, reason, message, generation, now)
    };
    let n_failed =
        results.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed { .. })).count();
    if n_failed > 0 {
        let message = format!("{n_failed} of {} manifests are not applied", results.len());
        return vec![new(
            type_::APPLIED,
            "False",
            work_reason::SOME_MANIFESTS_ARE_NOT_APPLIED,
            &message,
        )];
    }
    let with = |wanted: Availability| {
        let is = |outcome: &Outcome| matches!(outcome, Outcome::Applied { availability, .. } if *availability == wanted);
        results.iter().filter(|(_, outcome)| is(outcome)).count()
    };
    let available = if with(Availability::NotYet) > 0 {
        let message =
            format!("{} of {} objects do not serve yet", with(Availability::NotYet), results.len());
        new(type_::AVAILABLE, "False", work_reason::SOME_MANIFESTS_ARE_NOT_AVAILABLE, &message)
    } else if with(Availability::NotTrackable) > 0 {
        new(
            type_::AVAILABLE,
            "True",
            work_reason::WORK_NOT_TRACKABLE,
            "some objects cannot be tracked",
        )
    } else {
        new(type_::AVAILABLE, "True", work_reason::ALL_MANIFESTS_AVAILABLE, "all objects serve")
    };
    vec![
        new(
            type_::APPLIED,
            "True",
            work_reason::ALL_MANIFESTS_APPLIED,
            "all manifests are applied",
        ),
        available,
    ]
}

/// Takes the times of unchanged conditions over and drops what no longer applies.
fn merged(old: &[Condition], wanted: Vec<Condition>) -> Vec<Condition> {
    let keep_time = |mut condition: Condition| {
        if let Some(before) =
            condition::find(old, &condition.type_).filter(|old| old.status == condition.status)
        {
            condition.last_transition_time = before.last_transition_time.clone();
        }
        condition
    };
    wanted.into_iter().map(keep_time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> WorkResourceIdentifier {
        WorkResourceIdentifier { name: name.to_owned(), ..WorkResourceIdentifier::default() }
    }

    fn applied(availability: Availability) -> Outcome {
        Outcome::Applied { generation: 1, availability }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a timestamp")
    }

    fn summary(status: &WorkStatus) -> Vec<(&str, &str, &str)> {
        status
            .conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()))
            .collect()
    }

    #[test]
    fn one_failure_makes_the_work_not_applied_and_says_nothing_of_availability() {
        let failed =
            Outcome::Failed { reason: "FailedToTakeOver", message: String::new(), generation: 0 };
        let status = status(
            None,
            3,
            &[(id("a"), applied(Availability::Available)), (id("b"), failed)],
            at(0),
        );
        assert_eq!(summary(&status), [("Applied", "False", "SomeManifestsAreNotApplied")]);
    }

    #[test]
    fn the_least_available_object_decides() {
        for (availability, want) in [
            (Availability::Available, ("Available", "True", "AllManifestsAvailable")),
            (Availability::NotTrackable, ("Available", "True", "WorkNotTrackable")),
            (Availability::NotYet, ("Available", "False", "SomeManifestsAreNotAvailable")),
        ] {
            let results =
                [(id("a"), applied(Availability::Available)), (id("b"), applied(availability))];
            assert_eq!(summary(&status(None, 3, &results, at(0)))[1], want);
        }
    }

    #[test]
    fn an_empty_work_is_applied_and_available() {
        let status = status(None, 1, &[], at(0));
        assert!(status.conditions.iter().all(|condition| condition.status == "True"));
        assert_eq!(status.conditions.len(), 2);
    }

    #[test]
    fn reporting_the_same_again_changes_nothing() {
        let results = [(id("a"), applied(Availability::NotYet))];
        let first = status(None, 1, &results, at(0));
        assert_eq!(status(Some(&first), 1, &results, at(60)), first);
    }
}

//! Reports of a member about the Works of one binding.

use proptest::prelude::*;
use serde_json::json;
use stolos_api::placement::{ApplyStrategy, NamespacedName};

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A Work at generation 2 whose conditions are given as `Type=Status/Reason`, or with `!` in front
/// when they are about an older generation; then one manifest with the same conditions.
fn work(name: &str, conditions: &[&str]) -> Work {
    let condition = |text: &&str| {
        let (generation, text) = text.strip_prefix('!').map_or((2, *text), |text| (1, text));
        let (type_, rest) = text.split_once('=').unwrap();
        let (status, reason) = rest.split_once('/').unwrap();
        json!({
            "type": type_, "status": status, "reason": reason, "message": "",
            "observedGeneration": generation, "lastTransitionTime": "1970-01-01T00:00:00Z",
        })
    };
    let conditions: Vec<_> = conditions.iter().map(condition).collect();
    serde_json::from_value(json!({
        "metadata": {"name": name, "generation": 2},
        "spec": {},
        "status": {
            "conditions": conditions,
            "manifestConditions": [{
                "identifier": {"ordinal": 0, "version": "v1", "kind": "ConfigMap", "name": name},
                "conditions": conditions,
            }],
        },
    }))
    .unwrap()
}

fn binding(apply: &str) -> ResourceBindingSpec {
    let strategy: ApplyStrategy = serde_json::from_value(json!({"type": apply})).unwrap();
    ResourceBindingSpec { apply_strategy: Some(strategy), ..ResourceBindingSpec::default() }
}

fn status(spec: &ResourceBindingSpec, outcome: &Outcome, works: &[Work]) -> ResourceBindingStatus {
    let previous = ResourceBindingStatus::default();
    let works: Vec<_> = works.iter().collect();
    let works = &works;
    aggregate(&Observed { generation: 5, spec, previous: &previous, outcome, works, now: NOW })
}

fn line(status: &ResourceBindingStatus) -> String {
    let show = |c: &Condition| format!("{}={}/{}", c.type_, c.status, c.reason);
    status.conditions.iter().map(show).collect::<Vec<_>>().join(" ")
}

const WRITTEN: &str = "Overridden=True/NoOverrideSpecified WorkSynchronized=True/AllWorkSynced";
const APPLIED: &str = "Applied=True/AllManifestsApplied";
const AVAILABLE: &str = "Available=True/AllManifestsAvailable";

#[test]
fn a_binding_is_as_far_as_its_last_work() {
    let done = || work("a", &[APPLIED, AVAILABLE]);
    let cases = [
        (
            vec![done(), done()],
            "Applied=True/AllWorkHaveBeenApplied Available=True/AllWorkAreAvailable",
        ),
        (vec![], "Applied=True/AllWorkHaveBeenApplied Available=True/AllWorkAreAvailable"),
        (vec![done(), work("b", &[])], "Applied=False/NotAllWorkHaveBeenApplied"),
        (
            vec![done(), work("b", &["!Applied=True/AllManifestsApplied"])],
            "Applied=False/NotAllWorkHaveBeenApplied",
        ),
        (
            vec![done(), work("b", &["Applied=False/SomeManifestsAreNotApplied"])],
            "Applied=False/NotAllWorkHaveBeenApplied",
        ),
        (
            vec![done(), work("b", &[APPLIED])],
            "Applied=True/AllWorkHaveBeenApplied Available=False/NotAllWorkAreAvailable",
        ),
        (
            vec![done(), work("b", &[APPLIED, "Available=True/WorkNotTrackable"])],
            "Applied=True/AllWorkHaveBeenApplied \
             Available=True/NotAllWorkAreAvailabilityTrackable",
        ),
    ];
    for (works, want) in cases {
        let got = line(&status(&binding("ClientSideApply"), &Outcome::Unchanged, &works));
        assert_eq!(got, format!("{WRITTEN} {want}"));
    }
}

#[test]
fn nothing_follows_what_could_not_be_written() {
    let works = [work("a", &[APPLIED, AVAILABLE])];
    for (apply, outcome, want) in [
        (
            "ClientSideApply",
            Outcome::OverrideFailed("why".into()),
            "Overridden=False/OverriddenFailed".to_owned(),
        ),
        (
            "ClientSideApply",
            Outcome::Failed("why".into()),
            "Overridden=True/NoOverrideSpecified WorkSynchronized=False/SyncWorkFailed".to_owned(),
        ),
        ("ClientSideApply", Outcome::Written, format!("{WRITTEN} Applied=False/ApplyInProgress")),
        (
            "ReportDiff",
            Outcome::Written,
            format!("{WRITTEN} DiffReported=False/DiffReportInProgress"),
        ),
    ] {
        assert_eq!(line(&status(&binding(apply), &outcome, &works)), want);
    }
}

#[test]
fn comparing_only_knows_no_applying() {
    for (reported, want) in [
        ("DiffReported=True/AllManifestsDiffReported", "True/AllWorkHaveDiffReported"),
        ("DiffReported=False/Some", "False/NotAllWorkHaveDiffReported"),
        ("!DiffReported=True/Old", "False/NotAllWorkHaveDiffReported"),
    ] {
        let works = [work("a", &[reported])];
        let got = line(&status(&binding("ReportDiff"), &Outcome::Unchanged, &works));
        assert_eq!(got, format!("{WRITTEN} DiffReported={want}"));
    }
}

#[test]
fn overrides_in_force_are_told() {
    let mut spec = binding("ClientSideApply");
    spec.resource_override_snapshots = vec![NamespacedName::default()];
    let got = status(&spec, &Outcome::Unchanged, &[]);
    assert_eq!(got.conditions[0].reason, "OverriddenSucceeded");
}

#[test]
fn failures_name_the_object_and_its_envelope() {
    let mut bad = work("b", &["Applied=False/FailedToTakeOver"]);
    bad.metadata.labels = Some(
        [
            (label::ENVELOPE_TYPE.to_owned(), "ResourceEnvelope".to_owned()),
            (label::ENVELOPE_NAME.to_owned(), "e".to_owned()),
            (label::ENVELOPE_NAMESPACE.to_owned(), "app".to_owned()),
        ]
        .into(),
    );
    let works = [work("a", &[APPLIED, AVAILABLE]), bad];
    let got = status(&binding("ClientSideApply"), &Outcome::Unchanged, &works);
    let [failed] = got.failed_placements.as_slice() else { panic!("one failure") };
    assert_eq!(failed.condition.reason, "FailedToTakeOver");
    assert_eq!(failed.resource.name, "b");
    let envelope = failed.resource.envelope.as_ref().unwrap();
    assert_eq!((envelope.name.as_str(), envelope.namespace.as_str()), ("e", "app"));
}

#[test]
fn drift_is_told_even_when_all_is_well_and_differences_only_when_not() {
    let with_details = |conditions: &[&str]| {
        let mut work = work("a", conditions);
        let manifest = &mut work.status.as_mut().unwrap().manifest_conditions[0];
        let time = "1970-01-01T00:00:00Z";
        manifest.drift_details = Some(
            serde_json::from_value(json!({
                "observationTime": time, "firstDriftedObservedTime": time,
                "observedInMemberClusterGeneration": 3, "observedDrifts": [{"path": "/data/a"}],
            }))
            .unwrap(),
        );
        manifest.diff_details = Some(
            serde_json::from_value(json!({
                "observationTime": time, "firstDiffedObservedTime": time,
            }))
            .unwrap(),
        );
        work
    };
    for (apply, conditions, n_drifted, n_diffed) in [
        ("ClientSideApply", vec![APPLIED, AVAILABLE], 1, 0),
        ("ClientSideApply", vec!["Applied=False/FoundDrifts"], 1, 1),
        ("ClientSideApply", vec![], 0, 0),
        ("ReportDiff", vec!["DiffReported=True/FoundDiff"], 0, 1),
        ("ReportDiff", vec!["DiffReported=False/Some"], 0, 0),
    ] {
        let got = status(&binding(apply), &Outcome::Unchanged, &[with_details(&conditions)]);
        let counts = (got.drifted_placements.len(), got.diffed_placements.len());
        assert_eq!(counts, (n_drifted, n_diffed), "{apply} {conditions:?}");
    }
}

#[test]
fn lists_have_a_limit() {
    let works: Vec<_> =
        (0..150).map(|i| work(&format!("w{i:03}"), &["Applied=False/Failed"])).collect();
    let got = status(&binding("ClientSideApply"), &Outcome::Unchanged, &works);
    assert_eq!(got.failed_placements.len(), 100);
    assert!(got.conditions[2].message.ends_with("and 147 more"));
}

#[test]
fn rollout_started_is_left_alone() {
    let build = Builder { previous: &[], generation: 1, now: NOW };
    let previous = ResourceBindingStatus {
        conditions: vec![build.condition(type_::ROLLOUT_STARTED, Status::True, "Old", "")],
        ..ResourceBindingStatus::default()
    };
    let spec = binding("ClientSideApply");
    let outcome = Outcome::Written;
    let observed = Observed {
        generation: 5,
        spec: &spec,
        previous: &previous,
        outcome: &outcome,
        works: &[],
        now: NOW,
    };
    assert_eq!(aggregate(&observed).conditions[0], previous.conditions[0]);
}

proptest! {
    #[test]
    fn reporting_again_changes_nothing(
        states in prop::collection::vec(0..4_usize, 0..5), shift in any::<prop::sample::Index>(),
    ) {
        let reports: [&[&str]; 4] =
            [&[], &[APPLIED], &[APPLIED, AVAILABLE], &["Applied=False/ManifestApplyFailed"]];
        let mut works: Vec<_> = states
            .iter()
            .enumerate()
            .map(|(i, state)| work(&format!("w{i}"), reports[*state]))
            .collect();
        let spec = binding("ClientSideApply");
        let first = status(&spec, &Outcome::Unchanged, &works);
        if !works.is_empty() {
            let middle = shift.index(works.len());
            works.rotate_left(middle);
        }
        let again = aggregate(&Observed {
            generation: 5,
            spec: &spec,
            previous: &first,
            outcome: &Outcome::Unchanged,
            works: &works.iter().collect::<Vec<_>>(),
            now: Timestamp::MAX,
        });
        prop_assert_eq!(again, first);
    }
}

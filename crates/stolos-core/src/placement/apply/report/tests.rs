use stolos_api::placement::ApplyStrategy;

use super::*;

fn id(name: &str) -> WorkResourceIdentifier {
    WorkResourceIdentifier { name: name.to_owned(), ..WorkResourceIdentifier::default() }
}

fn applied(availability: Availability) -> Outcome {
    Outcome::Applied(Applied { generation: 1, availability, drifts: Vec::new(), status: None })
}

fn failed(reason: &'static str, found: Found) -> Outcome {
    Outcome::Failed { reason, message: String::new(), generation: 2, found }
}

fn detail(path: &str) -> PatchDetail {
    PatchDetail {
        path: path.to_owned(),
        value_in_member: "theirs".to_owned(),
        value_in_hub: "ours".to_owned(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a timestamp")
}

fn work(status: Option<WorkStatus>) -> Work {
    let mut work = Work::new("web-work", stolos_api::placement::WorkSpec::default());
    work.metadata.generation = Some(3);
    work.status = status;
    work
}

fn first(results: &[Result]) -> WorkStatus {
    status(&work(None), results, at(0))
}

fn status_of_comparison(results: &[Result]) -> WorkStatus {
    let mut work = work(None);
    work.spec.apply_strategy =
        Some(ApplyStrategy { type_: ApplyStrategyType::ReportDiff, ..ApplyStrategy::default() });
    status(&work, results, at(0))
}

fn summary(conditions: &[Condition]) -> Vec<(&str, &str, &str)> {
    conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect()
}

#[test]
fn one_failure_makes_the_work_not_applied_and_says_nothing_of_availability() {
    let failed = failed("FailedToTakeOver", Found::Nothing);
    let status = first(&[(id("a"), applied(Availability::Available)), (id("b"), failed)]);
    assert_eq!(summary(&status.conditions), [("Applied", "False", "SomeManifestsAreNotApplied")]);
    assert_eq!(status.conditions[0].observed_generation, Some(3), "that of the work");
    let manifest = &status.manifest_conditions[1].conditions;
    assert_eq!(summary(manifest), [("Applied", "False", "FailedToTakeOver")]);
    assert_eq!(manifest[0].observed_generation, Some(2), "that of the object");
}

#[test]
fn the_least_available_object_decides() {
    for (availability, want) in [
        (Availability::Available, ("Available", "True", "AllManifestsAvailable")),
        (Availability::NotTrackable, ("Available", "True", "WorkNotTrackable")),
        (Availability::NotYet, ("Available", "False", "SomeManifestsAreNotAvailable")),
    ] {
        let status =
            first(&[(id("a"), applied(Availability::Available)), (id("b"), applied(availability))]);
        assert_eq!(summary(&status.conditions)[1], want);
    }
}

#[test]
fn an_empty_work_is_applied_and_available() {
    let status = first(&[]);
    assert!(status.conditions.iter().all(|condition| condition.status == "True"));
    assert_eq!(status.conditions.len(), 2);
    let compared = status_of_comparison(&[]);
    assert_eq!(
        summary(&compared.conditions),
        [("DiffReported", "True", "AllManifestsDiffReported")]
    );
}

#[test]
fn reporting_the_same_again_changes_nothing() {
    let results = [
        (id("a"), applied(Availability::NotYet)),
        (id("b"), failed("FoundDrifts", Found::Drifts(vec![detail("/data/a")]))),
    ];
    let before = first(&results);
    assert_eq!(status(&work(Some(before.clone())), &results, at(30)), before);
}

#[test]
fn a_finding_keeps_the_time_it_was_first_seen() {
    let drifted =
        |path: &str| [(id("a"), failed("FoundDrifts", Found::Drifts(vec![detail(path)])))];
    let before = first(&drifted("/data/a"));
    let after = status(&work(Some(before)), &drifted("/data/b"), at(30));
    let details = after.manifest_conditions[0].drift_details.clone().unwrap();
    assert_eq!(
        (details.first_drifted_observed_time.0, details.observation_time.0),
        (at(0), at(30))
    );
    assert_eq!(details.observed_in_member_cluster_generation, 2);
    let later = status(&work(Some(after.clone())), &drifted("/data/b"), at(120));
    let details = later.manifest_conditions[0].drift_details.clone().unwrap();
    assert_eq!(details.observation_time.0, at(120), "seen again a while later");
    let gone = status(&work(Some(after)), &[(id("a"), applied(Availability::Available))], at(40));
    assert_eq!(gone.manifest_conditions[0].drift_details, None);
}

#[test]
fn drift_that_was_found_afterwards_does_not_make_a_failure() {
    let mut outcome = applied(Availability::Available);
    if let Outcome::Applied(applied) = &mut outcome {
        applied.drifts = vec![detail("/data/a")];
    }
    let status = first(&[(id("a"), outcome)]);
    assert_eq!(
        summary(&status.manifest_conditions[0].conditions),
        [("Applied", "True", "Applied"), ("Available", "True", "Available")]
    );
    assert!(status.manifest_conditions[0].drift_details.is_some());
}

#[test]
fn who_only_compares_says_nothing_of_applying() {
    let compared = |diffs, degraded| Outcome::Compared { generation: Some(1), diffs, degraded };
    let missing = Outcome::Compared { generation: None, diffs: vec![detail("/")], degraded: false };
    let failed = Outcome::NotCompared { message: String::new(), generation: 0 };
    let good = [
        (id("same"), compared(Vec::new(), false)),
        (id("other"), compared(vec![detail("/data/a")], false)),
        (id("refused"), compared(vec![detail("/data/a")], true)),
        (id("missing"), missing),
    ];
    let status = status_of_comparison(&good);
    assert_eq!(
        summary(&status.conditions),
        [("DiffReported", "True", "AllManifestsDiffReported")],
        "one that was compared in another way was compared"
    );
    let reasons: Vec<_> = status
        .manifest_conditions
        .iter()
        .map(|manifest| manifest.conditions[0].reason.as_str())
        .collect();
    assert_eq!(reasons, ["NoDiffFound", "FoundDiff", "FoundDiffInDegradedMode", "FoundDiff"]);
    let details = status.manifest_conditions[3].diff_details.as_ref().unwrap();
    assert_eq!(details.observed_in_member_cluster_generation, None);

    let some = [good[0].clone(), (id("failed"), failed)];
    let status = status_of_comparison(&some);
    assert_eq!(
        summary(&status.conditions),
        [("DiffReported", "False", "SomeManifestsHaveNotReportedDiff")]
    );
    assert_eq!(
        summary(&status.manifest_conditions[1].conditions),
        [("DiffReported", "False", "FailedToReportDiff")]
    );
}

#[test]
fn a_status_that_would_be_too_large_loses_its_details() {
    let long = |n: usize| PatchDetail {
        path: format!("/data/{n}"),
        value_in_member: "x".repeat(100_000),
        value_in_hub: String::new(),
    };
    let diffs: Vec<_> = (0..20).map(long).collect();
    let outcome = Outcome::Compared { generation: Some(1), diffs, degraded: false };
    let status = status_of_comparison(&[(id("a"), outcome)]);
    let details = status.manifest_conditions[0].diff_details.as_ref().unwrap();
    assert_eq!(details.observed_diffs.len(), 1);
    assert_eq!(details.observed_diffs[0].path, "/data/0 and 19 more path(s)");
    assert_eq!(details.observed_diffs[0].value_in_member, "(omitted)");
    assert_eq!(
        summary(&status.conditions),
        [
            ("DiffReported", "True", "AllManifestsDiffReported"),
            ("StatusTrimmed", "True", "Oversized"),
        ]
    );
}

#[test]
fn a_status_comes_back_with_the_time_it_was_first_so() {
    let outcome = |ready: bool| {
        let live =
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {}, "status": {"ready": ready}});
        let mut outcome = applied(Availability::Available);
        if let Outcome::Applied(applied) = &mut outcome {
            applied.status = status_of(&live);
        }
        [(id("a"), outcome)]
    };
    let before = first(&outcome(true));
    let mirrored =
        |status: &WorkStatus| status.manifest_conditions[0].back_reported_status.clone().unwrap();
    assert_eq!(
        mirrored(&before).observed_status,
        json!({"apiVersion": "v1", "kind": "Pod", "status": {"ready": true}})
    );
    let same = status(&work(Some(before.clone())), &outcome(true), at(9));
    assert_eq!(mirrored(&same), mirrored(&before));
    let other = status(&work(Some(before)), &outcome(false), at(9));
    assert_eq!(mirrored(&other).observation_time.0, at(9));
}

//! How members are written: apply strategies, take-over, drift, differences, owners, and what is reported of them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use stolos_api::placement::{AppliedWork, ClusterResourcePlacement, PatchDetail, Work};

use crate::fleet::{Cluster, Fleet, create, delete, eventually, exists, gone, merge};

fn config_map(name: &str, data: Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap()
}

async fn create_app(cluster: &Cluster, data: Value) {
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "app"}})).unwrap();
    create(&cluster.all(), &namespace).await;
    create(&cluster.inside("app"), &config_map("settings", data)).await;
}

/// Returns a placement of the namespace `app` with its content.
fn spec(strategy: Value) -> Value {
    json!({
        "resourceSelectors": [{"group": "", "version": "v1", "kind": "Namespace", "name": "app"}],
        "strategy": {"applyStrategy": strategy, "rollingUpdate": {"unavailablePeriodSeconds": 1}},
    })
}

fn settings(cluster: &Cluster) -> Api<ConfigMap> {
    cluster.inside("app")
}

/// Waits until the data of the ConfigMap are these.
async fn holds(cluster: &Cluster, data: Value) {
    let what = format!("holds {data}");
    eventually(&settings(cluster), "settings", &what, |found| {
        found.is_some_and(|found| json!(found.data.clone().unwrap_or_default()) == data)
    })
    .await;
}

/// Writes a field of the ConfigMap on the member as somebody else.
async fn meddle(cluster: &Cluster, data: Value) {
    let params = PatchParams { field_manager: Some("meddler".into()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"data": data}));
    settings(cluster).patch("settings", &params, &patch).await.unwrap();
}

type Details = Vec<(String, String, String)>;

fn plain(details: &[PatchDetail]) -> Details {
    details
        .iter()
        .map(|d| (d.path.clone(), d.value_in_hub.clone(), d.value_in_member.clone()))
        .collect()
}

fn detail(path: &str, hub: &str, member: &str) -> (String, String, String) {
    (path.to_owned(), hub.to_owned(), member.to_owned())
}

/// What a placement says of its only member.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Type, status and reason of the last condition.
    last: String,
    /// Kind, name and reason of what failed.
    failed: Vec<String>,
    drifted: Vec<(String, Details)>,
    diffed: Vec<(String, Details)>,
}

fn seen(placement: &ClusterResourcePlacement) -> Option<Seen> {
    let status = placement.status.as_ref()?;
    let is_current =
        status.conditions.iter().all(|c| c.observed_generation == placement.metadata.generation);
    let member = status.per_cluster_placement_statuses.first().filter(|_| is_current)?;
    let last = member.conditions.last()?;
    let of = |kind: &str, name: &str| format!("{kind} {name}");
    Some(Seen {
        last: format!("{} {} {}", last.type_, last.status, last.reason),
        failed: member
            .failed_placements
            .iter()
            .map(|f| format!("{} {}", of(&f.resource.kind, &f.resource.name), f.condition.reason))
            .collect(),
        drifted: member
            .drifted_placements
            .iter()
            .map(|d| (of(&d.resource.kind, &d.resource.name), plain(&d.observed_drifts)))
            .collect(),
        diffed: member
            .diffed_placements
            .iter()
            .map(|d| (of(&d.resource.kind, &d.resource.name), plain(&d.observed_diffs)))
            .collect(),
    })
}

/// Waits until the placement says just this of its only member.
async fn says(fleet: &Fleet, want: Seen) {
    let what = format!("says {want:?}");
    eventually(&fleet.placements(), "crp", &what, |placement| {
        placement.and_then(seen).is_some_and(|seen| seen == want)
    })
    .await;
}

fn available() -> Seen {
    Seen { last: "Available True AllWorkAreAvailable".to_owned(), ..Seen::default() }
}

fn not_applied(failed: &str) -> Seen {
    Seen {
        last: "Applied False NotAllWorkHaveBeenApplied".to_owned(),
        failed: vec![failed.to_owned()],
        ..Seen::default()
    }
}

async fn strategy(fleet: &Fleet, strategy: Value) {
    merge(&fleet.placements(), "crp", json!({"spec": {"strategy": {"applyStrategy": strategy}}}))
        .await;
}

#[tokio::test(start_paused = true)]
async fn client_side_apply_takes_back_what_it_set_and_leaves_what_others_set() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub, json!({"kept": "1", "lost": "1"})).await;
    fleet.place("crp", spec(json!({"type": "ClientSideApply"}))).await;
    says(&fleet, available()).await;
    let member = fleet.member("a");
    let placed = settings(member).get("settings").await.unwrap();
    let noted = &placed.annotations()["kubernetes-fleet.io/last-applied-configuration"];
    let noted: Value = serde_json::from_str(noted).unwrap();
    assert_eq!(noted["data"], json!({"kept": "1", "lost": "1"}));
    assert!(placed.annotations().contains_key("kubernetes-fleet.io/spec-hash"));
    let managers: Vec<_> = placed.managed_fields().iter().map(|f| f.manager.clone()).collect();
    assert_eq!(managers, [Some("work-api-agent".to_owned())]);

    meddle(member, json!({"theirs": "x"})).await;
    merge(&settings(&fleet.hub), "settings", json!({"data": {"kept": "2", "lost": null}})).await;
    holds(member, json!({"kept": "2", "theirs": "x"})).await;
    // What was changed under our hands is put right, whoever owns the field now.
    meddle(member, json!({"kept": "broken"})).await;
    holds(member, json!({"kept": "2", "theirs": "x"})).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_too_large_for_the_annotation_is_merged_by_the_server_and_back() {
    let fleet = Fleet::start(&["a"]).await;
    let large = "x".repeat(300 * 1024);
    create_app(&fleet.hub, json!({"large": large, "kept": "1"})).await;
    fleet.place("crp", spec(json!({"type": "ClientSideApply"}))).await;
    says(&fleet, available()).await;
    let member = fleet.member("a");
    let noted = async || {
        let placed = settings(member).get("settings").await.unwrap();
        placed.annotations()["kubernetes-fleet.io/last-applied-configuration"].clone()
    };
    assert_eq!(noted().await, "");
    merge(&settings(&fleet.hub), "settings", json!({"data": {"kept": null, "more": "2"}})).await;
    holds(member, json!({"large": large, "more": "2"})).await;
    merge(&settings(&fleet.hub), "settings", json!({"data": {"large": null}})).await;
    holds(member, json!({"more": "2"})).await;
    assert!(noted().await.contains("more"));
    says(&fleet, available()).await;
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_leaves_a_conflict_to_its_owner_unless_forced() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub, json!({"kept": "1", "lost": "1"})).await;
    fleet.place("crp", spec(json!({"type": "ServerSideApply"}))).await;
    says(&fleet, available()).await;
    let member = fleet.member("a");
    let placed = settings(member).get("settings").await.unwrap();
    assert!(
        !placed.annotations().contains_key("kubernetes-fleet.io/last-applied-configuration"),
        "the server keeps account itself"
    );
    merge(&settings(&fleet.hub), "settings", json!({"data": {"lost": null}})).await;
    holds(member, json!({"kept": "1"})).await;

    meddle(member, json!({"kept": "theirs"})).await;
    says(&fleet, not_applied("ConfigMap settings ManifestApplyFailed")).await;
    assert_eq!(settings(member).get("settings").await.unwrap().data.unwrap()["kept"], "theirs");
    strategy(&fleet, json!({"serverSideApplyConfig": {"force": true}})).await;
    holds(member, json!({"kept": "1"})).await;
    says(&fleet, available()).await;
}

#[tokio::test(start_paused = true)]
async fn fields_that_a_client_side_apply_set_go_under_server_side_apply_too() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub, json!({"kept": "1", "lost": "1"})).await;
    fleet.place("crp", spec(json!({"type": "ClientSideApply"}))).await;
    says(&fleet, available()).await;
    let member = fleet.member("a");
    strategy(&fleet, json!({"type": "ServerSideApply"})).await;
    eventually(&settings(member), "settings", "carries no note any more", |found| {
        found.is_some_and(|found| {
            let noted = "kubernetes-fleet.io/last-applied-configuration";
            !found.annotations().contains_key(noted)
        })
    })
    .await;
    merge(&settings(&fleet.hub), "settings", json!({"data": {"lost": null}})).await;
    holds(member, json!({"kept": "1"})).await;
    says(&fleet, available()).await;
}

#[tokio::test(start_paused = true)]
async fn drift_is_reported_and_left_alone_where_the_strategy_says_so() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    fleet.place("crp", spec(json!({"whenToApply": "IfNotDrifted"}))).await;
    says(&fleet, available()).await;
    let member = fleet.member("a");
    meddle(member, json!({"theirs": "x"})).await;
    says(&fleet, available()).await;

    meddle(member, json!({"key": "theirs"})).await;
    let drifted = Seen {
        drifted: vec![("ConfigMap settings".to_owned(), vec![detail("/data/key", "1", "theirs")])],
        ..not_applied("ConfigMap settings FoundDrifts")
    };
    says(&fleet, drifted).await;
    let first = drift_times(&fleet).await;

    // All fields count in a full comparison.
    strategy(&fleet, json!({"comparisonOption": "FullComparison"})).await;
    let details = vec![detail("/data/key", "1", "theirs"), detail("/data/theirs", "", "x")];
    let drifted = Seen {
        drifted: vec![("ConfigMap settings".to_owned(), details)],
        ..not_applied("ConfigMap settings FoundDrifts")
    };
    // The namespace has labels and a finalizer of its own cluster only.
    says_of_config_map(&fleet, &drifted).await;
    assert_eq!(drift_times(&fleet).await.0, first.0, "when it was first seen stays");
    assert_eq!(settings(member).get("settings").await.unwrap().data.unwrap()["key"], "theirs");

    // A new manifest is applied whatever is there.
    strategy(&fleet, json!({"comparisonOption": "PartialComparison"})).await;
    merge(&settings(&fleet.hub), "settings", json!({"data": {"key": "2"}})).await;
    holds(member, json!({"key": "2", "theirs": "x"})).await;
    says(&fleet, available()).await;
}

/// As [`says`], of what concerns the ConfigMap: a full comparison finds more in a namespace.
async fn says_of_config_map(fleet: &Fleet, want: &Seen) {
    let what = format!("says of the ConfigMap {want:?}");
    eventually(&fleet.placements(), "crp", &what, |placement| {
        placement.and_then(seen).is_some_and(|mut seen| {
            seen.failed.retain(|failed| failed.starts_with("ConfigMap"));
            seen.drifted.retain(|(object, _)| object.starts_with("ConfigMap"));
            seen.diffed.retain(|(object, _)| object.starts_with("ConfigMap"));
            seen == *want
        })
    })
    .await;
}

/// Returns when the drift of the ConfigMap was first and last seen.
async fn drift_times(fleet: &Fleet) -> (String, String) {
    let placement = fleet.placements().get("crp").await.unwrap();
    let members = placement.status.unwrap().per_cluster_placement_statuses;
    let drifted = &members[0].drifted_placements;
    let found = drifted.iter().find(|drifted| drifted.resource.kind == "ConfigMap").unwrap();
    (found.first_drifted_observed_time.0.to_string(), found.observation_time.0.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_full_comparison_reports_what_others_added_and_the_manifest_stays_applied() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    let full = json!({"comparisonOption": "FullComparison"});
    fleet.place("crp", spec(full)).await;
    fleet.available("crp", &["a"]).await;
    meddle(fleet.member("a"), json!({"key": "broken", "theirs": "x"})).await;
    let details = vec![detail("/data/theirs", "", "x")];
    let drifted = vec![("ConfigMap settings".to_owned(), details)];
    says_of_config_map(&fleet, &Seen { drifted, ..available() }).await;
    holds(fleet.member("a"), json!({"key": "1", "theirs": "x"})).await;
}

#[tokio::test(start_paused = true)]
async fn an_existing_object_is_taken_over_as_the_strategy_says() {
    let fleet = Fleet::start(&["a"]).await;
    let member = fleet.member("a");
    create_app(member, json!({"key": "theirs", "more": "x"})).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    let uid = settings(member).get("settings").await.unwrap().uid();

    fleet.place("crp", spec(json!({"whenToTakeOver": "Never"}))).await;
    let never = Seen {
        failed: vec![
            "Namespace app NotTakenOver".to_owned(),
            "ConfigMap settings NotTakenOver".to_owned(),
        ],
        ..not_applied("")
    };
    says(&fleet, never).await;

    strategy(&fleet, json!({"whenToTakeOver": "IfNoDiff"})).await;
    let details = vec![detail("/data/key", "1", "theirs")];
    let differs = Seen {
        diffed: vec![("ConfigMap settings".to_owned(), details)],
        ..not_applied("ConfigMap settings FailedToTakeOver")
    };
    says(&fleet, differs).await;
    let untouched = settings(member).get("settings").await.unwrap();
    assert_eq!(untouched.owner_references(), []);
    assert_eq!(untouched.data.unwrap()["key"], "theirs");

    // Whoever owns it brings it in line; then it is the same, and ours.
    meddle(member, json!({"key": "1"})).await;
    says(&fleet, available()).await;
    let taken = settings(member).get("settings").await.unwrap();
    let owner = &taken.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str(), owner.block_owner_deletion, owner.controller),
        ("AppliedWork", "crp-work", Some(true), None)
    );
    assert_eq!(taken.uid(), uid);
    assert_eq!(taken.data.unwrap().len(), 2, "what the manifest does not have stays");
}

#[tokio::test(start_paused = true)]
async fn objects_that_may_not_be_taken_over_outlive_the_placement() {
    let fleet = Fleet::start(&["a"]).await;
    let member = fleet.member("a");
    create_app(member, json!({"key": "theirs"})).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    fleet.place("crp", spec(json!({"whenToTakeOver": "Never"}))).await;
    eventually(&fleet.placements(), "crp", "says that it failed", |placement| {
        placement.and_then(seen).is_some_and(|seen| seen.failed.len() == 2)
    })
    .await;
    let record = member.all::<AppliedWork>().get("crp-work").await.unwrap();
    assert_eq!(record.status.unwrap_or_default().applied_resources, [], "none of it is ours");
    delete(&fleet.placements(), "crp").await;
    gone(&fleet.placements(), "crp").await;
    gone(&member.all::<AppliedWork>(), "crp-work").await;
    holds(member, json!({"key": "theirs"})).await;
}

#[tokio::test(start_paused = true)]
async fn owners_beside_the_fleet_need_permission_and_another_placement_never_gets_it() {
    let fleet = Fleet::start(&["a"]).await;
    let member = fleet.member("a");
    create_app(member, json!({"key": "theirs"})).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    let foreign = json!([{
        "apiVersion": "v1", "kind": "Namespace", "name": "app",
        "uid": member.all::<Namespace>().get("app").await.unwrap().uid(),
    }]);
    merge(&settings(member), "settings", json!({"metadata": {"ownerReferences": foreign}})).await;
    fleet.place("crp", spec(json!({}))).await;
    says(&fleet, not_applied("ConfigMap settings FailedToTakeOver")).await;
    holds(member, json!({"key": "theirs"})).await;
    strategy(&fleet, json!({"allowCoOwnership": true})).await;
    holds(member, json!({"key": "1"})).await;
    says(&fleet, available()).await;
    let owners = settings(member).get("settings").await.unwrap();
    let kinds: Vec<_> = owners.owner_references().iter().map(|o| o.kind.clone()).collect();
    assert_eq!(kinds, ["Namespace", "AppliedWork"]);

    // A second placement of the same objects, however generous.
    fleet.place("other", spec(json!({"allowCoOwnership": true}))).await;
    eventually(&fleet.placements(), "other", "is refused on the member", |placement| {
        placement.and_then(seen).is_some_and(|seen| {
            seen.failed == ["Namespace app FailedToTakeOver", "ConfigMap settings FailedToTakeOver"]
        })
    })
    .await;
    delete(&fleet.placements(), "other").await;
    gone(&fleet.placements(), "other").await;
    gone(&member.all::<AppliedWork>(), "other-work").await;
    holds(member, json!({"key": "1"})).await;
    says(&fleet, available()).await;
}

#[tokio::test(start_paused = true)]
async fn who_only_compares_touches_nothing_and_sees_every_change() {
    let fleet = Fleet::start(&["a"]).await;
    let member = fleet.member("a");
    create_app(&fleet.hub, json!({"key": "1"})).await;
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "key"}, "stringData": {"k": "hub"}}))
            .unwrap();
    create(&fleet.hub.inside("app"), &secret).await;
    let compare = json!({"type": "ReportDiff", "whenToTakeOver": "Never"});
    fleet.place("crp", spec(compare)).await;
    let whole = || vec![detail("/", "(the whole object)", "")];
    let reported = |diffed| Seen {
        last: "DiffReported True AllWorkHaveDiffReported".to_owned(),
        diffed,
        ..Seen::default()
    };
    let missing = ["ConfigMap settings", "Namespace app", "Secret key"];
    let missing = missing.map(|object| (object.to_owned(), whole()));
    says(&fleet, reported(missing.to_vec())).await;
    assert!(member.all::<Namespace>().get_opt("app").await.unwrap().is_none());

    // Somebody creates them on the member, each in another way.
    create_app(member, json!({"key": "theirs"})).await;
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "key"}, "stringData": {"k": "member"}}))
            .unwrap();
    create(&member.inside("app"), &secret).await;
    let hidden = "(redacted for security reasons)";
    let diffed = vec![
        ("ConfigMap settings".to_owned(), vec![detail("/data/key", "1", "theirs")]),
        ("Secret key".to_owned(), vec![detail("/data/k", hidden, hidden)]),
    ];
    says(&fleet, reported(diffed)).await;
    meddle(member, json!({"key": "1"})).await;
    let diffed = vec![("Secret key".to_owned(), vec![detail("/data/k", hidden, hidden)])];
    says(&fleet, reported(diffed)).await;
    assert_eq!(settings(member).get("settings").await.unwrap().owner_references(), []);

    // The placement goes; nothing on the member does.
    delete(&fleet.placements(), "crp").await;
    gone(&fleet.placements(), "crp").await;
    gone(&member.all::<AppliedWork>(), "crp-work").await;
    holds(member, json!({"key": "1"})).await;
}

#[tokio::test(start_paused = true)]
async fn conditions_swap_families_with_the_strategy() {
    let fleet = Fleet::start(&["a"]).await;
    let member = fleet.member("a");
    create_app(&fleet.hub, json!({"key": "1", "lost": "1"})).await;
    create(&fleet.hub.inside("app"), &config_map("extra", json!({}))).await;
    fleet.place("crp", spec(json!({"type": "ClientSideApply"}))).await;
    says(&fleet, available()).await;
    strategy(&fleet, json!({"type": "ReportDiff"})).await;
    let reported = |diffed| Seen {
        last: "DiffReported True AllWorkHaveDiffReported".to_owned(),
        diffed,
        ..Seen::default()
    };
    says(&fleet, reported(Vec::new())).await;
    let work = fleet.hub.inside::<Work>("fleet-member-a").get("crp-work").await.unwrap();
    let types: Vec<_> = work.status.unwrap().conditions.into_iter().map(|c| c.type_).collect();
    assert_eq!(types, ["DiffReported"]);

    // Meanwhile the hub changes, and nothing goes to the member, or from it.
    merge(&settings(&fleet.hub), "settings", json!({"data": {"key": "2", "lost": null}})).await;
    delete(&settings(&fleet.hub), "extra").await;
    let diffed = vec![("ConfigMap settings".to_owned(), vec![detail("/data/key", "2", "1")])];
    says(&fleet, reported(diffed)).await;
    exists(&settings(member), "extra").await;
    holds(member, json!({"key": "1", "lost": "1"})).await;

    strategy(&fleet, json!({"type": "ServerSideApply"})).await;
    holds(member, json!({"key": "2"})).await;
    gone(&settings(member), "extra").await;
    says(&fleet, available()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_abandoned_stays_and_is_nobodys() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    let mut spec = spec(json!({}));
    spec["strategy"]["deleteStrategy"] = json!({"propagationPolicy": "Abandon"});
    spec["strategy"]["rollingUpdate"]["maxUnavailable"] = json!("100%");
    spec["policy"] = json!({"placementType": "PickFixed", "clusterNames": ["a", "b"]});
    fleet.place("crp", spec).await;
    fleet.available("crp", &["a", "b"]).await;
    // A member that is dropped loses the objects all the same.
    let policy = json!({"clusterNames": ["a"]});
    merge(&fleet.placements(), "crp", json!({"spec": {"policy": policy}})).await;
    gone(&fleet.member("b").all::<Namespace>(), "app").await;

    delete(&fleet.placements(), "crp").await;
    gone(&fleet.placements(), "crp").await;
    let member = fleet.member("a");
    gone(&member.all::<AppliedWork>(), "crp-work").await;
    holds(member, json!({"key": "1"})).await;
    assert_eq!(settings(member).get("settings").await.unwrap().owner_references(), []);
}

#[tokio::test(start_paused = true)]
async fn one_bad_manifest_fails_alone_and_is_named() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    let envelope: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ResourceEnvelope",
        "metadata": {"name": "box", "namespace": "app"},
        "data": {
            "good": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "good", "namespace": "app"}},
            "again": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "good", "namespace": "app"}, "data": {"k": "v"}},
            "generated": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-", "namespace": "app"}},
            "unknown": {"apiVersion": "example.com/v1", "kind": "Odd", "metadata": {"name": "odd", "namespace": "app"}},
            "refused": {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "refused", "namespace": "app"}, "spec": {"type": "Nonsense"}},
        },
    }))
    .unwrap();
    let gvk = GroupVersionKind::gvk("placement.kubernetes-fleet.io", "v1beta1", "ResourceEnvelope");
    let resource = ApiResource::from_gvk(&gvk);
    create(&Api::namespaced_with(fleet.hub.client.clone(), "app", &resource), &envelope).await;
    fleet.place("crp", spec(json!({}))).await;
    eventually(&fleet.placements(), "crp", "names what failed", |placement| {
        let Some(seen) = placement.and_then(seen) else { return false };
        let mut failed = seen.failed;
        failed.sort();
        failed
            == [
                "ConfigMap  FoundGenerateName",
                "ConfigMap good Duplicated",
                "Odd odd DecodingErred",
                "Service refused ManifestApplyFailed",
            ]
    })
    .await;
    let placement = fleet.placements().get("crp").await.unwrap();
    let status = placement.status.unwrap();
    for failed in &status.per_cluster_placement_statuses[0].failed_placements {
        let envelope = failed.resource.envelope.as_ref().unwrap();
        assert_eq!((envelope.name.as_str(), envelope.namespace.as_str()), ("box", "app"));
    }
    holds(fleet.member("a"), json!({"key": "1"})).await;
    exists(&settings(fleet.member("a")), "good").await;

    // The same in a comparison.
    strategy(&fleet, json!({"type": "ReportDiff"})).await;
    says_last(&fleet, "DiffReported False NotAllWorkHaveDiffReported").await;
}

async fn says_last(fleet: &Fleet, want: &str) {
    eventually(&fleet.placements(), "crp", &format!("ends with {want}"), |placement| {
        placement.and_then(seen).is_some_and(|seen| seen.last == want)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn workloads_count_when_they_serve_and_status_comes_back_when_asked_for() {
    let fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    }))
    .unwrap();
    create(&fleet.hub.inside("app"), &deployment).await;
    let mut spec = spec(json!({}));
    spec["strategy"]["reportBackStrategy"] = json!({"type": "Mirror", "destination": "WorkAPI"});
    fleet.place("crp", spec).await;
    says(&fleet, available()).await;
    eventually(
        &fleet.hub.inside::<Work>("fleet-member-a"),
        "crp-work",
        "shows how the Deployment is",
        |work| {
            let status = work.and_then(|work| work.status.as_ref());
            let reports = status.map_or(&[][..], |status| &status.manifest_conditions);
            reports.iter().any(|report| {
                let back = report.back_reported_status.as_ref();
                back.is_some_and(|back| {
                    back.observed_status["kind"] == "Deployment"
                        && back.observed_status["status"]["availableReplicas"] == 1
                })
            })
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_agent_reaches_its_own_namespace_on_the_hub_and_nothing_else() {
    let fleet = Fleet::start(&["a", "b"]).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    fleet.place("crp", spec(json!({}))).await;
    fleet.available("crp", &["a", "b"]).await;
    let agent = fleet.as_agent("a");
    let own: Api<Work> = Api::namespaced(agent.clone(), "fleet-member-a");
    own.get("crp-work").await.unwrap();
    let forbidden = |error: kube::Error| match error {
        kube::Error::Api(status) => assert_eq!(status.code, 403, "{status:?}"),
        other => panic!("{other}"),
    };
    let others: Api<Work> = Api::namespaced(agent.clone(), "fleet-member-b");
    forbidden(others.get("crp-work").await.unwrap_err());
    forbidden(others.delete("crp-work", &kube::api::DeleteParams::default()).await.unwrap_err());
    let everywhere: Api<Work> = Api::all(agent.clone());
    forbidden(everywhere.list(&kube::api::ListParams::default()).await.unwrap_err());
    let placements: Api<ClusterResourcePlacement> = Api::all(agent.clone());
    forbidden(placements.get("crp").await.unwrap_err());
    let sources: Api<ConfigMap> = Api::namespaced(agent.clone(), "app");
    forbidden(sources.get("settings").await.unwrap_err());
    let secrets: Api<Secret> = Api::namespaced(agent, "fleet-member-a");
    forbidden(secrets.list(&kube::api::ListParams::default()).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_was_restored_withdraws_nothing_that_it_does_not_know_of() {
    let mut fleet = Fleet::start(&["a"]).await;
    create_app(&fleet.hub, json!({"key": "1"})).await;
    create(&fleet.hub.inside("app"), &config_map("newer", json!({}))).await;
    fleet.place("crp", spec(json!({}))).await;
    says(&fleet, available()).await;
    fleet.stop_hub().await;
    fleet.stop_agents().await;

    // The backup is from before `newer` was placed: its Work does not list it, and has had fewer generations.
    let works = fleet.hub.inside::<Work>("fleet-member-a");
    let mut work = works.get("crp-work").await.unwrap();
    work.spec.workload.manifests.retain(|manifest| manifest["metadata"]["name"] != "newer");
    works.replace("crp-work", &kube::api::PostParams::default(), &work).await.unwrap();
    let member = fleet.member("a");
    let later = json!({"metadata": {"annotations": {"fleet.stolos.dev/work-generation": "99"}}});
    merge(&member.all::<AppliedWork>(), "crp-work", later).await;
    fleet.start_agents();

    let member = fleet.member("a");
    eventually(&settings(member), "newer", "is let go of", |found| {
        found.is_some_and(|found| found.owner_references().is_empty())
    })
    .await;
    // Later generations of that Work never had it either.
    let mut work = works.get("crp-work").await.unwrap();
    for manifest in &mut work.spec.workload.manifests {
        if manifest["kind"] == "ConfigMap" {
            manifest["data"]["key"] = json!("2");
        }
    }
    works.replace("crp-work", &kube::api::PostParams::default(), &work).await.unwrap();
    holds(member, json!({"key": "2"})).await;
    exists(&settings(member), "newer").await;
}

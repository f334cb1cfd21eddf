//! Auto-upgrade profiles, end to end.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use stolos_api::update::{
    AUTO_UPGRADE_PROFILE_LABEL, AutoUpgradeProfile, NAMED_BY_PROFILE_FINALIZER, RunState, State,
    TriggerStatus, UpdateRun, UpdateStrategy, VersionCatalogue,
};
use stolos_core::cluster::fleet::MemberLimits;

use crate::updatable::{FLEET, Fleet, options};

impl Fleet {
    async fn profile(&self, name: &str, spec: Value) {
        let mut all = json!({"fleetName": FLEET});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        let body = json!({ "spec": all });
        self.create_ours::<AutoUpgradeProfile>("AutoUpgradeProfile", name, body).await.unwrap();
    }

    async fn catalogue(&self, versions: &[&str]) {
        let body = json!({ "spec": listed(versions) });
        self.create_ours::<VersionCatalogue>("VersionCatalogue", "versions", body).await.unwrap();
    }

    async fn publish(&self, versions: &[&str]) {
        let patch = json!({ "spec": listed(versions) });
        self.patch::<VersionCatalogue>("versions", patch).await.unwrap();
    }

    async fn strategy(&self, name: &str, stages: Value) {
        let body = json!({"spec": {"fleetName": FLEET, "strategy": {"stages": stages}}});
        self.create_ours::<UpdateStrategy>("UpdateStrategy", name, body).await.unwrap();
    }

    /// Every run of the fleet: version, state.
    async fn runs(&self) -> Vec<String> {
        let runs = self.api::<UpdateRun>().list(&ListParams::default()).await.unwrap();
        let mut told: Vec<String> = runs
            .iter()
            .map(|run| {
                let upgrade = &run.spec.managed_cluster_update.upgrade;
                let version = upgrade.kubernetes_version.as_deref().unwrap_or_default();
                format!("{:?} {version} {:?}", upgrade.upgrade_type, state(run))
            })
            .collect();
        told.sort();
        told
    }
}

fn listed(versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions.iter().map(|text| json!({"version": text})).collect();
    json!({ "kubernetesVersions": versions })
}

fn state(run: &UpdateRun) -> State {
    run.status.as_ref().map(|status| status.status.state).unwrap_or_default()
}

fn condition(profile: &AutoUpgradeProfile, type_: &str) -> String {
    let conditions = profile.status.iter().flat_map(|status| &status.conditions);
    let mut found = conditions.filter(|condition| condition.type_ == type_);
    found.next().map_or_else(String::new, |found| format!("{} {}", found.status, found.reason))
}

fn is_at(version: &'static str) -> impl Fn(&AutoUpgradeProfile) -> bool {
    move |profile| {
        let target = profile.status.as_ref().map_or(&[][..], |status| &status.target);
        target == [version] && condition(profile, "UpToDate") == "True AtTarget"
    }
}

#[tokio::test]
async fn a_profile_fires_when_a_version_is_published_and_follows_its_strategy() {
    let fleet = Fleet::start(&[("m1", "canary"), ("m2", "prod")]).await;
    fleet.catalogue(&["1.33.0"]).await;
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}]},
        {"name": "second", "groups": [{"name": "prod"}]},
    ]);
    fleet.strategy("weekly", stages).await;
    fleet.profile("rapid", json!({"channel": "Rapid", "strategyName": "weekly"})).await;
    fleet.control();
    fleet.until("rapid", is_at("1.33.0")).await;
    assert_eq!(fleet.runs().await, [""; 0]);

    fleet.publish(&["1.33.0", "1.34.1"]).await;
    let profile = fleet.until("rapid", is_at("1.34.1")).await;
    let status = profile.status.unwrap();
    assert_eq!(status.last_trigger_status, Some(TriggerStatus::Succeeded));
    assert_eq!(status.last_trigger_upgrade_versions, ["1.34.1"]);
    let name = status.last_trigger_update_run.unwrap();
    assert!(name.starts_with("auto-rapid-rapid-1-34-1-"), "{name}");
    let run = fleet.until(&name, |run: &UpdateRun| state(run) == State::Completed).await;
    assert_eq!(run.labels()[AUTO_UPGRADE_PROFILE_LABEL], "rapid");
    assert_eq!(run.spec.strategy_name.as_deref(), Some("weekly"));
    assert_eq!(run.owner_references(), []);
    assert!(fleet.nodes().await.iter().all(|node| node.ends_with(" v1.34.1 1")));

    let api = fleet.api::<AutoUpgradeProfile>();
    api.delete(&format!("{FLEET}.rapid"), &DeleteParams::default()).await.unwrap();
    let free = |strategy: &UpdateStrategy| strategy.finalizers().is_empty();
    fleet.until("weekly", free).await;
    assert_eq!(fleet.runs().await, ["Full 1.34.1 Completed"]);
}

#[tokio::test]
async fn a_member_that_joins_late_is_caught_up() {
    let mut fleet = Fleet::start(&[("m1", "all")]).await;
    fleet.catalogue(&["1.33.4"]).await;
    fleet.profile("rapid", json!({"channel": "Rapid"})).await;
    fleet.control();
    fleet.until("rapid", is_at("1.33.4")).await;
    fleet.join("m2", "all").await;
    let both = |profile: &AutoUpgradeProfile| {
        let conditions = &profile.status.as_ref().unwrap().conditions;
        conditions.iter().any(|c| c.message == "2 of 2 members are at the target")
    };
    fleet.until("rapid", both).await;
    assert_eq!(fleet.runs().await, ["Full 1.33.4 Completed", "Full 1.33.4 Completed"]);
    let nodes = fleet.nodes().await;
    assert!(nodes.iter().all(|node| node.ends_with(" v1.33.4 1")), "{nodes:?}");
}

#[tokio::test]
async fn a_disabled_profile_generates_one_run_and_does_not_start_it() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    fleet.catalogue(&["1.33.4"]).await;
    fleet.profile("rapid", json!({"channel": "Rapid", "disabled": true})).await;
    fleet.control();
    let mut names = Vec::new();
    for request in [1, 2] {
        let patch = json!({"spec": {"generate": request}});
        fleet.patch::<AutoUpgradeProfile>("rapid", patch).await.unwrap();
        let answered = |profile: &AutoUpgradeProfile| {
            let generated = profile.status.as_ref().and_then(|status| status.generated.as_ref());
            generated.is_some_and(|answer| answer.request == request)
        };
        let profile = fleet.until("rapid", answered).await;
        names.push(profile.status.unwrap().generated.unwrap().update_run.unwrap());
    }
    assert_eq!(names[0], names[1]);
    let prepared = |run: &UpdateRun| run.status.is_some();
    let run = fleet.until(&names[0], prepared).await;
    assert_eq!((run.spec.state, state(&run)), (RunState::Initialize, State::NotStarted));
    assert_eq!(fleet.runs().await, ["Full 1.33.4 NotStarted"]);
    assert!(fleet.nodes().await.iter().all(|node| node.ends_with(" v1.33.0 0")));
}

#[tokio::test]
async fn a_strategy_that_a_profile_names_is_awaited_and_cannot_be_deleted() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    stolos_hub::admission::install(&fleet.hub, false).await;
    fleet.catalogue(&["1.33.4"]).await;
    fleet.profile("rapid", json!({"channel": "Rapid", "strategyName": "weekly"})).await;
    fleet.control();
    let blocked = |profile: &AutoUpgradeProfile| {
        condition(profile, "Ready") == "False UpdateStrategyNotFound"
    };
    let profile = fleet.until("rapid", blocked).await;
    let status = profile.status.unwrap();
    assert_eq!(status.last_trigger_status, Some(TriggerStatus::Failed));
    assert_eq!(
        status.last_trigger_error.unwrap().message,
        "there is no UpdateStrategy `weekly` in the fleet"
    );
    assert_eq!(fleet.runs().await, [""; 0]);

    fleet.strategy("weekly", json!([{"name": "only", "groups": [{"name": "all"}]}])).await;
    fleet.until("rapid", is_at("1.33.4")).await;
    let held = |strategy: &UpdateStrategy| {
        strategy.finalizers().iter().any(|f| f == NAMED_BY_PROFILE_FINALIZER)
    };
    fleet.until("weekly", held).await;
    let api = fleet.api::<UpdateStrategy>();
    let name = format!("{FLEET}.weekly");
    // Policies are in force a moment after they are written; the finalizer holds the strategy until then.
    let refused = async {
        loop {
            match api
                .delete(&name, &DeleteParams { dry_run: true, ..DeleteParams::default() })
                .await
            {
                Err(error) => return error.to_string(),
                // Nothing tells when a policy is in force but the answer to a request.
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap();
    assert!(refused.contains("an AutoUpgradeProfile names this UpdateStrategy"), "{refused}");

    fleet
        .patch::<AutoUpgradeProfile>("rapid", json!({"spec": {"strategyName": null}}))
        .await
        .unwrap();
    fleet.until("weekly", |strategy: &UpdateStrategy| strategy.finalizers().is_empty()).await;
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    assert!(api.get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_profile_survives_being_killed_anywhere_and_fires_once() {
    let fleet = Fleet::start(&[("m1", "all"), ("m2", "all")]).await;
    fleet.catalogue(&["1.33.4"]).await;
    fleet.profile("rapid", json!({"channel": "Rapid"})).await;
    fleet.control_mortals(async || drop(fleet.until("rapid", is_at("1.33.4")).await)).await;
    fleet.control();
    fleet.publish(&["1.33.5"]).await;
    fleet.until("rapid", is_at("1.33.5")).await;
    assert_eq!(fleet.runs().await, ["Full 1.33.4 Completed", "Full 1.33.5 Completed"]);
    let nodes = fleet.nodes().await;
    assert!(nodes.iter().all(|node| node.ends_with(" v1.33.5 2")), "{nodes:?}");
}

#[tokio::test]
async fn control_planes_go_first_and_nodes_wait_at_a_gate() {
    let fleet = Fleet::start(&[("m1", "all"), ("m2", "all")]).await;
    fleet.catalogue(&["1.34.1"]).await;
    let split = json!({"beforeNodes": [{"type": "Approval", "displayName": "nodes may follow"}]});
    fleet.profile("rapid", json!({"channel": "Rapid", "split": split})).await;
    fleet.control();
    let waits_at_gate = |run: &UpdateRun| state(run) == State::Pending;
    let second = |profile: &AutoUpgradeProfile| {
        let conditions = profile.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.message.contains("is Pending"))
    };
    let profile = fleet.until("rapid", second).await;
    let name = profile.status.unwrap().last_trigger_update_run.unwrap();
    let run = fleet.until(&name, waits_at_gate).await;
    assert_eq!(fleet.runs().await, ["ControlPlaneOnly 1.34.1 Completed", "Full 1.34.1 Pending"]);
    assert!(fleet.nodes().await.iter().all(|node| node.contains(" v1.33.0 ")));
    let id = run.status.unwrap().stages[0].before_gates[0].gate_id.clone().unwrap();
    let approve = json!({"spec": {"state": "Completed"}});
    fleet.patch::<stolos_api::update::Gate>(&id, approve).await.unwrap();
    fleet.until("rapid", is_at("1.34.1")).await;
    assert!(fleet.nodes().await.iter().all(|node| node.contains(" v1.34.1 ")));
}

#[tokio::test]
async fn a_fleet_that_is_deleted_takes_profiles_and_the_strategies_they_name_along() {
    let fleet = Fleet::start(&[]).await;
    stolos_hub::admission::install(&fleet.hub, false).await;
    fleet.control();
    tokio::spawn(stolos_hub::cluster::fleet::run(
        fleet.hub.clone(),
        MemberLimits::default(),
        options(),
    ));
    let object: stolos_api::cluster::fleet::Fleet =
        serde_json::from_value(json!({"metadata": {"name": FLEET}, "spec": {}})).unwrap();
    let fleets = fleet.api::<stolos_api::cluster::fleet::Fleet>();
    fleets.create(&PostParams::default(), &object).await.unwrap();
    fleet.strategy("weekly", json!([{"name": "only", "groups": [{"name": "all"}]}])).await;
    fleet.profile("rapid", json!({"channel": "Rapid", "strategyName": "weekly"})).await;
    fleet.until("weekly", |strategy: &UpdateStrategy| !strategy.finalizers().is_empty()).await;
    let held = |fleet: Option<&stolos_api::cluster::fleet::Fleet>| {
        fleet.is_some_and(|fleet| !fleet.finalizers().is_empty())
    };
    await_condition(fleets.clone(), FLEET, held).await.unwrap();
    fleets.delete(FLEET, &DeleteParams::default()).await.unwrap();
    let gone = |fleet: Option<&stolos_api::cluster::fleet::Fleet>| fleet.is_none();
    let gone = await_condition(fleets, FLEET, gone);
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap().unwrap();
    let strategies = fleet.api::<UpdateStrategy>().list(&ListParams::default()).await.unwrap();
    assert_eq!(strategies.items.len(), 0);
}

#[tokio::test]
async fn a_profile_that_is_written_wrong_is_refused_with_the_field() {
    let fleet = Fleet::start(&[]).await;
    for (spec, want) in [
        (json!({}), "spec.channel: Required value"),
        (json!({"channel": "Nightly"}), "spec.channel: Unsupported value: \"Nightly\""),
        (
            json!({"channel": "TargetKubernetesVersion"}),
            "spec.targetKubernetesVersion: Required value: targetKubernetesVersion is required for the channel TargetKubernetesVersion",
        ),
        (
            json!({"channel": "TargetKubernetesVersion", "targetKubernetesVersion": "1.33.2"}),
            "must be a minor version such as 1.33, without a patch",
        ),
        (
            json!({"channel": "Rapid", "targetKubernetesVersion": "1.33"}),
            "spec.targetKubernetesVersion: Forbidden: targetKubernetesVersion is forbidden for any channel but",
        ),
        (
            json!({"channel": "Stable", "longTermSupport": true}),
            "spec.longTermSupport: Forbidden: longTermSupport is forbidden for any channel but",
        ),
        (
            json!({"channel": "NodeImage", "nodeImageSelection": {"type": "Latest"}}),
            "spec.nodeImageSelection: Forbidden: nodeImageSelection is forbidden for the channels",
        ),
        (
            json!({"channel": "Rapid", "nodeImageSelection": {"type": "Custom"}}),
            "type must be Latest or Consistent",
        ),
        (
            json!({"channel": "SecurityPatch", "split": {}}),
            "spec.split: Forbidden: split is forbidden for the channels",
        ),
        (
            json!({"channel": "Rapid", "reconcile": "Published", "maxRetries": 1}),
            "spec.maxRetries: Forbidden: maxRetries is forbidden with reconcile Published",
        ),
        (json!({"channel": "Rapid", "strategyName": "A b"}), "spec.strategyName"),
        (
            json!({"channel": "Rapid", "fleetName": "other"}),
            "metadata.name must be `<fleet>.<name>`",
        ),
    ] {
        let mut all = json!({"fleetName": FLEET});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        let body = json!({ "spec": all });
        let created = fleet.create_ours::<AutoUpgradeProfile>("AutoUpgradeProfile", "bad", body);
        let refused = created.await.unwrap_err();
        let kube::Error::Api(status) = &refused else { panic!("{refused:?}") };
        assert_eq!(status.code, 422, "{refused}");
        assert!(status.message.contains(want), "wanted: {want}\n   got: {}", status.message);
    }
    fleet.profile("good", json!({"channel": "Rapid", "generate": 2})).await;
    let lower = fleet.patch::<AutoUpgradeProfile>("good", json!({"spec": {"generate": 1}})).await;
    assert!(lower.unwrap_err().to_string().contains("generate can only be raised"));
    let empty = json!({"spec": {}});
    let refused = fleet.create_ours::<VersionCatalogue>("VersionCatalogue", "bad", empty).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("spec needs kubernetesVersions, nodeImages, or both"), "{refused}");
}

//! What nothing may take away, and what must go although nobody saw it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;
use stolos_api::cluster::MemberCluster;
use stolos_api::network::clusterset::{ExportedService, ImportedService};
use stolos_api::network::mcs::{ServiceExport, ServiceImport};

use super::{balances_over, behind, derived, export, fleet, http, imported, serve, told};
use crate::fleet::{Fleet, create, delete, eventually, exists, gone, items, merge};
use crate::forgetful::{Forgetful, Misled};

/// Starts a fleet of two members that both export and import a service.
async fn exported_by_both() -> Fleet {
    let fleet = fleet(&["a", "b"]).await;
    for (member, address) in [("a", "10.1.0.1"), ("b", "10.2.0.1")] {
        serve(fleet.member(member), "web", http(), &[address]).await;
        export(fleet.member(member), "web").await;
    }
    for member in ["a", "b"] {
        balances_over(fleet.member(member), "web", &["a 10.1.0.1", "b 10.2.0.1"]).await;
    }
    fleet
}

#[tokio::test(start_paused = true)]
async fn a_member_that_leaves_takes_its_exports_and_imports_along_and_no_service() {
    let fleet = exported_by_both().await;
    let import = fleet.member("b").inside::<ServiceImport>("app").get("web").await.unwrap();
    delete(&fleet.hub.all::<MemberCluster>(), "b").await;
    gone(&fleet.hub.all::<MemberCluster>(), "b").await;
    imported(fleet.member("a"), "web", &["a"]).await;
    balances_over(fleet.member("a"), "web", &["a 10.1.0.1"]).await;

    let left = fleet.member("b");
    gone(&left.inside::<ServiceImport>("app"), "web").await;
    gone(&left.inside::<Service>("app"), &derived(&import)).await;
    balances_over(left, "web", &[]).await;
    exists(&left.inside::<Service>("app"), "web").await;
    exists(&left.inside::<ServiceExport>("app"), "web").await;
    told(left, "web", "Ready=False Pending").await;
    let own = left.inside::<EndpointSlice>("app").get("web-1").await.unwrap();
    assert_eq!(own.endpoints[0].addresses, ["10.2.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_keeps_what_it_exports_and_imports() {
    let mut fleet = exported_by_both().await;
    let before = uids(&fleet).await;
    fleet.stop_agents().await;
    tokio::time::advance(std::time::Duration::from_secs(600)).await;
    for member in ["a", "b"] {
        let members = fleet.hub.all::<MemberCluster>();
        eventually(&members, member, "is known to be silent", |member| {
            let status = member.and_then(|member| member.status.as_ref());
            let conditions = status.into_iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|one| one.reason == "MemberAgentHeartbeatLost")
        })
        .await;
    }
    // A hub that starts now decides about everything anew, which it shows by telling of another service.
    fleet.stop_hub().await;
    fleet.start_hub();
    let exports = fleet.hub.inside::<ExportedService>("fleet-member-a");
    let mut later = exports.get("app.web").await.unwrap();
    later.metadata = ObjectMeta { name: Some("app.later".to_owned()), ..ObjectMeta::default() };
    later.status = None;
    create(&exports, &later).await;
    for member in ["a", "b"] {
        let told = fleet.hub.inside::<ImportedService>(&format!("fleet-member-{member}"));
        exists(&told, "app.later").await;
        let web = told.get("app.web").await.unwrap().spec;
        let clusters: Vec<_> = web.clusters.iter().map(|one| one.cluster.as_str()).collect();
        assert_eq!(clusters, ["a", "b"]);
        let behind = behind(fleet.member(member), "web").await;
        assert_eq!(behind, ["a 10.1.0.1", "b 10.2.0.1"]);
    }
    let after = uids(&fleet).await;
    assert!(before.iter().all(|(what, uid)| after.get(what) == Some(uid)), "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unexport_that_nobody_saw_is_carried_through() {
    let mut fleet = exported_by_both().await;
    fleet.stop_agents().await;
    delete(&fleet.member("a").inside::<ServiceExport>("app"), "web").await;
    fleet.start_agents();
    balances_over(fleet.member("b"), "web", &["b 10.2.0.1"]).await;

    // Nor did the hub see this one.
    fleet.stop_hub().await;
    delete(&fleet.member("b").inside::<ServiceExport>("app"), "web").await;
    gone(&fleet.hub.inside::<ExportedService>("fleet-member-b"), "app.web").await;
    fleet.start_hub();
    for member in ["a", "b"] {
        gone(&fleet.member(member).inside::<ServiceImport>("app"), "web").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_the_member_that_leaves_things_out_takes_nothing_away() {
    let mut fleet = exported_by_both().await;
    for (n, forgets) in [
        &["/serviceexports"][..],
        &["/serviceimports"],
        &["/services"],
        &["/endpointslices"],
        &["/namespaces"],
        &["/endpointslices", "/serviceexports", "/serviceimports", "/services"],
    ]
    .into_iter()
    .enumerate()
    {
        let before = uids(&fleet).await;
        fleet.stop_agents().await;
        fleet.start_agents_by(|server| Forgetful::of(server, forgets));
        // What comes after the lists is heard of, so everything has been decided about once.
        let later = format!("later-{n}");
        serve(fleet.member("a"), &later, http(), &["10.1.0.9"]).await;
        export(fleet.member("a"), &later).await;
        told(fleet.member("a"), &later, "Ready=True Exported").await;
        if forgets != ["/namespaces"] {
            imported(fleet.member("b"), &later, &["a"]).await;
        }
        let after = uids(&fleet).await;
        let lost: Vec<_> =
            before.iter().filter(|(what, uid)| after.get(*what) != Some(uid)).collect();
        assert!(lost.is_empty(), "{forgets:?} took away {lost:?}");
        for member in ["a", "b"] {
            let behind = behind(fleet.member(member), "web").await;
            assert_eq!(behind, ["a 10.1.0.1", "b 10.2.0.1"], "{forgets:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_the_hub_that_leaves_things_out_takes_nothing_away() {
    let mut fleet = exported_by_both().await;
    for (n, forgets) in [
        &["/exportedservices"][..],
        &["/importedservices"],
        &["/memberclusters"],
        &["/exportedservices", "/memberclusters"],
    ]
    .into_iter()
    .enumerate()
    {
        let before = uids(&fleet).await;
        fleet.stop_hub().await;
        fleet.start_hub_by(|server| Forgetful::of(server, forgets));
        let later = format!("later-{n}");
        serve(fleet.member("a"), &later, http(), &["10.1.0.9"]).await;
        export(fleet.member("a"), &later).await;
        told(fleet.member("a"), &later, "Ready=True Exported").await;
        let after = uids(&fleet).await;
        let lost: Vec<_> =
            before.iter().filter(|(what, uid)| after.get(*what) != Some(uid)).collect();
        assert!(lost.is_empty(), "{forgets:?} took away {lost:?}");
        for member in ["a", "b"] {
            let behind = behind(fleet.member(member), "web").await;
            assert_eq!(behind, ["a 10.1.0.1", "b 10.2.0.1"], "{forgets:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_shows_an_earlier_state_takes_nothing_away() {
    let mut fleet = exported_by_both().await;
    let slices = items(&fleet.member("a").inside::<EndpointSlice>("app")).await;
    let exported = items(&fleet.hub.all::<ExportedService>()).await;
    let imported = items(&fleet.hub.inside::<ImportedService>("fleet-member-b")).await;
    let more = json!({"endpoints": [{"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"]}]});
    merge(&fleet.member("a").inside::<EndpointSlice>("app"), "web-1", more).await;
    let all = ["a 10.1.0.1", "a 10.1.0.2", "b 10.2.0.1"];
    for member in ["a", "b"] {
        balances_over(fleet.member(member), "web", &all).await;
    }
    for (who, kind, earlier) in [
        (Misled::ByMember("a"), "/endpointslices", slices),
        (Misled::Hub, "/exportedservices", exported),
        (Misled::ByHub("b"), "/importedservices", imported),
    ] {
        fleet.mislead(who, kind, earlier).await;
        // What comes after the lists is heard of, so everything has been decided about once.
        let later = &kind[1..];
        serve(fleet.member("a"), later, http(), &["10.1.0.9"]).await;
        export(fleet.member("a"), later).await;
        for member in ["a", "b"] {
            super::imported(fleet.member(member), later, &["a"]).await;
            let behind = behind(fleet.member(member), "web").await;
            assert_eq!(behind, all, "{who:?} took an earlier state for the last");
        }
    }
}

/// Returns the uids of what stands on the hub and on members for services of the clusterset.
async fn uids(fleet: &Fleet) -> BTreeMap<String, String> {
    async fn of<K>(cluster: &str, api: Api<K>, all: &mut BTreeMap<String, String>)
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        for one in api.list(&ListParams::default()).await.unwrap() {
            let namespace = one.namespace().unwrap_or_default();
            let what = format!("{cluster}: {} {namespace}/{}", K::kind(&()), one.name_any());
            all.insert(what, one.uid().unwrap());
        }
    }
    let mut all = BTreeMap::new();
    of("hub", fleet.hub.all::<ExportedService>(), &mut all).await;
    of("hub", fleet.hub.all::<ImportedService>(), &mut all).await;
    for member in ["a", "b"] {
        let cluster = fleet.member(member);
        of(member, cluster.inside::<Service>("app"), &mut all).await;
        of(member, cluster.inside::<EndpointSlice>("app"), &mut all).await;
        of(member, cluster.inside::<ServiceImport>("app"), &mut all).await;
    }
    all
}

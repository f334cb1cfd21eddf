//! What the controller of members plans from what it knows, and above all when it does not end a membership.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use serde_json::{Value, json};
use stolos_api::cluster::{ClusterState, InternalMemberCluster, MemberCluster};
use stolos_api::placement::Work;
use stolos_controller::{Change, Controller, Write};

use super::effect::{Act, Seen};
use super::{Config, Members, Object};

const DELETED: &str = "2026-01-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-01-01T00:00:01Z".parse().expect("a timestamp")
}

fn put<K: serde::de::DeserializeOwned>(members: &mut Members, object: Value)
where
    Seen: From<K>,
{
    let object: K = serde_json::from_value(object).expect("an object of the kind");
    members.learn(Change::Applied(object.into()));
}

/// Members with one, `a`, that leaves, and nothing else known of it.
fn leaving() -> Members {
    let mut members = Members::new(Config::default());
    put::<MemberCluster>(
        &mut members,
        json!({
            "metadata": {
                "name": "a", "uid": "1", "resourceVersion": "1", "deletionTimestamp": DELETED,
                "finalizers": ["kubernetes-fleet.io/membercluster-finalizer"],
            },
            "spec": {"identity": {"kind": "User", "name": "agent"}},
        }),
    );
    members
}

fn namespace(members: &mut Members, deleted: Option<&str>) {
    let meta = json!({
        "name": "fleet-member-a", "uid": "2", "resourceVersion": "2", "deletionTimestamp": deleted,
    });
    put::<Namespace>(members, json!({ "metadata": meta }));
}

fn internal(members: &mut Members) {
    put::<InternalMemberCluster>(
        members,
        json!({
            "metadata": {"name": "a", "namespace": "fleet-member-a", "uid": "3", "resourceVersion": "3"},
            "spec": {"state": "Join"},
        }),
    );
}

fn work(members: &mut Members) {
    put::<PartialObjectMeta<Work>>(
        members,
        json!({
            "metadata": {
                "name": "w", "namespace": "fleet-member-a", "uid": "4", "resourceVersion": "4",
                "finalizers": ["kubernetes-fleet.io/work-cleanup"],
            },
        }),
    );
}

fn read(members: &mut Members) {
    assert_eq!(members.learn(Change::Applied(Seen::Read("a".to_owned()))), ["a"]);
}

fn plan(members: &Members) -> Vec<Act> {
    members.plan(&"a".to_owned(), now()).steps.into_iter().flatten().collect()
}

fn asks_to_read(plan: &[Act]) -> bool {
    matches!(plan, [Act::Read(member)] if member == "a")
}

fn asks_to_leave(plan: &[Act]) -> bool {
    matches!(plan, [Act::Write(Write::Replace(Object::InternalMemberCluster(internal)))]
        if internal.spec.state == ClusterState::Leave)
}

#[test]
fn a_namespace_that_a_list_leaves_out_does_not_end_a_membership() {
    let mut members = leaving();
    assert!(asks_to_read(&plan(&members)));
    namespace(&mut members, None);
    internal(&mut members);
    read(&mut members);
    assert!(asks_to_leave(&plan(&members)), "{:?}", plan(&members));
}

#[test]
fn a_member_whose_namespace_is_gone_is_let_go() {
    let mut members = leaving();
    read(&mut members);
    let plan = plan(&members);
    assert!(
        matches!(plan.as_slice(), [Act::Write(Write::Replace(Object::MemberCluster(member)))]
            if member.metadata.finalizers == Some(Vec::new())),
        "{plan:?}"
    );
}

#[test]
fn an_agent_that_a_list_leaves_out_is_asked_to_leave_all_the_same() {
    let mut members = leaving();
    namespace(&mut members, None);
    assert!(asks_to_read(&plan(&members)));
    internal(&mut members);
    read(&mut members);
    assert!(asks_to_leave(&plan(&members)));
}

#[test]
fn a_list_after_the_answer_makes_it_worthless() {
    let mut members = leaving();
    read(&mut members);
    members.learn(Change::Listed { kind: "Namespace", keys: [].into() });
    assert!(asks_to_read(&plan(&members)));
}

#[test]
fn works_of_a_membership_that_ended_in_a_hurry_are_let_go_before_the_next_begins() {
    let mut members = Members::new(Config::default());
    put::<MemberCluster>(
        &mut members,
        json!({
            "metadata": {
                "name": "a", "uid": "5", "resourceVersion": "5",
                "labels": {"kubernetes-fleet.io/member-name": "a"},
                "finalizers": ["kubernetes-fleet.io/membercluster-finalizer"],
            },
            "spec": {"identity": {"kind": "User", "name": "agent"}},
        }),
    );
    namespace(&mut members, Some(DELETED));
    work(&mut members);
    let plan = plan(&members);
    assert!(
        matches!(plan.as_slice(), [Act::Free(work)] if work.metadata.name.as_deref() == Some("w")),
        "{plan:?}"
    );
}

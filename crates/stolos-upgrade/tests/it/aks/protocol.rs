//! What section 6.1 says of ARM, line by line: bodies, tags, long operations, throttling, failures.

use serde_json::json;
use stolos_api::update::{MemberTarget, UpgradeType};
use stolos_core::update::cluster::{Inspection, Power};
use stolos_upgrade::Provider;

use super::fake::{self, Announced, Fake, ID, Scripted};
use super::{ALL, NEWEST, full, provider, to};
use crate::support::{known, state_of, until};

fn scripted(request: String, times: u32, status: u16, code: &str) -> Scripted {
    let body = json!({"error": {"code": code, "message": format!("{code} it is")}});
    Scripted { request, times, status, retry_after: None, body }
}

#[tokio::test]
async fn throttling_and_outages_are_waited_out() {
    let fake = Fake::start().await;
    let scripted = |request: String, times, status, retry_after| {
        let scripted = scripted(request, times, status, "OperationNotAllowed");
        Scripted { retry_after, ..scripted }
    };
    let operations = format!("GET {}/providers", fake::SUBSCRIPTION);
    fake.state().script = vec![
        scripted(format!("GET {ID}/upgradeProfiles"), 2, 429, Some("1")),
        scripted(format!("GET {ID}/maintenance"), 1, 503, None),
        scripted(format!("PUT {ID}"), 2, 429, Some("2")),
        scripted(format!("PUT {ID}"), 5, 409, None),
        scripted(format!("PUT {ID}"), 1, 412, None),
        scripted(format!("PUT {ID}"), 1, 500, None),
        scripted(operations.clone(), 1, 502, None),
        scripted(operations, 2, 429, Some("1")),
    ];
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    until(&mut seen, |o| {
        state_of(o, "one").contains("busy: OperationNotAllowed: OperationNotAllowed it is")
    })
    .await;
    until(&mut seen, |o| state_of(o, "one") == "done").await;
    assert_eq!(fake.writes(), ALL);
    assert!(fake.state().script.is_empty());
}

#[tokio::test]
async fn an_operation_that_fails_fails_the_upgrade_with_azures_words() {
    let fake = Fake::start().await;
    let ending = json!({"status": "Failed", "error": {"code": "PodDrainFailure", "message": "pdb in the way"}});
    fake.state().fail_next = Some((ending, "Failed"));
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    let failed = until(&mut seen, |o| state_of(o, "one").starts_with("failed")).await;
    assert_eq!(state_of(&failed, "one"), "failed PodDrainFailure pdb in the way");
    assert_eq!(fake.writes(), ALL[..1]);
    // The next attempt goes on from a failed cluster.
    provider.start("two", &full()).await.unwrap();
    until(&mut seen, |o| state_of(o, "two") == "done").await;
    assert_eq!(fake.writes().len(), ALL.len() + 1);
}

#[tokio::test]
async fn what_azure_forbids_fails_at_once() {
    let fake = Fake::start().await;
    fake.state().script = vec![scripted(format!("PUT {ID}"), 1, 403, "AuthorizationFailed")];
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    let failed = until(&mut seen, |o| state_of(o, "one").starts_with("failed")).await;
    assert_eq!(state_of(&failed, "one"), "failed AuthorizationFailed AuthorizationFailed it is");
    assert!(fake.writes().is_empty());
}

#[tokio::test]
async fn a_write_that_azure_throttles_or_drops_is_asked_for_again() {
    for (status, code, times) in [(429, "TooManyRequests", 22), (500, "InternalServerError", 5)] {
        let fake = Fake::start().await;
        fake.state().script = vec![scripted(format!("PUT {ID}"), times, status, code)];
        let provider = provider(&fake);
        let mut seen = provider.follow();
        provider.start("one", &full()).await.unwrap();
        until(&mut seen, |o| matches!(&o.cluster, Inspection::Unknown(why) if why.contains(code)))
            .await;
        let done = until(&mut seen, |o| !state_of(o, "one").starts_with("running")).await;
        assert_eq!(state_of(&done, "one"), "done", "{code}");
        assert_eq!(fake.writes(), ALL);
    }
}

#[tokio::test]
async fn a_write_that_azure_never_answers_ends_with_its_words() {
    let fake = Fake::start().await;
    fake.state().script = vec![scripted(format!("PUT {ID}"), 1000, 500, "InternalServerError")];
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    let failed = until(&mut seen, |o| state_of(o, "one").starts_with("failed")).await;
    let told = state_of(&failed, "one");
    assert!(told.starts_with("failed NoAnswer control plane: to 1.34.1"), "{told}");
    assert!(told.contains("InternalServerError it is"), "{told}");
    assert!(fake.writes().is_empty());
}

#[tokio::test]
async fn a_cluster_that_changed_meanwhile_is_read_again_and_the_change_kept() {
    for status in [409, 412] {
        let fake = Fake::start().await;
        fake.state().meanwhile = Some("b");
        fake.state().script =
            vec![scripted(format!("PUT {ID}/agentPools"), 1, status, "EtagMismatch")];
        let provider = provider(&fake);
        let mut seen = provider.follow();
        provider.start("one", &full()).await.unwrap();
        until(&mut seen, |o| state_of(o, "one") == "done").await;
        // Each body was compared with the cluster as it was then.
        assert_eq!(fake.writes(), ALL);
        assert_eq!(fake.state().cluster["tags"]["team"], "b");
    }
}

#[tokio::test]
async fn fields_that_nobody_here_knows_survive_an_upgrade() {
    let fake = Fake::start().await;
    let before = fake.state().cluster.clone();
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    until(&mut seen, |o| state_of(o, "one") == "done").await;
    assert_eq!(fake.writes(), ALL);
    let bodies = fake.state().bodies.clone();
    let mut cluster = before.clone();
    cluster["properties"]["kubernetesVersion"] = json!("1.34.1");
    assert_eq!(bodies[0], cluster, "pools at their versions, what is read-only as it was read");
    let forced = "/properties/upgradeSettings/overrideSettings/forceUpgrade";
    assert_eq!(bodies[0].pointer(forced), Some(&json!(false)));
    let pool = &bodies[2]["properties"];
    assert_eq!(pool["upgradeSettings"], json!({"maxSurge": "33%", "drainTimeoutInMinutes": 30}));
    assert_eq!(pool["fieldOfTomorrow"], json!([1, {"deep": null}]));
}

#[tokio::test]
async fn an_operation_is_followed_wherever_azure_announces_it() {
    for announced in [Announced::Nowhere, Announced::Elsewhere, Announced::Forgotten] {
        let fake = Fake::start().await;
        fake.state().announced = announced;
        let provider = provider(&fake);
        let mut seen = provider.follow();
        provider.start("one", &full()).await.unwrap();
        until(&mut seen, |o| state_of(o, "one") == "done").await;
        assert_eq!(fake.writes(), ALL, "{announced:?}");
    }
}

#[tokio::test]
async fn an_operation_that_somebody_cancelled_fails_the_upgrade() {
    let fake = Fake::start().await;
    fake.state().fail_next = Some((json!({"status": "Canceled"}), "Canceled"));
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    let failed = until(&mut seen, |o| state_of(o, "one").starts_with("failed")).await;
    assert_eq!(state_of(&failed, "one"), "failed Canceled Azure gave no reason");
}

#[tokio::test]
async fn a_stopped_cluster_is_upgraded_once_it_runs() {
    let fake = Fake::start().await;
    fake.state().cluster["properties"]["powerState"]["code"] = json!("Stopped");
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    let waits = until(&mut seen, |o| state_of(o, "one") == "running the cluster is stopped").await;
    assert_eq!(known(&waits).unwrap().power, Power::Stopped);
    assert!(fake.writes().is_empty());
    fake.state().cluster["properties"]["powerState"]["code"] = json!("Running");
    until(&mut seen, |o| state_of(o, "one") == "done").await;
    assert_eq!(fake.writes(), ALL);
}

#[tokio::test]
async fn a_pool_that_is_being_deleted_is_no_obstacle() {
    let fake = Fake::start().await;
    let profile = format!("GET {ID}/agentPools/apps/upgradeProfiles");
    fake.state().script = vec![scripted(profile, 1000, 404, "NotFound")];
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &to(UpgradeType::Full, Some("1.34.1"), &[])).await.unwrap();
    let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
    assert_eq!(known(&after).unwrap().images.listed()[0].as_str(), NEWEST);
}

#[tokio::test]
async fn pools_from_snapshots_keep_their_image_where_the_run_leaves_it_to_them() {
    for (keeps_snapshots, writes) in [(true, &ALL[3..4]), (false, &ALL[3..])] {
        let fake = Fake::start().await;
        fake.state().cluster["properties"]["agentPoolProfiles"][0]["creationData"] =
            json!({"sourceResourceId": "/s"});
        let provider = provider(&fake);
        let mut seen = provider.follow();
        let target =
            MemberTarget { keeps_snapshots, ..to(UpgradeType::NodeImageOnly, None, &[NEWEST]) };
        provider.start("one", &target).await.unwrap();
        until(&mut seen, |o| state_of(o, "one") == "done").await;
        assert_eq!(fake.writes(), writes);
    }
}

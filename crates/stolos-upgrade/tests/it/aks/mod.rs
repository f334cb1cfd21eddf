//! The provider for managed clusters of Azure against a fake that checks every request.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use stolos_api::update::{MaintenanceSchedule, MemberTarget, UpgradeType};
use stolos_core::update::cluster::{Inspection, Power};
use stolos_core::update::image::NodeImage;
use stolos_upgrade::{Aks, Credentials, HostIdentity, Pace, Provider, StartError, Upgrades};

use crate::support::{known, pool_version, state_of, until};

mod entra;
mod fake;
mod protocol;
mod tokens;

use fake::{Fake, ID};

const NEWEST: &str = "AKSUbuntu-2204gen2containerd-202508.1.0";

fn credentials(
    fake: &Fake,
    proof: (&str, &str),
    host: &HostIdentity,
) -> Result<Credentials, String> {
    let fields = [
        ("tenantId", "tenant"),
        ("clientId", "app"),
        ("authorityUrl", &fake.base),
        ("resourceManagerUrl", &fake.base),
        proof,
    ];
    let data = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), ByteString(value.as_bytes().to_vec())));
    let mut secret = Secret { data: Some(data.collect()), ..Secret::default() };
    secret.metadata.name = Some("azure".into());
    Credentials::read(&secret, host).map_err(|error| error.to_string())
}

fn provider_with(fake: &Fake, proof: (&str, &str), upgrades: Upgrades) -> Aks {
    let host = HostIdentity::default();
    let pace = Pace { interval: Duration::from_millis(20), factor: 0.01 };
    Aks::new(ID, credentials(fake, proof, &host).unwrap(), pace, upgrades).unwrap()
}

fn provider(fake: &Fake) -> Aks {
    provider_with(fake, ("clientSecret", "s&cret"), Upgrades::default())
}

fn to(upgrade_type: UpgradeType, version: Option<&str>, images: &[&str]) -> MemberTarget {
    MemberTarget {
        upgrade_type,
        kubernetes_version: version.map(str::to_owned),
        node_images: images.iter().map(|&image| image.to_owned()).collect(),
        keeps_snapshots: false,
        rollback: false,
    }
}

fn full() -> MemberTarget {
    to(UpgradeType::Full, Some("1.34.1"), &[NEWEST])
}

const ALL: [&str; 5] =
    ["cluster 1.34.1", "pool sys 1.34.1", "pool apps 1.34.1", "image sys", "image apps"];

#[tokio::test]
async fn a_full_upgrade_goes_from_the_control_plane_over_system_pools_to_user_pools() {
    let fake = Fake::start().await;
    let provider = provider(&fake);
    let mut seen = provider.follow();
    let before = until(&mut seen, |o| known(o).is_some()).await;
    let cluster = known(&before).unwrap();
    assert_eq!(cluster.region.as_deref(), Some("north"));
    assert_eq!(cluster.control_plane.to_string(), "1.33.4");
    let versions: Vec<String> = cluster.versions.listed().iter().map(ToString::to_string).collect();
    assert_eq!(versions, ["1.33.4", "1.34.1"], "no previews");
    assert_eq!(cluster.images.listed()[0].as_str(), NEWEST);
    assert!(cluster.hold.is_none());

    provider.start("one", &full()).await.unwrap();
    provider.start("one", &full()).await.unwrap();
    let busy = until(&mut seen, |o| state_of(o, "one") == "running control plane: to 1.34.1").await;
    assert!(known(&busy).unwrap().hold.as_ref().unwrap().message.contains("one"));
    let other = provider.start("two", &full()).await.unwrap_err();
    assert!(matches!(other, StartError::Request { .. }));
    let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
    let cluster = known(&after).unwrap();
    assert_eq!(cluster.control_plane.to_string(), "1.34.1");
    assert!(cluster.pools.iter().all(|pool| pool.image.as_ref().unwrap().as_str() == NEWEST));
    assert_eq!(fake.writes(), ALL);
    assert_eq!(fake.state().entra.forms.len(), 1, "one token serves all requests");
}

#[tokio::test]
async fn the_control_plane_alone_leaves_the_pools() {
    let fake = Fake::start().await;
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &to(UpgradeType::ControlPlaneOnly, Some("1.34.1"), &[])).await.unwrap();
    let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
    assert_eq!(pool_version(known(&after).unwrap(), "sys"), "1.33.4");
    assert_eq!(fake.writes(), ALL[..1]);
}

#[tokio::test]
async fn images_are_the_newest_of_the_region_or_none() {
    let fake = Fake::start().await;
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &to(UpgradeType::NodeImageOnly, None, &[NEWEST])).await.unwrap();
    until(&mut seen, |o| state_of(o, "one") == "done").await;
    assert_eq!(fake.writes(), ALL[3..]);

    let between = "AKSUbuntu-2204gen2containerd-202508.2.0";
    fake.state().newest_image = "AKSUbuntu-2204gen2containerd-202509.1.0".into();
    provider.start("two", &to(UpgradeType::NodeImageOnly, None, &[between])).await.unwrap();
    let failed = until(&mut seen, |o| state_of(o, "two").starts_with("failed")).await;
    assert!(state_of(&failed, "two").contains("NodeImageVersionNotAvailable"), "{failed:?}");
    assert_eq!(fake.writes(), ALL[3..]);
}

#[tokio::test]
async fn pools_go_back_to_an_image_that_they_had_lately_and_to_no_version() {
    const BEFORE: &str = "AKSUbuntu-2204gen2containerd-202507.1.0";
    let fake = Fake::start().await;
    let used = |image: &str, version: &str| json!({"nodeImageVersion": image, "orchestratorVersion": version, "timestamp": "2026-03-01T00:00:00Z"});
    fake.state().recent =
        json!([used(BEFORE, "1.33.4"), used("AKSUbuntu-2204gen2containerd-202506.1.0", "1.32.9")]);
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &to(UpgradeType::NodeImageOnly, None, &[NEWEST])).await.unwrap();
    let after = until(&mut seen, |o| state_of(o, "one") == "done").await;
    let restorable = &known(&after).unwrap().restorable;
    let images: Vec<&str> = restorable.images.listed().iter().map(NodeImage::as_str).collect();
    assert_eq!((restorable.versions, images), (false, vec![BEFORE]), "with the same version only");

    let back = |version, image: &str| MemberTarget {
        rollback: true,
        ..to(UpgradeType::NodeImageOnly, version, &[image])
    };
    provider.start("back", &back(None, BEFORE)).await.unwrap();
    provider.start("back", &back(None, BEFORE)).await.unwrap();
    let done = until(&mut seen, |o| state_of(o, "back") == "done").await;
    let pools = &known(&done).unwrap().pools;
    assert!(pools.iter().all(|pool| pool.image.as_ref().unwrap().as_str() == BEFORE), "{pools:?}");
    let sent = [format!("pool sys {BEFORE}"), format!("pool apps {BEFORE}")];
    assert_eq!(fake.writes()[2..], sent);

    let older = "AKSUbuntu-2204gen2containerd-202506.1.0";
    provider.start("older", &back(None, older)).await.unwrap();
    let failed = until(&mut seen, |o| state_of(o, "older").starts_with("failed")).await;
    assert!(state_of(&failed, "older").contains("NodeImageVersionNotAvailable"), "{failed:?}");
    provider.start("version", &back(Some("1.32.9"), BEFORE)).await.unwrap();
    let failed = until(&mut seen, |o| state_of(o, "version").starts_with("failed")).await;
    assert!(state_of(&failed, "version").contains("NotSupported"), "{failed:?}");
    assert_eq!(fake.writes().len(), 4);
}

#[tokio::test]
async fn a_killed_hub_upgrades_nothing_twice() {
    for unseen_end in [false, true] {
        let fake = Fake::start().await;
        loop {
            // The engine starts the attempt again, as it finds no trace of it.
            let provider = provider(&fake);
            let mut seen = provider.follow();
            provider.start("one", &full()).await.unwrap();
            let writes = fake.writes().len();
            until(&mut seen, |o| state_of(o, "one") == "done" || fake.writes().len() > writes)
                .await;
            drop(seen);
            if fake.writes().len() == ALL.len() {
                break;
            }
            if unseen_end {
                fake.state().finish_all();
            } else {
                // Another hub waits for what goes on; nobody polls the operation, so it is finished from outside.
                let provider = self::provider(&fake);
                let mut seen = provider.follow();
                provider.start("one", &full()).await.unwrap();
                until(&mut seen, |o| {
                    state_of(o, "one").contains("Azure reports the cluster as Upgrading")
                })
                .await;
                fake.state().finish_all();
            }
        }
        assert_eq!(fake.writes(), ALL);
    }
}

#[tokio::test]
async fn what_azure_knows_of_a_cluster_is_told() {
    let fake = Fake::start().await;
    {
        let mut state = fake.state();
        state.cluster["properties"]["powerState"]["code"] = json!("Stopped");
        state.cluster["properties"]["supportPlan"] = json!("AKSLongTermSupport");
        state.cluster["properties"]["agentPoolProfiles"][0]["creationData"] =
            json!({"sourceResourceId": "/s"});
        state.cluster["properties"]["kubernetesVersion"] = json!("1.34.1");
        let window = |schedule| {
            json!({"maintenanceWindow": {
                "schedule": schedule, "durationHours": 6, "utcOffset": "+02:00", "startDate": "2026-01-01",
                "startTime": "22:00", "notAllowedDates": null,
            }})
        };
        let weekly = json!({"daily": null, "weekly": {"intervalWeeks": 2, "dayOfWeek": "Friday"}});
        let daily = json!({"daily": {"intervalDays": 3}});
        state.maintenance = json!({"value": [
            {"name": "aksManagedAutoUpgradeSchedule", "properties": window(weekly)},
            {"name": "aksManagedNodeOSUpgradeSchedule", "properties": window(daily)},
            {"name": "default", "properties": {"timeInWeek": [{"day": "Monday", "hourSlots": [1]}], "notAllowedTime": null}},
        ]});
    }
    let mut seen = provider(&fake).follow();
    let told = until(&mut seen, |o| known(o).is_some()).await;
    let cluster = known(&told).unwrap();
    assert_eq!(cluster.power, Power::Stopped);
    assert!(cluster.long_term_support);
    assert_eq!(cluster.long_term_support_versions, ["1.30.9".parse().unwrap()]);
    let snapshots: Vec<bool> = cluster.pools.iter().map(|pool| pool.from_snapshot).collect();
    assert_eq!(snapshots, [false, true], "system pools first");
    let window = cluster.windows.kubernetes.as_ref().unwrap();
    assert!(matches!(window.schedule, MaintenanceSchedule::Weekly(_)));
    let window = cluster.windows.node_image.as_ref().unwrap();
    assert!(matches!(window.schedule, MaintenanceSchedule::Daily(_)));
    assert_eq!(cluster.control_plane.to_string(), "1.33.4", "what runs, not what is wanted");

    fake.state().maintenance["value"][0]["properties"]["maintenanceWindow"]["schedule"] =
        json!({"hourly": {}});
    let unreadable = |o: &_| matches!(o, stolos_upgrade::Observation { cluster: Inspection::Unknown(why), .. } if why.contains("aksManagedAutoUpgradeSchedule"));
    until(&mut seen, unreadable).await;
    assert!(fake.writes().is_empty());
}

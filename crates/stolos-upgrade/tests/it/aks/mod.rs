//! The provider for managed clusters of Azure against a fake that checks every request.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use stolos_api::update::{MaintenanceSchedule, MemberTarget, UpgradeType};
use stolos_core::update::cluster::{Inspection, Power};
use stolos_upgrade::{Aks, Credentials, HostIdentity, Pace, Provider, StartError, Upgrades};

use crate::support::{known, pool_version, state_of, until};

mod fake;

use fake::{Fake, ID, Scripted};

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
    let secret = Secret { data: Some(data.collect()), ..Secret::default() };
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
    assert_eq!(fake.state().forms.len(), 1, "one token serves all requests");
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
async fn throttling_and_outages_are_waited_out() {
    let fake = Fake::start().await;
    let busy = json!({"error": {"code": "OperationNotAllowed", "message": "another operation"}});
    let scripted = |request: String, times, status, retry_after| Scripted {
        request,
        times,
        status,
        retry_after,
        body: busy.clone(),
    };
    fake.state().script = vec![
        scripted(format!("GET {ID}/upgradeProfiles"), 2, 429, Some("1")),
        scripted(format!("GET {ID}/maintenance"), 1, 503, None),
        scripted(format!("PUT {ID}"), 2, 429, Some("2")),
        scripted(format!("PUT {ID}"), 5, 409, None),
        scripted(format!("PUT {ID}"), 1, 412, None),
        scripted(format!("PUT {ID}"), 1, 500, None),
        scripted(format!("GET {}/providers", fake::SUBSCRIPTION), 1, 502, None),
    ];
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    until(&mut seen, |o| {
        state_of(o, "one").contains("busy: OperationNotAllowed: another operation")
    })
    .await;
    until(&mut seen, |o| state_of(o, "one") == "done").await;
    assert_eq!(fake.writes(), ALL);
    assert!(fake.state().script.is_empty());
}

#[tokio::test]
async fn an_operation_that_fails_fails_the_upgrade_with_azures_words() {
    let fake = Fake::start().await;
    fake.state().fail_next = Some(json!({"code": "PodDrainFailure", "message": "pdb in the way"}));
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
    let body = json!({"error": {"code": "AuthorizationFailed", "message": "no right to write"}});
    let request = format!("PUT {ID}");
    fake.state().script =
        vec![Scripted { request, times: 1, status: 403, retry_after: None, body }];
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    let failed = until(&mut seen, |o| state_of(o, "one").starts_with("failed")).await;
    assert_eq!(state_of(&failed, "one"), "failed AuthorizationFailed no right to write");
    assert!(fake.writes().is_empty());
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
        state.maintenance = json!({"value": [{"name": "aksManagedAutoUpgradeSchedule", "properties": {"maintenanceWindow": {
            "schedule": {"daily": null, "weekly": {"intervalWeeks": 2, "dayOfWeek": "Friday"}},
            "durationHours": 6, "utcOffset": "+02:00", "startDate": "2026-01-01", "startTime": "22:00", "notAllowedDates": null,
        }}}]});
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
    assert_eq!(cluster.windows.node_image, None);

    fake.state().maintenance["value"][0]["properties"]["maintenanceWindow"]["schedule"] =
        json!({"hourly": {}});
    let unreadable = |o: &_| matches!(o, stolos_upgrade::Observation { cluster: Inspection::Unknown(why), .. } if why.contains("aksManagedAutoUpgradeSchedule"));
    until(&mut seen, unreadable).await;
    assert!(fake.writes().is_empty());
}

#[tokio::test]
async fn a_wrong_secret_is_told_and_never_shown() {
    let fake = Fake::start().await;
    let provider = provider_with(&fake, ("clientSecret", "hush"), Upgrades::default());
    let seen = until(&mut provider.follow(), |_| true).await;
    let Inspection::Unknown(why) = &seen.cluster else { panic!("{seen:?}") };
    assert!(why.contains("wrong secret") && !why.contains("hush"), "{why}");
    let read = credentials(&fake, ("clientSecret", "hush"), &HostIdentity::default()).unwrap();
    assert!(!format!("{read:?}").contains("hush"));
}

#[tokio::test]
async fn a_certificate_signs_an_assertion() {
    let fake = Fake::start().await;
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256);
    // ring makes no RSA keys; rcgen on ring neither. A fixed key serves, it opens nothing.
    assert!(key.is_err());
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    let certificate =
        CertificateParams::new(vec!["app".into()]).unwrap().self_signed(&key).unwrap();
    let pem = format!("{}{}", certificate.pem(), RSA_KEY);
    let provider = provider_with(&fake, ("clientCertificate", &pem), Upgrades::default());
    until(&mut provider.follow(), |o| known(o).is_some()).await;
    let form = fake.state().forms[0].clone();
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let assertion = &form["client_assertion"];
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let parts: Vec<Value> = (signed.split('.'))
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!(parts[0]["alg"], "PS256");
    assert_eq!(parts[1]["iss"], "app");
    assert_eq!(parts[1]["aud"], format!("{}/tenant/oauth2/v2.0/token", fake.base));
    let public = rsa_public_key(&key);
    let public = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public);
    public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
}

/// The inner key: rcgen gives it without the frame that names the algorithm.
fn rsa_public_key(key: &KeyPair) -> Vec<u8> {
    key.der_bytes().to_vec()
}

#[tokio::test]
async fn a_federated_token_is_read_from_the_hubs_own_file_alone() {
    let fake = Fake::start().await;
    let folder = std::env::temp_dir().join(format!("stolos-federated-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("token");
    std::fs::write(&file, "projected\n").unwrap();
    let name = file.to_str().unwrap();
    let nobody = HostIdentity::default();
    let refused = credentials(&fake, ("federatedTokenFile", name), &nobody).unwrap_err();
    assert!(refused.contains("AZURE_FEDERATED_TOKEN_FILE"), "{refused}");
    let elsewhere = HostIdentity { federated_token_file: Some(file.clone()), authority: None };
    let refused = credentials(&fake, ("federatedTokenFile", name), &elsewhere).unwrap_err();
    assert!(refused.contains("only sent to"), "{refused}");

    let host = HostIdentity { authority: Some(fake.base.clone()), ..elsewhere };
    let credentials = credentials(&fake, ("federatedTokenFile", name), &host).unwrap();
    let provider = Aks::new(ID, credentials, Pace::default(), Upgrades::default()).unwrap();
    until(&mut provider.follow(), |o| known(o).is_some()).await;
    assert_eq!(fake.state().forms[0]["client_assertion"], "projected");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn credentials_that_cannot_work_say_what_would() {
    let fake = Fake::start().await;
    for (proof, named) in [
        (("none", ""), "exactly one"),
        (("clientCertificate", "x"), "no certificate"),
        (("resourceManagerUrl", "http://elsewhere"), "https"),
    ] {
        let error = credentials(&fake, proof, &HostIdentity::default()).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}

/// Made for this test; it opens nothing.
const RSA_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDdAlDgaxF9L5ch
pBy+jl+Bw6jqHyRpHh9Dzvq/2qiuTLVfgrYvMFWJJBYOJkFEiijKYNituwRP5e3r
vmX21guLgCQPZBYYb3XFA/uewRBLjVJyfE1w3F4C7K4GGgAsCNOoO9qZ+qbzaJ8o
Z5ZJoFQChcUNLOlz4KxgZSp4GwC9JzkgCZRH475n+j/nsKWobDkMqLEb7h5AIHLs
odPlJE48grvfAZTeEH2dUixQboH92ZNJNxnvK18Kb7Of3VoUNlPn8HNV72v2adTa
7MBGiElOQRKEJuyN5gkMATplEEXBzs+4ma0T1RK7EGSpzmTmwSozZJUe4xchYcs0
aBdA9eUNAgMBAAECggEALP99Nwwlre7kHwnafmPfhzyupih8Edj7taMtQ6XCBWcB
4LXs4RO+vqL1yKC6VjmpD3eDdm/m81uVwxNrkEPJavhGn0maBBShjmD+uLaHWlKm
UEAFxm5fx8mnrv9ZPJ35dj3lhsdVeaa6DRB2NXxqzm6tDb8wsxKyFhhS+sxIrLow
H08uUuB5q3dMH2e8artNQUd2pnSLbQoSYWmyR4r/zXXTYVj/DjVva2Gjgj1qqyxb
QYr4LOZUShx7KtEeL+tOMVYDME2J/2vkPKo+odUCAXokjB9vAWwSroeBR9JXTqcO
Q5XKrMAJiMYgvWg9i5FQeihSHVcLNJYd0rXOHP9owwKBgQD+cucxgXjziAWjVMZf
DSToWQ2tRSbB1uYzd+e6yiQmIcFIyREccfEqf2JatZM1cXVU1cy2zn7NYgf1bOuw
fP02v7DuRIWKYUgGsENVCEhaaPEQaNSn/19Il4GHa0TfNR8S7wPRGIZ3XydNfDSH
wH7dLdbthuv4sbMzTxM+8eu/OwKBgQDeWznlHBpWdYjumNicB7Dfl7mZC5BFwGL/
x67aDFP7ApRi3HPm0hVMQIlXm4KnnqB1ZlE2Og5msX5xicMNMNwU9ly6oxpaH/91
4lLeNcRh7APVDeu1vl0UQ7AKUgt/FngGVPTZxkjCbI9v4Yp/TtHOfDChEUftQvvH
H7qvLdk4VwKBgAuK8Nv5EKCTkhXnuZwEP6FesNUkZu6yLf01ukhp9RvZuifwHxuY
O6V+49pTlFr/S6BOlpvQYEY25T+H8mUuNlpudbtJVnmBkj/jbRqFZqrbSdxBtSvt
1Me5P8IB5rztbvxv5U9t+mOd6G2GbeeenuKvuqlJzpiYjxWLx8a6OMSTAoGAGkYt
USVA93Zr98WX0tgVzlXfWHZFVfiluhOeVaWfRsnHPudNyriIS7pUgEWf6q6Tx0uP
zRiPGxNeHYxpv+VGHDQAQQ2Ez6F4TjWwFRHFYszApyw97fvQg9R7uLx5H0tIY3cm
d5U2g8LQMCg2dVSa9gs2s9GW7jI8Dgtxw8FnKYECgYEAwe8x6n3rBTUMmGpRP13/
VS7ZKUvi7i3J+KltR6YouVz8+WEYhZa9yDooFRNWjNpIA8CiR+clQEa+HB/TT5sp
Q0N0LXpp2cFT21DtVRgupv9973QmL9LUxADW6RqPBRRb/yVEXUBLEW8PKfyswlE1
E6j8x7MmmtmWHy0XyHQpOUo=
-----END PRIVATE KEY-----
";

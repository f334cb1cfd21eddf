//! Tokens: by secret, certificate and federated token, kept, refused, replaced.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::StreamExt;
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData};
use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::json;
use sha2::{Digest, Sha256};
use stolos_core::update::cluster::Inspection;
use stolos_upgrade::{Aks, HostIdentity, Pace, Provider, Upgrades};

use super::entra::parts;
use super::fake::{Fake, ID};
use super::{ALL, credentials, full, provider, provider_with};
use crate::support::{known, state_of, until};

/// Returns why a cluster is not known.
async fn unknown(provider: &Aks) -> String {
    let seen = until(&mut provider.follow(), |_| true).await;
    let Inspection::Unknown(why) = seen.cluster else { panic!("{seen:?}") };
    why
}

#[tokio::test]
async fn a_wrong_secret_is_told_with_what_would_help_and_never_shown() {
    let fake = Fake::start().await;
    let provider = provider_with(&fake, ("clientSecret", "hush"), Upgrades::default());
    let why = unknown(&provider).await;
    for part in [
        "application `app` of tenant `tenant` by `clientSecret` of secret `azure`",
        "401 Unauthorized: AADSTS7000215: Invalid client secret provided. Is it \"the value\"? Trace ID: 1",
        "`clientSecret` must be the value of a secret",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let read = credentials(&fake, ("clientSecret", "hush"), &HostIdentity::default()).unwrap();
    assert!(!why.contains("hush") && !format!("{read:?}").contains("hush"), "{why}");
}

#[tokio::test]
async fn a_token_that_is_revoked_in_the_middle_of_an_upgrade_is_replaced_once() {
    let fake = Fake::start().await;
    let provider = provider(&fake);
    let mut seen = provider.follow();
    provider.start("one", &full()).await.unwrap();
    until(&mut seen, |o| state_of(o, "one").contains("control plane")).await;
    fake.state().entra.revoke();
    loop {
        let observation = seen.next().await.unwrap();
        assert!(known(&observation).is_some(), "{observation:?}");
        if state_of(&observation, "one") == "done" {
            break;
        }
    }
    assert_eq!(fake.writes(), ALL);
    assert_eq!(fake.state().entra.forms.len(), 2);
}

#[tokio::test]
async fn a_token_that_nobody_accepts_is_not_asked_for_again_and_again() {
    let fake = Fake::start().await;
    let provider = provider(&fake);
    let body = json!({"error": {"code": "InvalidAuthenticationToken", "message": "wrong issuer"}});
    let request = format!("GET {ID}");
    fake.state().script =
        vec![super::fake::Scripted { request, times: 2, status: 401, retry_after: None, body }];
    let why = unknown(&provider).await;
    assert!(why.contains("401 Unauthorized InvalidAuthenticationToken: wrong issuer"), "{why}");
    assert_eq!(fake.state().entra.forms.len(), 2, "the first and one more");
    assert!(fake.state().script.is_empty());
}

#[tokio::test]
async fn all_who_follow_a_cluster_wait_for_the_same_token() {
    let fake = Fake::start().await;
    let provider = provider(&fake);
    let (mut one, mut two) = (provider.follow(), provider.follow());
    let both = futures::future::join(
        until(&mut one, |o| known(o).is_some()),
        until(&mut two, |o| known(o).is_some()),
    );
    both.await;
    assert_eq!(fake.state().entra.forms.len(), 1);
}

#[tokio::test]
async fn a_token_is_kept_until_shortly_before_its_end() {
    for (expires_in, many) in [
        (json!(299), true),
        (json!(-5), true),
        (json!(null), true),
        (json!(3600), false),
        // Nobody may make the hub add this to the time.
        (json!(i64::MAX), false),
    ] {
        let fake = Fake::start().await;
        fake.state().entra.expires_in = expires_in.clone();
        until(&mut provider(&fake).follow(), |o| known(o).is_some()).await;
        assert_eq!(fake.state().entra.forms.len() > 1, many, "{expires_in}");
    }
}

#[tokio::test]
async fn entra_that_is_busy_or_talks_nonsense_is_asked_again_later() {
    let fake = Fake::start().await;
    fake.state().entra.script = vec![
        (429, json!({"error": "temporarily_unavailable"})),
        (503, json!("<html>")),
        (200, json!({"token": "?"})),
    ];
    let provider = provider(&fake);
    let mut seen = provider.follow();
    for said in
        ["temporarily_unavailable", "503 Service Unavailable: no reason given", "no access_token"]
    {
        until(&mut seen, |o| matches!(&o.cluster, Inspection::Unknown(why) if why.contains(said)))
            .await;
    }
    until(&mut seen, |o| known(o).is_some()).await;
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_whatever_is_stored_beside_it() {
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    let issuer_key = KeyPair::generate().unwrap();
    let issuer_params = CertificateParams::new(vec!["issuer".into()]).unwrap();
    let root = issuer_params.self_signed(&issuer_key).unwrap();
    let issuer = Issuer::new(issuer_params, issuer_key);
    let own = CertificateParams::new(vec!["app".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(own.der()));
    for (name, pem) in [
        ("PKCS#8", format!("{}{RSA_KEY}", own.pem())),
        ("PKCS#1", format!("{}{}", pkcs1(), own.pem())),
        ("a chain, own first", format!("{}{}{RSA_KEY}", own.pem(), root.pem())),
        ("a chain, own last", format!("{RSA_KEY}{}{}", root.pem(), own.pem())),
    ] {
        let fake = Fake::start().await;
        fake.state().entra.thumbprint = Some(thumbprint.clone());
        let provider = provider_with(&fake, ("clientCertificate", &pem), Upgrades::default());
        let seen = until(&mut provider.follow(), |_| true).await;
        assert!(known(&seen).is_some(), "{name}: {seen:?}");
        let form = fake.state().entra.forms[0].clone();
        let assertion = &form["client_assertion"];
        let (header, claims) = parts(assertion).unwrap();
        assert_eq!((&header["alg"], &header["typ"]), (&json!("PS256"), &json!("JWT")));
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("app"), &json!("app")));
        assert_eq!(claims["aud"], format!("{}/tenant/oauth2/v2.0/token", fake.base));
        assert!(!form.contains_key("client_secret"));
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key.der_bytes());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        assert!(fake.writes().is_empty());
    }
}

#[tokio::test]
async fn clocks_may_differ_a_little_and_a_great_difference_is_named() {
    let pem = own_certificate();
    for (ahead, named) in [(-100, None), (200, None), (-1000, Some("clock")), (1000, Some("clock"))]
    {
        let fake = Fake::start().await;
        fake.state().entra.ahead = ahead;
        let provider = provider_with(&fake, ("clientCertificate", &pem), Upgrades::default());
        let seen = until(&mut provider.follow(), |_| true).await;
        match (&seen.cluster, named) {
            (Inspection::Known(_), None) => {}
            (Inspection::Unknown(why), Some(named)) if why.contains(named) => {}
            _ => panic!("{ahead}: {seen:?}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_that_the_application_does_not_list_is_told() {
    let fake = Fake::start().await;
    fake.state().entra.thumbprint = Some("another".into());
    let pem = own_certificate();
    let why =
        unknown(&provider_with(&fake, ("clientCertificate", &pem), Upgrades::default())).await;
    assert!(why.contains("`clientCertificate`") && why.contains("AADSTS700027"), "{why}");
    assert!(why.contains("must be one that the application lists"), "{why}");
}

#[tokio::test]
async fn a_federated_token_is_read_from_the_hubs_own_file_alone_and_each_time() {
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
    let pace = Pace { interval: std::time::Duration::from_millis(20), factor: 0.01 };
    let provider = Aks::new(ID, credentials, pace, Upgrades::default()).unwrap();
    let mut seen = provider.follow();
    until(&mut seen, |o| known(o).is_some()).await;
    std::fs::write(&file, "projected again\n").unwrap();
    fake.state().entra.revoke();
    provider.start("one", &full()).await.unwrap();
    until(&mut seen, |o| state_of(o, "one") == "done").await;
    let sent: Vec<String> =
        fake.state().entra.forms.iter().map(|form| form["client_assertion"].clone()).collect();
    assert_eq!(sent, ["projected", "projected again"]);

    std::fs::remove_dir_all(folder).unwrap();
    fake.state().entra.revoke();
    let lost = |o: &_| matches!(o, stolos_upgrade::Observation { cluster: Inspection::Unknown(why), .. } if why.contains("`federatedTokenFile`") && why.contains("file of the federated token"));
    until(&mut seen, lost).await;
}

#[tokio::test]
async fn credentials_that_cannot_work_say_what_would() {
    let fake = Fake::start().await;
    let rsa = KeyPair::from_pem(RSA_KEY).unwrap();
    let rsa_certificate =
        CertificateParams::new(vec!["a".into()]).unwrap().self_signed(&rsa).unwrap();
    let ec = KeyPair::generate().unwrap();
    let ec_certificate =
        CertificateParams::new(vec!["b".into()]).unwrap().self_signed(&ec).unwrap();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let (rsa_pem, ec_pem) = (rsa_certificate.pem(), ec_certificate.pem());
    for (key, value, named) in [
        ("none", String::new(), "exactly one"),
        ("clientSecret", " \n".into(), "no key `clientSecret`"),
        ("clientCertificate", "x".into(), "no certificate"),
        ("clientCertificate", rsa_pem.clone(), "no private key"),
        ("clientCertificate", format!("{rsa_pem}{encrypted}"), "without a passphrase"),
        ("clientCertificate", format!("{ec_pem}{}", ec.serialize_pem()), "must be RSA"),
        ("clientCertificate", format!("{ec_pem}{RSA_KEY}"), "belongs to none of its 1 certificate"),
        ("resourceManagerUrl", "http://elsewhere".into(), "https"),
    ] {
        let error = credentials(&fake, (key, &value), &HostIdentity::default()).unwrap_err();
        assert!(error.contains(named) && error.contains("secret `azure`"), "{named}: {error}");
    }
}

fn own_certificate() -> String {
    let key = KeyPair::from_pem(RSA_KEY).unwrap();
    let certificate =
        CertificateParams::new(vec!["app".into()]).unwrap().self_signed(&key).unwrap();
    format!("{}{RSA_KEY}", certificate.pem())
}

/// Returns the key without the frame that names the algorithm: 26 bytes for keys of this size.
fn pkcs1() -> String {
    let lines: String = RSA_KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let inner = STANDARD.encode(&STANDARD.decode(lines).unwrap()[26..]);
    format!("-----BEGIN RSA PRIVATE KEY-----\n{inner}\n-----END RSA PRIVATE KEY-----\n")
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

//! Secrets of type `kubernetes.io/service-account-token`: somebody makes them empty, the server fills them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::token::{Reference, TokenSigner};

/// `type` of the Secrets that hold a token.
pub const TYPE: &str = "kubernetes.io/service-account-token";
/// Annotation that names the service account.
pub const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
/// Annotation with its uid.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// What to do with a Secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// It is complete, or none of our business.
    Keep,
    /// Its service account is gone.
    Delete,
    /// Merge this patch.
    Fill(Value),
}

/// Returns the service account that a token Secret is for; nothing for every other Secret.
#[must_use]
pub fn account_of(secret: &Value) -> Option<&str> {
    let name = secret["metadata"]["annotations"][ACCOUNT_NAME].as_str()?;
    (secret["type"] == TYPE && !name.is_empty()).then_some(name)
}

/// Decides what a token Secret needs, given the service account it names and the certificate (PEM) of the
/// authority, if clients need one.
#[must_use]
pub fn plan(
    secret: &Value,
    account: Option<&Reference>,
    signer: &TokenSigner,
    authority: Option<&str>,
) -> Plan {
    let metadata = &secret["metadata"];
    if account_of(secret).is_none() || metadata["deletionTimestamp"].is_string() {
        return Plan::Keep;
    }
    let known_uid = metadata["annotations"][ACCOUNT_UID].as_str().unwrap_or_default();
    let Some(account) = account.filter(|account| known_uid.is_empty() || known_uid == account.uid)
    else {
        return Plan::Delete;
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    let mut patch = json!({});
    if known_uid.is_empty() {
        patch["metadata"]["annotations"][ACCOUNT_UID] = json!(account.uid);
    }
    let data = &secret["data"];
    let texts = [("ca.crt", authority), ("namespace", Some(namespace.as_str()))];
    for (key, wanted) in texts.into_iter().filter_map(|(key, wanted)| Some((key, wanted?))) {
        let wanted = json!(STANDARD.encode(wanted));
        if data[key] != wanted {
            patch["data"][key] = wanted;
        }
    }
    if text(&data["token"]).is_empty() {
        patch["data"]["token"] =
            json!(STANDARD.encode(signer.sign_legacy(&namespace, account, &name)));
    }
    if patch == json!({}) { Plan::Keep } else { Plan::Fill(patch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch;

    fn secret() -> Value {
        json!({
            "metadata": {"namespace": "ns", "name": "robot-token", "annotations": {ACCOUNT_NAME: "robot"}},
            "type": TYPE,
        })
    }

    fn account(uid: &str) -> Reference {
        Reference { name: "robot".to_owned(), uid: uid.to_owned() }
    }

    #[test]
    fn an_empty_secret_is_filled_once() {
        let signer = TokenSigner::generate("https://test").unwrap();
        let mut secret = secret();
        let Plan::Fill(fill) = plan(&secret, Some(&account("u1")), &signer, Some("CA")) else {
            panic!("it is empty")
        };
        patch::merge(&mut secret, &fill);
        assert_eq!(secret["data"]["namespace"], "bnM=");
        assert_eq!(secret["metadata"]["annotations"][ACCOUNT_UID], "u1");
        let token = STANDARD.decode(secret["data"]["token"].as_str().unwrap()).unwrap();
        assert!(signer.verify(std::str::from_utf8(&token).unwrap()).is_ok());
        assert_eq!(plan(&secret, Some(&account("u1")), &signer, Some("CA")), Plan::Keep);

        let Plan::Fill(changed) = plan(&secret, Some(&account("u1")), &signer, Some("new CA"))
        else {
            panic!("CA changed")
        };
        assert_eq!(changed, json!({"data": {"ca.crt": STANDARD.encode("new CA")}}));
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        let signer = TokenSigner::generate("https://test").unwrap();
        assert_eq!(plan(&secret(), None, &signer, Some("CA")), Plan::Delete);
        let mut filled = secret();
        filled["metadata"]["annotations"][ACCOUNT_UID] = json!("u1");
        assert_eq!(plan(&filled, Some(&account("u2")), &signer, Some("CA")), Plan::Delete);
        filled["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(plan(&filled, None, &signer, Some("CA")), Plan::Keep);
    }

    #[test]
    fn other_secrets_are_left_alone() {
        let signer = TokenSigner::generate("https://test").unwrap();
        for other in [json!({"type": "Opaque"}), json!({"type": TYPE, "metadata": {}})] {
            assert_eq!(plan(&other, None, &signer, Some("CA")), Plan::Keep);
        }
    }
}

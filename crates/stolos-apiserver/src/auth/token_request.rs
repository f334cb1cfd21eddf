//! Issuing service-account tokens on request.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::token::{PrivateClaims, Reference, TokenSigner};
use crate::status::{ApiError, Cause};
use crate::store::{ClusterStore, Key, ResourceId, Version};

const GROUP: &str = "authentication.k8s.io";
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

/// Answers a POST of `serviceaccounts/<name>/token` with the `TokenRequest` and its token.
///
/// # Errors
/// 404 when the account or the object to bind to does not exist; 409 when that has another uid; 422 for a life that
/// is too short or too long, or an object that tokens cannot be bound to.
pub fn issue_token(
    store: &ClusterStore,
    signer: &TokenSigner,
    (namespace, name): (&str, &str),
    mut request: Value,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let find = |resource: &str, namespace: &str, name: &str| {
        let found = store.get(&ResourceId::from(resource), &Key::namespaced(namespace, name));
        found.ok_or_else(|| ApiError::not_found("", resource, name))
    };
    let account = find("serviceaccounts", namespace, name)?;
    if !request.is_object() {
        return Err(ApiError::bad_request("the body is not a TokenRequest"));
    }
    let spec = &request["spec"];
    let seconds = lifetime(spec)?;
    let mut claims = PrivateClaims {
        namespace: namespace.to_owned(),
        serviceaccount: reference(&account),
        pod: None,
        secret: None,
        node: None,
    };
    let bound = &spec["boundObjectRef"];
    if !bound.is_null() {
        let target = bound["name"].as_str().unwrap_or_default();
        let (resource, scope, claim) = match (bound["apiVersion"].as_str(), bound["kind"].as_str())
        {
            (Some("v1") | None, Some("Pod")) => ("pods", namespace, &mut claims.pod),
            (Some("v1") | None, Some("Secret")) => ("secrets", namespace, &mut claims.secret),
            (Some("v1") | None, Some("Node")) => ("nodes", "", &mut claims.node),
            _ => {
                let text = |field: &str| bound[field].as_str().unwrap_or_default();
                let version = text("apiVersion");
                let slash = if version.contains('/') { "" } else { "/" };
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {slash}{version}, Kind={}",
                    text("kind")
                )));
            }
        };
        let found = find(resource, scope, target)?;
        let wanted = bound["uid"].as_str().unwrap_or_default();
        if !wanted.is_empty() && wanted != found.attributes.uid {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            );
            return Err(ApiError::conflict("", resource, target, &why));
        }
        *claim = Some(reference(&found));
    }
    let audiences = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut audiences: Vec<String> = audiences.map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(signer.issuer().to_owned());
    }
    let token = signer.sign(claims, &audiences, now, seconds);
    // Tokens live by whole seconds, and so does what we say about them.
    let expires = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let expires =
        expires.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    request["apiVersion"] = json!(format!("{GROUP}/v1"));
    request["kind"] = json!("TokenRequest");
    stamp_token_request(&mut request, now);
    request["metadata"]["name"] = json!(name);
    request["metadata"]["namespace"] = json!(namespace);
    if request["spec"].get("boundObjectRef").is_none() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["status"] = json!({ "token": token, "expirationTimestamp": expires.to_string() });
    Ok(request)
}

/// Fills in what a request may leave out, so that admission sees what is asked for.
pub(crate) fn complete_token_request(signer: &TokenSigner, request: &mut Value) {
    if !request["spec"].is_object() {
        return;
    }
    let audiences = &mut request["spec"]["audiences"];
    if audiences.as_array().is_none_or(Vec::is_empty) {
        *audiences = json!([signer.issuer()]);
    }
    if request["spec"].get("boundObjectRef").is_none() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["status"] = json!({ "token": "", "expirationTimestamp": null });
}

/// Fills in what every request gets once nobody changes it any more.
pub(crate) fn stamp_token_request(request: &mut Value, now: Timestamp) {
    if !request["metadata"].is_object() {
        request["metadata"] = json!({});
    }
    if request["metadata"]["uid"].is_null() {
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        request["metadata"]["creationTimestamp"] = now.into();
        request["metadata"]["uid"] = Uuid::new_v4().to_string().into();
    }
}

fn lifetime(spec: &Value) -> Result<i64, ApiError> {
    let asked = &spec["expirationSeconds"];
    if asked.is_null() {
        return Ok(DEFAULT_SECONDS);
    }
    let wrong = |why: &str| invalid("spec.expirationSeconds", &format!("{asked}: {why}"));
    match asked.as_i64() {
        Some(seconds) if seconds < MIN_SECONDS => {
            Err(wrong("may not specify a duration less than 10 minutes"))
        }
        Some(seconds) if seconds <= MAX_SECONDS => Ok(seconds),
        _ => Err(wrong("may not specify a duration larger than 2^32 seconds")),
    }
}

fn reference(version: &Version) -> Reference {
    Reference { name: version.key.name.clone(), uid: version.attributes.uid.clone() }
}

fn invalid(field: &str, what: &str) -> ApiError {
    let cause = Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: {what}"),
        field: field.to_owned(),
    };
    ApiError::invalid(GROUP, "TokenRequest", "", vec![cause])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::Verified;
    use crate::store::{Attributes, Change, Expect, Store, Write};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    async fn store() -> ClusterStore {
        let store = Store::memory().cluster("hub").unwrap();
        for (resource, name) in [("serviceaccounts", "robot"), ("pods", "web")] {
            let object = json!({"metadata": {"namespace": "ns", "name": name, "uid": format!("{name}-uid")}});
            let change = Change::Put(object.clone(), Attributes::of(&object));
            let key = Key::namespaced("ns", name);
            let write = Write {
                resource: resource.into(),
                key,
                expect: Expect::Absent,
                change,
                requires: None,
            };
            store.commit(write).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn a_token_is_bound_to_the_account_the_pod_and_the_time() {
        let (store, signer) = (store().await, TokenSigner::generate("https://test").unwrap());
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "name": "web"});
        let request = json!({"spec": {"audiences": ["vault"], "expirationSeconds": 600, "boundObjectRef": pod}});
        let answer = issue_token(&store, &signer, ("ns", "robot"), request, NOW).unwrap();
        assert_eq!(answer["status"]["expirationTimestamp"], "1970-01-01T00:10:00Z");
        let Ok(Verified::Bound(claims)) =
            signer.verify(answer["status"]["token"].as_str().unwrap())
        else {
            panic!("the token is ours")
        };
        assert_eq!((claims.aud, claims.exp), (vec!["vault".to_owned()], 600));
        assert_eq!(claims.private.pod.unwrap().uid, "web-uid");
        assert_eq!(claims.private.serviceaccount.uid, "robot-uid");
    }

    #[tokio::test]
    async fn an_empty_request_takes_defaults() {
        let (store, signer) = (store().await, TokenSigner::generate("https://test").unwrap());
        let answer = issue_token(&store, &signer, ("ns", "robot"), json!({}), NOW).unwrap();
        assert_eq!(
            answer["spec"],
            json!({"audiences": ["https://test"], "boundObjectRef": null, "expirationSeconds": 3600})
        );
    }

    #[tokio::test]
    async fn requests_that_cannot_be_met_say_why() {
        let (store, signer) = (store().await, TokenSigner::generate("https://test").unwrap());
        let pod = |name: &str, uid: &str| json!({"kind": "Pod", "name": name, "uid": uid});
        for (account, spec, code) in [
            ("nobody", json!({}), 404),
            ("robot", json!({"expirationSeconds": 599}), 422),
            ("robot", json!({"expirationSeconds": 5_000_000_000_i64}), 422),
            ("robot", json!({"boundObjectRef": pod("none", "")}), 404),
            ("robot", json!({"boundObjectRef": pod("web", "other")}), 409),
            ("robot", json!({"boundObjectRef": {"kind": "ConfigMap", "name": "web"}}), 400),
        ] {
            let answer =
                issue_token(&store, &signer, ("ns", account), json!({ "spec": spec }), NOW);
            assert_eq!(answer.unwrap_err().code, code, "{account} {spec}");
        }
        let short = json!({"spec": {"expirationSeconds": 1}});
        let error = issue_token(&store, &signer, ("ns", "robot"), short, NOW).unwrap_err();
        let why = "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes";
        assert!(error.message.ends_with(why), "{}", error.message);
    }
}

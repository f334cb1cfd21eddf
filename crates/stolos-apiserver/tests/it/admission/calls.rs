//! Calling webhooks: what may go wrong, and what must not happen then.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;

use super::{MAPS, create_map, map, mutate_by, validate_by, webhook};
use crate::harness::Cluster;
use crate::hooks::{Answer, Hooks, allow, deny, respond};

/// Returns the message and the reason of the refusal of a creation.
async fn refusal(cluster: &Cluster, name: &str) -> (u16, String) {
    let (status, body) = create_map(cluster, name).await;
    assert!(!status.is_success(), "{body}");
    assert!(!cluster.exists(&format!("{MAPS}/{name}")).await);
    (status.as_u16(), body["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_webhook_that_is_not_there_fails_the_write_unless_failures_are_ignored() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    let url = hooks.url.clone();
    let webhooks =
        |policy: &str| webhook(&hooks, "/gone", |webhook| webhook["failurePolicy"] = json!(policy));
    let (closed, open) = (webhooks("Fail"), webhooks("Ignore"));
    let address = hooks.address.clone();
    drop(hooks);
    validate_by(&cluster, "v", json!([open.clone()])).await;
    mutate_by(&cluster, "m", json!([open])).await;
    assert_eq!(create_map(&cluster, "a").await.0, StatusCode::CREATED);
    validate_by(&cluster, "w", json!([closed])).await;
    let (code, message) = refusal(&cluster, "b").await;
    assert_eq!(code, 500);
    assert_eq!(
        message,
        format!(
            "Internal error occurred: failed calling webhook \"gone.example.com\": failed to call webhook: Post \
             \"{url}/gone?timeout=10s\": dial tcp {address}: connect: connection refused"
        )
    );
    let (_, body) = create_map(&cluster, "b").await;
    assert_eq!(body["reason"], "InternalError");
    let cause = body["details"]["causes"][0]["message"].as_str().unwrap();
    assert!(cause.starts_with("failed calling webhook"), "{cause}");
}

#[tokio::test]
async fn a_slow_webhook_is_not_waited_for() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, _| Answer::Never).await;
    let slow = |policy: &'static str| {
        move |webhook: &mut Value| {
            webhook["timeoutSeconds"] = json!(1);
            webhook["failurePolicy"] = json!(policy);
        }
    };
    validate_by(&cluster, "v", json!([webhook(&hooks, "/slow", slow("Fail"))])).await;
    let (code, message) = refusal(&cluster, "a").await;
    assert_eq!(code, 500);
    assert!(message.ends_with("/slow?timeout=1s\": context deadline exceeded"), "{message}");
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v";
    cluster.ok(Method::DELETE, path, None).await;
    mutate_by(&cluster, "m", json!([webhook(&hooks, "/slow", slow("Ignore"))])).await;
    assert_eq!(create_map(&cluster, "a").await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_stranger_is_not_trusted() {
    let cluster = Cluster::start().await;
    let (hooks, other) = (Hooks::allowing().await, Hooks::allowing().await);
    let foreign = |webhook: &mut Value| webhook["clientConfig"]["caBundle"] = json!(other.bundle);
    let system = |webhook: &mut Value| webhook["clientConfig"]["caBundle"] = Value::Null;
    validate_by(&cluster, "a", json!([webhook(&hooks, "/foreign", foreign)])).await;
    let (_, message) = refusal(&cluster, "a").await;
    let want = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert!(message.ends_with(want), "{message}");
    validate_by(&cluster, "0", json!([webhook(&hooks, "/system", system)])).await;
    let (_, message) = refusal(&cluster, "a").await;
    assert!(message.contains("system.example.com") && message.ends_with(want), "{message}");
    assert_eq!(hooks.paths(), [] as [&str; 0], "nothing was told to a server that is not trusted");
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_trusted_if_it_is_the_bundle() {
    let cluster = Cluster::start().await;
    let (own, other) = (
        Hooks::self_signed(&["127.0.0.1"]).await,
        Hooks::self_signed(&["elsewhere.example"]).await,
    );
    validate_by(&cluster, "v", json!([webhook(&own, "/own", |_| {})])).await;
    assert_eq!(create_map(&cluster, "a").await.0, StatusCode::CREATED);
    assert_eq!(own.asked("/own").len(), 1);
    validate_by(&cluster, "w", json!([webhook(&other, "/other", |_| {})])).await;
    let (_, message) = refusal(&cluster, "b").await;
    let want =
        "x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs";
    assert!(message.ends_with(want), "{message}");
    let foreign = |webhook: &mut Value| webhook["clientConfig"]["caBundle"] = json!(other.bundle);
    validate_by(&cluster, "0", json!([webhook(&own, "/foreign", foreign)])).await;
    let (_, message) = refusal(&cluster, "c").await;
    assert!(message.contains("foreign.example.com") && message.contains("x509"), "{message}");
}

#[tokio::test]
async fn answers_that_say_nothing_fail_the_call() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| match review["request"]["name"].as_str().unwrap() {
        "empty" => Answer::Json(json!({})),
        "text" => Answer::Status(200, "ok".to_owned()),
        "broken" => Answer::Status(500, "boom".to_owned()),
        "nothing" => Answer::Status(200, String::new()),
        "moved" => Answer::Status(302, String::new()),
        "other" => Answer::Json(json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": "other", "allowed": true},
        })),
        "patch" => {
            respond(review, json!({"allowed": true, "patch": "W10=", "patchType": "JSONPatch"}))
        }
        _ => allow(review),
    })
    .await;
    validate_by(&cluster, "v", json!([webhook(&hooks, "/odd", |_| {})])).await;
    let failed = "Internal error occurred: failed calling webhook \"odd.example.com\": ";
    for (name, want) in [
        ("empty", "received invalid webhook response: webhook response was absent"),
        ("text", "failed to call webhook: couldn't get version/kind; json parse error: "),
        (
            "broken",
            "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding",
        ),
        (
            "nothing",
            "failed to call webhook: 0-length response with status code: 200 and content type: ",
        ),
        (
            "moved",
            "failed to call webhook: the server responded with the status code 302 but did not return more information",
        ),
        ("other", "received invalid webhook response: expected response.uid="),
        (
            "patch",
            "received invalid webhook response: validating webhook may not return response.patch",
        ),
    ] {
        let (code, message) = refusal(&cluster, name).await;
        assert_eq!(code, 500, "{name}");
        assert!(message.starts_with(&format!("{failed}{want}")), "{message}");
    }
}

/// Pitfall: nothing routes the addresses of services in one process.
#[tokio::test]
async fn services_are_reached_through_what_the_embedder_knows() {
    let hooks = Hooks::allowing().await;
    let address = hooks.address.clone();
    let options = Options {
        controllers: Controllers::api_server_only(),
        webhook_services: Some(Arc::new(move |service| {
            if (service.namespace.as_str(), service.name.as_str(), service.port)
                == ("hooks", "hook", 8443)
            {
                Ok(address.clone())
            } else {
                Err(format!("no route to {}", service.name))
            }
        })),
        ..Options::default()
    };
    let store = Store::memory().cluster("test").unwrap();
    let cluster = Cluster::start_on(store, options).await;
    let of_service = |name: &'static str| {
        move |webhook: &mut Value| {
            let bundle = webhook["clientConfig"]["caBundle"].clone();
            let service = json!({"namespace": "hooks", "name": name, "path": "/svc", "port": 8443});
            webhook["clientConfig"] = json!({"service": service, "caBundle": bundle});
        }
    };
    validate_by(&cluster, "v", json!([webhook(&hooks, "/svc", of_service("hook"))])).await;
    assert_eq!(create_map(&cluster, "a").await.0, StatusCode::CREATED);
    assert_eq!(hooks.asked("/svc").len(), 1);
    validate_by(&cluster, "w", json!([webhook(&hooks, "/x", of_service("lost"))])).await;
    let (_, message) = refusal(&cluster, "b").await;
    assert!(
        message.ends_with("Post \"https://lost.hooks.svc:8443/svc?timeout=10s\": no route to lost"),
        "{message}"
    );
}

#[tokio::test]
async fn services_are_unknown_without_help() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    let service = |webhook: &mut Value| {
        webhook["clientConfig"] = json!({"service": {"namespace": "hooks", "name": "hook"}});
    };
    validate_by(&cluster, "v", json!([webhook(&hooks, "/svc", service)])).await;
    let (_, message) = refusal(&cluster, "a").await;
    assert!(message.ends_with("service \"hook\" not found"), "{message}");
}

#[tokio::test]
async fn dry_runs_call_only_what_has_no_side_effects_then() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    let none_on_dry_run = |webhook: &mut Value| webhook["sideEffects"] = json!("NoneOnDryRun");
    validate_by(&cluster, "v", json!([webhook(&hooks, "/dry", none_on_dry_run)])).await;
    let dry = format!("{MAPS}?dryRun=All");
    cluster.ok(Method::POST, &dry, Some(map("a"))).await;
    assert_eq!(hooks.asked("/dry")[0]["dryRun"], true);
    assert_eq!(hooks.asked("/dry")[0]["options"]["dryRun"], json!(["All"]));
    assert!(!cluster.exists(&format!("{MAPS}/a")).await);
    // Webhooks with side effects are not accepted any more; an old one may still be there.
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v";
    let mut stored = cluster.ok(Method::GET, path, None).await;
    stored["webhooks"][0]["sideEffects"] = json!("Some");
    store_unchecked(&cluster, stored).await;
    let (status, body) = cluster.send(Method::POST, &dry, Some(map("a"))).await;
    assert_eq!((status.as_u16(), &body["reason"]), (400, &json!("BadRequest")));
    assert_eq!(body["message"], "admission webhook \"dry.example.com\" does not support dry run");
    assert_eq!(hooks.asked("/dry").len(), 1, "it was not called");
    assert_eq!(create_map(&cluster, "a").await.0, StatusCode::CREATED);
}

/// Writes an object past the checks of the API.
async fn store_unchecked(cluster: &Cluster, object: Value) {
    use stolos_apiserver::store::{Attributes, Change, Expect, Key, Write};
    let resource = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    let key = Key::cluster_scoped(object["metadata"]["name"].as_str().unwrap());
    let current = cluster.store.get(&resource.into(), &key).unwrap();
    let attributes = Attributes::of(&object);
    let write = Write {
        resource: resource.into(),
        key,
        expect: Expect::Revision(current.revision),
        change: Change::Put(object, attributes),
        requires: None,
    };
    cluster.store.commit(write).await.unwrap();
}

/// Pitfall: a lock that is held while a webhook is asked waits for ever when the webhook calls back.
#[tokio::test]
async fn a_webhook_may_call_the_server_that_asks_it() {
    let cluster = Cluster::start().await;
    let local = cluster.server.local();
    let runtime = tokio::runtime::Handle::current();
    let hooks = Hooks::start(move |_, review| {
        let request = &review["request"];
        if request["name"] != "outer" {
            return allow(review);
        }
        // It writes an object about which it is asked in turn, and reads the one in question.
        let written = runtime.block_on(async {
            let _ = local.call(Method::POST, MAPS, Some(map("inner"))).await;
            local.call(Method::GET, &format!("{MAPS}/inner"), None).await
        });
        if written.is_ok() { allow(review) } else { deny(review, "could not write") }
    })
    .await;
    mutate_by(&cluster, "m", json!([webhook(&hooks, "/m", |_| {})])).await;
    validate_by(&cluster, "v", json!([webhook(&hooks, "/v", |_| {})])).await;
    let (status, body) = create_map(&cluster, "outer").await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert!(cluster.exists(&format!("{MAPS}/inner")).await);
}

#[tokio::test]
async fn a_conflict_during_admission_is_noticed() {
    let cluster = Cluster::start().await;
    create_map(&cluster, "a").await;
    let local = cluster.server.local();
    let runtime = tokio::runtime::Handle::current();
    let path = format!("{MAPS}/a");
    let inner = path.clone();
    let hooks = Hooks::start(move |_, review| {
        if review["request"]["userInfo"]["username"] == "tester"
            && review["request"]["oldObject"]["data"]["k"] == "v"
        {
            let patch = json!({"data": {"k": "theirs"}});
            runtime.block_on(local.patch(&inner, "application/merge-patch+json", patch)).unwrap();
        }
        allow(review)
    })
    .await;
    validate_by(&cluster, "v", json!([webhook(&hooks, "/v", |_| {})])).await;
    // A patch is made again on what the other writer left, and judged again.
    let made = cluster.merge(&path, json!({"data": {"mine": "1"}})).await;
    assert_eq!(made["data"], json!({"k": "theirs", "mine": "1"}));
    let mine: Vec<_> = hooks
        .asked("/v")
        .into_iter()
        .filter(|asked| asked["userInfo"]["username"] == "tester")
        .collect();
    assert_eq!(mine.len(), 2);
    assert_eq!(mine[1]["oldObject"]["data"]["k"], "theirs");
}

#[tokio::test]
async fn many_webhooks_and_requests_at_once_all_get_their_answers() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    let webhooks: Vec<Value> = (0..8).map(|n| webhook(&hooks, &format!("/v{n}"), |_| {})).collect();
    validate_by(&cluster, "v", json!(webhooks)).await;
    let names: Vec<String> = (0..64).map(|n| format!("m{n}")).collect();
    let writes = names.iter().map(|name| create_map(&cluster, name));
    for (status, body) in futures::future::join_all(writes).await {
        assert_eq!(status, StatusCode::CREATED, "{body}");
    }
    assert_eq!(hooks.paths().len(), 8 * 64);
}

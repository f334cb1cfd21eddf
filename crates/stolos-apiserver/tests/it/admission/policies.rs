//! ValidatingAdmissionPolicy.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stolos_apiserver::auth::UserInfo;

use super::{
    GROUP, MAPS, WIDGETS_V2, create_map, define_widgets, map, validate_by, warnings_of, webhook,
    widget,
};
use crate::harness::Cluster;
use crate::hooks::Hooks;

/// Stores a policy on config maps; `change` makes its spec special.
async fn policy(cluster: &Cluster, name: &str, change: impl FnOnce(&mut Value)) {
    let mut spec = json!({
        "matchConstraints": {"resourceRules": [{
            "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        }]},
        "validations": [{"expression": "object.metadata.name != 'bad'"}],
    });
    change(&mut spec);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": spec,
    });
    cluster.ok(Method::POST, &format!("{GROUP}/validatingadmissionpolicies"), Some(policy)).await;
}

/// Puts a policy into force.
async fn bind(cluster: &Cluster, name: &str, policy: &str, change: impl FnOnce(&mut Value)) {
    let mut spec = json!({"policyName": policy, "validationActions": ["Deny"]});
    change(&mut spec);
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": spec,
    });
    let path = format!("{GROUP}/validatingadmissionpolicybindings");
    cluster.ok(Method::POST, &path, Some(binding)).await;
}

/// Returns code, reason and message of the answer to a creation.
async fn refusal(cluster: &Cluster, name: &str) -> (u16, String, String) {
    let (status, body) = create_map(cluster, name).await;
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    (status.as_u16(), text("reason"), text("message"))
}

#[tokio::test]
async fn a_bound_policy_denies_at_once_and_an_unbound_one_never() {
    let cluster = Cluster::start().await;
    policy(&cluster, "p", |_| {}).await;
    assert_eq!(create_map(&cluster, "good").await.0, StatusCode::CREATED);
    let (status, _) = create_map(&cluster, "bad").await;
    assert_eq!(status, StatusCode::CREATED, "nothing binds the policy");
    cluster.ok(Method::DELETE, &format!("{MAPS}/bad"), None).await;
    bind(&cluster, "b", "p", |_| {}).await;
    let before = cluster.store.revision();
    let (_, body) = create_map(&cluster, "bad").await;
    let message = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: \
                   object.metadata.name != 'bad'";
    assert_eq!(
        body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("configmaps \"bad\" is forbidden: {message}"), "reason": "Invalid", "code": 422,
            "details": {"name": "bad", "kind": "configmaps", "causes": [{"message": message}]},
        })
    );
    assert_eq!(cluster.store.revision(), before);
    cluster.ok(Method::DELETE, &format!("{GROUP}/validatingadmissionpolicybindings/b"), None).await;
    assert_eq!(create_map(&cluster, "bad").await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn reasons_and_messages_are_those_of_the_validation() {
    let cluster = Cluster::start().await;
    policy(&cluster, "p", |spec| {
        spec["validations"] = json!([
            {"expression": "object.metadata.name != 'forbidden'", "reason": "Forbidden", "message": "not this"},
            {"expression": "object.metadata.name != 'large'", "reason": "RequestEntityTooLarge"},
            {
                "expression": "object.metadata.name != 'computed'", "message": "fixed",
                "messageExpression": "'no ' + object.metadata.name",
            },
            {
                "expression": "object.metadata.name != 'failing'", "message": "fixed",
                "messageExpression": "'x' + object.data.missing",
            },
        ]);
    })
    .await;
    bind(&cluster, "b", "p", |_| {}).await;
    let text = |name: &str, why: &str| {
        format!(
            "configmaps \"{name}\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"
        )
    };
    for (name, code, reason, why) in [
        ("forbidden", 403, "Forbidden", "not this"),
        (
            "large",
            413,
            "RequestEntityTooLarge",
            "failed expression: object.metadata.name != 'large'",
        ),
        ("computed", 422, "Invalid", "no computed"),
        ("failing", 422, "Invalid", "fixed"),
    ] {
        assert_eq!(refusal(&cluster, name).await, (code, reason.to_owned(), text(name, why)));
    }
}

#[tokio::test]
async fn expressions_see_objects_request_namespace_and_rights() {
    let cluster = Cluster::start().await;
    policy(&cluster, "p", |spec| {
        spec["matchConstraints"]["resourceRules"][0]["operations"] = json!(["CREATE", "UPDATE", "DELETE"]);
        spec["variables"] = json!([
            {"name": "size", "expression": "request.operation == 'DELETE' ? 0 : object.data.size()"},
            {"name": "small", "expression": "variables.size < 2"},
            {"name": "never", "expression": "object.data.missing"},
        ]);
        spec["validations"] = json!([
            {"expression": "variables.small"},
            {"expression": "request.operation != 'UPDATE' || oldObject.data.k == 'v'"},
            {"expression": "request.operation == 'DELETE' ? object == null : oldObject == null || has(object.data)"},
            {"expression": "namespaceObject.metadata.name == request.namespace"},
            {"expression": "request.userInfo.username == 'tester' && !request.dryRun"},
            {"expression": "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()"},
            {"expression": "authorizer.requestResource.check('anything').allowed()"},
        ]);
    })
    .await;
    bind(&cluster, "b", "p", |_| {}).await;
    assert_eq!(refusal(&cluster, "a").await, (201, String::new(), String::new()));
    let path = format!("{MAPS}/a");
    let patch = json!({"data": {"more": "x"}});
    let (status, body) =
        cluster.send_as(Method::PATCH, &path, "application/merge-patch+json", Some(patch)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        body["message"].as_str().unwrap().ends_with("failed expression: variables.small"),
        "{body}"
    );
    cluster.merge(&path, json!({"data": {"k": "w"}})).await;
    let (_, body) = cluster
        .send_as(
            Method::PATCH,
            &path,
            "application/merge-patch+json",
            Some(json!({"data": {"k": "z"}})),
        )
        .await;
    assert!(body["message"].as_str().unwrap().contains("oldObject.data.k"), "{body}");
    cluster.ok(Method::DELETE, &path, None).await;
    // A user without rights is told apart.
    let auth = cluster.server.auth().authenticator();
    auth.add_static_token("weak", UserInfo::authenticated("tester", &["system:masters-not"]));
    let (status, _) = cluster.with_token("weak", Method::POST, MAPS, map("w")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn failures_of_expressions_follow_the_failure_policy() {
    for (failure_policy, code) in [("Fail", 422), ("Ignore", 201)] {
        let cluster = Cluster::start().await;
        policy(&cluster, "p", |spec| {
            spec["failurePolicy"] = json!(failure_policy);
            spec["validations"] = json!([{"expression": "object.data.missing == 'x'"}]);
        })
        .await;
        bind(&cluster, "b", "p", |_| {}).await;
        let (found, _, message) = refusal(&cluster, "a").await;
        assert_eq!(found, code, "{message}");
        if failure_policy == "Fail" {
            let want =
                "expression 'object.data.missing == 'x'' resulted in error: no such key: missing";
            assert!(message.ends_with(want), "{message}");
        }
    }
}

#[tokio::test]
async fn bindings_warn_or_audit_without_refusing() {
    let cluster = Cluster::start().await;
    policy(&cluster, "p", |_| {}).await;
    bind(&cluster, "b", "p", |spec| spec["validationActions"] = json!(["Warn", "Audit"])).await;
    let warnings = warnings_of(&cluster, Method::POST, MAPS, &map("bad")).await;
    let want = "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: \
                object.metadata.name != 'bad'\"";
    assert_eq!(warnings, [want]);
    assert!(cluster.exists(&format!("{MAPS}/bad")).await);
}

#[tokio::test]
async fn match_conditions_and_resources_narrow_a_policy() {
    let cluster = Cluster::start().await;
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"env": name}}});
    for name in ["prod", "test"] {
        cluster.ok(Method::POST, "/api/v1/namespaces", Some(namespace(name))).await;
    }
    policy(&cluster, "p", |spec| {
        spec["validations"] = json!([{"expression": "false"}]);
        spec["matchConditions"] = json!([{"name": "skip", "expression": "object.metadata.name != 'skipped'"}]);
        spec["matchConstraints"]["excludeResourceRules"] = json!([{
            "operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"],
            "resourceNames": ["spared"],
        }]);
    })
    .await;
    bind(&cluster, "b", "p", |spec| {
        spec["matchResources"] = json!({"namespaceSelector": {"matchLabels": {"env": "prod"}}});
    })
    .await;
    let path = |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps");
    for (namespace, name, code) in
        [("test", "a", 201), ("prod", "skipped", 201), ("prod", "spared", 201), ("prod", "a", 422)]
    {
        let (status, _) = cluster.send(Method::POST, &path(namespace), Some(map(name))).await;
        assert_eq!(status.as_u16(), code, "{namespace}/{name}");
    }
}

#[tokio::test]
async fn parameters_come_from_any_kind() {
    let cluster = Cluster::start().await;
    define_widgets(&cluster).await;
    policy(&cluster, "p", |spec| {
        spec["paramKind"] = json!({"apiVersion": "example.com/v2", "kind": "Widget"});
        spec["validations"] = json!([{
            "expression": "params == null || object.data.k != params.spec.color",
            "messageExpression": "'not ' + params.spec.color",
        }]);
    })
    .await;
    let by_name = |action: &'static str| {
        move |spec: &mut Value| {
            spec["paramRef"] = json!({"name": "limits", "parameterNotFoundAction": action});
        }
    };
    bind(&cluster, "b", "p", by_name("Deny")).await;
    let red = || {
        let mut red = map("x");
        red["data"]["k"] = json!("red");
        red
    };
    let (status, body) = cluster.send(Method::POST, MAPS, Some(red())).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let want = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(body["message"].as_str().unwrap().ends_with(want), "{body}");
    cluster.ok(Method::POST, WIDGETS_V2, Some(widget("v2", "limits"))).await;
    let (_, body) = cluster.send(Method::POST, MAPS, Some(red())).await;
    assert!(body["message"].as_str().unwrap().ends_with("denied request: not red"), "{body}");
    assert_eq!(create_map(&cluster, "y").await.0, StatusCode::CREATED);
    let path = format!("{WIDGETS_V2}/limits");
    cluster
        .merge(&path, json!({"spec": {"color": "blue"}, "metadata": {"labels": {"use": "yes"}}}))
        .await;
    assert_eq!(
        cluster.send(Method::POST, MAPS, Some(red())).await.0,
        StatusCode::CREATED,
        "changed parameters count at once"
    );
    // By label, in a namespace of their own; without any the binding has nothing to say.
    cluster.ok(Method::DELETE, &format!("{GROUP}/validatingadmissionpolicybindings/b"), None).await;
    bind(&cluster, "s", "p", |spec| {
        spec["paramRef"] = json!({
            "selector": {"matchLabels": {"use": "yes"}}, "namespace": "default", "parameterNotFoundAction": "Allow",
        });
    })
    .await;
    let mut blue = map("z");
    blue["data"]["k"] = json!("blue");
    let (status, _) = cluster
        .send(Method::POST, "/api/v1/namespaces/kube-system/configmaps", Some(blue.clone()))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    cluster.ok(Method::DELETE, &path, None).await;
    assert_eq!(cluster.send(Method::POST, MAPS, Some(blue)).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_policy_whose_parameters_are_of_no_kind_fails_closed() {
    let cluster = Cluster::start().await;
    policy(&cluster, "p", |spec| {
        spec["paramKind"] = json!({"apiVersion": "nowhere.example.com/v1", "kind": "Nothing"});
    })
    .await;
    bind(&cluster, "b", "p", |spec| {
        spec["paramRef"] = json!({"name": "x", "parameterNotFoundAction": "Allow"});
    })
    .await;
    let (code, _, message) = refusal(&cluster, "a").await;
    assert_eq!(code, 422);
    assert!(
        message.ends_with(
            "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource \
             referenced by paramKind: 'nowhere.example.com/v1, Kind=Nothing'"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn subresources_and_other_versions_are_covered() {
    let cluster = Cluster::start().await;
    define_widgets(&cluster).await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    cluster.ok(Method::POST, "/api/v1/namespaces/default/serviceaccounts", Some(account)).await;
    policy(&cluster, "tokens", |spec| {
        spec["matchConstraints"]["resourceRules"][0]["resources"] =
            json!(["serviceaccounts/token"]);
        spec["validations"] =
            json!([{"expression": "object.spec.expirationSeconds <= 600", "reason": "Forbidden"}]);
    })
    .await;
    bind(&cluster, "tokens", "tokens", |_| {}).await;
    let token = |seconds: i64| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds, "audiences": []}});
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    assert_eq!(cluster.send(Method::POST, path, Some(token(3600))).await.0, StatusCode::FORBIDDEN);
    assert_eq!(cluster.send(Method::POST, path, Some(token(600))).await.0, StatusCode::CREATED);
    policy(&cluster, "widgets", |spec| {
        let rule = &mut spec["matchConstraints"]["resourceRules"][0];
        rule["apiGroups"] = json!(["example.com"]);
        rule["resources"] = json!(["widgets"]);
        spec["validations"] = json!([{"expression": "object.apiVersion != 'example.com/v1' || object.spec.color != 'red'"}]);
    })
    .await;
    bind(&cluster, "widgets", "widgets", |_| {}).await;
    let (status, _) = cluster.send(Method::POST, WIDGETS_V2, Some(widget("v2", "w"))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "the rule names v1 and sees v1");
}

#[tokio::test]
async fn policies_come_before_validating_webhooks() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    validate_by(&cluster, "v", json!([webhook(&hooks, "/v", |_| {})])).await;
    policy(&cluster, "p", |_| {}).await;
    bind(&cluster, "b", "p", |_| {}).await;
    assert_eq!(refusal(&cluster, "bad").await.0, 422);
    assert_eq!(hooks.paths(), [] as [&str; 0]);
}

#[tokio::test]
async fn match_conditions_of_webhooks_decide_whether_they_are_called() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    let with = |policy: &'static str, expression: &'static str| {
        move |webhook: &mut Value| {
            webhook["failurePolicy"] = json!(policy);
            webhook["matchConditions"] = json!([{"name": "c", "expression": expression}]);
        }
    };
    let leases =
        "!(request.resource.resource == 'configmaps' && object.metadata.name == 'skipped')";
    let broken = "object.data.missing == 'x'";
    let webhooks = json!([
        webhook(&hooks, "/skips", with("Fail", leases)),
        webhook(&hooks, "/open", with("Ignore", broken)),
        webhook(
            &hooks,
            "/system",
            with("Fail", "!authorizer.group('').resource('x').check('y').allowed()")
        ),
    ]);
    validate_by(&cluster, "v", webhooks).await;
    create_map(&cluster, "skipped").await;
    assert_eq!(hooks.paths(), [] as [&str; 0]);
    create_map(&cluster, "a").await;
    assert_eq!(hooks.paths(), ["/skips"]);
    validate_by(&cluster, "w", json!([webhook(&hooks, "/closed", with("Fail", broken))])).await;
    let (code, reason, message) = refusal(&cluster, "b").await;
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        message,
        "configmaps \"b\" is forbidden: expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
    );
    assert!(!cluster.exists(&format!("{MAPS}/b")).await);
}

#[tokio::test]
async fn the_status_of_a_policy_tells_of_types_that_do_not_fit() {
    let cluster = Cluster::start_with(stolos_apiserver::controllers::Controllers::default()).await;
    policy(&cluster, "good", |_| {}).await;
    policy(&cluster, "odd", |spec| {
        spec["validations"] = json!([{"expression": "object.dataa.k == 'x'"}]);
    })
    .await;
    let status = async |name: &str| {
        let path = format!("{GROUP}/validatingadmissionpolicies/{name}");
        cluster.ok(Method::GET, &path, None).await["status"].clone()
    };
    for name in ["good", "odd"] {
        let observed = async || status(name).await["observedGeneration"] == 1;
        cluster.until("the policy is checked", observed).await;
    }
    assert_eq!(status("good").await["typeChecking"], json!({}));
    let warning = &status("odd").await["typeChecking"]["expressionWarnings"][0];
    assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
    let text = warning["warning"].as_str().unwrap();
    assert!(
        text.starts_with("/v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'dataa'"),
        "{text}"
    );
}

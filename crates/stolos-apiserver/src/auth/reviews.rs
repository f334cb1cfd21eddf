//! Questions about identity and access, answered and forgotten.

use serde_json::{Value, json};

use super::rbac::Rule;
use super::{Access, Authenticator, Authorizer, Decision, Target, UserInfo};
use crate::schema::causes::invalid;
use crate::status::ApiError;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Answers the create-only resources of `authentication.k8s.io` and `authorization.k8s.io`.
#[derive(Clone)]
pub struct Reviews {
    authenticator: Authenticator,
    authorizer: Authorizer,
    /// Audience of the API server itself.
    audience: String,
}

impl Reviews {
    /// Builds the answers from the parts that decide.
    #[must_use]
    pub fn new(authenticator: Authenticator, authorizer: Authorizer, audience: &str) -> Self {
        Self { authenticator, authorizer, audience: audience.to_owned() }
    }

    /// Answers a review of the given kind: the body comes back with its `status`. `namespace` is the one in the URL,
    /// which only `LocalSubjectAccessReview` has.
    ///
    /// # Errors
    /// 422 when the question is incomplete; 404 for a kind that is no review.
    pub fn review(
        &self,
        kind: &str,
        namespace: Option<&str>,
        user: &UserInfo,
        mut body: Value,
    ) -> Result<Value, ApiError> {
        if !body.is_object() {
            return Err(ApiError::bad_request(format!("the body is not a {kind}")));
        }
        let spec = &body["spec"];
        let (group, status) = match kind {
            "SelfSubjectReview" => (AUTHENTICATION, json!({ "userInfo": user })),
            "TokenReview" => (AUTHENTICATION, self.token_review(spec)?),
            "SelfSubjectAccessReview" => (AUTHORIZATION, self.access_status(user, spec)?),
            "SubjectAccessReview" => (AUTHORIZATION, self.access_status(&subject(spec)?, spec)?),
            "LocalSubjectAccessReview" => {
                let namespace = namespace.unwrap_or_default();
                if spec["resourceAttributes"]["namespace"] != namespace {
                    let field = "spec.resourceAttributes.namespace";
                    let found =
                        spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
                    let why = "must match metadata.namespace";
                    return Err(unanswerable(field, &found.into(), why));
                }
                (AUTHORIZATION, self.access_status(&subject(spec)?, spec)?)
            }
            "SelfSubjectRulesReview" => {
                let status = self.rules_status(user, spec)?;
                body["spec"] = json!({});
                (AUTHORIZATION, status)
            }
            _ => return Err(ApiError::not_found("", kind, "")),
        };
        body["kind"] = json!(kind);
        body["apiVersion"] = json!(format!("{group}/v1"));
        if body["metadata"].is_null() {
            body["metadata"] = json!({});
        }
        body["status"] = status;
        Ok(body)
    }

    fn access_status(&self, user: &UserInfo, spec: &Value) -> Result<Value, ApiError> {
        let Decision { allowed, reason } = self.authorizer.decide(user, &access(spec)?);
        let mut status = json!({ "allowed": allowed });
        if !reason.is_empty() {
            status["reason"] = json!(reason);
        }
        Ok(status)
    }

    fn rules_status(&self, user: &UserInfo, spec: &Value) -> Result<Value, ApiError> {
        let Some(namespace) = spec["namespace"].as_str().filter(|namespace| !namespace.is_empty())
        else {
            return Err(ApiError::bad_request("no namespace on request"));
        };
        let rules = self.authorizer.rules_of(user, namespace);
        let (on_paths, on_resources): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| rule.resources.is_empty());
        Ok(json!({
            "resourceRules": on_resources,
            "nonResourceRules": on_paths,
            "incomplete": false,
        }))
    }

    fn token_review(&self, spec: &Value) -> Result<Value, ApiError> {
        let Some(token) = spec["token"].as_str().filter(|token| !token.is_empty()) else {
            return Err(ApiError::bad_request(
                "token is required for TokenReview in authentication",
            ));
        };
        let mut audiences = texts(&spec["audiences"]);
        if audiences.is_empty() {
            audiences.push(self.audience.clone());
        }
        Ok(match self.authenticator.authenticate_token(token, &audiences) {
            Ok((user, audiences)) => {
                json!({ "authenticated": true, "user": user, "audiences": audiences })
            }
            Err(error) => json!({ "user": {}, "error": error.to_string() }),
        })
    }
}

/// Reads the user that a question is about.
fn subject(spec: &Value) -> Result<UserInfo, ApiError> {
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten();
    let user = UserInfo {
        name: text("user"),
        uid: text("uid"),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(unanswerable("spec.user", &"".into(), why));
    }
    Ok(user)
}

/// Reads the act that a question is about.
fn access(spec: &Value) -> Result<Access, ApiError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (&spec["resourceAttributes"], &spec["nonResourceAttributes"]) {
        (on, Value::Null) if on.is_object() => {
            let target = Target::Resource {
                group: text(&on["group"]),
                resource: text(&on["resource"]),
                subresource: text(&on["subresource"]),
                namespace: text(&on["namespace"]),
                name: text(&on["name"]),
            };
            Ok(Access { verb: text(&on["verb"]), target })
        }
        (Value::Null, on) if on.is_object() => {
            Ok(Access { verb: text(&on["verb"]), target: Target::Path(text(&on["path"])) })
        }
        (Value::Null, _) => {
            let what =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            Err(unanswerable("spec.resourceAttributes", &Value::Null, what))
        }
        (_, both) => {
            let what = "cannot be specified in combination with resourceAttributes";
            Err(unanswerable("spec.nonResourceAttributes", both, what))
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// 422, which upstream words without the kind.
fn unanswerable(field: &str, value: &Value, what: &str) -> ApiError {
    ApiError::invalid(AUTHORIZATION, "", "", vec![invalid(field, value, what)])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::auth::TokenSigner;
    use crate::clock::Clock;
    use crate::store::Store;

    fn ask(kind: &str, user: &UserInfo, spec: &Value) -> Result<Value, ApiError> {
        let store = Store::memory().cluster("hub").unwrap();
        let signer = Arc::new(TokenSigner::generate("https://test").unwrap());
        let authenticator =
            Authenticator::new(store.clone(), signer, Clock::tokio(Timestamp::UNIX_EPOCH));
        authenticator.add_static_token("secret", UserInfo::authenticated("joiner", &[]));
        let reviews = Reviews::new(authenticator, Authorizer::new(store), "https://test");
        reviews.review(kind, Some("ns"), user, json!({ "spec": spec }))
    }

    #[tokio::test]
    async fn users_learn_who_they_are() {
        let ann = UserInfo::authenticated("ann", &["team"]);
        let answer = ask("SelfSubjectReview", &ann, &Value::Null).unwrap();
        assert_eq!(answer["apiVersion"], "authentication.k8s.io/v1");
        let wanted = json!({"username": "ann", "groups": ["team", "system:authenticated"]});
        assert_eq!(answer["status"]["userInfo"], wanted);
    }

    #[tokio::test]
    async fn users_learn_what_they_and_others_may() {
        let ann = UserInfo::authenticated("ann", &[]);
        let on = json!({"verb": "get", "resource": "pods", "namespace": "ns"});
        let own = ask("SelfSubjectAccessReview", &ann, &json!({"resourceAttributes": on})).unwrap();
        assert_eq!(own["status"], json!({"allowed": false}));
        let spec = json!({"resourceAttributes": on, "user": "root", "groups": ["system:masters"]});
        for kind in ["SubjectAccessReview", "LocalSubjectAccessReview"] {
            assert_eq!(ask(kind, &ann, &spec).unwrap()["status"]["allowed"], true, "{kind}");
        }
        let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}});
        assert_eq!(
            ask("SelfSubjectAccessReview", &ann, &path).unwrap()["status"]["allowed"],
            false
        );
    }

    #[tokio::test]
    async fn incomplete_questions_are_refused() {
        let ann = UserInfo::authenticated("ann", &[]);
        let on = json!({"verb": "get", "resource": "pods", "namespace": "other"});
        for (kind, spec, code) in [
            ("SelfSubjectAccessReview", json!({}), 422),
            (
                "SelfSubjectAccessReview",
                json!({"resourceAttributes": on, "nonResourceAttributes": {}}),
                422,
            ),
            ("SubjectAccessReview", json!({"resourceAttributes": on}), 422),
            ("LocalSubjectAccessReview", json!({"resourceAttributes": on, "user": "x"}), 422),
            ("SelfSubjectRulesReview", json!({}), 400),
            ("TokenReview", json!({}), 400),
        ] {
            assert_eq!(ask(kind, &ann, &spec).unwrap_err().code, code, "{kind} {spec}");
        }
    }

    #[tokio::test]
    async fn masters_see_that_they_have_every_rule() {
        let status =
            ask("SelfSubjectRulesReview", &UserInfo::internal("root"), &json!({"namespace": "ns"}))
                .unwrap();
        let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        assert_eq!(status["status"]["resourceRules"], json!([all]));
        assert_eq!(
            status["status"]["nonResourceRules"],
            json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}])
        );
    }

    #[tokio::test]
    async fn tokens_are_reviewed() {
        let ann = UserInfo::authenticated("ann", &[]);
        let good = ask("TokenReview", &ann, &json!({"token": "secret"})).unwrap();
        assert_eq!(good["status"]["user"]["username"], "joiner");
        assert_eq!(good["status"]["audiences"], json!(["https://test"]));
        let bad = ask("TokenReview", &ann, &json!({"token": "wrong"})).unwrap();
        assert_eq!(bad["status"]["authenticated"], Value::Null);
        assert!(bad["status"]["error"].is_string());
        let elsewhere = json!({"token": "secret", "audiences": ["vault"]});
        assert!(ask("TokenReview", &ann, &elsewhere).unwrap()["status"]["error"].is_string());
    }
}

//! Webhooks: other programs that change or judge writes.

mod mutating;
mod review;
mod validating;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use self::review::{ReviewVersion, Verdict};
use super::expression::{Conditions, Declared, Rights, Scene, request_json};
use super::matching::Criteria;
use super::{Request, internal};
use crate::auth::Authorizer;
use crate::registry::Resource;
use crate::status::ApiError;
use crate::webhook::Client;

pub(crate) use mutating::MutatingWebhooks;
pub(super) use review::fields as request_fields;
pub(crate) use validating::ValidatingWebhooks;

/// How long all webhooks of one request may take together, as long as upstream lets a write take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(34);

/// One webhook of a configuration, ready to be called.
pub(crate) struct Webhook {
    /// Tells webhooks apart, also those of one name.
    id: String,
    name: String,
    criteria: Criteria,
    conditions: Conditions,
    client: Client,
    timeout: Duration,
    /// A call that fails lets the write pass.
    fails_open: bool,
    /// It may be called when nothing will be stored.
    fit_for_dry_run: bool,
    /// It wants to see what later webhooks did.
    reinvoked: bool,
    version: Option<ReviewVersion>,
}

impl Webhook {
    /// Reads a webhook that has passed validation.
    pub(super) fn parse(id: String, webhook: &Value, client: Client) -> Self {
        let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30);
        Self {
            id,
            name: webhook["name"].as_str().unwrap_or_default().to_owned(),
            criteria: Criteria::of_webhook(webhook),
            conditions: Conditions::parse(&conditions_see(), &webhook["matchConditions"]),
            client,
            timeout: Duration::from_secs(seconds),
            fails_open: webhook["failurePolicy"] == "Ignore",
            fit_for_dry_run: matches!(
                webhook["sideEffects"].as_str(),
                Some("None" | "NoneOnDryRun")
            ),
            reinvoked: webhook["reinvocationPolicy"] == "IfNeeded",
            version: ReviewVersion::choose(&webhook["admissionReviewVersions"]),
        }
    }

    /// Tells whether the conditions for asking the webhook hold.
    ///
    /// # Errors
    ///
    /// When a condition has no value and failures count.
    fn is_wanted(
        &self,
        authorizer: &Authorizer,
        request: &Request<'_>,
        resource: &Resource,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<bool, ApiError> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let asked = request_json(request, resource);
        let scene = Scene::new(object, old, &asked, Rights::new(authorizer, request));
        let holds = self.conditions.hold(&scene, self.fails_open);
        holds.map_err(|why| {
            let resource = request.resource;
            ApiError::forbidden(&resource.group_version.group, &resource.plural, request.name, &why)
        })
    }

    /// Asks the webhook about a write.
    async fn ask(
        &self,
        request: &Request<'_>,
        resource: &Resource,
        object: Option<&Value>,
        old: Option<&Value>,
        deadline: Instant,
    ) -> Result<Verdict, Failure> {
        if request.dry_run && !self.fit_for_dry_run {
            let text = format!("admission webhook {:?} does not support dry run", self.name);
            return Err(Failure::Final(ApiError::bad_request(text)));
        }
        let version = self.version.ok_or_else(|| {
            let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            self.failed(&format!("could not create admission objects: {why}"))
        })?;
        let uid = Uuid::new_v4().to_string();
        let review = review::request(version, &uid, request, resource, object, old);
        let body = serde_json::to_vec(&review).expect("JSON values always serialise");
        let left = deadline.saturating_duration_since(Instant::now()).min(self.timeout);
        let answer = self.client.post(body.into(), left).await;
        let answer = answer.map_err(|error| self.failed(&error.to_string()))?;
        if let Some(why) = review::unreadable(version, &answer) {
            return Err(self.failed(&format!("failed to call webhook: {why}")));
        }
        review::verdict(version, &uid, &answer)
            .map_err(|why| self.failed(&format!("received invalid webhook response: {why}")))
    }

    fn failed(&self, why: &str) -> Failure {
        Failure::Call(format!("failed calling webhook {:?}: {why}", self.name))
    }

    /// Turns a denial into what the client hears: the webhook's own Status, with its name in the message.
    fn denial(&self, result: &Value) -> ApiError {
        let denied = format!("admission webhook {:?} denied the request", self.name);
        let text = |field: &str| result[field].as_str().filter(|text| !text.is_empty());
        let message = match text("message").or_else(|| text("reason")) {
            Some(why) => format!("{denied}: {why}"),
            None => format!("{denied} without explanation"),
        };
        let code = result["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| (400..1000).contains(code)).unwrap_or(400);
        let code = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
        let mut status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "code": code.as_u16(),
        });
        for field in ["reason", "details"] {
            if let Some(value) = result.get(field).filter(|value| !value.is_null()) {
                status[field] = value.clone();
            }
        }
        let mut error = ApiError::new(code, "", message);
        let retry = &status["details"]["retryAfterSeconds"];
        error.retry_after_seconds = retry.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        error.verbatim = Some(Box::new(status));
        error
    }
}

/// Returns what match conditions of webhooks may use.
pub(super) fn conditions_see() -> Declared {
    Declared { authorizer: true, ..Declared::default() }
}

/// Why a webhook's opinion is not known.
enum Failure {
    /// The call came to nothing; the failure policy decides.
    Call(String),
    /// The write is refused, whatever the failure policy.
    Final(ApiError),
}

impl Webhook {
    /// Lets a failure pass where the webhook fails open.
    fn settle(&self, failure: Failure) -> Result<(), ApiError> {
        match failure {
            Failure::Call(why) if self.fails_open => {
                tracing::warn!(webhook = %self.name, %why, "failed calling webhook, failing open");
                Ok(())
            }
            Failure::Call(why) => Err(internal(&why)),
            Failure::Final(error) => Err(error),
        }
    }
}

/// A webhook that is to be asked, and the version in which it wants to see the object.
struct Invocation {
    webhook: Arc<Webhook>,
    resource: Arc<Resource>,
}

//! Errors as clients see them: a `v1 Status` with reason, code and causes.

use http::StatusCode;
use serde_json::{Value, json};

/// One detail of a failed request, mostly one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable, such as `FieldValueInvalid` or `FieldManagerConflict`.
    pub reason: String,
    /// Human-readable.
    pub message: String,
    /// JSON path, such as `spec.replicas`.
    pub field: String,
}

/// A failed request. Every error that leaves the server is one of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: StatusCode,
    /// Status reason, such as `NotFound`; clients branch on it. Empty where upstream knows none.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
    /// Group of the resource, empty for the core group.
    pub group: String,
    /// Resource (plural) or kind, as upstream fills `details.kind`.
    pub kind: String,
    /// Object name.
    pub name: String,
    /// Object uid.
    pub uid: String,
    /// Details field by field.
    pub causes: Vec<Cause>,
    /// Seconds after which a retry makes sense; also sent as `Retry-After`.
    pub retry_after_seconds: Option<u32>,
    /// Continue token for `410 Expired` lists.
    pub continue_token: Option<Box<str>>,
    /// Details are sent even when there are none, as upstream does for most reasons.
    pub details: bool,
    /// The Status as a webhook worded it; it is sent in place of what the other fields say.
    pub verbatim: Option<Box<Value>>,
    /// What the client is warned of besides.
    pub warnings: Box<[String]>,
}

impl ApiError {
    /// Builds an error without details.
    #[must_use]
    pub fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            group: String::new(),
            kind: String::new(),
            name: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: None,
            continue_token: None,
            details: has_details(reason),
            verbatim: None,
            warnings: Box::default(),
        }
    }

    /// Sends details even when there are none.
    #[must_use]
    pub(crate) fn with_details(mut self) -> Self {
        self.details = true;
        self
    }

    /// Adds which object the request was about.
    #[must_use]
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        group.clone_into(&mut self.group);
        kind.clone_into(&mut self.kind);
        name.clone_into(&mut self.name);
        self
    }

    /// 400: the request itself is malformed.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401: no or wrong credentials.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403: the user may not, or a rule of the server forbids it.
    #[must_use]
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let text = format!("{} \"{name}\" is forbidden: {why}", qualified(group, resource));
        Self::new(StatusCode::FORBIDDEN, "Forbidden", text).about(group, resource, name)
    }

    /// 404: the object does not exist. `resource` is the plural, qualified by the group in the text.
    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let text = format!("{} \"{name}\" not found", qualified(group, resource));
        Self::new(StatusCode::NOT_FOUND, "NotFound", text).about(group, resource, name)
    }

    /// 409: an object of this name exists.
    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let text = format!("{} \"{name}\" already exists", qualified(group, resource));
        Self::new(StatusCode::CONFLICT, "AlreadyExists", text).about(group, resource, name)
    }

    /// 409: the object changed, or a precondition does not hold.
    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let text = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            qualified(group, resource)
        );
        Self::new(StatusCode::CONFLICT, "Conflict", text).about(group, resource, name)
    }

    /// 422: fields do not hold. `kind` is the kind; the text lists every cause as upstream does.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let mut lines: Vec<String> = Vec::with_capacity(causes.len());
        for cause in &causes {
            let line = format!("{}: {}", cause.field, cause.message);
            // Said once, also where two checks found the same.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let list = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let text = format!("{} \"{name}\" is invalid: {list}", qualified(group, kind));
        let mut error =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", text).about(group, kind, name);
        error.causes = causes;
        error
    }

    /// 500: our fault.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let text = format!("Internal error occurred: {message}");
        let mut error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", text);
        error.causes = vec![Cause { reason: String::new(), message, field: String::new() }];
        error
    }

    /// 500 without a reason: what upstream says of some mistakes of clients that it does not expect.
    #[must_use]
    pub fn unclassified(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// Renders the `v1 Status`.
    #[must_use]
    pub fn to_status(&self) -> Value {
        if let Some(status) = &self.verbatim {
            return (**status).clone();
        }
        let mut details = serde_json::Map::new();
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                details.insert(key.into(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(cause_to_json).collect();
            details.insert("causes".into(), Value::Array(causes));
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".into(), json!(seconds));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code.as_u16(),
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(token) = &self.continue_token {
            status["metadata"] = json!({ "continue": token });
        }
        if !details.is_empty() || self.details {
            status["details"] = Value::Object(details);
        }
        status
    }
}

/// Tells whether upstream sends details for a reason even when there are none.
fn has_details(reason: &str) -> bool {
    const NONE: [&str; 7] = [
        "",
        "BadRequest",
        "Expired",
        "NotAcceptable",
        "RequestEntityTooLarge",
        "Unauthorized",
        "UnsupportedMediaType",
    ];
    !NONE.contains(&reason)
}

fn cause_to_json(cause: &Cause) -> Value {
    let parts = [("reason", &cause.reason), ("message", &cause.message), ("field", &cause.field)];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    parts.map(|(key, text)| (key.to_owned(), Value::from(text.as_str()))).collect()
}

/// Writes `deployments.apps`, or `pods` in the core group.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

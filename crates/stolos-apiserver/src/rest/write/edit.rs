//! What a request makes of the live object: PUT, the four patches, scale.

use http::StatusCode;
use serde_json::Value;
use tracing::debug;

use crate::managed_fields::{self, Manager, ResetFields};
use crate::patch::{self, PatchError};
use crate::registry::Resource;
use crate::rest::strict::as_go_prints;
use crate::status::ApiError;

/// Computes the next state of an object from the live one.
pub(crate) type Compute = Box<dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync>;

/// A change that can be made again when another write was faster.
pub(crate) enum Edit {
    /// The whole object.
    Replace(Value),
    /// RFC 6902.
    JsonPatch(Value),
    /// RFC 7386.
    MergePatch(Value),
    /// Kubernetes' own, for built-in kinds.
    StrategicMergePatch(Value),
    /// Server-side apply.
    Apply {
        /// What the manager wants.
        config: Value,
        /// Takes fields from other managers.
        force: bool,
    },
    /// A change that a subresource computes.
    With(Compute),
    /// A change that the server makes for a subresource, which leaves the owners of fields as they are.
    Unowned(Compute),
}

/// What an edit made.
#[derive(Debug)]
pub(crate) enum Edited {
    /// A new state, whose field ownership is still to be recorded.
    Object(Value),
    /// A new state with its field ownership.
    Applied(Value),
    /// Nothing changes.
    Unchanged,
}

impl Edit {
    /// Makes the change.
    pub(crate) fn apply(
        &self,
        resource: &Resource,
        live: &Value,
        manager: &Manager,
        reset: ResetFields,
    ) -> Result<Edited, ApiError> {
        let patched = |error: PatchError| patch_failed(&error);
        match self {
            Self::Replace(object) => Ok(Edited::Object(object.clone())),
            Self::With(compute) => compute(live).map(Edited::Object),
            Self::Unowned(compute) => compute(live).map(Edited::Applied),
            Self::JsonPatch(operations) => {
                check_operation_count(operations)?;
                let mut object = live.clone();
                patch::json(&mut object, operations).map_err(patched)?;
                Ok(Edited::Object(object))
            }
            Self::MergePatch(changes) => {
                let mut object = live.clone();
                patch::merge(&mut object, changes);
                Ok(Edited::Object(object))
            }
            Self::StrategicMergePatch(changes) => patch::strategic(&resource.schema, live, changes)
                .map(Edited::Object)
                .map_err(patched),
            Self::Apply { config, force } => {
                let applied = managed_fields::apply(
                    &resource.schema,
                    Some(live),
                    config,
                    manager,
                    *force,
                    &reset,
                );
                Ok(match applied? {
                    Some(object) => Edited::Applied(object),
                    None => Edited::Unchanged,
                })
            }
        }
    }

    /// Returns what a refusal of unknown fields shows: the patch or its result.
    pub(crate) fn shown(&self, result: &Value) -> String {
        match self {
            Self::Replace(_) | Self::With(_) | Self::Unowned(_) | Self::Apply { .. } => {
                String::new()
            }
            Self::JsonPatch(_) | Self::MergePatch(_) => result.to_string(),
            Self::StrategicMergePatch(changes) => as_go_prints(changes),
        }
    }

    /// Tells whether this is a change to the stored object and not a whole new one.
    pub(crate) fn is_patch(&self) -> bool {
        match self {
            Self::Replace(_) | Self::With(_) | Self::Unowned(_) | Self::Apply { .. } => false,
            Self::JsonPatch(_) | Self::MergePatch(_) | Self::StrategicMergePatch(_) => true,
        }
    }
}

fn check_operation_count(operations: &Value) -> Result<(), ApiError> {
    let count = operations.as_array().map_or(0, Vec::len);
    if count <= patch::MAX_OPERATIONS {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLarge",
        format!(
            "The allowed maximum operations in a JSON patch is {}, got {count}",
            patch::MAX_OPERATIONS
        ),
    ))
}

/// A patch that cannot be read is 400; one that does not fit the object is 422, and clients are told no more.
fn patch_failed(error: &PatchError) -> ApiError {
    match error {
        PatchError::Malformed(_) => ApiError::bad_request(error.to_string()),
        PatchError::Unprocessable(_) => {
            debug!(%error, "patch does not fit the object");
            let text = "the server rejected our request due to an error in our request";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", text)
        }
    }
}

//! What happens to an object over its life, as plain functions: creation, update, deletion.
//!
//! The shell reads the stored object, calls one of these, and commits what comes out.

mod create;
mod delete;
mod initial_status;
mod owners;
mod signing_request;
mod update;
mod validate;

pub(crate) use create::{complete_create, generate_name, prepare_create, wipe_server_fields};
pub(crate) use delete::{Deletion, decide_delete, last_state};
pub(crate) use owners::without_duplicate_owners;
pub(crate) use signing_request::{
    is_signing_request, prepare_update as prepare_signing_update, record_requester,
};
pub(crate) use update::{Part, ends_deletion, prepare_update};
pub(crate) use validate::{
    validate_annotations_and_labels, validate_metadata, validate_metadata_update,
};

//! Writes: read the stored object, let the lifecycle rules decide, admit, validate, commit; again when another write
//! was faster.

mod admit;
mod create;
mod delete;
mod edit;
mod update;

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

pub(crate) use create::Ownership;
pub(crate) use delete::Deleted;
pub(crate) use edit::{Edit, Edited};

use super::admission;
use super::call::Call;
use super::lifecycle::{self, Part};
use super::query::WriteOptions;
use super::strict::{self, Origin};
use super::{Core, convert, meta};
use crate::addresses::{Refusal, Reservation};
use crate::crd;
use crate::managed_fields::{Manager, ResetFields};
use crate::registry::Resource;
use crate::schema;
use crate::schema::parse::Problem;
use crate::status::{ApiError, Cause};
use crate::store::{Attributes, Change, CommitError, Expect, Version, Write};

/// How often a write is tried again when another one was faster, as upstream.
const MAX_ATTEMPTS: usize = 5;

/// What came out of a write.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// The stored state.
    Stored(Arc<Version>),
    /// What a dry run would have stored, as it would be served.
    Dry(Value),
}

impl Written {
    /// Returns the object as it is served.
    ///
    /// # Errors
    ///
    /// When a webhook has to convert it and does not.
    pub(crate) async fn served(&self, resource: &Resource) -> Result<Value, ApiError> {
        match self {
            Self::Stored(version) => convert::served(resource, version).await,
            Self::Dry(object) => Ok(object.clone()),
        }
    }
}

/// Why the store did not take an object.
enum PutError {
    /// It could not be brought into the stored form.
    Form(ApiError),
    /// The store refused it.
    Commit(CommitError),
}

impl From<ApiError> for PutError {
    fn from(error: ApiError) -> Self {
        Self::Form(error)
    }
}

impl From<CommitError> for PutError {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

/// Carries out the writes of one request.
pub(crate) struct Writer<'a> {
    pub(crate) core: &'a Core,
    pub(crate) call: &'a Call,
    pub(crate) options: WriteOptions,
    /// What strict decoding objects to in the body of a patch.
    pub(crate) patch_problems: Vec<Problem>,
    /// Plugins are asked. They are not for what an action does that they have judged already.
    admits: bool,
    /// The object is one of a collection that is deleted; plugins are not told its name apart from the object.
    of_collection: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(core: &'a Core, call: &'a Call, options: WriteOptions) -> Self {
        Self {
            core,
            call,
            options,
            patch_problems: Vec::new(),
            admits: call.admits,
            of_collection: false,
        }
    }

    /// Acts on one object of a collection.
    pub(crate) fn of_collection(mut self) -> Self {
        self.of_collection = true;
        self
    }

    /// Leaves the plugins out.
    pub(crate) fn without_admission(mut self) -> Self {
        self.admits = false;
        self
    }

    pub(crate) fn warn(&self, warnings: impl IntoIterator<Item = String>) {
        self.call.warnings.add(warnings);
    }

    /// Treats unknown and repeated fields as the request wishes.
    pub(crate) fn judge_fields(
        &self,
        origin: Origin<'_>,
        problems: &[Problem],
    ) -> Result<(), ApiError> {
        self.warn(strict::judge(self.options.field_validation, origin, problems)?);
        Ok(())
    }

    fn resource(&self) -> &Resource {
        &self.call.resource
    }

    fn manager(&self) -> Manager {
        Manager {
            name: self.options.field_manager.clone().unwrap_or_else(|| self.call.field_manager()),
            api_version: self.resource().group_version.to_string(),
            subresource: self.call.subresource.clone(),
            now: self.core.clock.now(),
        }
    }

    /// Tells whether somebody outside this program judges writes.
    fn is_judged(&self) -> bool {
        self.admits && !self.core.catalog.in_force().is_empty()
    }

    /// Checks what would be stored.
    fn check_valid(&self, old: Option<&Value>, object: &Value) -> Result<(), ApiError> {
        let causes = self.invalid_fields(old, object);
        let resource = self.resource();
        if causes.is_empty() {
            if !resource.custom && self.call.subresource.is_empty() {
                let group = &resource.group_version.group;
                self.warn(schema::builtin::warnings(group, &resource.kind, object));
            }
            return Ok(());
        }
        let name = meta::text(object, "name");
        // Upstream names the group in which it holds the object.
        let is_event = resource.storage.as_ref() == "events";
        let group = if is_event { "" } else { resource.group_version.group.as_str() };
        Err(ApiError::invalid(group, &resource.kind, name, causes))
    }

    fn invalid_fields(&self, old: Option<&Value>, object: &Value) -> Vec<Cause> {
        let resource = self.resource();
        let mut causes = match old {
            Some(old) => lifecycle::validate_metadata_update(resource, old, object),
            None => lifecycle::validate_metadata(resource, object),
        };
        if resource.custom {
            let mut kept = Vec::new();
            causes.extend(schema::validate_noting(&resource.schema, object, old, &mut kept));
            let warning = |cause: Cause| format!("{}: {}", cause.field, cause.message);
            self.warn(kept.into_iter().map(warning));
            return causes;
        }
        let group_version = &resource.group_version;
        let mut found = schema::builtin::validate(group_version, &resource.kind, object, old);
        if group_version.group == admission::GROUP {
            // These kinds have complete rules of their own, which assume values of the right types.
            found.retain(|cause| cause.reason == "FieldValueTypeInvalid");
            if found.is_empty() {
                found = admission::validate(&resource.kind, object, old);
            }
        }
        if &*resource.storage == crd::STORAGE {
            // Its own rules say the same in other words.
            found.retain(|cause| !cause.field.starts_with("spec.conversion.webhook."));
            found.extend(crd::validate(object, old));
        }
        if let Some(old) = old.filter(|_| lifecycle::is_signing_request(resource)) {
            found.extend(schema::builtin::check_signing_update(
                old,
                object,
                &self.call.subresource,
            ));
        }
        causes.extend(found);
        causes
    }

    /// Fills in defaults in the version of the request.
    fn complete(&self, object: &mut Value) {
        self.warn(lifecycle::without_duplicate_owners(object));
        let resource = self.resource();
        if resource.custom {
            schema::default(&resource.schema, object);
        } else {
            schema::builtin::complete_object(&resource.group_version, &resource.kind, object);
        }
        if &*resource.storage == crd::STORAGE {
            crd::default(object);
        }
    }

    /// Turns the object into what the store keeps, with what selectors see and the schema that it follows.
    async fn stored_form(&self, object: Value) -> Result<(Value, Attributes, u64), ApiError> {
        let mut stored = convert::to_storage(self.resource(), object).await?;
        meta::of(&mut stored).remove("resourceVersion");
        let snapshot = self.core.registry.snapshot();
        let storage =
            snapshot.stored_as(&self.resource().storage).map_or(self.resource(), |row| row);
        if storage.custom && storage.group_version != self.resource().group_version {
            convert::fit(&storage.schema, &mut stored);
        }
        let fields = storage.field_attributes(&stored);
        let attributes = Attributes { fields, ..Attributes::of(&stored) };
        Ok((stored, attributes, storage.schema.id()))
    }

    /// Gives a service the addresses and ports that it lacks; they are kept for it until the request ends.
    fn assign_addresses(
        &self,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Result<Option<Reservation>, ApiError> {
        let resource = self.resource();
        if resource.custom || resource.storage.as_ref() != "services" {
            return Ok(None);
        }
        let addresses = &self.core.addresses;
        let assigned = self.core.random.draw(|mut draw| addresses.assign(old, object, &mut draw));
        assigned.map(Some).map_err(|refusal| match refusal {
            Refusal::Invalid(causes) => {
                ApiError::invalid("", &resource.kind, meta::text(object, "name"), causes)
            }
            Refusal::Internal(why) => admission::internal(&why),
        })
    }

    /// Returns what a dry run shows: the object as it would be read, had it been stored.
    async fn dry(&self, object: Value) -> Result<Value, ApiError> {
        let resource = self.resource();
        if resource.conversion.is_none() {
            return Ok(object);
        }
        let stored = convert::to_storage(resource, object).await?;
        convert::from_storage(resource, stored).await
    }

    /// Writes an object that is complete.
    async fn put(
        &self,
        name: &str,
        expect: Expect,
        object: Value,
    ) -> Result<Arc<Version>, PutError> {
        let (stored, attributes, schema) = self.stored_form(object).await?;
        let creates = expect == Expect::Absent;
        let requires =
            self.call.namespace.as_deref().filter(|_| creates && self.resource().namespaced);
        let write = Write {
            resource: self.resource().storage.clone(),
            key: self.call.key_of(name),
            expect,
            change: Change::Put(stored, attributes),
            requires: requires.map(|namespace| {
                ("namespaces".into(), crate::store::Key::cluster_scoped(namespace))
            }),
        };
        Ok(self.core.store.commit_complete(write, schema).await?)
    }

    async fn remove(
        &self,
        name: &str,
        revision: u64,
        last: Value,
    ) -> Result<Arc<Version>, PutError> {
        let (stored, attributes, _) = self.stored_form(last).await?;
        let write = Write {
            resource: self.resource().storage.clone(),
            key: self.call.key_of(name),
            expect: Expect::Revision(revision),
            change: Change::Delete(stored, attributes),
            requires: None,
        };
        Ok(self.core.store.commit(write).await?)
    }

    /// Says to the client why a write did not happen.
    fn put_failed(&self, name: &str, error: PutError) -> ApiError {
        match error {
            PutError::Form(error) => error,
            PutError::Commit(error) => self.commit_failed(name, &error),
        }
    }

    fn commit_failed(&self, name: &str, error: &CommitError) -> ApiError {
        let (group, plural) = (self.call.group(), self.resource().plural.as_str());
        match error {
            CommitError::AlreadyExists => ApiError::already_exists(group, plural, name),
            CommitError::NotFound => ApiError::not_found(group, plural, name),
            CommitError::Conflict { .. } => ApiError::conflict(group, plural, name, MODIFIED),
            CommitError::RequirementMissing(key) => {
                ApiError::not_found("", "namespaces", &key.name)
            }
            CommitError::RequirementDeleting(key) => {
                admission::terminating(self.resource(), &key.name, name)
            }
            CommitError::TooLarge => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                // Clients look for the words that upstream passes on from its store.
                "Request entity too large: etcdserver: request is too large",
            ),
            CommitError::Full(excess) => {
                ApiError::forbidden(group, plural, name, &format!("exceeded quota: {excess}"))
            }
            CommitError::Failed(why) => ApiError::internal(format!("the store failed: {why}")),
        }
    }
}

/// What a client hears whose copy is outdated; clients and tests search for this text.
pub(crate) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Returns the fields that a write of this part never owns.
fn reset_fields(resource: &Resource, part: Part) -> ResetFields {
    match part {
        Part::Main if resource.status_subresource => ResetFields::status(),
        Part::Status if resource.custom => ResetFields::all_but_status_of_custom(),
        Part::Status | Part::Approval => ResetFields::all_but_status(),
        Part::Main | Part::Whole | Part::Finalize => ResetFields::none(),
    }
}

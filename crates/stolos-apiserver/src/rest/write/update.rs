//! PUT, PATCH and apply on an object that exists.

use std::sync::Arc;

use serde_json::Value;

use super::admit::Asked;
use super::create::Ownership;
use super::{Edit, Edited, MAX_ATTEMPTS, MODIFIED, PutError, Writer, Written, reset_fields};
use crate::managed_fields::elsewhere::{self, Elsewhere, Taking};
use crate::managed_fields::{self, Manager, ResetFields};
use crate::registry::Resource;
use crate::rest::admission::Operation;
use crate::rest::decode;
use crate::rest::lifecycle::{self, Part};
use crate::rest::query::{FieldValidation, unreadable_number};
use crate::rest::strict::Origin;
use crate::rest::{convert, meta};
use crate::schema::causes;
use crate::schema::parse::Problem;
use crate::schema::{self, SchemaRef};
use crate::status::{ApiError, Cause};
use crate::store::{CommitError, Expect, Version};

/// Why an attempt came to nothing.
enum Failure {
    /// Another write was faster: worth another look.
    Raced,
    Final(Box<ApiError>),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Final(Box::new(error))
    }
}

impl Writer<'_> {
    /// Makes an edit; the flag tells whether it created the object.
    pub(crate) async fn update(
        &self,
        part: Part,
        edit: &Edit,
    ) -> Result<(Written, bool), ApiError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(current) = self.core.store.get(&self.resource().storage, &self.call.key())
            else {
                return self.create_by(edit).await.map(|written| (written, true));
            };
            match self.update_once(part, edit, &current).await {
                Ok(written) => return Ok((written, false)),
                Err(Failure::Raced) => {}
                Err(Failure::Final(error)) => return Err(*error),
            }
        }
        Err(self.call.conflict(MODIFIED))
    }

    /// Apply creates what is missing, and so does PUT for some kinds.
    async fn create_by(&self, edit: &Edit) -> Result<Written, ApiError> {
        let resource = self.resource();
        if !self.call.subresource.is_empty() {
            return Err(self.call.not_found());
        }
        match edit {
            Edit::Apply { config, force } => {
                let reset = reset_fields(resource, Part::Main);
                let manager = self.manager();
                let applied =
                    managed_fields::apply(&resource.schema, None, config, &manager, *force, &reset);
                let object = applied?.unwrap_or_else(|| config.clone());
                let uid = meta::text(&object, "uid");
                if !uid.is_empty() {
                    return Err(self.call.conflict(&format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    )));
                }
                if !meta::text(&object, "resourceVersion").is_empty() {
                    return Err(self.call.not_found());
                }
                let object = self.checked(object, edit)?;
                self.create(object, Ownership::Settled).await
            }
            Edit::Replace(object) if resource.create_on_update => {
                if !meta::text(object, "uid").is_empty()
                    || !matches!(meta::text(object, "resourceVersion"), "" | "0")
                {
                    // The client means an object that is gone, not a new one.
                    return Err(self.call.not_found());
                }
                let object = self.checked(object.clone(), edit)?;
                self.create(object, Ownership::Manager).await
            }
            _ => Err(self.call.not_found()),
        }
    }

    async fn update_once(
        &self,
        part: Part,
        edit: &Edit,
        current: &Arc<Version>,
    ) -> Result<Written, Failure> {
        let resource = self.resource();
        let live = convert::served(resource, current).await?;
        let reset = reset_fields(resource, part);
        let manager = self.manager();
        if let Edit::Apply { config, .. } = edit {
            let wanted = meta::text(config, "resourceVersion");
            if !wanted.is_empty() && wanted != meta::text(&live, "resourceVersion") {
                return Err(self.call.conflict(MODIFIED).into());
            }
        }
        let versions = self.versions_of_owners(&live, &manager);
        let alone =
            (!versions.is_empty()).then(|| elsewhere::without_other_versions(&live, &manager));
        let before = match (edit, &alone) {
            (Edit::Apply { .. }, Some(alone)) => alone,
            _ => &live,
        };
        let (new, ownership) = match edit.apply(resource, before, &manager, reset)? {
            Edited::Object(object) => (object, Ownership::Manager),
            Edited::Applied(object) => (object, Ownership::Settled),
            // Whoever judges writes is asked about those that change nothing, too.
            Edited::Unchanged if self.is_judged() => (live.clone(), Ownership::Settled),
            Edited::Unchanged => return Ok(Written::Stored(Arc::clone(current))),
        };
        self.check_identity(&live, &new, edit)?;
        let mut new = self.checked(new, edit)?;
        self.complete(&mut new);
        let asked_spec = new["spec"].clone();
        lifecycle::prepare_update(resource, part, &live, &mut new);
        if lifecycle::is_signing_request(resource) {
            lifecycle::prepare_signing_update(part, &live, &mut new, self.core.clock.now());
        }
        if ownership == Ownership::Manager {
            // Whoever asks for other finalizers of a namespace owns them without getting them, as upstream.
            let in_vain = part == Part::Main && is_namespace(resource);
            let kept = in_vain.then(|| std::mem::replace(&mut new["spec"], asked_spec));
            managed_fields::update(&resource.schema, Some(&live), &mut new, &manager, &reset);
            if let Some(kept) = kept {
                new["spec"] = kept;
            }
        }
        if !versions.is_empty() && managed_fields::has_owners(&new) {
            self.settle_elsewhere(&versions, edit, reset, &live, &mut new).await?;
        }
        meta::copy(&live, &mut new, "resourceVersion");
        let options = self.options_of(Operation::Update);
        let name = &self.call.name;
        let asked = Asked { operation: Operation::Update, name, old: Some(&live), options };
        if self.mutate_through_face(&asked, &mut new).await? {
            self.complete(&mut new);
            lifecycle::prepare_update(resource, part, &live, &mut new);
            meta::copy(&live, &mut new, "resourceVersion");
        }
        let _reserved = match part {
            Part::Main => self.assign_addresses(Some(&live), &mut new)?,
            Part::Whole | Part::Status | Part::Approval | Part::Finalize => None,
        };
        self.check_valid(Some(&live), &new)?;
        self.judge_through_face(&asked, &new).await?;
        let removes = lifecycle::ends_deletion(resource, &live, &new);
        // What is stored may hold more than this version shows; writing the whole object drops that.
        let shows_all = resource.conversion.is_some() || convert::fits(resource, current);
        if !removes && shows_all && managed_fields::same_but_times(&live, &new) {
            return Ok(Written::Stored(Arc::clone(current)));
        }
        if self.options.dry_run {
            return Ok(Written::Dry(self.dry(new).await?));
        }
        let committed = if removes {
            // Watchers see the last state that was stored; the client sees what its request made of it.
            self.remove(name, current.revision, live).await.map(|_| Written::Dry(new))
        } else {
            let put = self.put(name, Expect::Revision(current.revision), new).await;
            put.map(Written::Stored)
        };
        match committed {
            Ok(written) => Ok(written),
            Err(PutError::Commit(CommitError::Conflict { .. } | CommitError::NotFound)) => {
                Err(Failure::Raced)
            }
            Err(error) => Err(self.put_failed(name, error).into()),
        }
    }

    /// Returns the resource in other versions in which somebody owns fields, as far as a webhook converts them.
    fn versions_of_owners(&self, live: &Value, manager: &Manager) -> Vec<Arc<Resource>> {
        let resource = self.resource();
        if resource.conversion.is_none() {
            return Vec::new();
        }
        let snapshot = self.core.registry.snapshot();
        let rows = snapshot.all().iter().filter(|row| row.storage == resource.storage);
        let versions = elsewhere::other_versions(live, manager);
        rows.filter(|row| versions.contains(&row.group_version.to_string())).cloned().collect()
    }

    /// Asks what the write changes in other versions, and settles who owns it there.
    async fn settle_elsewhere(
        &self,
        versions: &[Arc<Resource>],
        edit: &Edit,
        reset: ResetFields,
        live: &Value,
        new: &mut Value,
    ) -> Result<(), ApiError> {
        let mut elsewhere = Vec::with_capacity(versions.len());
        for version in versions {
            let both = convert::by_webhook(version, vec![live.clone(), new.clone()]).await?;
            let mut both = both.into_iter();
            let (live, new) = (both.next().unwrap_or_default(), both.next().unwrap_or_default());
            let api_version = version.group_version.to_string();
            let schema = SchemaRef::clone(&version.schema);
            elsewhere.push(Elsewhere { api_version, schema, live, new });
        }
        let taking = match edit {
            Edit::Apply { force: false, .. } => Taking::Apply,
            Edit::Apply { force: true, .. } => Taking::Force,
            _ => Taking::Update,
        };
        elsewhere::settle(live, new, &elsewhere, &self.manager(), reset, taking)?;
        Ok(())
    }

    fn invalid(&self, causes: Vec<Cause>) -> ApiError {
        let resource = self.resource();
        let group = &resource.group_version.group;
        ApiError::invalid(group, &resource.kind, &self.call.name, causes)
    }

    /// Removes unknown fields and treats them as the request wishes; checks kind, name and namespace.
    pub(crate) fn checked(&self, mut object: Value, edit: &Edit) -> Result<Value, ApiError> {
        let resource = self.resource();
        decode::expect_kind(resource, &mut object)?;
        self.check_place(&mut object)?;
        // A body was looked at when it was read; unknown fields that a patch brings show only in its result.
        let strict = self.options.field_validation == FieldValidation::Strict;
        let shown = if strict { edit.shown(&object) } else { String::new() };
        let unknown: Vec<Problem> = if resource.custom {
            decode::prune_custom(resource, &mut object)
        } else {
            schema::prune(&resource.schema, &mut object).into_iter().map(Problem::Unknown).collect()
        };
        match edit {
            Edit::Replace(_) | Edit::With(_) | Edit::Unowned(_) => {}
            Edit::Apply { .. } => self.judge_fields(Origin::Apply, &self.patch_problems)?,
            Edit::JsonPatch(_) | Edit::MergePatch(_) | Edit::StrategicMergePatch(_) => {
                let problems = [self.patch_problems.as_slice(), &unknown].concat();
                self.judge_fields(Origin::Patch(&shown), &problems)?;
            }
        }
        Ok(object)
    }

    /// Checks that name and namespace agree with the URL, and fills them in where they are absent.
    pub(crate) fn check_place(&self, object: &mut Value) -> Result<(), ApiError> {
        let name = meta::text(object, "name");
        if !self.call.name.is_empty() && !name.is_empty() && name != self.call.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.call.name
            )));
        }
        let own = self.call.namespace.as_deref().unwrap_or_default().to_owned();
        let namespace = meta::text(object, "namespace");
        if !namespace.is_empty() && namespace != own && self.resource().namespaced {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let url_name = self.call.name.clone();
        let metadata = meta::of(object);
        if !url_name.is_empty() {
            metadata.insert("name".to_owned(), url_name.into());
        }
        if self.resource().namespaced {
            metadata.insert("namespace".to_owned(), own.into());
        } else {
            metadata.remove("namespace");
        }
        Ok(())
    }

    /// Checks that the client means this very object in this very state, as far as it says.
    fn check_identity(&self, live: &Value, new: &Value, edit: &Edit) -> Result<(), ApiError> {
        let uid = meta::text(new, "uid");
        let differs = uid != meta::text(live, "uid");
        if differs && edit.is_patch() {
            let cause = causes::invalid("metadata.uid", &uid.into(), "field is immutable");
            return Err(self.invalid(vec![cause.clone(), cause]));
        }
        if !uid.is_empty() && differs {
            return Err(self.call.conflict(&format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                meta::text(live, "uid")
            )));
        }
        match meta::text(new, "resourceVersion") {
            "" | "0" if self.resource().unconditional_update => Ok(()),
            "" | "0" => {
                let why = "must be specified for an update";
                let cause = causes::invalid("metadata.resourceVersion", &0.into(), why);
                // Upstream names the resource here, not the kind.
                let resource = self.resource();
                let (group, plural) = (&resource.group_version.group, &resource.plural);
                Err(ApiError::invalid(group, plural, &self.call.name, vec![cause]))
            }
            version if version.parse::<u64>().is_err() => {
                Err(ApiError::unclassified(unreadable_number(version)))
            }
            version if version != meta::text(live, "resourceVersion") => {
                Err(self.call.conflict(MODIFIED))
            }
            _ => Ok(()),
        }
    }
}

fn is_namespace(resource: &Resource) -> bool {
    !resource.custom && resource.storage.as_ref() == "namespaces"
}

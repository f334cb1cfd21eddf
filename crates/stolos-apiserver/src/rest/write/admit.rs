//! Asking the plugins, and what a write looks like to them.

use serde_json::{Value, json};

use super::Writer;
use crate::auth;
use crate::managed_fields::{self, Manager, ResetFields};
use crate::rest::admission::{Operation, Request};
use crate::rest::meta;
use crate::rest::query::{DeleteOptions, Propagation};
use crate::rest::subresource::scale;
use crate::schema::SchemaRef;
use crate::status::ApiError;

/// One write as plugins know it.
pub(crate) struct Asked<'a> {
    pub(crate) operation: Operation,
    /// Empty while it is not generated.
    pub(crate) name: &'a str,
    /// The stored object, for updates and deletions.
    pub(crate) old: Option<&'a Value>,
    /// `CreateOptions`, `UpdateOptions` or `DeleteOptions`.
    pub(crate) options: Value,
}

impl Writer<'_> {
    /// Builds the options of a creation or update.
    pub(super) fn options_of(&self, operation: Operation) -> Value {
        let kind = if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
        let mut options = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
        if self.options.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        if let Some(manager) = &self.options.field_manager {
            options["fieldManager"] = manager.as_str().into();
        }
        if let Some(mode) = self.call.query.get("fieldValidation") {
            options["fieldValidation"] = mode.into();
        }
        options
    }

    /// Lets the plugins change an object, or refuse the write; tells whether one changed it.
    pub(super) async fn mutate(
        &self,
        asked: &Asked<'_>,
        mut object: Option<&mut Value>,
    ) -> Result<bool, ApiError> {
        if !self.admits {
            return Ok(false);
        }
        let request = self.request(asked, asked.name);
        let before =
            object.as_deref().and_then(|object| object["metadata"].get("managedFields").cloned());
        let mut changed = false;
        for plugin in &self.core.admission {
            changed |= plugin.mutate(&request, object.as_deref_mut()).await?;
        }
        if let (true, Some(object)) = (changed, object) {
            self.restore_managed_fields(object, before);
        }
        Ok(changed)
    }

    /// Takes back what plugins made of the managed fields if nobody could read it.
    fn restore_managed_fields(&self, object: &mut Value, before: Option<Value>) {
        let Some(why) = managed_fields::problem(object) else { return };
        self.warn([format!(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated \
             mutating admission controller; please fix your requests: {why}"
        )]);
        let metadata = meta::of(object);
        match before {
            Some(entries) => metadata.insert("managedFields".to_owned(), entries),
            None => metadata.remove("managedFields"),
        };
    }

    /// Lets the plugins judge what would be stored.
    pub(super) async fn judge(
        &self,
        asked: &Asked<'_>,
        object: Option<&Value>,
    ) -> Result<(), ApiError> {
        if !self.admits {
            return Ok(());
        }
        let generated = object.map_or("", |object| meta::text(object, "name"));
        let name = if asked.name.is_empty() { generated } else { asked.name };
        let request = self.request(asked, name);
        for plugin in &self.core.admission {
            plugin.validate(&request, object).await?;
        }
        Ok(())
    }

    /// Asks about an action, which stores no object of its own.
    pub(crate) async fn admit_action(
        &self,
        name: &str,
        object: &mut Value,
    ) -> Result<(), ApiError> {
        let operation = Operation::Create;
        let asked = Asked { operation, name, old: None, options: self.options_of(operation) };
        self.mutate(&asked, Some(object)).await?;
        if self.call.subresource == "token" {
            auth::stamp_token_request(object, self.core.clock.now());
        }
        self.judge(&asked, Some(object)).await
    }

    /// Notes who sent a review or a request of a token, as with objects that are kept.
    pub(crate) fn own_action(&self, schema: &SchemaRef, object: &mut Value) {
        // There is nothing to note it in without metadata.
        meta::of(object);
        let (group_version, _) = self.call.resource.kind_of(&self.call.subresource);
        let manager = Manager { api_version: group_version.to_string(), ..self.manager() };
        managed_fields::update(schema, None, object, &manager, &ResetFields::none());
    }

    fn request<'b>(&'b self, asked: &'b Asked<'_>, name: &'b str) -> Request<'b> {
        let resource = &self.call.resource;
        let is_namespace = !resource.custom && resource.storage.as_ref() == "namespaces";
        let namespace =
            if is_namespace { name } else { self.call.namespace.as_deref().unwrap_or_default() };
        Request {
            operation: asked.operation,
            resource,
            subresource: &self.call.subresource,
            namespace,
            name,
            user: &self.call.user,
            old: asked.old,
            options: &asked.options,
            dry_run: self.options.dry_run,
            warnings: &self.call.warnings,
        }
    }

    /// Shows an object as the subresource of the request shows it.
    pub(super) fn face(&self, object: &Value) -> Option<Value> {
        let paths = self.call.resource.scale.as_ref();
        paths
            .filter(|_| self.call.subresource == "scale")
            .map(|paths| scale::scale_of(paths, object))
    }

    /// Lets the plugins change the part that a subresource shows, and carries that over into the whole object.
    pub(super) async fn mutate_through_face(
        &self,
        asked: &Asked<'_>,
        object: &mut Value,
    ) -> Result<bool, ApiError> {
        let Some(mut shown) = self.face(object) else {
            return self.mutate(asked, Some(object)).await;
        };
        let old = asked.old.and_then(|old| self.face(old));
        let asked = Asked { old: old.as_ref(), options: asked.options.clone(), ..*asked };
        let changed = self.mutate(&asked, Some(&mut shown)).await?;
        if let Some(paths) = self.call.resource.scale.as_ref().filter(|_| changed) {
            scale::set_replicas(paths, object, &shown["spec"]["replicas"]);
        }
        Ok(changed)
    }

    /// Lets the plugins judge the part that a subresource shows.
    pub(super) async fn judge_through_face(
        &self,
        asked: &Asked<'_>,
        object: &Value,
    ) -> Result<(), ApiError> {
        let Some(shown) = self.face(object) else { return self.judge(asked, Some(object)).await };
        let old = asked.old.and_then(|old| self.face(old));
        let asked = Asked { old: old.as_ref(), options: asked.options.clone(), ..*asked };
        self.judge(&asked, Some(&shown)).await
    }
}

/// Writes the options of a deletion as plugins see them.
pub(super) fn delete_options(options: &DeleteOptions) -> Value {
    let mut written = json!({ "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1" });
    if options.dry_run {
        written["dryRun"] = json!(["All"]);
    }
    if let Some(seconds) = options.grace_period_seconds {
        written["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(orphan) = options.orphan_dependents {
        written["orphanDependents"] = orphan.into();
    }
    if let Some(propagation) = options.propagation {
        written["propagationPolicy"] = match propagation {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        }
        .into();
    }
    let preconditions = [("uid", &options.uid), ("resourceVersion", &options.resource_version)];
    for (field, value) in preconditions {
        if let Some(value) = value {
            written["preconditions"][field] = value.as_str().into();
        }
    }
    written
}

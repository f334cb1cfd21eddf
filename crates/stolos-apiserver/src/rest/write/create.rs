//! POST, and the creating half of apply and of PUT.

use serde_json::Value;

use super::admit::Asked;
use super::{Writer, Written, reset_fields};
use crate::managed_fields;
use crate::rest::admission::Operation;
use crate::rest::lifecycle::{self, Part};
use crate::rest::meta;
use crate::status::ApiError;
use crate::store::Expect;

/// Attempts to find a free name for `generateName`, as upstream.
const MAX_NAME_ATTEMPTS: usize = 8;

/// What the server fills in after plugins have changed the object, as upstream.
const FILLED_IN: [&str; 3] = ["uid", "creationTimestamp", "generation"];

/// Who owns the fields of the new object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The manager of this request, for everything it sets.
    Manager,
    /// Written already, by server-side apply.
    Settled,
}

impl Writer<'_> {
    /// Creates the object. It has passed decoding; its namespace and, where given, name agree with the URL.
    pub(crate) async fn create(
        &self,
        mut object: Value,
        ownership: Ownership,
    ) -> Result<Written, ApiError> {
        if !matches!(meta::text(&object, "resourceVersion"), "" | "0") {
            return Err(ApiError::unclassified(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        meta::of(&mut object).remove("resourceVersion");
        let given = meta::text(&object, "name").to_owned();
        let options = self.options_of(Operation::Create);
        let asked = Asked { operation: Operation::Create, name: &given, old: None, options };
        self.prepare(&asked, &mut object, ownership).await?;
        let _reserved = self.assign_addresses(None, &mut object)?;
        let base = meta::text(&object, "generateName").to_owned();
        if !meta::text(&object, "name").is_empty() || base.is_empty() {
            return self.create_once(&asked, object).await;
        }
        for _ in 0..MAX_NAME_ATTEMPTS {
            let name = self.core.random.draw(|mut draw| lifecycle::generate_name(&base, &mut draw));
            let mut named = object.clone();
            meta::of(&mut named).insert("name".to_owned(), name.into());
            match self.create_once(&asked, named).await {
                Err(error) if error.reason == "AlreadyExists" => {}
                other => return other,
            }
        }
        let mut error = ApiError::already_exists(self.call.group(), &self.resource().plural, &base);
        error
            .message
            .push_str(", the server was not able to generate a unique name for the object");
        error.retry_after_seconds = Some(1);
        Err(error)
    }

    /// Completes the object and lets the plugins change it.
    async fn prepare(
        &self,
        asked: &Asked<'_>,
        object: &mut Value,
        ownership: Ownership,
    ) -> Result<(), ApiError> {
        let resource = self.resource();
        let (uid, now) = (self.core.random.uid().to_string(), self.core.clock.now());
        lifecycle::wipe_server_fields(object);
        lifecycle::prepare_create(resource, object, &uid, now);
        if lifecycle::is_signing_request(resource) {
            lifecycle::record_requester(object, &self.call.user);
        }
        self.complete(object);
        if ownership == Ownership::Manager {
            let reset = reset_fields(resource, Part::Main);
            managed_fields::update(&resource.schema, None, object, &self.manager(), &reset);
        }
        // Plugins see what the client sent, without what the server fills in.
        let metadata = meta::of(object);
        let filled = FILLED_IN.map(|field| metadata.remove(field));
        if self.mutate(asked, Some(object)).await? {
            self.check_place(object)?;
            lifecycle::prepare_create(resource, object, &uid, now);
            self.complete(object);
        } else {
            let metadata = meta::of(object);
            for (field, value) in FILLED_IN.into_iter().zip(filled) {
                if let Some(value) = value {
                    metadata.insert(field.to_owned(), value);
                }
            }
        }
        lifecycle::complete_create(resource, object);
        if lifecycle::is_signing_request(resource) {
            lifecycle::record_requester(object, &self.call.user);
        }
        Ok(())
    }

    async fn create_once(&self, asked: &Asked<'_>, object: Value) -> Result<Written, ApiError> {
        let resource = self.resource();
        self.check_valid(None, &object)?;
        self.judge(asked, Some(&object)).await?;
        let name = meta::text(&object, "name").to_owned();
        if self.options.dry_run {
            let taken = self.core.store.get(&resource.storage, &self.call.key_of(&name)).is_some();
            return if taken {
                Err(ApiError::already_exists(self.call.group(), &resource.plural, &name))
            } else {
                self.dry(object).await.map(Written::Dry)
            };
        }
        let stored = self.put(&name, Expect::Absent, object).await;
        stored.map(Written::Stored).map_err(|error| self.put_failed(&name, error))
    }
}

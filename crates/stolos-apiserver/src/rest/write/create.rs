//! POST, and the creating half of apply and of PUT.

use serde_json::Value;
use uuid::Uuid;

use super::{Writer, Written, reset_fields};
use crate::managed_fields;
use crate::rest::admission::Operation;
use crate::rest::lifecycle::{self, Part};
use crate::rest::meta;
use crate::status::ApiError;
use crate::store::Expect;

/// Attempts to find a free name for `generateName`, as upstream.
const MAX_NAME_ATTEMPTS: usize = 8;

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
        let base = meta::text(&object, "generateName").to_owned();
        if !meta::text(&object, "name").is_empty() || base.is_empty() {
            return self.create_once(object, ownership).await;
        }
        for _ in 0..MAX_NAME_ATTEMPTS {
            let name = lifecycle::generate_name(&base, &mut rand::rng());
            let mut named = object.clone();
            meta::of(&mut named).insert("name".to_owned(), name.into());
            match self.create_once(named, ownership).await {
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

    async fn create_once(
        &self,
        mut object: Value,
        ownership: Ownership,
    ) -> Result<Written, ApiError> {
        let resource = self.resource();
        lifecycle::prepare_create(
            resource,
            &mut object,
            &Uuid::new_v4().to_string(),
            self.core.clock.now(),
        );
        self.complete(&mut object);
        if ownership == Ownership::Manager {
            let reset = reset_fields(resource, Part::Main);
            managed_fields::update(&resource.schema, None, &mut object, &self.manager(), &reset);
        }
        lifecycle::complete_create(resource, &mut object);
        // Upstream's admission does this, so nobody owns what it fills in.
        lifecycle::admit_pod(resource, &mut object);
        self.admit(Operation::Create, None, &mut object).await?;
        let name = meta::text(&object, "name").to_owned();
        if self.options.dry_run {
            let taken = self.core.store.get(&resource.storage, &self.call.key_of(&name)).is_some();
            return if taken {
                Err(ApiError::already_exists(self.call.group(), &resource.plural, &name))
            } else {
                Ok(Written::Dry(object))
            };
        }
        let stored = self.put(&name, Expect::Absent, object).await;
        stored.map(Written::Stored).map_err(|error| self.commit_failed(&name, &error))
    }
}

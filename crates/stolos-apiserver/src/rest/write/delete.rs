//! DELETE of one object.

use std::sync::Arc;

use serde_json::Value;

use super::admit::{Asked, delete_options};
use super::{MAX_ATTEMPTS, MODIFIED, PutError, Writer, Written};
use crate::rest::admission::Operation;
use crate::rest::lifecycle::{self, Deletion};
use crate::rest::query::DeleteOptions;
use crate::rest::{convert, meta};
use crate::status::ApiError;
use crate::store::{CommitError, Expect, Version};

/// What a deletion did.
#[derive(Clone, Debug)]
pub(crate) enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Value),
    /// Deletion has begun and waits for finalizers or for the grace period.
    Pending(Written),
}

impl Writer<'_> {
    /// Deletes the object that the path names.
    pub(crate) async fn delete(&self, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        let name = &self.call.name;
        for _ in 0..MAX_ATTEMPTS {
            let current = self.core.store.get(&self.resource().storage, &self.call.key());
            let current = current.ok_or_else(|| self.call.not_found())?;
            let live = convert::served(self.resource(), &current).await?;
            self.check_preconditions(&live, options)?;
            let (operation, options_shown) = (Operation::Delete, delete_options(options));
            let shown = if self.of_collection { "" } else { name };
            let asked = Asked { operation, name: shown, old: Some(&live), options: options_shown };
            self.mutate(&asked, None).await?;
            self.judge(&asked, None).await?;
            match self.delete_once(&current, live, options).await {
                Ok(deleted) => return Ok(deleted),
                Err(PutError::Commit(CommitError::Conflict { .. } | CommitError::NotFound)) => {}
                Err(error) => return Err(self.put_failed(name, error)),
            }
        }
        Err(self.call.conflict(MODIFIED))
    }

    async fn delete_once(
        &self,
        current: &Arc<Version>,
        live: Value,
        options: &DeleteOptions,
    ) -> Result<Deleted, PutError> {
        let name = &self.call.name;
        match lifecycle::decide_delete(self.resource(), &live, options, self.core.clock.now()) {
            Deletion::Remove if self.options.dry_run => Ok(Deleted::Gone(live)),
            Deletion::Remove => {
                let last = lifecycle::last_state(self.resource(), live, self.core.clock.now());
                let last = self.remove(name, current.revision, last).await?;
                Ok(Deleted::Gone(convert::served(self.resource(), &last).await?))
            }
            Deletion::Mark(next) if self.options.dry_run => {
                Ok(Deleted::Pending(Written::Dry(next)))
            }
            Deletion::Mark(next) => {
                let stored = self.put(name, Expect::Revision(current.revision), next).await?;
                Ok(Deleted::Pending(Written::Stored(stored)))
            }
            Deletion::Pending => Ok(Deleted::Pending(Written::Stored(Arc::clone(current)))),
        }
    }

    /// 409, which upstream words with the kind.
    fn precondition_failed(&self, why: &str) -> ApiError {
        let resource = self.resource();
        ApiError::conflict(&resource.group_version.group, &resource.kind, &self.call.name, why)
    }

    fn check_preconditions(&self, live: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
        let uid = meta::text(live, "uid");
        if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
            return Err(self.precondition_failed(&format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have \
                 been deleted and then recreated"
            )));
        }
        let version = meta::text(live, "resourceVersion");
        if let Some(wanted) =
            options.resource_version.as_deref().filter(|wanted| *wanted != version)
        {
            return Err(self.precondition_failed(&format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
                 ({version}). The object might have been modified"
            )));
        }
        Ok(())
    }
}

//! The member's own record of a Work: its AppliedWork.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{
    Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::{Client, Resource};
use serde_json::json;
use stolos_api::placement::names::MEMBER_FIELD_MANAGER;
use stolos_api::placement::{
    AppliedResourceMeta, AppliedWork, AppliedWorkSpec, Work, WorkResourceIdentifier,
};
use stolos_core::placement::apply::report::same_object;

/// Uid of the Work that the record was made for.
const WORK_UID: &str = "fleet.stolos.dev/work-uid";

/// Generation of the Work up to which everything was applied and withdrawn.
const WORK_GENERATION: &str = "fleet.stolos.dev/work-generation";

/// A record and the reference that its objects carry.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) applied_work: AppliedWork,
}

impl Record {
    /// Returns the record of a Work, if there is one.
    pub(crate) async fn find(client: &Client, name: &str) -> Result<Option<Self>, kube::Error> {
        let found = api(client).get_opt(name).await?;
        Ok(found.map(|applied_work| Self { applied_work }))
    }

    /// Returns the record of a Work, made when missing.
    pub(crate) async fn open(client: &Client, work: &Work) -> Result<Self, kube::Error> {
        let name = work.metadata.name.as_deref().unwrap_or_default();
        if let Some(found) = Self::find(client, name).await? {
            return Ok(found);
        }
        let mut applied_work = AppliedWork::new(
            name,
            AppliedWorkSpec {
                work_name: name.to_owned(),
                work_namespace: work.metadata.namespace.clone().unwrap_or_default(),
            },
        );
        // Generation 0: nothing of the Work has been applied yet.
        let annotations = [
            (WORK_UID, work.metadata.uid.clone().unwrap_or_default()),
            (WORK_GENERATION, "0".to_owned()),
        ];
        let annotations = annotations.map(|(name, value)| (name.to_owned(), value));
        applied_work.metadata.annotations = Some(annotations.into());
        let params = PostParams {
            field_manager: Some(MEMBER_FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let applied_work = api(client).create(&params, &applied_work).await?;
        Ok(Self { applied_work })
    }

    /// Returns the reference for owned objects.
    pub(crate) fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: AppliedWork::api_version(&()).into_owned(),
            kind: AppliedWork::kind(&()).into_owned(),
            name: self.applied_work.metadata.name.clone().unwrap_or_default(),
            uid: self.applied_work.metadata.uid.clone().unwrap_or_default(),
            block_owner_deletion: Some(true),
            controller: None,
        }
    }

    fn annotation(&self, name: &str) -> &str {
        let annotations = self.applied_work.metadata.annotations.as_ref();
        annotations.and_then(|annotations| annotations.get(name)).map_or("", String::as_str)
    }

    /// Uid of the Work; empty when another agent made the record.
    pub(crate) fn work_uid(&self) -> &str {
        self.annotation(WORK_UID)
    }

    /// Generation up to which the Work was carried out.
    pub(crate) fn work_generation(&self) -> i64 {
        self.annotation(WORK_GENERATION).parse().unwrap_or(0)
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.applied_work.metadata.deletion_timestamp.is_some()
    }

    /// Returns what is on record.
    pub(crate) fn resources(&self) -> &[AppliedResourceMeta] {
        self.applied_work.status.as_ref().map_or(&[], |status| &status.applied_resources)
    }

    /// Notes objects before they are created, so that nothing is on the member that is not on record.
    pub(crate) async fn note_ahead<'a>(
        &mut self,
        client: &Client,
        identifiers: impl Iterator<Item = &'a WorkResourceIdentifier>,
    ) -> Result<(), kube::Error> {
        let mut resources = self.resources().to_vec();
        for identifier in identifiers {
            if !resources.iter().any(|known| same_object(&known.identifier, identifier)) {
                resources.push(AppliedResourceMeta {
                    identifier: identifier.clone(),
                    uid: String::new(),
                });
            }
        }
        self.set_resources(client, resources).await
    }

    /// Writes the list of objects, if it differs.
    pub(crate) async fn set_resources(
        &mut self,
        client: &Client,
        resources: Vec<AppliedResourceMeta>,
    ) -> Result<(), kube::Error> {
        if resources == self.resources() {
            return Ok(());
        }
        let mut changed = self.applied_work.clone();
        changed.status.get_or_insert_default().applied_resources = resources;
        let name = changed.metadata.name.clone().unwrap_or_default();
        self.applied_work =
            api(client).replace_status(&name, &PostParams::default(), &changed).await?;
        Ok(())
    }

    /// Notes that a Work has been carried out up to its present generation.
    pub(crate) async fn complete(
        &mut self,
        client: &Client,
        work: &Work,
    ) -> Result<(), kube::Error> {
        self.stamp(client, work, work.metadata.generation.unwrap_or(0)).await
    }

    /// Tells whether the record was made for just this Work.
    pub(crate) fn is_for(&self, work: &Work) -> bool {
        work.metadata.uid.as_deref().is_some_and(|uid| uid == self.work_uid())
    }

    /// Makes the record that of a Work of which nothing has been carried out.
    pub(crate) async fn adopt(&mut self, client: &Client, work: &Work) -> Result<(), kube::Error> {
        self.stamp(client, work, 0).await
    }

    async fn stamp(
        &mut self,
        client: &Client,
        work: &Work,
        generation: i64,
    ) -> Result<(), kube::Error> {
        if self.is_for(work) && self.work_generation() == generation {
            return Ok(());
        }
        let uid = work.metadata.uid.as_deref().unwrap_or_default();
        let patch = json!({
            "metadata": {
                "resourceVersion": self.applied_work.metadata.resource_version,
                "annotations": { WORK_UID: uid, WORK_GENERATION: generation.to_string() },
            },
        });
        let name = self.applied_work.metadata.name.clone().unwrap_or_default();
        self.applied_work =
            api(client).patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Deletes the record after everything that it owns.
    pub(crate) async fn delete(&self, client: &Client) -> Result<(), kube::Error> {
        self.delete_with(client, PropagationPolicy::Foreground).await
    }

    /// Deletes the record and leaves what it owns, without an owner.
    pub(crate) async fn delete_alone(&self, client: &Client) -> Result<(), kube::Error> {
        self.delete_with(client, PropagationPolicy::Orphan).await
    }

    async fn delete_with(
        &self,
        client: &Client,
        policy: PropagationPolicy,
    ) -> Result<(), kube::Error> {
        let name = self.applied_work.metadata.name.as_deref().unwrap_or_default();
        let this_one =
            Preconditions { uid: self.applied_work.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        api(client).delete(name, &params.preconditions(this_one)).await.map(|_| ())
    }
}

fn api(client: &Client) -> Api<AppliedWork> {
    Api::all(client.clone())
}

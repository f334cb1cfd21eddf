//! Clusters of Cluster API: an upgrade changes versions and machine templates, and Cluster API replaces machines.
//!
//! [`ClusterApi::start`] writes the [record](record) of the upgrade into an annotation of the `Cluster`, and with a
//! topology the new version in the same write. From there on [`ClusterApi::follow`] takes the upgrade from step to step: it
//! decides from the record and from what the objects show, so that it goes on after a crash as if nothing had
//! happened. Every write carries the resourceVersion that it was decided on.
//!
//! Nothing is ever deleted: machine templates that are replaced stay.

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use stolos_api::update::{MemberTarget, UpgradeType};

mod catalogue;
mod follow;
mod images;
mod inspect;
mod kinds;
mod objects;
mod progress;
mod record;
mod topology;
mod watch;

use kinds::{GROUP, Kinds};
use record::{ANNOTATION, Record};

use crate::{ClientError, Observation, Provider, StartError, kubeconfig};

/// Annotation of a `Cluster` with the namespaces, separated by commas, whose fleet members may stand for it. Members in
/// the namespace of the `Cluster` always may.
const MEMBERS_FROM: &str = "fleet.stolos.dev/members-from";

/// Name of the secret with the kubeconfig of a workload cluster, after the cluster's own, and its key (contract of Cluster
/// API's control planes).
const KUBECONFIG_SUFFIX: &str = "-kubeconfig";
const WORKLOAD_KUBECONFIG_KEY: &str = "value";

/// A cluster of Cluster API.
#[derive(Clone)]
pub struct ClusterApi {
    client: Client,
    namespace: String,
    name: String,
    /// Namespace of the member, where its right to the `Cluster` has to be checked.
    asker: Option<String>,
}

impl ClusterApi {
    /// Returns the provider of a `Cluster` of the management cluster behind a client. Whoever has the client's
    /// credentials may upgrade it.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned(), asker: None }
    }

    /// Returns the provider of a `Cluster` on the hub itself, for a member in the namespace `asker`. The client's rights
    /// are the hub's and not the asker's, so a `Cluster` of another namespace has to agree by the annotation
    /// `fleet.stolos.dev/members-from`.
    pub fn on_hub(client: Client, namespace: &str, name: &str, asker: &str) -> Self {
        Self { asker: Some(asker.to_owned()), ..Self::new(client, namespace, name) }
    }

    /// Returns why the asker has no right to a `Cluster`.
    fn forbidden(&self, cluster: &DynamicObject) -> Option<String> {
        let asker = self.asker.as_ref().filter(|asker| **asker != self.namespace)?;
        let annotations = cluster.metadata.annotations.as_ref();
        let allowed = annotations.and_then(|all| all.get(MEMBERS_FROM)).map_or("", String::as_str);
        let allowed = allowed.split(',').any(|namespace| namespace.trim() == asker);
        (!allowed).then(|| {
            format!(
                "Cluster `{}` of namespace `{}` does not admit members of namespace `{asker}`: its annotation {MEMBERS_FROM} has to name them",
                self.name, self.namespace
            )
        })
    }

    async fn begin(&self, id: &str, target: &MemberTarget) -> Result<(), StartError> {
        let request = |source: Box<dyn std::error::Error + Send + Sync>| StartError::Request {
            operation_id: id.to_owned(),
            source,
        };
        let kind = Kinds::default().get(&self.client, GROUP, "Cluster").await;
        let kind = kind.map_err(|error| request(error.into()))?;
        let api =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let cluster = api.get_opt(&self.name).await.map_err(|error| request(error.into()))?;
        let cluster = cluster.ok_or_else(|| self.refused("NotFound", "does not exist"))?;
        if let Some(reason) = self.forbidden(&cluster) {
            return Err(StartError::Refused { code: "Forbidden".into(), message: reason });
        }
        let record = Record::of(&cluster).map_err(|error| request(error.into()))?;
        if record.has(id) {
            return Ok(());
        }
        if let Some(other) = record.running() {
            return Err(request(format!("upgrade {} is under way", other.id).into()));
        }
        let patch = self.first_patch(&cluster, &record.with(id, target), target)?;
        let patched = api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(drop).map_err(|error| match error {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
                StartError::Refused { code: status.reason.clone(), message: status.message }
            }
            error => request(error.into()),
        })
    }

    /// Connects to the cluster by the secret that Cluster API keeps for it. Who may not upgrade the cluster may not look
    /// into it either.
    async fn connect(&self) -> Result<Client, String> {
        let kind = Kinds::default().get(&self.client, GROUP, "Cluster").await;
        let kind = kind.map_err(|error| error.to_string())?;
        let clusters =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let cluster = clusters.get_opt(&self.name).await.map_err(|error| error.to_string())?;
        let cluster = cluster.ok_or_else(|| self.told("does not exist"))?;
        if let Some(reason) = self.forbidden(&cluster) {
            return Err(reason);
        }
        let name = format!("{}{KUBECONFIG_SUFFIX}", self.name);
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get_opt(&name).await.map_err(|error| error.to_string())?;
        let secret = secret.ok_or_else(|| self.told(&format!("has no secret `{name}` yet")))?;
        let client = kubeconfig::connect_by(&secret, WORKLOAD_KUBECONFIG_KEY).await;
        client.map_err(|error| error.to_string())
    }

    /// Returns the write that begins an upgrade: the record, and the change of the topology where there is one.
    fn first_patch(
        &self,
        cluster: &DynamicObject,
        record: &Record,
        target: &MemberTarget,
    ) -> Result<Value, StartError> {
        let wanted = topology::wanted_version(target).map_err(|error| StartError::Refused {
            code: "InvalidTarget".into(),
            message: error,
        })?;
        if target.rollback && wanted.is_some() {
            return Err(self.refused("NotSupported", "cannot be taken back to an older version"));
        }
        let mut patch = patch_of(cluster);
        patch["metadata"]["annotations"] = json!({ ANNOTATION: record.text() });
        let Some(topology) = objects::topology(cluster) else { return Ok(patch) };
        if let Some(reason) = wanted.and_then(|wanted| topology::refusal(topology, wanted)) {
            return Err(StartError::Refused { code: "NotSupported".into(), message: reason });
        }
        if wanted.is_none() && target.upgrade_type != UpgradeType::NodeImageOnly
            || objects::is_paused(cluster)
        {
            return Ok(patch);
        }
        if let Some(change) = topology::change(topology, target.upgrade_type, wanted) {
            patch["spec"] = json!({ "topology": change });
        }
        Ok(patch)
    }

    fn refused(&self, code: &str, what: &str) -> StartError {
        StartError::Refused { code: code.into(), message: self.told(what) }
    }

    fn told(&self, what: &str) -> String {
        format!("Cluster `{}` of namespace `{}` {what}", self.name, self.namespace)
    }
}

/// Returns the beginning of a patch that fails when the object is not as it was seen.
fn patch_of(object: &DynamicObject) -> Value {
    json!({ "metadata": { "resourceVersion": object.metadata.resource_version } })
}

impl Provider for ClusterApi {
    fn follow(&self) -> BoxStream<'static, Observation> {
        follow::follow(self.clone()).boxed()
    }

    fn start<'a>(
        &'a self,
        operation_id: &'a str,
        target: &'a MemberTarget,
    ) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(self.begin(operation_id, target))
    }

    fn client(&self) -> BoxFuture<'_, Result<Client, ClientError>> {
        Box::pin(async { self.connect().await.map_err(ClientError::Unreachable) })
    }
}

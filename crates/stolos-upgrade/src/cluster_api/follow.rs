//! Follows a cluster and carries its upgrade from step to step.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use futures::stream::{self, Stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use serde_json::json;
use stolos_core::update::cluster::{Inspection, Operation};
use tokio::time::Instant;
use tracing::debug;

use super::catalogue::{CONFIG_MAP, Catalogue, KEY};
use super::kinds::{Error, GROUP, Kinds};
use super::objects::{Reference, Role, World, topology};
use super::progress::{self, Step, Write};
use super::record::{ANNOTATION, Record};
use super::watch::{Watched, retry_after};
use super::{ClusterApi, inspect, patch_of};
use crate::Observation;

/// Label of the objects of a cluster.
const CLUSTER_LABEL: &str = "cluster.x-k8s.io/cluster-name";

/// After this many failures of a watch in a row, kinds are looked up anew: a server may have stopped serving a version.
const REDISCOVER_AFTER: u32 = 5;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Cluster,
    Catalogue,
    Deployments,
    Pools,
    Machines,
    ControlPlane(Reference),
    Class { namespace: String, name: String },
}

/// Yields what is seen, for ever. Writes happen while the stream is polled.
pub(super) fn follow(cluster: ClusterApi) -> impl Stream<Item = Observation> + Send {
    let follower = Follower {
        cluster,
        kinds: Kinds::default(),
        sources: BTreeMap::new(),
        templates: BTreeMap::new(),
        last: None,
        failures: 0,
        retry_at: None,
    };
    stream::unfold(follower, |mut follower| async move {
        let seen = follower.next().await;
        Some((seen, follower))
    })
}

struct Follower {
    cluster: ClusterApi,
    kinds: Kinds,
    sources: BTreeMap<Source, Watched>,
    /// Machine templates cannot be changed, so each is read once.
    templates: BTreeMap<Reference, DynamicObject>,
    last: Option<Observation>,
    failures: u32,
    /// When to try again what failed.
    retry_at: Option<Instant>,
}

/// Why there is nothing to look at yet.
enum Gap {
    /// The first list of something is under way.
    Unlisted,
    /// The cluster cannot be seen, for this reason.
    Unknown(String),
    /// A request failed; it is tried again.
    Failed(String),
}

impl From<Error> for Gap {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Follower {
    async fn next(&mut self) -> Observation {
        loop {
            let looked = self.look().await;
            let seen = match looked {
                Ok((seen, failure)) => {
                    self.schedule(failure);
                    Some(seen)
                }
                Err(Gap::Unlisted) => None,
                Err(Gap::Unknown(reason)) => {
                    self.schedule(None);
                    Some(self.unknown(reason))
                }
                Err(Gap::Failed(reason)) => {
                    let seen = self.unknown(reason.clone());
                    self.schedule(Some(reason));
                    Some(seen)
                }
            };
            if let Some(seen) = seen.filter(|seen| self.last.as_ref() != Some(seen)) {
                self.last = Some(seen.clone());
                return seen;
            }
            self.changed().await;
        }
    }

    /// A cluster that cannot be seen keeps the upgrades that were.
    fn unknown(&self, reason: String) -> Observation {
        let operations = self.last.as_ref().map(|last| last.operations.clone());
        Observation {
            cluster: Inspection::Unknown(reason),
            operations: operations.unwrap_or_default(),
        }
    }

    fn schedule(&mut self, failure: Option<String>) {
        match failure {
            None => (self.failures, self.retry_at) = (0, None),
            Some(error) => {
                self.failures = self.failures.saturating_add(1);
                self.retry_at = Some(Instant::now() + retry_after(self.failures));
                debug!(error, cluster = self.cluster.name, "request to Cluster API failed");
            }
        }
    }

    /// Waits until a watch has news or something is to be tried again.
    async fn changed(&mut self) {
        let retry_at = self.retry_at;
        let retry: Pin<Box<dyn Future<Output = ()> + Send>> = match retry_at {
            Some(at) => Box::pin(tokio::time::sleep_until(at)),
            None => Box::pin(std::future::pending()),
        };
        let changes = self.sources.values_mut().map(|watched| {
            let change: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(watched.changed());
            change
        });
        futures::future::select_all(changes.chain([retry])).await;
    }

    /// Looks at what the watches have, takes the upgrade a step further, and returns what is seen and what failed.
    async fn look(&mut self) -> Result<(Observation, Option<String>), Gap> {
        if self.sources.values().any(|watched| watched.failures() >= REDISCOVER_AFTER) {
            self.sources.clear();
            self.kinds = Kinds::default();
        }
        self.watch_fixed().await?;
        let cluster = self.cluster_object()?;
        if let Some(reason) = self.cluster.forbidden(&cluster) {
            return Err(Gap::Unknown(reason));
        }
        let record = Record::of(&cluster).map_err(Gap::Unknown)?;
        self.watch_referred(&cluster).await?;
        let world = self.world(cluster).await?;
        let (progress, failure) = match record.running() {
            None => (None, None),
            Some(upgrade) => self.advance(&world, &record, &upgrade.target).await,
        };
        let cluster = inspect::inspect(&world, &record);
        Ok((Observation { cluster, operations: record.operations(progress) }, failure))
    }

    async fn watch_fixed(&mut self) -> Result<(), Error> {
        if self.sources.len() >= 5 {
            return Ok(());
        }
        let ClusterApi { client, namespace, name, .. } = self.cluster.clone();
        let api = |kind: &ApiResource| Api::namespaced_with(client.clone(), &namespace, kind);
        let own = || watcher::Config::default().labels(&format!("{CLUSTER_LABEL}={name}"));
        let kind = self.kinds.get(&client, GROUP, "Cluster").await?;
        let mut sources = vec![(Source::Cluster, Watched::named(api(&kind), &name))];
        for (source, kind) in [
            (Source::Deployments, "MachineDeployment"),
            (Source::Pools, "MachinePool"),
            (Source::Machines, "Machine"),
        ] {
            let kind = self.kinds.get(&client, GROUP, kind).await?;
            sources.push((source, Watched::new(api(&kind), own())));
        }
        let config_map = ApiResource::erase::<ConfigMap>(&());
        sources.push((Source::Catalogue, Watched::named(api(&config_map), CONFIG_MAP)));
        self.sources.extend(sources);
        Ok(())
    }

    fn cluster_object(&self) -> Result<DynamicObject, Gap> {
        let found = self.one(&Source::Cluster)?;
        found.cloned().ok_or_else(|| {
            let ClusterApi { namespace, name, .. } = &self.cluster;
            Gap::Unknown(format!("Cluster `{name}` of namespace `{namespace}` does not exist"))
        })
    }

    /// Watches the control plane and the class that the `Cluster` refers to, and stops watching others.
    async fn watch_referred(&mut self, cluster: &DynamicObject) -> Result<(), Error> {
        let client = self.cluster.client.clone();
        let namespace = self.cluster.namespace.clone();
        let control_plane = cluster.data.pointer("/spec/controlPlaneRef").and_then(Reference::read);
        let control_plane = control_plane.map(Source::ControlPlane);
        let class = class_of(cluster, &namespace);
        self.sources.retain(|source, _| match source {
            Source::ControlPlane(_) => Some(source) == control_plane.as_ref(),
            Source::Class { .. } => Some(source) == class.as_ref(),
            _ => true,
        });
        for source in [control_plane, class].into_iter().flatten() {
            if self.sources.contains_key(&source) {
                continue;
            }
            let (group, kind, namespace, name) = match &source {
                Source::ControlPlane(it) => (&*it.group, &*it.kind, &namespace, &it.name),
                Source::Class { namespace, name } => (GROUP, "ClusterClass", namespace, name),
                _ => continue,
            };
            let kind = self.kinds.get(&client, group, kind).await?;
            let api = Api::namespaced_with(client.clone(), namespace, &kind);
            let watched = Watched::named(api, name);
            self.sources.insert(source, watched);
        }
        Ok(())
    }

    async fn world(&mut self, cluster: DynamicObject) -> Result<World, Gap> {
        let catalogue = match self.one(&Source::Catalogue)? {
            None => Catalogue::default(),
            Some(map) => {
                let text = map.data.pointer("/data").and_then(|data| data.get(KEY)?.as_str());
                Catalogue::parse(text.unwrap_or("{}")).map_err(|error| {
                    Gap::Unknown(format!("key `{KEY}` of ConfigMap `{CONFIG_MAP}`: {error}"))
                })?
            }
        };
        let mut world = World {
            control_plane: self.referred(|source| matches!(source, Source::ControlPlane(_)))?,
            class: self.referred(|source| matches!(source, Source::Class { .. }))?,
            deployments: self.all(&Source::Deployments)?,
            pools: self.all(&Source::Pools)?,
            machines: self.all(&Source::Machines)?,
            cluster,
            catalogue,
            templates: BTreeMap::new(),
        };
        if world.catalogue.maps_templates() {
            self.read_templates(&mut world).await?;
        }
        Ok(world)
    }

    /// Reads the machine templates of the parts that have not been read yet.
    async fn read_templates(&mut self, world: &mut World) -> Result<(), Gap> {
        let wanted: Vec<Reference> = (world.parts().iter())
            .filter_map(super::objects::Part::template)
            .filter(|template| world.catalogue.field(&template.kind).is_some())
            .collect();
        self.templates.retain(|reference, _| wanted.contains(reference));
        for reference in wanted {
            if self.templates.contains_key(&reference) {
                continue;
            }
            let api = self.api_of(&reference).await?;
            let read = api.get_opt(&reference.name).await;
            if let Some(template) = read.map_err(|error| Gap::Failed(error.to_string()))? {
                self.templates.insert(reference, template);
            }
        }
        world.templates = self.templates.clone();
        Ok(())
    }

    async fn api_of(&mut self, reference: &Reference) -> Result<Api<DynamicObject>, Error> {
        let ClusterApi { client, namespace, .. } = self.cluster.clone();
        let kind = self.kinds.get(&client, &reference.group, &reference.kind).await?;
        Ok(Api::namespaced_with(client, &namespace, &kind))
    }

    fn watched(&self, source: &Source) -> Result<&Watched, Gap> {
        let watched = self.sources.get(source).ok_or(Gap::Unlisted)?;
        if let Some(error) = watched.lost() {
            return Err(Gap::Unknown(format!("the management cluster does not answer: {error}")));
        }
        if watched.is_listed() { Ok(watched) } else { Err(Gap::Unlisted) }
    }

    fn one(&self, source: &Source) -> Result<Option<&DynamicObject>, Gap> {
        Ok(self.watched(source)?.objects().next())
    }

    /// Returns an object that the `Cluster` refers to.
    fn referred(&self, is: fn(&Source) -> bool) -> Result<Option<DynamicObject>, Gap> {
        let Some(source) = self.sources.keys().find(|source| is(source)) else { return Ok(None) };
        Ok(self.one(source)?.cloned())
    }

    fn all(&self, source: &Source) -> Result<Vec<DynamicObject>, Gap> {
        Ok(self.watched(source)?.objects().cloned().collect())
    }

    /// Takes the upgrade a step further. Returns what there is to say about it, and what failed and is to be repeated.
    async fn advance(
        &mut self,
        world: &World,
        record: &Record,
        target: &stolos_api::update::MemberTarget,
    ) -> (Option<String>, Option<String>) {
        let Step { writes, mut operation } = progress::next(world, target);
        for write in writes {
            match self.write(world, write).await {
                Ok(()) => {}
                // The object has changed since; its news lead to another step.
                Err(kube::Error::Api(status)) if status.is_conflict() => break,
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    operation = Operation::Failed {
                        code: status.reason.clone(),
                        message: status.message.clone(),
                    };
                    break;
                }
                Err(error) => return (Some(error.to_string()), Some(error.to_string())),
            }
        }
        if matches!(operation, Operation::Done(_)) {
            // Watches are not in step: a condition of the Cluster may be seen before the parts that it tells about.
            operation = match self.in_step(world).await {
                Ok(world) => progress::next(&world, target).operation,
                Err(Gap::Unlisted) => return (None, None),
                Err(Gap::Failed(error) | Gap::Unknown(error)) => return (None, Some(error)),
            };
        }
        if let Some(ended) = record.ended(&operation) {
            let mut patch = patch_of(&world.cluster);
            patch["metadata"]["annotations"] = json!({ ANNOTATION: ended.text() });
            let patched = self.patch(Source::Cluster, &world.cluster, patch).await;
            let failure = match patched {
                Err(kube::Error::Api(status)) if status.is_conflict() => None,
                patched => patched.err().map(|error| error.to_string()),
            };
            return (None, failure);
        }
        match operation {
            Operation::Running(message) => (message, None),
            Operation::Done(_) | Operation::Failed { .. } => (None, None),
        }
    }

    /// Returns the world with all parts as they are at least since the rest of it was seen.
    async fn in_step(&mut self, world: &World) -> Result<World, Gap> {
        for (source, watched) in &mut self.sources {
            match source {
                Source::Deployments | Source::Pools | Source::ControlPlane(_) => {
                    watched.catch_up().await.map_err(|error| Gap::Failed(error.to_string()))?;
                }
                Source::Cluster | Source::Catalogue | Source::Machines | Source::Class { .. } => {}
            }
        }
        self.world(world.cluster.clone()).await
    }

    async fn write(&mut self, world: &World, write: Write) -> kube::Result<()> {
        match write {
            Write::Template { like, object } => {
                let api = self.api_of(&like).await;
                let api = api.map_err(|error| kube::Error::Service(Box::new(error)))?;
                match api.create(&PostParams::default(), &object).await {
                    Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                    created => created.map(drop),
                }
            }
            Write::Topology(change) => {
                let mut patch = patch_of(&world.cluster);
                patch["spec"] = json!({ "topology": change });
                self.patch(Source::Cluster, &world.cluster, patch).await
            }
            Write::Part { role, name, patch: change } => {
                let parts = world.parts();
                let part = parts.iter().find(|part| part.role == role && part.name() == name);
                let Some(part) = part else { return Ok(()) };
                let mut patch = patch_of(part.object);
                patch["spec"] = change["spec"].clone();
                let source = match role {
                    Role::Deployment => Some(Source::Deployments),
                    Role::Pool => Some(Source::Pools),
                    Role::ControlPlane => self
                        .sources
                        .keys()
                        .find(|source| matches!(source, Source::ControlPlane(_)))
                        .cloned(),
                };
                let Some(source) = source else { return Ok(()) };
                self.patch(source, part.object, patch).await
            }
        }
    }

    /// Patches a watched object. Its new state comes by the watch.
    async fn patch(
        &mut self,
        source: Source,
        object: &DynamicObject,
        patch: serde_json::Value,
    ) -> kube::Result<()> {
        let Some(watched) = self.sources.get_mut(&source) else { return Ok(()) };
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let params = PatchParams::default();
        watched.api().patch(name, &params, &Patch::Merge(patch)).await.map(drop)
    }
}

/// Returns the class of a topology: by name alone or by reference.
fn class_of(cluster: &DynamicObject, namespace: &str) -> Option<Source> {
    let topology = topology(cluster)?;
    let text = |pointer: &str| topology.pointer(pointer).and_then(serde_json::Value::as_str);
    let name = text("/classRef/name").or_else(|| text("/class"))?;
    let elsewhere = text("/classRef/namespace").or_else(|| text("/classNamespace"));
    Some(Source::Class {
        namespace: elsewhere.unwrap_or(namespace).to_owned(),
        name: name.to_owned(),
    })
}

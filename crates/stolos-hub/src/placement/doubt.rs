//! What is asked again before anything is withdrawn because the hub seems to lack it.
//!
//! What is known comes from lists and watches. A list can be short, old or empty, and a discovery can show less than there
//! is, yet nothing of that may take anything away from a member. So whatever a plan would drop because it is not there (or
//! not as it was) is read once more, by itself and from the hub's store, and only then is the plan carried out:
//!
//! - an object that the latest snapshot has and the selection has not;
//! - a member that a binding targets and that is not there;
//! - a placement that is older than what was decided for it already;
//! - a resource snapshot that a binding names and that is newer than all that are known;
//! - a binding that is older than what its Works were made for;
//! - a binding that nothing but a list shows, before Works are made for it: one that is gone would never take them back;
//! - the Works of a binding that is being deleted, before it is let go as having none;
//! - the bindings of a placement that is being deleted, before it is let go as having none but those on their way out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::oneshot;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::member_namespace;
use stolos_api::placement::names::{annotation, finalizer, label};
use stolos_api::placement::{
    BindingState, ClusterResourceBinding, ClusterResourcePlacement, ClusterResourceSnapshot,
    ResourceBinding, ResourceIdentifier, ResourcePlacement, ResourceSnapshot, RolloutStrategyType,
    Work,
};
use stolos_controller::{Change, Key, revision};
use stolos_core::placement::object::{Gvk, identifier};
use stolos_core::placement::select::select;
use stolos_core::placement::snapshot::resources;
use stolos_core::placement::work;

use super::catalogue::GroupKind;
use super::feed::Fed;
use super::object::{Object, Seen};
use super::selection::has_finalizer;
use super::world::{Item, World};

/// Something that seems not to be there, or not as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// An object that was selected.
    Source(GroupKind, Key),
    /// A member that was picked.
    Member(String),
    /// A placement.
    Placement(Key),
    /// A resource snapshot.
    Snapshot(Key),
    /// A binding.
    Binding(Key),
    /// The bindings of a placement.
    Bindings(Key),
    /// The Works of a binding, in the namespace of its member.
    Works(Key, String),
}

/// A question, and for whom it is asked.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    item: Item,
    subject: Subject,
    /// How to read an object that was selected, if the hub serves its kind.
    resource: Option<ApiResource>,
    gvk: Gvk,
}

/// What was read by itself is now known as it is.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(super) item: Item,
    pub(super) subject: Subject,
}

/// What was read by itself since it was last heard of otherwise.
#[derive(Debug, Default)]
pub(crate) struct Proofs(BTreeSet<Subject>);

impl Proofs {
    pub(super) fn add(&mut self, subject: Subject) {
        self.0.insert(subject);
    }

    /// Forgets the proofs that a message may contradict.
    pub(super) fn question(&mut self, change: &Change<Seen>) {
        match change {
            Change::Applied(Seen::Source(fed)) | Change::Deleted(Seen::Source(fed)) => {
                self.question_source(fed);
            }
            Change::Applied(Seen::Member(member)) | Change::Deleted(Seen::Member(member)) => {
                let name = member.metadata.name.clone().unwrap_or_default();
                self.0.remove(&Subject::Member(name));
            }
            Change::Listed { kind: "MemberCluster", .. } => {
                self.0.retain(|subject| !matches!(subject, Subject::Member(_)));
            }
            Change::Listed { kind: "ClusterResourcePlacement" | "ResourcePlacement", .. } => {
                self.0.retain(|subject| !matches!(subject, Subject::Placement(_)));
            }
            Change::Listed { kind: "ClusterResourceSnapshot" | "ResourceSnapshot", .. } => {
                self.0.retain(|subject| !matches!(subject, Subject::Snapshot(_)));
            }
            Change::Applied(Seen::Object(Object::Binding(binding))) => {
                self.0.remove(&Subject::Binding(Key::of(&binding.metadata)));
            }
            Change::Listed { kind: "ClusterResourceBinding" | "ResourceBinding", .. } => {
                self.0.retain(|subject| {
                    !matches!(subject, Subject::Binding(_) | Subject::Bindings(_))
                });
            }
            Change::Listed { kind: "Work", .. } => {
                self.0.retain(|subject| !matches!(subject, Subject::Works(..)));
            }
            Change::Listed { .. } | Change::Applied(_) | Change::Deleted(_) => {}
        }
    }

    fn question_source(&mut self, fed: &Fed) {
        match fed {
            Fed::Applied(kind, object) | Fed::Deleted(kind, object) => {
                self.0.remove(&Subject::Source(kind.clone(), Key::of(&object.metadata)));
            }
            Fed::Listed(listed, _) => self
                .0
                .retain(|subject| !matches!(subject, Subject::Source(kind, _) if kind == listed)),
            Fed::Kinds(_) => self.0.retain(|subject| !matches!(subject, Subject::Source(..))),
        }
    }

    /// Forgets what was selected once; a new snapshot says what is selected from here on.
    pub(super) fn settle(&mut self) {
        self.0.retain(|subject| !matches!(subject, Subject::Source(..)));
    }
}

impl World {
    /// Returns what is to be asked before an item may be planned.
    pub(super) fn doubts(&self, item: &Item) -> Vec<Doubt> {
        let subjects = match item {
            Item::Select(key) | Item::Schedule(key) | Item::Rollout(key) => {
                self.doubts_of_placement(item, key)
            }
            Item::Generate(key) => {
                let doubt = self.outdated_binding(key).or_else(|| self.missing_works(key));
                doubt.or_else(|| self.listed_binding(key)).into_iter().collect()
            }
            Item::Report(_) | Item::Override(_) => Vec::new(),
        };
        let open = subjects.into_iter().filter(|(subject, _)| !self.proofs.0.contains(subject));
        open.map(|(subject, gvk)| {
            let resource = match &subject {
                Subject::Source(kind, _) => self.catalogue.resource(kind),
                Subject::Member(_)
                | Subject::Placement(_)
                | Subject::Snapshot(_)
                | Subject::Binding(_)
                | Subject::Bindings(_)
                | Subject::Works(..) => None,
            };
            Doubt { item: item.clone(), subject, resource, gvk }
        })
        .collect()
    }

    fn doubts_of_placement(&self, item: &Item, key: &Key) -> Vec<(Subject, Gvk)> {
        let Some(placement) = self.placements.get(key) else { return Vec::new() };
        if placement.metadata.deletion_timestamp.is_some() {
            let is_held = has_finalizer(&placement.metadata, finalizer::SCHEDULER_CLEANUP);
            let mut bindings = self.bindings_of(key);
            let all_go = bindings.all(|binding| binding.metadata.deletion_timestamp.is_some());
            let is_let_go = matches!(item, Item::Schedule(_)) && is_held && all_go;
            let bindings = || (Subject::Bindings(key.clone()), Gvk::default());
            return is_let_go.then(bindings).into_iter().collect();
        }
        if self.is_outdated(placement) {
            return vec![(Subject::Placement(key.clone()), Gvk::default())];
        }
        let newer = self.newer_snapshots(placement);
        if newer.iter().any(|(subject, _)| !self.proofs.0.contains(subject)) {
            return newer;
        }
        match item {
            Item::Select(_) => self.dropped(placement),
            Item::Schedule(_) => self.missing_members(key),
            Item::Rollout(_) | Item::Report(_) | Item::Generate(_) | Item::Override(_) => {
                Vec::new()
            }
        }
    }

    /// Returns a binding if one of its Works was made for a later generation than the one that is known.
    fn outdated_binding(&self, key: &Key) -> Option<(Subject, Gvk)> {
        let binding = self.bindings.get(key)?;
        let generation = binding.metadata.generation.unwrap_or_default();
        let is_outdated = self.works_of(binding).any(|work| work::is_ahead_of(work, generation));
        is_outdated.then(|| (Subject::Binding(key.clone()), Gvk::default()))
    }

    /// Returns the Works of a binding that is to be let go, if there seem to be none: it would leave behind what they placed.
    fn missing_works(&self, key: &Key) -> Option<(Subject, Gvk)> {
        let binding = self.bindings.get(key)?;
        let goes = binding.metadata.deletion_timestamp.is_some()
            && has_finalizer(&binding.metadata, finalizer::WORK_CLEANUP);
        let has_none = self.works_of(binding).next().is_none();
        let subject = Subject::Works(key.clone(), member_namespace(&binding.spec.target_cluster));
        (goes && has_none).then(|| (subject, Gvk::default()))
    }

    /// Returns a binding that is to get Works if it is known from a list alone.
    fn listed_binding(&self, key: &Key) -> Option<(Subject, Gvk)> {
        let binding = self.bindings.get(key)?;
        let is_newer = revision(&binding.metadata) > self.listed_bindings;
        if is_newer || binding.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let works: Vec<&Work> = self.works_of(binding).map(AsRef::as_ref).collect();
        let gets_works = self.is_to_be_placed(binding)
            && !work::all_carry(&works, &binding.spec.resource_snapshot_name);
        gets_works.then(|| (Subject::Binding(key.clone()), Gvk::default()))
    }

    /// Tells whether something was decided for a later generation of a placement than the one that is known.
    fn is_outdated(&self, placement: &ClusterResourcePlacement) -> bool {
        let noted = |meta: &ObjectMeta| -> Option<i64> {
            meta.annotations.as_ref()?.get(annotation::PLACEMENT_GENERATION)?.parse().ok()
        };
        let generation = placement.metadata.generation.unwrap_or_default();
        self.policies_of(placement)
            .filter_map(|policy| noted(&policy.metadata))
            .any(|decided| decided > generation)
    }

    /// Returns the snapshots that bindings of a placement name and that are newer than all that are known: an older one must not
    /// be rolled out over them.
    fn newer_snapshots(&self, placement: &ClusterResourcePlacement) -> Vec<(Subject, Gvk)> {
        let strategy = placement.spec.strategy.as_ref().map(|strategy| strategy.type_);
        if strategy == Some(RolloutStrategyType::External) {
            return Vec::new();
        }
        let name = placement.metadata.name.as_deref().unwrap_or_default();
        let index = |snapshot: &str| resources::index_of_master(name, snapshot);
        let known = self.snapshots_of(placement);
        let latest = known.filter_map(|known| index(known.metadata.name.as_deref()?)).max();
        let key = Key::of(&placement.metadata);
        let bindings = self.bindings_of(&key);
        let named: BTreeSet<&String> =
            bindings.map(|binding| &binding.spec.resource_snapshot_name).collect();
        let newer = named.into_iter().filter(|name| index(name) > latest);
        let namespace = placement.metadata.namespace.clone().unwrap_or_default();
        newer
            .map(|name| Key { namespace: namespace.clone(), name: name.clone() })
            .map(|key| (Subject::Snapshot(key), Gvk::default()))
            .collect()
    }

    /// Returns what the latest snapshots of a placement have and its selection has not.
    fn dropped(&self, placement: &ClusterResourcePlacement) -> Vec<(Subject, Gvk)> {
        let strategy = placement.spec.strategy.as_ref().map(|strategy| strategy.type_);
        if strategy == Some(RolloutStrategyType::External) {
            return Vec::new();
        }
        let selected = select(
            &placement.spec.resource_selectors,
            Self::reach_of(placement),
            &self.config.eligibility,
            &self.catalogue,
        );
        // What cannot be selected at all withdraws nothing.
        let Ok(selected) = selected else { return Vec::new() };
        let name = |id: ResourceIdentifier| {
            let kind = GroupKind { group: id.group, kind: id.kind };
            Subject::Source(kind, Key { namespace: id.namespace, name: id.name })
        };
        let selected: BTreeSet<Subject> =
            selected.iter().map(|object| name(identifier(object))).collect();
        let placed = self.snapshots_in_force(placement);
        let placed: BTreeMap<Subject, Gvk> = placed
            .map(|id| {
                let gvk = Gvk::new(&id.group, &id.version, &id.kind);
                (name(id), gvk)
            })
            .collect();
        placed.into_iter().filter(|(subject, _)| !selected.contains(subject)).collect()
    }

    /// Returns the members that bindings of a placement target and that are not there.
    fn missing_members(&self, placement: &Key) -> Vec<(Subject, Gvk)> {
        let held = self.bindings_of(placement).filter(|binding| {
            binding.metadata.deletion_timestamp.is_none()
                && binding.spec.state != BindingState::Unscheduled
        });
        let targets = held.map(|binding| &binding.spec.target_cluster);
        let missing = targets.filter(|name| self.members.get(&Key::cluster(name)).is_none());
        missing.map(|name| (Subject::Member(name.clone()), Gvk::default())).collect()
    }
}

impl Doubt {
    #[cfg(test)]
    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Reads the subject by itself.
    ///
    /// # Errors
    /// When that fails; then nothing is proven.
    pub(super) async fn ask(&self, client: &Client) -> Result<Vec<Change<Seen>>, kube::Error> {
        let found: Vec<Seen> = match &self.subject {
            Subject::Source(kind, key) => {
                self.ask_source(client, kind, key).await?.into_iter().collect()
            }
            Subject::Member(name) => {
                let api: Api<MemberCluster> = Api::all(client.clone());
                answer(api.get(name).await)?.map(Seen::from).into_iter().collect()
            }
            Subject::Placement(key) if key.namespace.is_empty() => {
                let api: Api<ClusterResourcePlacement> = Api::all(client.clone());
                answer(api.get(&key.name).await)?.map(Seen::from).into_iter().collect()
            }
            Subject::Placement(key) => {
                let api: Api<ResourcePlacement> = Api::namespaced(client.clone(), &key.namespace);
                answer(api.get(&key.name).await)?.map(Seen::from).into_iter().collect()
            }
            Subject::Snapshot(key) if key.namespace.is_empty() => {
                let api: Api<ClusterResourceSnapshot> = Api::all(client.clone());
                answer(api.get(&key.name).await)?.map(Seen::from).into_iter().collect()
            }
            Subject::Snapshot(key) => {
                let api: Api<ResourceSnapshot> = Api::namespaced(client.clone(), &key.namespace);
                answer(api.get(&key.name).await)?.map(Seen::from).into_iter().collect()
            }
            Subject::Binding(key) if key.namespace.is_empty() => {
                let api: Api<ClusterResourceBinding> = Api::all(client.clone());
                answer(api.get(&key.name).await)?.map(Seen::from).into_iter().collect()
            }
            Subject::Binding(key) => {
                let api: Api<ResourceBinding> = Api::namespaced(client.clone(), &key.namespace);
                answer(api.get(&key.name).await)?.map(Seen::from).into_iter().collect()
            }
            Subject::Bindings(placement) => {
                let of_placement = format!("{}={}", label::PARENT_PLACEMENT, placement.name);
                let of_placement = ListParams::default().labels(&of_placement);
                if placement.namespace.is_empty() {
                    let api: Api<ClusterResourceBinding> = Api::all(client.clone());
                    api.list(&of_placement).await?.items.into_iter().map(Seen::from).collect()
                } else {
                    let api: Api<ResourceBinding> =
                        Api::namespaced(client.clone(), &placement.namespace);
                    api.list(&of_placement).await?.items.into_iter().map(Seen::from).collect()
                }
            }
            Subject::Works(binding, namespace) => {
                let api: Api<Work> = Api::namespaced(client.clone(), namespace);
                let name = &binding.name;
                let of_binding = format!("{}={name}", label::PARENT_BINDING);
                let found = api.list(&ListParams::default().labels(&of_binding)).await?;
                found.items.into_iter().map(Seen::from).collect()
            }
        };
        // Its deletion will be heard of; until then nothing is made of what it was.
        if found.is_empty() && matches!(self.subject, Subject::Binding(_)) {
            return Ok(Vec::new());
        }
        let proof = Proof { item: self.item.clone(), subject: self.subject.clone() };
        Ok(found.into_iter().chain([Seen::Proof(proof)]).map(Change::Applied).collect())
    }

    async fn ask_source(
        &self,
        client: &Client,
        kind: &GroupKind,
        key: &Key,
    ) -> Result<Option<Seen>, kube::Error> {
        let Some(resource) = &self.resource else {
            self.ask_kind(client).await?;
            return Ok(None);
        };
        let api: Api<DynamicObject> = if key.namespace.is_empty() {
            Api::all_with(client.clone(), resource)
        } else {
            Api::namespaced_with(client.clone(), &key.namespace, resource)
        };
        let found = answer(api.get(&key.name).await)?;
        Ok(found.map(|object| Seen::Source(Fed::Applied(kind.clone(), Box::new(object)))))
    }

    /// Makes sure that the hub no longer has a kind. Kubernetes' own kinds do not go.
    async fn ask_kind(&self, client: &Client) -> Result<(), kube::Error> {
        let Gvk { group, version, kind } = &self.gvk;
        let is_own = !group.contains('.') || group.ends_with(".k8s.io");
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let defines = |definition: &CustomResourceDefinition| {
            definition.spec.group == *group && definition.spec.names.kind == *kind
        };
        let is_there = is_own
            || definitions.list(&ListParams::default()).await?.items.iter().any(defines)
            || match oneshot::pinned_kind(client, &GroupVersionKind::gvk(group, version, kind))
                .await
            {
                Ok(_) => true,
                Err(kube::Error::Discovery(_)) => false,
                Err(kube::Error::Api(status)) if status.code == 404 => false,
                Err(error) => return Err(error),
            };
        if is_there {
            let problem = format!(
                "kind `{kind}` of group `{group}` is not known yet; what was placed of it stays"
            );
            return Err(kube::Error::Service(problem.into()));
        }
        Ok(())
    }
}

/// Takes the answer that there is no such object as an answer. Where the kind itself is not found it has no reason.
fn answer<K>(result: Result<K, kube::Error>) -> Result<Option<K>, kube::Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

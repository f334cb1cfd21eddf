//! Members on the hub: prepares a namespace with rights for each, asks them to join or leave, and shows what they report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Namespace};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, PartialObjectMeta};
use kube::{Client, Resource};
use stolos_api::cluster::names::{
    MEMBER_NAMESPACE_PREFIX, condition, finalizer, label, member_namespace, member_role,
    member_role_binding,
};
use stolos_api::cluster::{
    ClusterState, InternalMemberCluster, InternalMemberClusterSpec, MemberCluster,
};
use stolos_api::placement::Work;
use stolos_controller::{
    Change, Controller, Key, Options, Plan, Round, Table, Tracked, Watches, Write,
};
use stolos_core::cluster::fleet::MemberLimits;
use stolos_core::cluster::membership::{self, Expected, Leaving, Reported};
use stolos_core::condition::find;

use crate::Metrics;

mod effect;
mod events;
pub mod fleet;
pub mod profile;
#[cfg(test)]
mod tests;

use effect::{Act, Seen};

const MANAGER: &str = "member-cluster-controller";

stolos_controller::kinds! {
    MANAGER;
    Event, InternalMemberCluster, MemberCluster, Namespace, Role, RoleBinding,
}

/// How members are handled.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a leaving member's agent is waited for (30 s to 1 h; KubeFleet's `force-delete-wait-time`).
    pub force_delete_wait_time: Duration,
    /// How long a member may be silent before its MemberCluster and its ClusterProfile say so (KubeFleet's
    /// `cluster-unhealthy-threshold`).
    pub cluster_unhealthy_threshold: Duration,
    /// Which agents each member has.
    pub expected_agents: Expected,
    /// How many members fleets may have.
    pub member_limits: MemberLimits,
    /// Whether members have ClusterProfiles (KubeFleet's `enable-cluster-inventory-apis`).
    pub cluster_profiles: bool,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            force_delete_wait_time: Duration::from_mins(15),
            cluster_unhealthy_threshold: Duration::from_mins(1),
            expected_agents: Expected::default(),
            member_limits: MemberLimits::default(),
            cluster_profiles: true,
            metrics: Arc::default(),
        }
    }
}

/// Runs the controller of MemberClusters until the future is dropped.
pub async fn run(client: Client, config: Config, options: Options) {
    let watches = Watches::default()
        .add("MemberCluster", Api::<MemberCluster>::all(client.clone()))
        .add("InternalMemberCluster", Api::<InternalMemberCluster>::all(client.clone()))
        .add("Namespace", Api::<Namespace>::all(client.clone()))
        .add("Role", Api::<Role>::all(client.clone()))
        .add("RoleBinding", Api::<RoleBinding>::all(client.clone()))
        .add("Work", Api::<PartialObjectMeta<Work>>::all(client.clone()));
    let options = Options { name: "member-cluster", ..options };
    config.metrics.workers(options.name, options.concurrency);
    stolos_controller::run(Members::new(config), client, watches, options).await;
}

struct Members {
    config: Config,
    members: Table<MemberCluster>,
    internal: Table<InternalMemberCluster>,
    /// The report of each member's agents that its status has shown, as a resource version.
    shown: BTreeMap<String, String>,
    namespaces: Table<Namespace>,
    roles: Table<Role>,
    role_bindings: Table<RoleBinding>,
    /// Only their finalizers count here, and there are many.
    works: Table<PartialObjectMeta<Work>>,
    /// Members of which everything was read by itself since the last list.
    read: BTreeSet<String>,
}

impl Members {
    fn new(config: Config) -> Self {
        Self {
            config,
            members: Table::default(),
            internal: Table::default(),
            shown: BTreeMap::new(),
            namespaces: Table::default(),
            roles: Table::default(),
            role_bindings: Table::default(),
            works: Table::default(),
            read: BTreeSet::new(),
        }
    }
}

/// Returns the member that a namespace belongs to.
fn owner_of(namespace: &str) -> Option<String> {
    namespace.strip_prefix(MEMBER_NAMESPACE_PREFIX).map(str::to_owned)
}

/// The name of the member an object belongs to.
fn member_of(object: &Object) -> Option<String> {
    match object {
        Object::MemberCluster(member) => member.metadata.name.clone(),
        Object::Namespace(namespace) => owner_of(namespace.metadata.name.as_deref()?),
        Object::Event(_) => None,
        Object::InternalMemberCluster(_) | Object::Role(_) | Object::RoleBinding(_) => {
            owner_of(stolos_controller::Stored::meta(object).namespace.as_deref()?)
        }
    }
}

impl Controller for Members {
    type Item = String;
    type Object = Seen;
    type Effect = Act;

    fn learn(&mut self, change: Change<Seen>) -> Vec<String> {
        match change {
            Change::Applied(Seen::Read(member)) | Change::Deleted(Seen::Read(member)) => {
                self.read.insert(member.clone());
                vec![member]
            }
            Change::Applied(Seen::Object(object)) => {
                let Some(member) = member_of(&object) else { return Vec::new() };
                let news = match object {
                    Object::MemberCluster(object) => self.is_wish(*object),
                    Object::InternalMemberCluster(object) => self.internal.insert(*object).is_ok(),
                    Object::Namespace(object) => self.namespaces.insert(*object).is_ok(),
                    Object::Role(object) => self.roles.insert(*object).is_ok(),
                    Object::RoleBinding(object) => self.role_bindings.insert(*object).is_ok(),
                    Object::Event(_) => false,
                };
                news.then_some(member).into_iter().collect()
            }
            Change::Applied(Seen::Work(work)) => {
                let member = work.metadata.namespace.as_deref().and_then(owner_of);
                let news = self.works.insert(*work).is_ok();
                // Works matter only to a member that leaves, or left in a hurry.
                member
                    .filter(|member| {
                        news && (self.is_leaving(member) || self.is_terminating(member))
                    })
                    .into_iter()
                    .collect()
            }
            Change::Deleted(Seen::Work(work)) => {
                self.works.remove(&work.metadata);
                work.metadata.namespace.as_deref().and_then(owner_of).into_iter().collect()
            }
            Change::Deleted(Seen::Object(object)) => {
                let member = member_of(&object);
                match object {
                    Object::MemberCluster(object) => {
                        let name = object.metadata.name.as_deref().unwrap_or_default();
                        self.read.remove(name);
                        self.shown.remove(name);
                        drop(self.members.remove(&object.metadata));
                    }
                    Object::InternalMemberCluster(object) => {
                        drop(self.internal.remove(&object.metadata))
                    }
                    Object::Namespace(object) => drop(self.namespaces.remove(&object.metadata)),
                    Object::Role(object) => drop(self.roles.remove(&object.metadata)),
                    Object::RoleBinding(object) => {
                        drop(self.role_bindings.remove(&object.metadata))
                    }
                    Object::Event(_) => {}
                }
                member.into_iter().collect()
            }
            Change::Listed { kind, keys } => {
                self.read.clear();
                match kind {
                    "MemberCluster" => drop(self.members.retain(&keys)),
                    "InternalMemberCluster" => drop(self.internal.retain(&keys)),
                    "Namespace" => drop(self.namespaces.retain(&keys)),
                    "Role" => drop(self.roles.retain(&keys)),
                    "RoleBinding" => drop(self.role_bindings.retain(&keys)),
                    _ => drop(self.works.retain(&keys)),
                }
                self.members.iter().filter_map(|member| member.metadata.name.clone()).collect()
            }
        }
    }

    fn plan(&self, name: &String, now: Timestamp) -> Plan<Act> {
        let Some(member) = self.members.get(&Key::cluster(name)) else { return Plan::default() };
        match &member.metadata.deletion_timestamp {
            None => self.join(member, now),
            Some(deleted) => self.leave(member, deleted.0, now),
        }
    }

    fn hear_of(&self, round: &Round<'_, String>) {
        self.config.metrics.round("member-cluster", round);
    }
}

impl Members {
    /// Takes a member in and tells whether somebody wants something new of it. A status is no wish: whoever wrote it, it
    /// stays until the member's agent reports.
    fn is_wish(&mut self, member: MemberCluster) -> bool {
        let wish = |member: &MemberCluster| {
            let ObjectMeta { uid, generation, deletion_timestamp, finalizers, labels, .. } =
                member.metadata.clone();
            (uid, generation, deletion_timestamp, finalizers, labels)
        };
        let after = wish(&member);
        let name = member.metadata.name.clone().unwrap_or_default();
        if let Some(internal) = self.internal_of(&name)
            && membership::shows(&member, internal)
        {
            let version = internal.metadata.resource_version.clone().unwrap_or_default();
            self.shown.insert(name, version);
        }
        let joined = is_joined(&member);
        let before = self.members.insert(member);
        if let Ok(Some(before)) = &before
            && joined != is_joined(before)
        {
            match joined {
                Some(true) => self.config.metrics.joined(),
                Some(false) => self.config.metrics.left(),
                None => {}
            }
        }
        before.is_ok_and(|before| before.is_none_or(|before| wish(&before) != after))
    }

    fn internal_of(&self, name: &str) -> Option<&Arc<InternalMemberCluster>> {
        self.internal.get(&Key::namespaced(&member_namespace(name), name))
    }

    /// Returns what the agents of a member reported since its status last showed their report.
    fn news_of(&self, name: &str) -> Option<&InternalMemberCluster> {
        let internal = self.internal_of(name)?;
        let version = internal.metadata.resource_version.as_ref();
        (self.shown.get(name) != version).then_some(internal)
    }

    fn is_leaving(&self, name: &str) -> bool {
        let member = self.members.get(&Key::cluster(name));
        member.is_some_and(|member| member.metadata.deletion_timestamp.is_some())
    }

    /// Tells whether the namespace of a member is being deleted.
    fn is_terminating(&self, name: &str) -> bool {
        let namespace = self.namespaces.get(&Key::cluster(&member_namespace(name)));
        namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// Prepares the hub for a member and reports what its agent says.
    fn join(&self, member: &Arc<MemberCluster>, now: Timestamp) -> Plan<Act> {
        let name = member.metadata.name.as_deref().unwrap_or_default();
        if let Some(marked) = marked(member) {
            return vec![Act::Write(Write::Replace(marked.into()))].into();
        }
        let mut writes: Vec<Write<Object>> = Vec::new();
        let namespace = member_namespace(name);
        // It is what is left of a membership that ended without its agent, and there is room for a new one once it is gone.
        if self.is_terminating(name) {
            return self.free_works(&namespace).into();
        }
        let key = |object: &str| Key::namespaced(&namespace, object);
        writes.extend(self.namespace(member, &namespace));
        writes.extend(ensure(
            self.roles.get(&key(&member_role(name))),
            role(member, &namespace),
            |live, wanted| live.rules == wanted.rules,
        ));
        writes.extend(ensure(
            self.role_bindings.get(&key(&member_role_binding(name))),
            role_binding(member, &namespace),
            |live, wanted| live.subjects == wanted.subjects && live.role_ref == wanted.role_ref,
        ));
        let wanted = internal_member_cluster(member, &namespace, ClusterState::Join);
        let internal = self.internal.get(&key(name));
        writes.extend(ensure(internal, wanted, |live, wanted| live.spec == wanted.spec));
        let patience = self.config.cluster_unhealthy_threshold;
        let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
        let is_prepared = writes.is_empty();
        let expected = self.config.expected_agents;
        let Reported { status, wake_at } =
            membership::status(member, self.news_of(name), expected, is_prepared, patience, now);
        if member.status.as_ref() != Some(&status) {
            let news = events::of_status(member.status.as_ref(), &status);
            let reported = MemberCluster { status: Some(status), ..MemberCluster::clone(member) };
            writes.push(Write::ReplaceStatus(reported.into()));
            writes.extend(events::about(member, news, now));
        }
        let news = events::of_writes(&writes);
        writes.extend(events::about(member, news, now));
        Plan::from(acts(writes)).waking_at(wake_at)
    }

    fn namespace(&self, member: &MemberCluster, name: &str) -> Option<Write<Object>> {
        let labels: BTreeMap<String, String> =
            [(label::IS_FLEET_RESOURCE.to_owned(), "true".to_owned())].into();
        let Some(live) = self.namespaces.get(&Key::cluster(name)) else {
            let mut metadata = owned_by(member, name, None);
            metadata.labels = Some(labels);
            return Some(Write::Create(Namespace { metadata, ..Namespace::default() }.into()));
        };
        let has = |(key, value)| {
            live.metadata.labels.as_ref().is_some_and(|live| live.get(key) == Some(value))
        };
        if labels.iter().all(has) {
            return None;
        }
        let mut labelled = Namespace::clone(live);
        labelled.metadata.labels.get_or_insert_default().extend(labels);
        Some(Write::Replace(labelled.into()))
    }

    /// Plans the next step of a member that leaves. Everything of it is read by itself before a step that would end what
    /// the agent may still need.
    fn leave(&self, member: &Arc<MemberCluster>, deleted: Timestamp, now: Timestamp) -> Plan<Act> {
        let name = member.metadata.name.as_deref().unwrap_or_default();
        let finalizers = member.metadata.finalizers.as_deref().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == finalizer::MEMBER_CLUSTER) {
            return Plan::default();
        }
        let namespace = member_namespace(name);
        let live = self.namespaces.get(&Key::cluster(&namespace));
        let state = match live {
            None => membership::Namespace::Absent,
            Some(live) if live.metadata.deletion_timestamp.is_some() => {
                membership::Namespace::Terminating
            }
            Some(_) => membership::Namespace::Active,
        };
        let live_internal = self.internal.get(&Key::namespaced(&namespace, name));
        let patience = self.config.force_delete_wait_time;
        let expected = self.config.expected_agents;
        let internal = live_internal.map(AsRef::as_ref);
        match membership::leave(state, internal, expected, deleted, patience, now) {
            Leaving::Release | Leaving::CleanUp if !self.read.contains(name) => {
                vec![Act::Read(name.to_owned())].into()
            }
            Leaving::Release => vec![Act::Write(Write::Replace(released(member).into()))].into(),
            Leaving::Wait => self.free_works(&namespace).into(),
            Leaving::Ask(deadline) => {
                let mut writes = Vec::new();
                let wanted = internal_member_cluster(member, &namespace, ClusterState::Leave);
                writes
                    .extend(ensure(live_internal, wanted, |live, wanted| live.spec == wanted.spec));
                Plan::from(acts(writes)).waking_at(Some(deadline))
            }
            Leaving::CleanUp => {
                let mut acts = self.free_works(&namespace);
                let delete = |live: &Arc<Namespace>| Write::Delete(Namespace::clone(live).into());
                acts.extend(live.map(delete).map(Act::Write));
                acts.into()
            }
        }
    }

    /// Takes every finalizer off the Works of a member whose agent is gone: nobody else would. What they placed stays on
    /// the member.
    fn free_works(&self, namespace: &str) -> Vec<Act> {
        let held = self.works.in_namespace(namespace).filter(|work| {
            work.metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
        });
        held.map(|work| Act::Free(Arc::clone(work))).collect()
    }
}

fn acts(writes: Vec<Write<Object>>) -> Vec<Act> {
    writes.into_iter().map(Act::Write).collect()
}

/// Tells whether a member has joined or left, if that is known.
fn is_joined(member: &MemberCluster) -> Option<bool> {
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    match find(conditions, condition::JOINED)?.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// Returns the member with its finalizer and name label, if they are missing.
fn marked(member: &Arc<MemberCluster>) -> Option<MemberCluster> {
    let mut marked = MemberCluster::clone(member);
    let name = marked.metadata.name.clone().unwrap_or_default();
    marked.metadata.labels.get_or_insert_default().insert(label::MEMBER_NAME.to_owned(), name);
    let finalizers = marked.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == finalizer::MEMBER_CLUSTER) {
        finalizers.push(finalizer::MEMBER_CLUSTER.to_owned());
    }
    (marked.metadata != member.metadata).then_some(marked)
}

fn released(member: &Arc<MemberCluster>) -> MemberCluster {
    let mut released = MemberCluster::clone(member);
    if let Some(finalizers) = &mut released.metadata.finalizers {
        finalizers.retain(|finalizer| finalizer != finalizer::MEMBER_CLUSTER);
    }
    released
}

/// Creates an object, or resets it when it differs in what counts.
fn ensure<K>(
    live: Option<&Arc<K>>,
    wanted: K,
    same: impl Fn(&K, &K) -> bool,
) -> Option<Write<Object>>
where
    K: Resource + Tracked + Clone + Into<Object>,
{
    match live {
        None => Some(Write::Create(wanted.into())),
        Some(live) if same(live, &wanted) => None,
        Some(live) => {
            let mut reset = wanted;
            *Resource::meta_mut(&mut reset) = Resource::meta(live.as_ref()).clone();
            Some(Write::Replace(reset.into()))
        }
    }
}

fn owned_by(member: &MemberCluster, name: &str, namespace: Option<&str>) -> ObjectMeta {
    let owner = OwnerReference {
        api_version: MemberCluster::api_version(&()).into_owned(),
        kind: MemberCluster::kind(&()).into_owned(),
        name: member.metadata.name.clone().unwrap_or_default(),
        uid: member.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

fn role(member: &MemberCluster, namespace: &str) -> Role {
    let name = member_role(member.metadata.name.as_deref().unwrap_or_default());
    Role { metadata: owned_by(member, &name, Some(namespace)), rules: Some(membership::rules()) }
}

fn role_binding(member: &MemberCluster, namespace: &str) -> RoleBinding {
    let name = member.metadata.name.as_deref().unwrap_or_default();
    let mut subject: Subject = member.spec.identity.clone();
    if matches!(subject.kind.as_str(), "User" | "Group")
        && subject.api_group.as_deref().unwrap_or_default().is_empty()
    {
        subject.api_group = Some("rbac.authorization.k8s.io".to_owned());
    }
    RoleBinding {
        metadata: owned_by(member, &member_role_binding(name), Some(namespace)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: member_role(name),
        },
        subjects: Some(vec![subject]),
    }
}

fn internal_member_cluster(
    member: &MemberCluster,
    namespace: &str,
    state: ClusterState,
) -> InternalMemberCluster {
    let name = member.metadata.name.as_deref().unwrap_or_default();
    InternalMemberCluster {
        metadata: owned_by(member, name, Some(namespace)),
        spec: InternalMemberClusterSpec {
            state,
            heartbeat_period_seconds: member.spec.heartbeat_period_seconds,
        },
        status: None,
    }
}

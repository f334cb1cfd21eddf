//! Fleets: a FleetMember of a fleet with a hub gets a MemberCluster there; status goes back to member and fleet.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::Subject;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::fleet::{Fleet, FleetKind, FleetMember, FleetStatus, short_name};
use stolos_api::cluster::names::{condition as type_, finalizer, member_user};
use stolos_controller::{Change, Controller, Key, Options, Plan, Table, Watches, Write};
use stolos_core::cluster::fleet;
use stolos_core::condition;

stolos_controller::kinds! { "fleet-controller"; Fleet, FleetMember, MemberCluster }

/// On a MemberCluster: the uid of the FleetMember that it was made for. Without it the object is the user's own.
const MADE_FOR: &str = "fleet.stolos.dev/fleet-member-uid";

/// Runs the controller of Fleets and FleetMembers until the future is dropped.
pub async fn run(client: Client, options: Options) {
    let watches = Watches::default()
        .add("Fleet", Api::<Fleet>::all(client.clone()))
        .add("FleetMember", Api::<FleetMember>::all(client.clone()))
        .add("MemberCluster", Api::<MemberCluster>::all(client.clone()));
    let fleets = Fleets {
        fleets: Table::default(),
        members: Table::indexed_by(|member: &FleetMember| Some(fleet_key(member))),
        clusters: Table::default(),
    };
    stolos_controller::run(fleets, client, watches, Options { name: "fleet", ..options }).await;
}

struct Fleets {
    fleets: Table<Fleet>,
    /// By `<namespace>/<fleet>`.
    members: Table<FleetMember>,
    clusters: Table<MemberCluster>,
}

/// What is planned for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Fleet(Key),
    Member(Key),
}

fn fleet_key(member: &FleetMember) -> String {
    format!(
        "{}/{}",
        member.metadata.namespace.as_deref().unwrap_or_default(),
        member.spec.fleet_name
    )
}

impl Fleets {
    fn touched(&self, object: &Object) -> Vec<Item> {
        match object {
            Object::Fleet(fleet) => {
                let key = Key::of(&fleet.metadata);
                let members = self.members.indexed(&format!("{}/{}", key.namespace, key.name));
                let members = members.map(|member| Item::Member(Key::of(&member.metadata)));
                members.chain([Item::Fleet(key.clone())]).collect()
            }
            Object::FleetMember(member) => self.touched_by_member(member),
            Object::MemberCluster(cluster) => {
                let name = cluster.metadata.name.as_deref().unwrap_or_default();
                let of = |member: &&Arc<FleetMember>| name_of(member) == Some(name);
                self.members
                    .iter()
                    .filter(of)
                    .map(|member| Item::Member(Key::of(&member.metadata)))
                    .collect()
            }
        }
    }

    /// A member concerns its fleet, and whoever waits for the same cluster.
    fn touched_by_member(&self, member: &FleetMember) -> Vec<Item> {
        let key = Key::of(&member.metadata);
        let fleet = Key::namespaced(&key.namespace, &member.spec.fleet_name);
        let id = cluster_id(member);
        let rivals = self.members.iter().filter(|other| cluster_id(other) == id);
        let rivals = rivals.map(|other| Item::Member(Key::of(&other.metadata)));
        rivals.chain([Item::Fleet(fleet), Item::Member(key.clone())]).collect()
    }
}

/// Returns the name of a member within its fleet.
fn name_of(member: &FleetMember) -> Option<&str> {
    short_name(&member.spec.fleet_name, member.metadata.name.as_deref()?)
}

fn cluster_id(member: &FleetMember) -> String {
    member.spec.cluster.id(member.metadata.namespace.as_deref().unwrap_or_default())
}

impl Controller for Fleets {
    type Item = Item;
    type Object = Object;
    type Effect = Write<Object>;

    fn learn(&mut self, change: Change<Object>) -> Vec<Item> {
        match change {
            Change::Applied(object) => {
                let news = match object.clone() {
                    Object::Fleet(fleet) => self.fleets.insert(*fleet).is_ok(),
                    Object::FleetMember(member) => self.members.insert(*member).is_ok(),
                    Object::MemberCluster(cluster) => self.clusters.insert(*cluster).is_ok(),
                };
                if news { self.touched(&object) } else { Vec::new() }
            }
            Change::Deleted(object) => {
                match &object {
                    Object::Fleet(fleet) => drop(self.fleets.remove(&fleet.metadata)),
                    Object::FleetMember(member) => drop(self.members.remove(&member.metadata)),
                    Object::MemberCluster(cluster) => drop(self.clusters.remove(&cluster.metadata)),
                }
                self.touched(&object)
            }
            Change::Listed { kind, keys } => {
                match kind {
                    "Fleet" => drop(self.fleets.retain(&keys)),
                    "FleetMember" => drop(self.members.retain(&keys)),
                    _ => drop(self.clusters.retain(&keys)),
                }
                let fleets = self.fleets.iter().map(|fleet| Item::Fleet(Key::of(&fleet.metadata)));
                let members =
                    self.members.iter().map(|member| Item::Member(Key::of(&member.metadata)));
                fleets.chain(members).collect()
            }
        }
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Write<Object>> {
        match item {
            Item::Fleet(key) => self.report_fleet(key).into_iter().collect::<Vec<_>>().into(),
            Item::Member(key) => {
                let Some(member) = self.members.get(key) else { return Plan::default() };
                let Some(name) = name_of(member) else { return Plan::default() };
                match member.metadata.deletion_timestamp {
                    None => self.join(member, name, now).into(),
                    Some(_) => self.leave(member, name).into(),
                }
            }
        }
    }
}

impl Fleets {
    fn join(&self, member: &Arc<FleetMember>, name: &str, now: Timestamp) -> Vec<Write<Object>> {
        let namespace = member.metadata.namespace.as_deref().unwrap_or_default();
        // A member whose fleet is not there waits for it.
        let Some(fleet) = self.fleets.get(&Key::namespaced(namespace, &member.spec.fleet_name))
        else {
            return Vec::new();
        };
        if !has_finalizer(member) {
            let mut marked = FleetMember::clone(member);
            marked
                .metadata
                .finalizers
                .get_or_insert_default()
                .push(finalizer::FLEET_MEMBER.to_owned());
            return vec![Write::Replace(marked.into())];
        }
        let id = cluster_id(member);
        let owner = fleet::owner(
            self.members.iter().map(AsRef::as_ref).filter(|other| cluster_id(other) == id),
        );
        let taken_by = owner.filter(|owner| owner.metadata.uid != member.metadata.uid);
        let has_hub = fleet.spec.hub.is_some();
        let location = member.status.as_ref().and_then(|status| status.location.as_deref());
        let labels = fleet::labels(name, member, location);
        let cluster = self.clusters.get(&Key::cluster(name));
        let mut writes = Vec::new();
        if has_hub && taken_by.is_none() {
            writes.extend(ensure_cluster(member, name, &labels, cluster));
        }
        let mut status = member.status.clone().unwrap_or_default();
        status.observed_generation = member.metadata.generation;
        let taken_by = taken_by.and_then(|other| other.metadata.name.as_deref());
        let joined = fleet::joined(member, taken_by, has_hub, cluster.map(AsRef::as_ref), now);
        condition::set(&mut status.conditions, joined);
        status.labels = labels;
        if member.status.as_ref() != Some(&status) {
            let reported = FleetMember { status: Some(status), ..FleetMember::clone(member) };
            writes.push(Write::ReplaceStatus(reported.into()));
        }
        writes
    }

    /// A member that leaves takes the MemberCluster along that was made for it, and only that one.
    fn leave(&self, member: &Arc<FleetMember>, name: &str) -> Vec<Write<Object>> {
        if !has_finalizer(member) {
            return Vec::new();
        }
        let cluster = self.clusters.get(&Key::cluster(name));
        match cluster.filter(|cluster| made_for(cluster) == member.metadata.uid.as_deref()) {
            Some(cluster) if cluster.metadata.deletion_timestamp.is_some() => Vec::new(),
            Some(cluster) => vec![Write::Delete(MemberCluster::clone(cluster).into())],
            None => {
                let mut released = FleetMember::clone(member);
                if let Some(finalizers) = &mut released.metadata.finalizers {
                    finalizers.retain(|finalizer| finalizer != finalizer::FLEET_MEMBER);
                }
                vec![Write::Replace(released.into())]
            }
        }
    }

    fn report_fleet(&self, key: &Key) -> Option<Write<Object>> {
        let fleet = self.fleets.get(key)?;
        let members: Vec<_> =
            self.members.indexed(&format!("{}/{}", key.namespace, key.name)).collect();
        let joined = members.iter().filter(|member| is_joined(member)).count();
        let status = FleetStatus {
            observed_generation: fleet.metadata.generation,
            kind: Some(if fleet.spec.hub.is_some() {
                FleetKind::Hubful
            } else {
                FleetKind::Hubless
            }),
            members: i32::try_from(members.len()).unwrap_or(i32::MAX),
            joined_members: i32::try_from(joined).unwrap_or(i32::MAX),
        };
        let reported = || Fleet { status: Some(status.clone()), ..Fleet::clone(fleet) };
        (fleet.status.as_ref() != Some(&status)).then(|| Write::ReplaceStatus(reported().into()))
    }
}

fn has_finalizer(member: &FleetMember) -> bool {
    let finalizers = member.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == finalizer::FLEET_MEMBER)
}

fn made_for(cluster: &MemberCluster) -> Option<&str> {
    cluster.metadata.annotations.as_ref()?.get(MADE_FOR).map(String::as_str)
}

fn is_joined(member: &FleetMember) -> bool {
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, type_::JOINED).is_some_and(|joined| joined.status == "True")
}

/// Creates the MemberCluster of a member, or brings its labels in line.
fn ensure_cluster(
    member: &FleetMember,
    name: &str,
    labels: &std::collections::BTreeMap<String, String>,
    live: Option<&Arc<MemberCluster>>,
) -> Option<Write<Object>> {
    let Some(live) = live else {
        let mut cluster = MemberCluster::default();
        cluster.metadata.name = Some(name.to_owned());
        cluster.metadata.labels = Some(labels.clone());
        let uid = member.metadata.uid.clone().unwrap_or_default();
        cluster.metadata.annotations = Some([(MADE_FOR.to_owned(), uid)].into());
        cluster.spec.identity = Subject {
            kind: "User".to_owned(),
            name: member_user(name),
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            namespace: None,
        };
        cluster.spec.heartbeat_period_seconds = HEARTBEAT_PERIOD_SECONDS;
        return Some(Write::Create(cluster.into()));
    };
    let has = |(key, value)| {
        live.metadata.labels.as_ref().is_some_and(|live| live.get(key) == Some(value))
    };
    if live.metadata.deletion_timestamp.is_some() || labels.iter().all(has) {
        return None;
    }
    let mut labelled = MemberCluster::clone(live);
    labelled.metadata.labels.get_or_insert_default().extend(labels.clone());
    Some(Write::Replace(labelled.into()))
}

/// KubeFleet's default.
const HEARTBEAT_PERIOD_SECONDS: i32 = 60;

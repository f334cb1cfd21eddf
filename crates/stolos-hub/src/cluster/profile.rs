//! ClusterProfiles: members as the SIG-Multicluster inventory shows them.
//!
//! A controller of its own: on a hub without the definition of ClusterProfiles, it waits and nothing else does.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::{SYSTEM_NAMESPACE, finalizer, profile as name};
use stolos_api::cluster::profile::ClusterProfile;
use stolos_controller::{Change, Controller, Key, Options, Plan, Table, Watches, Write};
use stolos_core::cluster::profile;
use tracing::warn;

stolos_controller::kinds! {
    "cluster-profile-controller";
    ClusterProfile, MemberCluster,
}

/// Runs the controller of ClusterProfiles until the future is dropped. A member is silent after `patience`.
pub async fn run(client: Client, patience: Duration, options: Options) {
    if let Err(error) = ensure_namespace(&client).await {
        warn!(namespace = SYSTEM_NAMESPACE, %error, "failed to create the namespace of ClusterProfiles");
    }
    let watches = Watches::default()
        .add("MemberCluster", Api::<MemberCluster>::all(client.clone()))
        .add("ClusterProfile", Api::<ClusterProfile>::namespaced(client.clone(), SYSTEM_NAMESPACE));
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    let profiles = Profiles { patience, members: Table::default(), profiles: Table::default() };
    let options = Options { name: "cluster-profile", ..options };
    stolos_controller::run(profiles, client, watches, options).await;
}

/// Makes the system namespace, if there is none.
pub(crate) async fn ensure_namespace(client: &Client) -> Result<(), kube::Error> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(SYSTEM_NAMESPACE.to_owned());
    match Api::all(client.clone()).create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        answer => answer.map(|_| ()),
    }
}

struct Profiles {
    patience: SignedDuration,
    members: Table<MemberCluster>,
    profiles: Table<ClusterProfile>,
}

impl Controller for Profiles {
    type Item = String;
    type Object = Object;
    type Effect = Write<Object>;

    fn learn(&mut self, change: Change<Object>) -> Vec<String> {
        match change {
            Change::Applied(object) => {
                let name = stolos_controller::Stored::meta(&object).name.clone();
                let news = match object {
                    Object::MemberCluster(member) => self.members.insert(*member).is_ok(),
                    Object::ClusterProfile(profile) => self.profiles.insert(*profile).is_ok(),
                };
                name.filter(|_| news).into_iter().collect()
            }
            Change::Deleted(object) => {
                let name = stolos_controller::Stored::meta(&object).name.clone();
                match object {
                    Object::MemberCluster(member) => drop(self.members.remove(&member.metadata)),
                    Object::ClusterProfile(profile) => {
                        drop(self.profiles.remove(&profile.metadata));
                    }
                }
                name.into_iter().collect()
            }
            Change::Listed { kind, keys } => {
                match kind {
                    "MemberCluster" => drop(self.members.retain(&keys)),
                    _ => drop(self.profiles.retain(&keys)),
                }
                self.members.iter().filter_map(|member| member.metadata.name.clone()).collect()
            }
        }
    }

    fn plan(&self, name: &String, now: Timestamp) -> Plan<Write<Object>> {
        let Some(member) = self.members.get(&Key::cluster(name)) else { return Plan::default() };
        let profile = self.profiles.get(&Key::namespaced(SYSTEM_NAMESPACE, name));
        if member.metadata.deletion_timestamp.is_some() {
            return forget(member, profile);
        }
        if !profile::is_wanted(member) {
            return Plan::default();
        }
        if !is_held(member) {
            let mut held = MemberCluster::clone(member);
            let finalizers = held.metadata.finalizers.get_or_insert_default();
            finalizers.push(finalizer::CLUSTER_PROFILE.to_owned());
            return vec![Write::Replace(held.into())].into();
        }
        let Some(profile) = profile else {
            return vec![Write::Create(new(name).into())].into();
        };
        self.show(member, profile, now)
    }
}

impl Profiles {
    fn show(
        &self,
        member: &MemberCluster,
        profile: &Arc<ClusterProfile>,
        now: Timestamp,
    ) -> Plan<Write<Object>> {
        let wanted = new(member.metadata.name.as_deref().unwrap_or_default());
        let labels = profile.metadata.labels.clone().unwrap_or_default();
        let is_labelled =
            labels.get(name::MANAGER_LABEL).is_some_and(|manager| manager == name::MANAGER);
        if profile.spec != wanted.spec || !is_labelled {
            let mut reset = ClusterProfile::clone(profile);
            reset.spec = wanted.spec;
            reset
                .metadata
                .labels
                .get_or_insert_default()
                .extend(wanted.metadata.labels.into_iter().flatten());
            return vec![Write::Replace(reset.into())].into();
        }
        let generation = profile.metadata.generation.unwrap_or_default();
        let told = profile::status(member, profile.status.as_ref(), generation, self.patience, now);
        let writes = if profile.status.as_ref() == Some(&told.status) {
            Vec::new()
        } else {
            let shown =
                ClusterProfile { status: Some(told.status), ..ClusterProfile::clone(profile) };
            vec![Write::ReplaceStatus(shown.into())]
        };
        Plan::from(writes).waking_at(told.wake_at)
    }
}

/// Deletes the profile of a member that is being deleted, then lets the member go.
fn forget(
    member: &Arc<MemberCluster>,
    profile: Option<&Arc<ClusterProfile>>,
) -> Plan<Write<Object>> {
    if !is_held(member) {
        return Plan::default();
    }
    let live = profile.filter(|profile| profile.metadata.deletion_timestamp.is_none());
    if let Some(profile) = live {
        return vec![Write::Delete(ClusterProfile::clone(profile).into())].into();
    }
    if profile.is_some() {
        return Plan::default();
    }
    let mut freed = MemberCluster::clone(member);
    let finalizers = freed.metadata.finalizers.get_or_insert_default();
    finalizers.retain(|finalizer| finalizer != finalizer::CLUSTER_PROFILE);
    vec![Write::Replace(freed.into())].into()
}

fn is_held(member: &MemberCluster) -> bool {
    let finalizers = member.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == finalizer::CLUSTER_PROFILE)
}

fn new(member: &str) -> ClusterProfile {
    let labels = [(name::MANAGER_LABEL.to_owned(), name::MANAGER.to_owned())];
    ClusterProfile {
        metadata: ObjectMeta {
            name: Some(member.to_owned()),
            namespace: Some(SYSTEM_NAMESPACE.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        spec: profile::spec(member),
        status: None,
    }
}

//! What a new fleet of `stolos up` consists of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::fleet::{
    ClusterReference, Fleet, FleetMember, FleetMemberSpec, FleetSpec, Hub, SecretReference,
    SimulatedCluster, object_name,
};
use stolos_api::cluster::names::{condition, member_namespace, member_role_binding};

use super::cluster::Cluster;

/// Name of the fleet.
pub(super) const FLEET: &str = "local";

/// Namespace of the fleet, its resource group.
const NAMESPACE: &str = "default";

/// How long it may take until a definition is served, or until one more member has joined. Both take milliseconds; more
/// means that something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Definitions sent at once.
const PARALLEL: usize = 8;

/// How many names an error lists.
const SHOWN: usize = 10;

const MANAGER: &str = "stolos-up";

/// Regions that the simulated members are spread over.
const REGIONS: [&str; 3] = ["westeurope", "northeurope", "eastus"];

/// What the simulated members are offered: patches of their minor version, and the next two.
const VERSIONS: [&str; 6] = ["1.34.1", "1.34.2", "1.34.4", "1.35.0", "1.35.1", "1.36.0"];

/// Node images that the simulated members are offered.
const IMAGES: [&str; 2] = ["StolosLinux-202610.1.0", "StolosLinux-202611.1.0"];

/// Update groups of the simulated members: the first is the canary.
const GROUPS: [&str; 3] = ["canary", "europe", "world"];

/// Describes a simulated member.
pub(super) fn simulated(name: &str, index: usize) -> stolos_sim::Cluster {
    stolos_sim::Cluster {
        name: name.to_owned(),
        region: REGIONS[index % REGIONS.len()].to_owned(),
        kubernetes_version: "1.34.1".to_owned(),
        node_image: "StolosLinux-202610.1.0".to_owned(),
        kubernetes_versions: VERSIONS.map(str::to_owned).to_vec(),
        node_images: IMAGES.map(str::to_owned).to_vec(),
        nodes: 2,
        cpu: 4,
        memory_gib: 16,
    }
}

/// Installs definitions and waits until they are served.
pub(super) async fn install_crds(
    client: Client,
    crds: &[CustomResourceDefinition],
) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let install = |crd: &CustomResourceDefinition| {
        let (api, crd) = (api.clone(), crd.clone());
        async move {
            let name = crd.metadata.name.clone().unwrap_or_default();
            let failed = || format!("failed to install the definition `{name}`");
            apply(&api, &crd).await.with_context(failed)?;
            let served = await_condition(api, &name, conditions::is_crd_established());
            let waited = tokio::time::timeout(PATIENCE, served).await.with_context(failed)?;
            waited.with_context(failed).map(|_| ())
        }
    };
    let installs: Vec<_> = crds.iter().map(install).collect();
    futures::stream::iter(installs).buffer_unordered(PARALLEL).try_collect().await
}

/// Creates the fleet and its members. What users changed since the last start stays, but for the addresses of members.
pub(super) async fn create_fleet(hub: &Client, members: &[Cluster]) -> anyhow::Result<()> {
    let mut fleet =
        Fleet::new(FLEET, FleetSpec { hub: Some(Hub::default()), ..FleetSpec::default() });
    fleet.metadata.namespace = Some(NAMESPACE.to_owned());
    create(&Api::namespaced(hub.clone(), NAMESPACE), &fleet).await?;
    for (index, member) in members.iter().enumerate() {
        let secret = kubeconfig_secret(member);
        apply(&Api::namespaced(hub.clone(), NAMESPACE), &secret)
            .await
            .with_context(|| format!("failed to store the kubeconfig of `{}`", member.name))?;
        create(&Api::namespaced(hub.clone(), NAMESPACE), &fleet_member(&member.name, index))
            .await?;
    }
    Ok(())
}

fn secret_name(member: &str) -> String {
    format!("{member}-kubeconfig")
}

fn kubeconfig_secret(member: &Cluster) -> Secret {
    use stolos_apiserver::serve::kubeconfig::{Context as Entry, Login, render};
    let entry = Entry {
        name: member.name.clone(),
        server: member.url(),
        authority: member.authority.clone(),
        login: Login::Certificate(member.admin.clone()),
        namespace: None,
    };
    let text = render(&[entry], &member.name);
    Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(&member.name)),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("kubeconfig".to_owned(), ByteString(text.into_bytes()))])),
        ..Secret::default()
    }
}

fn fleet_member(name: &str, index: usize) -> FleetMember {
    let spec = FleetMemberSpec {
        fleet_name: FLEET.to_owned(),
        cluster: ClusterReference::Simulated(SimulatedCluster {
            kubeconfig_secret: SecretReference { name: secret_name(name) },
        }),
        group: Some(GROUPS[index.min(GROUPS.len() - 1)].to_owned()),
        labels: BTreeMap::from([("region".to_owned(), REGIONS[index % REGIONS.len()].to_owned())]),
        maintenance_windows: None,
    };
    let mut member = FleetMember::new(&object_name(FLEET, name), spec);
    member.metadata.namespace = Some(NAMESPACE.to_owned());
    member
}

/// Creates an object unless it is there.
async fn create<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    match api.create(&kube::api::PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => {
            let name = object.meta().name.as_deref().unwrap_or_default();
            Err(error).with_context(|| format!("failed to create {} `{name}`", K::kind(&())))
        }
    }
}

async fn apply<K>(api: &Api<K>, object: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let name = object.meta().name.as_deref().unwrap_or_default();
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await.map(|_| ())
}

/// Waits until the hub has given a member's agent its rights; before, all it would learn is that it has none.
pub(super) async fn wait_until_admitted(hub: Client, member: String) {
    let role_bindings: Api<RoleBinding> = Api::namespaced(hub, &member_namespace(&member));
    let name = member_role_binding(&member);
    let there = |role_binding: Option<&RoleBinding>| role_binding.is_some();
    if let Err(error) = await_condition(role_bindings, &name, there).await {
        // The agent asks again by itself.
        tracing::debug!(%member, %error, "cannot see whether the member is admitted");
    }
}

/// Waits until the hub says of every member that it has joined.
pub(super) async fn wait_until_joined(hub: &Client, members: &[String]) -> anyhow::Result<()> {
    let mut missing: BTreeSet<&str> = members.iter().map(String::as_str).collect();
    let api: Api<MemberCluster> = Api::all(hub.clone());
    let config = watcher::Config::default();
    let mut changes = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    while !missing.is_empty() {
        let next = async {
            while let Some(change) = changes.next().await {
                // The watcher makes up for what went wrong, and the time is bounded.
                let Ok(member) = change else { continue };
                let name = member.metadata.name.as_deref().unwrap_or_default();
                if is_joined(&member) && missing.remove(name) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, next).await.is_err() {
            let some: Vec<&str> = missing.iter().copied().take(SHOWN).collect();
            let and_more = if missing.len() > SHOWN { ", ..." } else { "" };
            bail!(
                "{} of {} members have not joined, and none did within {} s: {}{and_more}",
                missing.len(),
                members.len(),
                PATIENCE.as_secs(),
                some.join(", ")
            );
        }
    }
    Ok(())
}

fn is_joined(member: &MemberCluster) -> bool {
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    conditions.iter().any(|joined| joined.type_ == condition::JOINED && joined.status == "True")
}

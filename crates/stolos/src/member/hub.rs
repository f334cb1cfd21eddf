//! The members as the hub knows them.

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::Value;
use stolos_api::cluster::{MemberCluster, Taint};
use stolos_api::placement::{BindingState, ClusterResourceBinding, ResourceBinding};
use stolos_core::placement::scheduler::check_eligibility;

use crate::cli::HubClientArgs;
use crate::connect::{self, explain, there_are};
use crate::exit::Hinted;

/// Property that tells the number of nodes.
pub(super) const NODE_COUNT: &str = "kubernetes-fleet.io/node-count";

/// A hub with members.
pub(super) struct Hub {
    client: Client,
}

impl Hub {
    pub(super) async fn connect(args: &HubClientArgs) -> anyhow::Result<Self> {
        Ok(Self { client: connect::hub(args).await? })
    }

    pub(super) fn members(&self) -> Api<MemberCluster> {
        Api::all(self.client.clone())
    }

    pub(super) async fn list(&self, labels: &str) -> anyhow::Result<Vec<MemberCluster>> {
        let found = self.members().list(&ListParams::default().labels(labels)).await;
        Ok(found.map_err(|error| explain("failed to list members", error))?.items)
    }

    pub(super) async fn member(&self, name: &str) -> anyhow::Result<MemberCluster> {
        match self.members().get_opt(name).await {
            Ok(Some(member)) => Ok(member),
            Ok(None) => {
                let names = self.list("").await?;
                let names = names.iter().filter_map(|member| member.metadata.name.as_ref());
                let names = names.map(|name| format!("`{name}`")).collect();
                let hint =
                    there_are(names, "members", "`stolos member --help` tells how one joins");
                Err(Hinted::error(
                    format!("there is no member cluster `{name}`"),
                    hint.replacen("it has", "there are", 1).replacen("its", "the", 1),
                ))
            }
            Err(error) => Err(explain(&format!("failed to get member `{name}`"), error)),
        }
    }

    /// Returns what is placed where: pairs of member and placement, a ResourcePlacement with its namespace.
    pub(super) async fn placed(&self) -> anyhow::Result<Vec<(String, String)>> {
        let all = ListParams::default();
        let cluster = Api::<ClusterResourceBinding>::all(self.client.clone()).list(&all).await;
        let cluster = cluster.map_err(|error| explain("failed to list bindings", error))?;
        let namespaced = Api::<ResourceBinding>::all(self.client.clone()).list(&all).await;
        let namespaced = namespaced.map_err(|error| explain("failed to list bindings", error))?;
        let cluster = cluster.items.into_iter().map(|found| (found.metadata, found.spec));
        let namespaced = namespaced.items.into_iter().map(|found| (found.metadata, found.spec));
        let placed =
            cluster.chain(namespaced).filter(|(_, spec)| spec.state != BindingState::Scheduled);
        let pair =
            |(meta, spec): (kube::core::ObjectMeta, stolos_api::placement::ResourceBindingSpec)| {
                let labels = meta.labels.unwrap_or_default();
                let name =
                    labels.get(stolos_api::placement::names::label::PARENT_PLACEMENT)?.clone();
                let name =
                    meta.namespace.map_or(name.clone(), |namespace| format!("{namespace}/{name}"));
                Some((spec.target_cluster, name))
            };
        Ok(placed.filter_map(pair).collect())
    }
}

/// Returns whether a member takes new placements, and why not.
pub(super) fn state(
    member: &MemberCluster,
    now: jiff::Timestamp,
) -> (&'static str, Option<String>) {
    if member.metadata.deletion_timestamp.is_some() {
        return ("Leaving", None);
    }
    match check_eligibility(member, now) {
        Ok(()) => ("Ready", None),
        Err(why) => ("NotReady", Some(why)),
    }
}

/// Returns a taint as it is written: `key=value:NoSchedule`.
pub(super) fn taint(taint: &Taint) -> String {
    let Taint { key, value, effect } = taint;
    let value = if value.is_empty() { String::new() } else { format!("={value}") };
    format!("{key}{value}:{effect:?}")
}

/// Returns the free and the usable amount of a resource: `3500m/4`.
pub(super) fn amount(member: &MemberCluster, resource: &str) -> String {
    let usage = member.status.as_ref().and_then(|status| status.resource_usage.as_ref());
    let Some(usage) = usage else { return "-".to_owned() };
    let text = |found: Option<&Quantity>| found.map_or_else(|| "-".to_owned(), short);
    format!("{}/{}", text(usage.available.get(resource)), text(usage.allocatable.get(resource)))
}

/// Returns a quantity of bytes in the largest unit that divides it; others as they are.
fn short(quantity: &Quantity) -> String {
    let units = ["Ki", "Mi", "Gi", "Ti"];
    let found = units.iter().enumerate().find_map(|(unit, suffix)| {
        Some((unit, quantity.0.strip_suffix(suffix)?.parse::<u64>().ok()?))
    });
    let Some((mut unit, mut number)) = found else { return quantity.0.clone() };
    while number >= 1024 && number.is_multiple_of(1024) && unit + 1 < units.len() {
        (unit, number) = (unit + 1, number / 1024);
    }
    format!("{number}{}", units[unit])
}

/// Returns a member as people read it: without who set which field.
pub(super) fn readable(member: &MemberCluster) -> anyhow::Result<Value> {
    let mut member = member.clone();
    member.metadata.managed_fields = None;
    serde_json::to_value(member).context("failed to write a member")
}

//! The steps about placements.

use std::collections::BTreeSet;

use anyhow::Context;
use futures::future::{try_join, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use stolos_api::placement::ClusterResourcePlacement;
use stolos_api::placement::names::condition;

use super::expect::{absent, ensure, present};
use super::manifests::{self, ELSEWHERE, READER, SETTINGS, SHOP, WEB, WEB_REPLICAS};
use super::world::{Member, World};

const HUB: &str = "hub";

/// Puts an object of somebody else on every member.
pub(super) async fn strangers(world: &World) -> anyhow::Result<()> {
    let create = |member: &Member| {
        let api = member.within::<ConfigMap>(ELSEWHERE);
        async move { api.create(&PostParams::default(), &manifests::strangers_settings()).await }
    };
    try_join_all(world.members.iter().map(create)).await.context("failed to create a ConfigMap")?;
    Ok(())
}

/// Places a namespace with a ConfigMap and a Deployment on all members by number.
pub(super) async fn place(world: &World) -> anyhow::Result<()> {
    let post = PostParams::default();
    world
        .hub()
        .create(&post, &manifests::namespace())
        .await
        .context("failed to create a Namespace")?;
    let settings = world.hub_in(SHOP);
    settings
        .create(&post, &manifests::settings("hello"))
        .await
        .context("failed to create a ConfigMap")?;
    let web = world.hub_in(SHOP);
    web.create(&post, &manifests::web()).await.context("failed to create a Deployment")?;
    let n_members = u32::try_from(world.members.len()).context("too many members")?;
    let placement = manifests::shop_placement(n_members);
    world.hub().create(&post, &placement).await.context("failed to create a placement")?;
    for_every_member(world, |member| async move {
        web_is_available(member).await?;
        greeting_is(member, "hello").await
    })
    .await?;
    let picked = picked(world, SHOP, world.members.len()).await?;
    let all: BTreeSet<String> = world.members.iter().map(|member| member.name.clone()).collect();
    ensure(picked == all, HUB, "every member in the placement's status", join(&picked))
}

/// Places a cluster-scoped object on all members.
pub(super) async fn place_everywhere(world: &World) -> anyhow::Result<()> {
    let post = PostParams::default();
    world
        .hub()
        .create(&post, &manifests::reader())
        .await
        .context("failed to create a ClusterRole")?;
    let placement = manifests::reader_placement();
    world.hub().create(&post, &placement).await.context("failed to create a placement")?;
    for_every_member(world, |member| async move {
        let rules = manifests::reader().rules;
        let judge = |role: &ClusterRole| {
            if role.rules == rules { Ok(()) } else { Err(format!("other rules: {:?}", role.rules)) }
        };
        let expected = format!("ClusterRole `{READER}` with the rules of the hub");
        present(&member.name, member.all(), READER, &expected, judge).await.map(|_| ())
    })
    .await?;
    picked(world, READER, world.members.len()).await.map(|_| ())
}

/// Changes an object on the hub.
pub(super) async fn change(world: &World) -> anyhow::Result<()> {
    let patch = json!({ "data": { "greeting": "good morning" } });
    let settings = world.hub_in::<ConfigMap>(SHOP);
    let patched = settings.patch(SETTINGS, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.context("failed to change the ConfigMap")?;
    for_every_member(world, |member| greeting_is(member, "good morning")).await
}

/// Deletes a placed object on a member, as an accident would.
pub(super) async fn restore(world: &World) -> anyhow::Result<()> {
    let member = world.members.first().context("there is no member")?;
    let settings = member.within::<ConfigMap>(SHOP);
    let old = settings.get(SETTINGS).await.context("failed to get the ConfigMap")?;
    settings
        .delete(SETTINGS, &DeleteParams::default())
        .await
        .context("failed to delete the ConfigMap")?;
    let uid = old.metadata.uid.unwrap_or_default();
    let judge = |settings: &ConfigMap| {
        if settings.metadata.uid.as_deref() == Some(&uid) {
            return Err("the old object".to_owned());
        }
        has_greeting(settings, "good morning")
    };
    let expected = format!("a new ConfigMap `{SHOP}/{SETTINGS}` with the content of the hub");
    present(&member.name, settings, SETTINGS, &expected, judge).await.map(|_| ())
}

/// Takes the placement off one member.
pub(super) async fn narrow(world: &World) -> anyhow::Result<()> {
    let keep = world.members.len().saturating_sub(1);
    let patch = json!({ "spec": { "policy": { "numberOfClusters": keep } } });
    let placements = world.hub::<ClusterResourcePlacement>();
    let patched = placements.patch(SHOP, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.context("failed to change the placement")?;
    let picked = picked(world, SHOP, keep).await?;
    let (stay, leave): (Vec<&Member>, Vec<&Member>) =
        world.members.iter().partition(|member| picked.contains(&member.name));
    ensure(leave.len() == 1, HUB, "a placement that leaves one member", join(&picked))?;
    try_join_all(leave.iter().map(|member| absent(&member.name, member.all::<Namespace>(), SHOP)))
        .await?;
    try_join_all(stay.iter().map(|member| async {
        web_is_available(member).await?;
        greeting_is(member, "good morning").await
    }))
    .await?;
    for member in leave {
        let role = member
            .all::<ClusterRole>()
            .get_opt(READER)
            .await
            .context("failed to get the ClusterRole")?;
        ensure(role.is_some(), &member.name, "the ClusterRole of the other placement", "none")?;
        stranger_is_untouched(member).await?;
    }
    Ok(())
}

/// Deletes the placements.
pub(super) async fn withdraw(world: &World) -> anyhow::Result<()> {
    let placements = world.hub::<ClusterResourcePlacement>();
    for name in [SHOP, READER] {
        let deleted = placements.delete(name, &DeleteParams::default()).await;
        deleted.with_context(|| format!("failed to delete placement `{name}`"))?;
    }
    for_every_member(world, |member| async move {
        let namespace = absent(&member.name, member.all::<Namespace>(), SHOP);
        let role = absent(&member.name, member.all::<ClusterRole>(), READER);
        try_join(namespace, role).await?;
        stranger_is_untouched(member).await
    })
    .await?;
    let gone = [SHOP, READER].map(|name| absent(HUB, placements.clone(), name));
    try_join_all(gone).await?;
    let source = world
        .hub_in::<Deployment>(SHOP)
        .get_opt(WEB)
        .await
        .context("failed to get the Deployment")?;
    ensure(source.is_some(), HUB, "the Deployment that was placed, on the hub", "none")
}

async fn for_every_member<'a, F>(
    world: &'a World,
    check: impl Fn(&'a Member) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    try_join_all(world.members.iter().map(check)).await.map(|_| ())
}

async fn web_is_available(member: &Member) -> anyhow::Result<()> {
    let judge = |web: &Deployment| {
        let status = web.status.as_ref();
        let available = status.and_then(|status| status.available_replicas).unwrap_or(0);
        let observed = status.and_then(|status| status.observed_generation);
        if available == WEB_REPLICAS && observed == web.metadata.generation {
            Ok(())
        } else {
            Err(format!("{available} available replicas"))
        }
    };
    let expected = format!("Deployment `{SHOP}/{WEB}` with {WEB_REPLICAS} available replicas");
    present(&member.name, member.within(SHOP), WEB, &expected, judge).await.map(|_| ())
}

async fn greeting_is(member: &Member, greeting: &str) -> anyhow::Result<()> {
    let expected = format!("ConfigMap `{SHOP}/{SETTINGS}` with the greeting `{greeting}`");
    let judge = |settings: &ConfigMap| has_greeting(settings, greeting);
    present(&member.name, member.within(SHOP), SETTINGS, &expected, judge).await.map(|_| ())
}

fn has_greeting(settings: &ConfigMap, greeting: &str) -> Result<(), String> {
    let seen = settings.data.as_ref().and_then(|data| data.get("greeting"));
    match seen {
        Some(seen) if seen == greeting => Ok(()),
        Some(seen) => Err(format!("the greeting `{seen}`")),
        None => Err("no greeting".to_owned()),
    }
}

async fn stranger_is_untouched(member: &Member) -> anyhow::Result<()> {
    let found = member.within::<ConfigMap>(ELSEWHERE).get_opt(SETTINGS).await;
    let found = found.context("failed to get somebody else's ConfigMap")?;
    let expected = format!("ConfigMap `{ELSEWHERE}/{SETTINGS}` as somebody else made it");
    let seen =
        found.as_ref().map_or_else(|| "none".to_owned(), |found| format!("data {:?}", found.data));
    let data = found.and_then(|found| found.data);
    ensure(data == manifests::strangers_settings().data, &member.name, &expected, seen)
}

/// Waits until a placement is available on so many members; returns their names.
async fn picked(
    world: &World,
    placement: &str,
    n_members: usize,
) -> anyhow::Result<BTreeSet<String>> {
    let expected = format!("placement `{placement}` available on {n_members} members");
    let judge = |placement: &ClusterResourcePlacement| {
        let names = clusters(placement);
        let available = is_available(placement);
        if available && names.len() == n_members {
            Ok(())
        } else {
            let available = if available { "available" } else { "not available" };
            Err(format!("{available}, members: {}", join(&names)))
        }
    };
    let placement = present(HUB, world.hub(), placement, &expected, judge).await?;
    Ok(clusters(&placement))
}

fn is_available(placement: &ClusterResourcePlacement) -> bool {
    let wanted = condition::of_kind("ClusterResourcePlacement", condition::AVAILABLE);
    let conditions = placement.status.iter().flat_map(|status| &status.conditions);
    let mut wanted = conditions.filter(|condition| condition.type_ == wanted);
    wanted.any(|condition| {
        condition.status == "True" && condition.observed_generation == placement.metadata.generation
    })
}

fn clusters(placement: &ClusterResourcePlacement) -> BTreeSet<String> {
    let statuses =
        placement.status.iter().flat_map(|status| &status.per_cluster_placement_statuses);
    statuses.map(|status| status.cluster_name.clone()).filter(|name| !name.is_empty()).collect()
}

fn join(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

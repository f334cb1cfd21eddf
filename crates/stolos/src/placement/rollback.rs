//! `stolos placement rollback`: takes the objects on the hub back to an earlier state.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::Args;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stolos_api::placement::{
    ClusterResourcePlacement, ClusterResourceSnapshot, ResourceIdentifier, RolloutStrategyType,
};
use stolos_core::placement::explain::described;
use stolos_core::placement::object;
use stolos_core::placement::restore;
use stolos_core::placement::snapshot::{Snapshot, resources};

use super::PlacementArgs;
use super::catalogue::Kinds;
use super::hub::{Hub, name_of};
use super::text::full_name;
use crate::cli::Output;
use crate::connect::explain;
use crate::exit::{Exit, Hinted};
use crate::output;

/// Field manager of what is written.
const MANAGER: &str = "stolos";

#[derive(Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    placement: PlacementArgs,
    /// Index of the resource snapshot; `stolos placement history` lists them
    #[arg(long, value_name = "SNAPSHOT")]
    to: u64,
    /// Only shows what would be written
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: RollbackArgs, output: Output) -> anyhow::Result<Exit> {
    let name = &args.placement.name;
    let hub = Hub::connect(&args.placement.hub).await?;
    let placement = hub.placement(&args.placement).await?;
    let strategy = placement.spec.strategy.as_ref().map(|strategy| strategy.type_);
    if strategy == Some(RolloutStrategyType::External) {
        return Err(Hinted::error(
            format!("placement `{name}` is rolled out by staged update runs"),
            format!(
                "create a run with resourceSnapshotIndex \"{}\"; it brings clusters back to it",
                args.to
            ),
        ));
    }
    let snapshots = hub.snapshots(&placement).await?;
    let (wanted, latest) = states(&snapshots, args.to).map_err(|kept| {
        let (message, hint) = no_snapshot(&placement, args.to, &kept);
        Hinted::error(message, hint)
    })?;
    let kinds = Kinds::discover(&hub.client).await?;
    let mut current = BTreeMap::new();
    for object in &wanted {
        let api = kinds.api_for(&hub.client, object)?;
        let doing = || format!("failed to get {}", described(&object::identifier(object)));
        let found =
            api.get_opt(object::name(object)).await.map_err(|error| explain(&doing(), error))?;
        if let Some(found) = found {
            let mut found = serde_json::to_value(found).context("failed to read an object")?;
            for field in ["apiVersion", "kind"] {
                found[field] = object[field].clone();
            }
            current.insert(object::identifier(object), found);
        }
    }
    let plan = restore::plan(&wanted, |object| current.get(&object::identifier(object)), &latest);
    if !args.dry_run {
        carry_out(&hub, &kinds, &wanted, &plan).await?;
    }
    report(&args, &plan, output)?;
    Ok(Exit::Success)
}

/// Returns the objects of a state and of the latest one, or the indices that there are.
fn states(
    snapshots: &[ClusterResourceSnapshot],
    index: u64,
) -> Result<(Vec<&Value>, Vec<&Value>), Vec<u64>> {
    let views: Vec<_> = snapshots
        .iter()
        .map(|found| Snapshot { metadata: &found.metadata, spec: &found.spec })
        .collect();
    let groups = resources::groups(&views);
    let objects = |index: &u64| {
        let snapshots = groups.get(index)?.complete()?;
        Some(snapshots.iter().flat_map(|found| &found.spec.selected_resources).collect::<Vec<_>>())
    };
    let kept = || groups.keys().copied().collect::<Vec<_>>();
    let wanted = objects(&index).ok_or_else(kept)?;
    let latest = groups.keys().next_back().and_then(objects).ok_or_else(kept)?;
    Ok((wanted, latest))
}

/// Tells that there is no such snapshot, and which there are.
fn no_snapshot(placement: &ClusterResourcePlacement, index: u64, kept: &[u64]) -> (String, String) {
    let name = name_of(placement);
    let kept: Vec<_> = kept.iter().map(ToString::to_string).collect();
    let hint = if kept.is_empty() {
        "it has none yet".to_owned()
    } else {
        let namespace = placement.metadata.namespace.as_ref();
        let namespace = namespace.map(|found| format!(" -n {found}")).unwrap_or_default();
        format!(
            "it has {}; `stolos placement history {name}{namespace}` tells more",
            kept.join(", ")
        )
    };
    (format!("placement `{}` has no resource snapshot {index}", full_name(placement)), hint)
}

async fn carry_out(
    hub: &Hub,
    kinds: &Kinds,
    wanted: &[&Value],
    plan: &restore::Plan,
) -> anyhow::Result<()> {
    for value in &plan.create {
        let doing = format!("failed to create {}", described(&object::identifier(value)));
        let object: DynamicObject =
            serde_json::from_value(value.clone()).context("failed to read a snapshot")?;
        let params =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let api = kinds.api_for(&hub.client, value)?;
        api.create(&params, &object).await.map_err(|error| explain(&doing, error))?;
    }
    for (identifier, patch) in &plan.patch {
        let doing = format!("failed to change {}", described(identifier));
        let object = wanted.iter().find(|object| object::identifier(object) == *identifier);
        let api = kinds.api_for(&hub.client, object.context("an object without a name")?)?;
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let written = api.patch(&identifier.name, &params, &Patch::Merge(patch)).await;
        written.map_err(|error| explain(&doing, error))?;
    }
    Ok(())
}

fn report(args: &RollbackArgs, plan: &restore::Plan, output: Output) -> anyhow::Result<()> {
    let created: Vec<ResourceIdentifier> = plan.create.iter().map(object::identifier).collect();
    let patched: Vec<_> = plan.patch.iter().map(|(identifier, _)| identifier.clone()).collect();
    let data = json!({
        "snapshot": args.to, "dryRun": args.dry_run, "created": created, "changed": patched,
        "unchanged": plan.unchanged, "later": plan.later,
    });
    if output::structured(&data, output)? {
        return Ok(());
    }
    let (create, change) = if args.dry_run {
        ("would be created", "would be changed")
    } else {
        ("created", "changed")
    };
    let lines = created.iter().map(|found| format!("{} {create}", described(found)));
    let lines = lines.chain(patched.iter().map(|found| format!("{} {change}", described(found))));
    for line in lines {
        output::line(&line)?;
    }
    for found in &plan.later {
        output::note(&format!("{} is newer than snapshot {} and stays", described(found), args.to));
    }
    output::note(&as_before(plan.unchanged.len()));
    Ok(())
}

fn as_before(n: usize) -> String {
    if n == 1 {
        "1 object is as it was".to_owned()
    } else {
        format!("{n} objects are as they were")
    }
}

#[cfg(test)]
mod tests {
    use stolos_api::placement::PlacementSpec;

    use super::*;

    #[test]
    fn what_is_there_instead_of_a_snapshot_is_told_with_the_command_that_shows_it() {
        let mut placement = ClusterResourcePlacement::new("content", PlacementSpec::default());
        let told = |placement: &_| no_snapshot(placement, 9, &[0, 1]);
        let (error, hint) = told(&placement);
        assert_eq!(error, "placement `content` has no resource snapshot 9");
        assert_eq!(hint, "it has 0, 1; `stolos placement history content` tells more");
        placement.metadata.namespace = Some("shop".to_owned());
        let (error, hint) = told(&placement);
        assert_eq!(error, "placement `shop/content` has no resource snapshot 9");
        assert_eq!(hint, "it has 0, 1; `stolos placement history content -n shop` tells more");
    }

    #[test]
    fn one_object_is_one() {
        assert_eq!(as_before(1), "1 object is as it was");
        assert_eq!(as_before(2), "2 objects are as they were");
    }
}

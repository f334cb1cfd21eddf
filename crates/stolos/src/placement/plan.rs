//! `stolos plan placement`: what a placement would do, without doing it.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use kube::Resource;
use kube::core::ObjectMeta;
use kube::core::object::HasSpec;
use serde_json::Value;
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::names::label;
use stolos_api::placement::{
    ClusterResourceOverride, ClusterResourcePlacement, GROUP, ResourceOverride, validate,
    validate_cluster_resource_override, validate_resource_override, validate_update,
};
use stolos_api::validation::FieldError;
use stolos_core::placement::eligibility::Eligibility;
use stolos_core::placement::explain::described;
use stolos_core::placement::object::{self, Gvk};
use stolos_core::placement::overrides::history::{self, SnapshotSpec};
use stolos_core::placement::overrides::{self, Content};
use stolos_core::placement::preview::{self, Cluster, Form, Preview, Step, preview};
use stolos_core::placement::sanitise::sanitise;
use stolos_core::placement::select::{Reach, select};
use stolos_core::placement::snapshot::Snapshot;

use super::catalogue::{Catalogue, Kinds};
use super::hub::{Hub, kind_of, name_of};
use super::text;
use crate::cli::{HubClientArgs, Output};
use crate::exit::{Exit, Hinted};
use crate::{input, output};

/// Columns of a terminal.
const WIDTH: usize = 100;
/// Most objects shown without `-o wide`.
const MOST_OBJECTS: usize = 12;
/// Most clusters that were not picked, without `-o wide`.
const MOST_NOT_PICKED: usize = 20;

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// File with the placement, and perhaps overrides and objects; - reads standard input; can be repeated
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    hub: HubClientArgs,
}

/// What a file holds.
#[derive(Debug, Default)]
struct File {
    placements: Vec<ClusterResourcePlacement>,
    cluster_overrides: Vec<ClusterResourceOverride>,
    overrides: Vec<ResourceOverride>,
    /// Objects that may be placed.
    objects: Vec<Value>,
}

pub(super) async fn run(args: PlanArgs, output: Output) -> anyhow::Result<Exit> {
    let mut file = File::default();
    for path in &args.filename {
        let doing = || format!("failed to read `{}`", path.display());
        file.read(&input::text_of(path)?, &args.namespace).with_context(doing)?;
    }
    if file.placements.is_empty() {
        let paths: Vec<_> = args.filename.iter().map(|path| path.display().to_string()).collect();
        return Err(Hinted::error(
            format!("`{}` holds no placement", paths.join("`, `")),
            "it needs a ClusterResourcePlacement or a ResourcePlacement",
        ));
    }
    let hub = Hub::connect(&args.hub).await?;
    let mut previews = Vec::new();
    for placement in &file.placements {
        let preview = plan(&hub, placement, &file).await?;
        if matches!(output, Output::Table | Output::Wide) {
            if !previews.is_empty() {
                output::line("")?;
            }
            for line in screen(placement, &preview, output == Output::Wide) {
                output::line(&line)?;
            }
        }
        previews.push(preview);
    }
    match (output, previews.as_slice()) {
        (Output::Name, previews) => {
            for cluster in previews.iter().flat_map(|preview| &preview.clusters) {
                output::line(&cluster.cluster)?;
            }
        }
        (_, [only]) => _ = output::structured(only, output)?,
        (_, several) => _ = output::structured(&several, output)?,
    }
    Ok(Exit::Success)
}

impl File {
    /// Takes the objects of a text in, YAML or JSON.
    fn read(&mut self, text: &str, namespace: &str) -> anyhow::Result<()> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).context("it is neither YAML nor JSON")?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            let items = match (document["kind"].as_str(), document.get("items")) {
                (Some(kind), Some(Value::Array(items))) if kind.ends_with("List") => items.clone(),
                _ => vec![document],
            };
            for item in items {
                self.add(item, namespace)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, mut object: Value, namespace: &str) -> anyhow::Result<()> {
        let gvk = Gvk::of(&object);
        let name = object::name(&object).to_owned();
        if gvk.kind.is_empty() || name.is_empty() {
            bail!("every object needs apiVersion, kind and metadata.name");
        }
        let doing = || format!("{} `{name}`", gvk.kind);
        if gvk.group == GROUP
            && matches!(gvk.kind.as_str(), "ResourcePlacement" | "ResourceOverride")
        {
            let home = &mut object["metadata"]["namespace"];
            if home.is_null() {
                *home = namespace.into();
            }
        }
        match (gvk.group.as_str(), gvk.kind.as_str()) {
            (GROUP, "ClusterResourcePlacement" | "ResourcePlacement") => {
                let found: ClusterResourcePlacement =
                    serde_json::from_value(object).with_context(doing)?;
                refuse(&doing(), validate(&name, &found.spec))?;
                self.placements.push(found);
            }
            (GROUP, "ClusterResourceOverride") => {
                let found: ClusterResourceOverride =
                    serde_json::from_value(object).with_context(doing)?;
                refuse(&doing(), validate_cluster_resource_override(&found.spec))?;
                self.cluster_overrides.push(found);
            }
            (GROUP, "ResourceOverride") => {
                let found: ResourceOverride = serde_json::from_value(object).with_context(doing)?;
                refuse(&doing(), validate_resource_override(&found.spec))?;
                self.overrides.push(found);
            }
            _ => self.objects.push(object),
        }
        Ok(())
    }
}

/// Fails with a line per field that is wrong.
fn refuse(what: &str, errors: Vec<FieldError>) -> anyhow::Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = errors.iter().map(|error| format!("\n  {error}")).collect();
    bail!("{what} would not be accepted:{}", lines.concat());
}

async fn plan(
    hub: &Hub,
    placement: &ClusterResourcePlacement,
    file: &File,
) -> anyhow::Result<Preview> {
    let name = name_of(placement);
    let namespace = placement.metadata.namespace.as_deref();
    let existing = hub.find(namespace, name).await?;
    let mut planned = placement.clone();
    let (mut bindings, mut policies, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(existing) = &existing {
        let what = format!("{} `{name}`", kind_of(placement));
        refuse(&what, validate_update(&existing.spec, &placement.spec))?;
        planned.metadata.uid.clone_from(&existing.metadata.uid);
        bindings = hub.bindings(existing).await?;
        policies = hub.policies(existing).await?;
        snapshots = hub.snapshots(existing).await?;
    }
    let eligibility = Eligibility::default();
    let kinds = Kinds::discover(&hub.client).await?;
    let reach = namespace.map_or(Reach::Cluster, Reach::Namespace);
    let selectors = &placement.spec.resource_selectors;
    let catalogue =
        Catalogue::read(&hub.client, &kinds, selectors, reach, &eligibility, &file.objects).await?;
    let selected = select(selectors, reach, &eligibility, &catalogue)
        .with_context(|| format!("placement `{name}` cannot select"))?;
    let members = hub.members().await?;
    let overrides = Overrides::read(hub, file).await?;
    let preview = preview(preview::Observed {
        placement: &planned,
        selected: selected.iter().map(|object| sanitise(object)).collect(),
        members: &members.iter().collect::<Vec<&MemberCluster>>(),
        policies: &policies
            .iter()
            .map(|found| Snapshot { metadata: &found.metadata, spec: &found.spec })
            .collect::<Vec<_>>(),
        snapshots: &snapshots
            .iter()
            .map(|found| Snapshot { metadata: &found.metadata, spec: &found.spec })
            .collect::<Vec<_>>(),
        bindings: &bindings,
        overrides: &overrides.views(),
        now: Timestamp::now(),
    });
    preview.with_context(|| format!("placement `{name}` cannot be planned"))
}

/// The overrides of the hub, with those of the file in their place, each with the name of its newest snapshot.
struct Overrides {
    cluster: Vec<(String, ClusterResourceOverride)>,
    namespaced: Vec<(String, ResourceOverride)>,
}

impl Overrides {
    async fn read(hub: &Hub, file: &File) -> anyhow::Result<Self> {
        let mut cluster = hub.cluster_overrides().await?;
        let is_replaced = |found: &ClusterResourceOverride| {
            file.cluster_overrides.iter().any(|own| name_of(own) == name_of(found))
        };
        cluster.retain(|found| !is_replaced(found));
        cluster.extend(file.cluster_overrides.iter().cloned());
        let mut namespaced = hub.overrides().await?;
        let is_replaced = |found: &ResourceOverride| {
            file.overrides.iter().any(|own| Place::of(&own.metadata) == Place::of(&found.metadata))
        };
        namespaced.retain(|found| !is_replaced(found));
        namespaced.extend(file.overrides.iter().cloned());
        let of_cluster = hub.cluster_override_snapshots().await?;
        let of_namespaces = hub.override_snapshots().await?;
        Ok(Self {
            cluster: named(cluster, &of_cluster),
            namespaced: named(namespaced, &of_namespaces),
        })
    }

    fn views(&self) -> Vec<overrides::Snapshot<'_>> {
        let cluster = self.cluster.iter().map(|(name, found)| overrides::Snapshot {
            name,
            content: Content::Cluster(&found.spec),
        });
        let namespaced = self.namespaced.iter().map(|(name, found)| overrides::Snapshot {
            name,
            content: Content::Namespaced {
                namespace: found.metadata.namespace.as_deref().unwrap_or_default(),
                spec: &found.spec,
            },
        });
        cluster.chain(namespaced).collect()
    }
}

/// Namespace and name of an object.
#[derive(PartialEq)]
struct Place<'a>(Option<&'a str>, Option<&'a str>);

impl<'a> Place<'a> {
    fn of(meta: &'a ObjectMeta) -> Self {
        Self(meta.namespace.as_deref(), meta.name.as_deref())
    }

    /// Returns the place of the override that a snapshot is of.
    fn of_parent(meta: &'a ObjectMeta) -> Self {
        let parent = meta.labels.as_ref().and_then(|labels| labels.get(label::PARENT_OVERRIDE));
        Self(meta.namespace.as_deref(), parent.map(String::as_str))
    }
}

/// Gives each override the name of the snapshot that a binding would name.
fn named<O, S>(overrides: Vec<O>, snapshots: &[S]) -> Vec<(String, O)>
where
    O: Resource + HasSpec<Spec = <S::Spec as SnapshotSpec>::Override>,
    S: Resource + HasSpec<Spec: SnapshotSpec>,
{
    let name = |found: &O| {
        let of_it: Vec<_> = snapshots
            .iter()
            .filter(|snapshot| Place::of_parent(snapshot.meta()) == Place::of(found.meta()))
            .map(|snapshot| Snapshot { metadata: snapshot.meta(), spec: snapshot.spec() })
            .collect();
        history::newest_name(name_of(found), found.spec(), &of_it)
    };
    overrides.into_iter().map(|found| (name(&found), found)).collect()
}

fn screen(placement: &ClusterResourcePlacement, preview: &Preview, wide: bool) -> Vec<String> {
    let fit = |line: String| if wide { line } else { output::cut(&line, WIDTH) };
    let most = |few: usize| if wide { usize::MAX } else { few };
    let kind = kind_of(placement);
    let mut lines = vec![
        format!("{kind} {} ({})", text::full_name(placement), text::policy(&placement.spec)),
        format!("Strategy   {}", text::strategy(&placement.spec)),
        format!(
            "Snapshot   {}{}",
            preview.resource_snapshot,
            if preview.is_new_snapshot { ", new" } else { ", exists already" }
        ),
        format!("Objects    {}", preview.selected_resources.len()),
    ];
    let mut objects: Vec<String> =
        preview.selected_resources.iter().take(most(MOST_OBJECTS)).map(described).collect();
    let more = preview.selected_resources.len() - objects.len();
    if more > 0 {
        objects.push(format!("and {more} more (-o wide)"));
    }
    if !objects.is_empty() {
        lines.push(text::wrapped(objects, 2, WIDTH));
    }
    lines.push(String::new());
    lines.push(fit(format!("Scheduled  {}", preview.scheduled)));
    let width = preview
        .clusters
        .iter()
        .map(|cluster| cluster.cluster.len())
        .chain(preview.not_picked.iter().map(|found| found.cluster_name.len()))
        .max()
        .unwrap_or(0);
    for cluster in &preview.clusters {
        lines.extend(cluster_lines(cluster, width).into_iter().map(fit));
    }
    if !preview.not_picked.is_empty() {
        lines.push(String::new());
        lines.push("Not picked:".to_owned());
    }
    for found in preview.not_picked.iter().take(most(MOST_NOT_PICKED)) {
        lines.push(fit(format!("  {:<width$}   {}", found.cluster_name, found.reason)));
    }
    let more = preview.not_picked.len().saturating_sub(most(MOST_NOT_PICKED));
    if more > 0 {
        lines.push(format!("  … and {more} more (-o wide)"));
    }
    lines.push(String::new());
    lines.push("Nothing was written.".to_owned());
    lines
}

fn cluster_lines(cluster: &Cluster, width: usize) -> Vec<String> {
    let step = match cluster.step {
        Step::Place => "gets it now",
        Step::Update => "is updated now",
        Step::Keep => "has it already",
        Step::Remove => "loses it now",
        Step::Wait => "waits",
        Step::External => "waits for a staged update run",
    };
    let score = cluster.score.as_ref().map(|score| {
        let (affinity, spread) =
            (score.affinity_score.unwrap_or(0), score.priority_score.unwrap_or(0));
        format!("   affinity {affinity}, spread {spread}")
    });
    let mut lines =
        vec![format!("  {:<width$}   {step}{}", cluster.cluster, score.unwrap_or_default())];
    let margin = " ".repeat(width + 5);
    lines.extend(cluster.waits.iter().map(|why| format!("{margin}{why}")));
    if !cluster.overrides.is_empty() {
        lines.push(format!("{margin}overrides: {}", cluster.overrides.join(", ")));
    }
    let changed = |wanted: Form| {
        let objects = cluster.objects.iter().filter(move |object| object.form == wanted);
        objects.map(|object| described(&object.resource)).collect::<Vec<_>>().join(", ")
    };
    for (form, words) in [(Form::Overridden, "changed"), (Form::LeftOut, "left out")] {
        let objects = changed(form);
        if !objects.is_empty() {
            lines.push(format!("{margin}{words}: {objects}"));
        }
    }
    lines.extend(cluster.problem.iter().map(|problem| format!("{margin}problem: {problem}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, namespace: &str) -> anyhow::Result<File> {
        let mut file = File::default();
        file.read(text, namespace)?;
        Ok(file)
    }

    const TEXT: &str = "
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourcePlacement
metadata: {name: settings}
spec:
  resourceSelectors: [{group: '', version: v1, kind: ConfigMap, name: settings}]
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}}
---
";

    #[test]
    fn a_file_may_hold_placements_and_objects() {
        let file = read(TEXT, "shop").unwrap();
        assert_eq!(file.placements.len(), 1);
        assert_eq!(file.placements[0].metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(file.objects.len(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_by_field() {
        let wrong = TEXT.replace(
            "  resourceSelectors",
            "  policy: {placementType: PickN}\n  resourceSelectors",
        );
        let error = read(&wrong, "shop").unwrap_err();
        insta::assert_snapshot!(error, @"
        ResourcePlacement `settings` would not be accepted:
          spec.policy.numberOfClusters: must be set for placement type PickN
        ");
        let error = read("{apiVersion: v1, kind: ConfigMap}", "shop").unwrap_err();
        insta::assert_snapshot!(error, @"every object needs apiVersion, kind and metadata.name");
    }

    #[test]
    fn a_plan_is_a_few_lines_per_cluster() {
        let file = read(TEXT, "shop").unwrap();
        let resource = object::identifier(&file.objects[0]);
        let cluster = |name: &str, step, waits: Option<&str>| Cluster {
            cluster: name.to_owned(),
            score: Some(stolos_api::placement::ClusterScore {
                affinity_score: Some(50),
                priority_score: Some(0),
            }),
            step,
            waits: waits.map(str::to_owned),
            overrides: vec!["shop/green".to_owned()],
            objects: vec![preview::Object { resource: resource.clone(), form: Form::Overridden }],
            problem: None,
        };
        let preview = Preview {
            resource_snapshot: "settings-1-snapshot".to_owned(),
            is_new_snapshot: true,
            selected_resources: vec![resource.clone()],
            fulfilled: true,
            scheduled: "found all cluster needed".to_owned(),
            clusters: vec![
                cluster("member-1", Step::Update, None),
                cluster("member-2", Step::Wait, Some("The resources wait for other clusters")),
            ],
            not_picked: vec![stolos_api::placement::ClusterDecision {
                cluster_name: "member-3".to_owned(),
                reason: "ClusterUnschedulable, taint a=b:NoSchedule cannot be tolerated".to_owned(),
                ..Default::default()
            }],
        };
        insta::assert_snapshot!(screen(&file.placements[0], &preview, false).join("\n"), @"
        ResourcePlacement shop/settings (PickAll)
        Strategy   RollingUpdate: at most 25% unavailable, 25% more than wanted
        Snapshot   settings-1-snapshot, new
        Objects    1
          ConfigMap `shop/settings`

        Scheduled  found all cluster needed
          member-1   is updated now   affinity 50, spread 0
                     overrides: shop/green
                     changed: ConfigMap `shop/settings`
          member-2   waits   affinity 50, spread 0
                     The resources wait for other clusters
                     overrides: shop/green
                     changed: ConfigMap `shop/settings`

        Not picked:
          member-3   ClusterUnschedulable, taint a=b:NoSchedule cannot be tolerated

        Nothing was written.
        ");
    }
}

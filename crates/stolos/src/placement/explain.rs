//! `stolos explain placement`.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use stolos_api::placement::{ClusterResourceBinding, ClusterResourcePlacement, Work};
use stolos_core::placement::explain::{self, Cluster, Explanation, Finding};

use super::hub::{Hub, kind_of, name_of};
use super::{PlacementArgs, text};
use crate::cli::Output;
use crate::connect::there_are;
use crate::exit::{Exit, Hinted};
use crate::output;

/// Columns of a terminal.
const WIDTH: usize = 100;
/// Most clusters that are shown in full; one screen has room for these.
const MOST_CLUSTERS: usize = 6;
/// Most clusters that are only named.
const MOST_NAMES: usize = 20;
/// Most clusters that were not picked.
const MOST_NOT_PICKED: usize = 8;

#[derive(Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    placement: PlacementArgs,
    /// Tells about this member cluster only
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
}

pub(super) async fn run(args: ExplainArgs, output: Output) -> anyhow::Result<Exit> {
    let hub = Hub::connect(&args.placement.hub).await?;
    let placement = hub.placement(&args.placement).await?;
    let mut explanation = explained(&hub, &placement).await?;
    if let Some(cluster) = &args.cluster {
        narrow(&mut explanation, cluster, name_of(&placement))?;
    }
    if output == Output::Name {
        output::line(&text::full_name(&placement))?;
    } else if !output::structured(&answer(&placement, &explanation), output)? {
        let name = format!("{} {}", kind_of(&placement), text::full_name(&placement));
        for line in screen(&name, &explanation, output == Output::Wide) {
            output::line(&line)?;
        }
    }
    Ok(Exit::Success)
}

/// What programs read: the explanation, and whose it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    placement: &'a str,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

fn answer<'a>(placement: &'a ClusterResourcePlacement, explanation: &'a Explanation) -> Answer<'a> {
    Answer {
        kind: kind_of(placement),
        namespace: placement.metadata.namespace.as_deref(),
        placement: name_of(placement),
        explanation,
    }
}

async fn explained(hub: &Hub, placement: &ClusterResourcePlacement) -> anyhow::Result<Explanation> {
    let bindings = hub.bindings(placement).await?;
    let policies = hub.policies(placement).await?;
    let works = hub.works(placement).await?;
    let members = hub.members().await?;
    let latest = policies.iter().max_by_key(|policy| policy.metadata.creation_timestamp.clone());
    let bindings: Vec<_> = bindings.iter().map(view).collect();
    let works: BTreeMap<String, Vec<&Work>> =
        works.iter().map(|(binding, works)| (binding.clone(), works.iter().collect())).collect();
    Ok(explain::explain(&explain::Observed {
        kind: kind_of(placement),
        generation: placement.metadata.generation.unwrap_or_default(),
        deleting: placement.metadata.deletion_timestamp.is_some(),
        spec: &placement.spec,
        status: placement.status.as_ref(),
        scheduled: latest.and_then(|policy| policy.status.as_ref()),
        bindings: &bindings,
        works: &works,
        members: &members.iter().collect::<Vec<_>>(),
        now: Timestamp::now(),
    }))
}

fn view(binding: &ClusterResourceBinding) -> explain::Binding<'_> {
    explain::Binding {
        name: name_of(binding),
        generation: binding.metadata.generation.unwrap_or_default(),
        deleting: binding.metadata.deletion_timestamp.is_some(),
        spec: &binding.spec,
        status: binding.status.as_ref(),
    }
}

/// Leaves only what concerns one cluster.
fn narrow(explanation: &mut Explanation, cluster: &str, placement: &str) -> anyhow::Result<()> {
    let known = explanation.clusters.iter().map(|found| &found.cluster);
    let known: Vec<String> = known
        .chain(explanation.not_picked.iter().map(|found| &found.cluster_name))
        .cloned()
        .collect();
    if !known.iter().any(|known| known == cluster) {
        let names = known.iter().map(|name| format!("`{name}`")).collect();
        return Err(Hinted::error(
            format!("placement `{placement}` has nothing to do with a cluster `{cluster}`"),
            there_are(names, "clusters", "`stolos member list` shows the members of the fleet"),
        ));
    }
    explanation.clusters.retain(|found| found.cluster == cluster);
    explanation.not_picked.retain(|found| found.cluster_name == cluster);
    Ok(())
}

fn screen(name: &str, explanation: &Explanation, wide: bool) -> Vec<String> {
    let (stuck, done): (Vec<&Cluster>, Vec<&Cluster>) =
        explanation.clusters.iter().partition(|cluster| !cluster.done);
    let mut lines = vec![if explanation.complete {
        let objects = output::count(explanation.n_objects, "object");
        let of = match explanation.snapshot.as_str() {
            "" => String::new(),
            index => format!(" of snapshot {index}"),
        };
        format!("{name}: {objects}{of} in place on {}.", output::count(done.len(), "cluster"))
    } else {
        format!("{name}: {} done, {} not.", output::count(done.len(), "cluster"), stuck.len())
    }];
    if let Some(finding) = &explanation.finding {
        lines.push(String::new());
        lines.extend(output::wrap(&finding.what, 0, WIDTH));
        lines.extend(reasons(finding));
    }
    let most = if wide { usize::MAX } else { MOST_CLUSTERS };
    for cluster in stuck.iter().take(most) {
        let what = format!("{} at {}: {}", cluster.cluster, cluster.step, cluster.finding.what);
        lines.extend(in_full(&what, &cluster.finding));
    }
    // While something is not done, that is what people look for.
    let room = if stuck.is_empty() { most } else { 0 };
    let in_brief = if wide { 0 } else { done.len().saturating_sub(room) };
    let (shown, brief) = done.split_at(done.len() - in_brief);
    for cluster in shown {
        let what = format!("{}: {}", cluster.cluster, cluster.finding.what);
        lines.extend(in_full(&what, &cluster.finding));
    }
    let left_out = stuck.len().saturating_sub(most);
    if left_out + brief.len() > 0 {
        lines.push(String::new());
    }
    if left_out > 0 {
        lines.push(format!("… and {left_out} more clusters (-o wide)"));
    }
    if !brief.is_empty() {
        let names: Vec<&str> =
            brief.iter().take(MOST_NAMES).map(|cluster| cluster.cluster.as_str()).collect();
        let more = brief.len() - names.len();
        let more = if more > 0 { format!(" and {more} more (-o wide)") } else { String::new() };
        let also = if stuck.is_empty() { "Also in place" } else { "In place" };
        lines.extend(output::wrap(&format!("{also}: {}{more}", names.join(", ")), 0, WIDTH));
    }
    lines.extend(not_picked(explanation, wide));
    lines
}

/// Returns a line and what it rests on, after an empty one.
fn in_full(what: &str, finding: &Finding) -> Vec<String> {
    let lines = [String::new()].into_iter().chain(output::wrap(what, 0, WIDTH));
    lines.chain(reasons(finding)).collect()
}

fn not_picked(explanation: &Explanation, wide: bool) -> Vec<String> {
    if explanation.not_picked.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), "Not picked:".to_owned()];
    let most = if wide { usize::MAX } else { MOST_NOT_PICKED };
    let names = explanation.not_picked.iter().map(|found| found.cluster_name.len());
    let width = names.max().unwrap_or(0);
    for found in explanation.not_picked.iter().take(most) {
        let line = format!("  {:<width$}   {}", found.cluster_name, found.reason);
        lines.push(if wide { line } else { output::cut(&line, WIDTH) });
    }
    if explanation.not_picked.len() > most {
        let more = explanation.not_picked.len() - most;
        lines.push(format!("  … and {more} more (-o wide)"));
    }
    lines
}

/// Returns what a finding rests on, in full: a reason that is cut off explains nothing.
fn reasons(finding: &Finding) -> Vec<String> {
    let hint = finding.hint.iter().map(|hint| format!("hint: {hint}"));
    let reasons = finding.because.iter().cloned().chain(hint);
    reasons.flat_map(|reason| output::wrap(&reason, 2, WIDTH)).collect()
}

#[cfg(test)]
mod tests {
    use stolos_api::placement::ClusterDecision;

    use super::*;

    fn cluster(name: &str, done: bool) -> Cluster {
        Cluster {
            cluster: name.to_owned(),
            step: "Available",
            done,
            finding: if done {
                Finding {
                    what: "everything is in place since 2026-01-01T00:00:00Z".to_owned(),
                    because: vec!["picked by scheduling policy".to_owned()],
                    hint: None,
                }
            } else {
                Finding {
                    what: "not every object is available yet".to_owned(),
                    because: vec![
                        "Deployment `shop/web`: ManifestNotAvailableYet: 1 of 2 replicas"
                            .to_owned(),
                    ],
                    hint: None,
                }
            },
        }
    }

    fn explanation(complete: bool, clusters: Vec<Cluster>) -> Explanation {
        Explanation {
            complete,
            snapshot: "1".to_owned(),
            n_objects: 3,
            finding: None,
            clusters,
            not_picked: Vec::new(),
        }
    }

    #[test]
    fn an_answer_fits_on_one_screen() {
        let mut clusters: Vec<_> =
            (0..40).map(|i| cluster(&format!("member-{i:02}"), false)).collect();
        clusters.push(cluster("member-99", true));
        let not_picked = (0..40)
            .map(|i| ClusterDecision {
                cluster_name: format!("other-{i:02}"),
                reason: "ClusterUnschedulable, ".to_owned() + &"a long reason ".repeat(20),
                ..ClusterDecision::default()
            })
            .collect();
        let explanation = Explanation { clusters, not_picked, ..explanation(false, Vec::new()) };
        let lines = screen("ClusterResourcePlacement shop", &explanation, false);
        assert!(lines.len() <= 40, "{}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert!(lines.contains(&"In place: member-99".to_owned()));

        let many = (0..100).map(|i| cluster(&format!("member-{i:02}"), true)).collect();
        let explanation = self::explanation(true, many);
        let lines = screen("ClusterResourcePlacement shop", &explanation, false);
        assert!(lines.len() <= 40, "{}", lines.len());
        assert!(lines.iter().any(|line| line.ends_with("and 74 more (-o wide)")), "{lines:?}");
        assert_eq!(screen("x", &explanation, true).len(), 301, "all of them when asked to");
    }

    #[test]
    fn the_first_line_says_how_it_stands() {
        let done = explanation(true, vec![cluster("a", true), cluster("b", true)]);
        insta::assert_snapshot!(screen("ClusterResourcePlacement shop", &done, false).join("\n"), @"
        ClusterResourcePlacement shop: 3 objects of snapshot 1 in place on 2 clusters.

        a: everything is in place since 2026-01-01T00:00:00Z
          picked by scheduling policy

        b: everything is in place since 2026-01-01T00:00:00Z
          picked by scheduling policy
        ");
        let half = explanation(false, vec![cluster("a", false), cluster("b", true)]);
        insta::assert_snapshot!(screen("ClusterResourcePlacement shop", &half, false).join("\n"), @"
        ClusterResourcePlacement shop: 1 cluster done, 1 not.

        a at Available: not every object is available yet
          Deployment `shop/web`: ManifestNotAvailableYet: 1 of 2 replicas

        In place: b
        ");
    }

    #[test]
    fn programs_are_told_which_placement_it_is() {
        let mut placement = ClusterResourcePlacement::default();
        placement.metadata.name = Some("shop".to_owned());
        let done = explanation(true, vec![cluster("a", true)]);
        let json = |placement: &ClusterResourcePlacement| {
            serde_json::to_value(answer(placement, &done)).unwrap()
        };
        let of_cluster = json(&placement);
        assert_eq!(of_cluster["kind"], "ClusterResourcePlacement");
        assert_eq!(of_cluster["placement"], "shop");
        assert!(of_cluster.get("namespace").is_none());
        assert_eq!(of_cluster["clusters"][0]["cluster"], "a");
        placement.metadata.namespace = Some("team".to_owned());
        let in_namespace = json(&placement);
        assert_eq!(in_namespace["kind"], "ResourcePlacement");
        assert_eq!(in_namespace["namespace"], "team");
    }

    #[test]
    fn a_cluster_that_the_placement_does_not_know_is_an_error() {
        let mut found = explanation(true, vec![cluster("a", true)]);
        let error = narrow(&mut found, "z", "shop").unwrap_err();
        insta::assert_snapshot!(error, @"placement `shop` has nothing to do with a cluster `z`");
        narrow(&mut found, "a", "shop").unwrap();
        assert_eq!(found.clusters.len(), 1);
    }
}

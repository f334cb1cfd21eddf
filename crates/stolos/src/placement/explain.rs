//! `stolos explain placement`.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
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
/// Most clusters with a problem that are shown in full; one screen has room for these.
const MOST_CLUSTERS: usize = 6;
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
        for cluster in explanation.clusters.iter().filter(|cluster| !cluster.done) {
            output::line(&cluster.cluster)?;
        }
    } else if !output::structured(&explanation, output)? {
        let name = format!("{} {}", kind_of(&placement), text::full_name(&placement));
        for line in screen(&name, &explanation, output == Output::Wide) {
            output::line(&line)?;
        }
    }
    Ok(Exit::Success)
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
    let fit = |line: String| if wide { line } else { output::cut(&line, WIDTH) };
    let mut lines = Vec::new();
    lines.push(if explanation.complete {
        format!("{name} is in place on {}.", output::count(done.len(), "cluster"))
    } else {
        format!("{name}: {} done, {} not.", output::count(done.len(), "cluster"), stuck.len())
    });
    if let Some(finding) = &explanation.finding {
        lines.push(String::new());
        lines.extend(output::wrap(&finding.what, 0, WIDTH));
        lines.extend(reasons(finding));
    }
    let most = if wide { usize::MAX } else { MOST_CLUSTERS };
    for cluster in stuck.iter().take(most) {
        lines.push(String::new());
        let what = format!("{} at {}: {}", cluster.cluster, cluster.step, cluster.finding.what);
        lines.extend(output::wrap(&what, 0, WIDTH));
        lines.extend(reasons(&cluster.finding));
    }
    if stuck.len() > most {
        lines.push(String::new());
        lines.push(format!("… and {} more clusters (-o wide)", stuck.len() - most));
    }
    if explanation.clusters.len() == 1 && stuck.is_empty() {
        lines.extend(
            done.iter().map(|cluster| format!("{}: {}", cluster.cluster, cluster.finding.what)),
        );
    }
    let most = if wide { usize::MAX } else { MOST_NOT_PICKED };
    if !explanation.not_picked.is_empty() {
        lines.push(String::new());
        lines.push("Not picked:".to_owned());
        let width =
            explanation.not_picked.iter().map(|found| found.cluster_name.len()).max().unwrap_or(0);
        for found in explanation.not_picked.iter().take(most) {
            lines.push(fit(format!("  {:<width$}   {}", found.cluster_name, found.reason)));
        }
        if explanation.not_picked.len() > most {
            let more = explanation.not_picked.len() - most;
            lines.push(format!("  … and {more} more (-o wide)"));
        }
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
            finding: Finding {
                what: "not every object is available yet".to_owned(),
                because: vec![
                    "Deployment `shop/web`: ManifestNotAvailableYet: 1 of 2 replicas".to_owned(),
                ],
                hint: None,
            },
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
        let explanation = Explanation { complete: false, finding: None, clusters, not_picked };
        let lines = screen("ClusterResourcePlacement shop", &explanation, false);
        assert!(lines.len() <= 40, "{}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn the_first_line_says_how_it_stands() {
        let done = Explanation {
            complete: true,
            finding: None,
            clusters: vec![cluster("a", true), cluster("b", true)],
            not_picked: Vec::new(),
        };
        insta::assert_snapshot!(screen("ClusterResourcePlacement shop", &done, false).join("\n"), @"ClusterResourcePlacement shop is in place on 2 clusters.");
        let half = Explanation {
            complete: false,
            clusters: vec![cluster("a", false), cluster("b", true)],
            ..done
        };
        insta::assert_snapshot!(screen("ClusterResourcePlacement shop", &half, false).join("\n"), @"
        ClusterResourcePlacement shop: 1 cluster done, 1 not.

        a at Available: not every object is available yet
          Deployment `shop/web`: ManifestNotAvailableYet: 1 of 2 replicas
        ");
    }

    #[test]
    fn a_cluster_that_the_placement_does_not_know_is_an_error() {
        let mut found = Explanation {
            complete: true,
            finding: None,
            clusters: vec![cluster("a", true)],
            not_picked: Vec::new(),
        };
        let error = narrow(&mut found, "z", "shop").unwrap_err();
        insta::assert_snapshot!(error, @"placement `shop` has nothing to do with a cluster `z`");
        narrow(&mut found, "a", "shop").unwrap();
        assert_eq!(found.clusters.len(), 1);
    }
}

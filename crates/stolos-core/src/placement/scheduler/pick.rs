//! The three ways to pick: all, a number, fixed names.

use std::collections::{BTreeMap, BTreeSet};

use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{BindingState, ClusterDecision, ClusterSelectorTerm, PlacementPolicy};

use super::affinity::{Scorer, satisfies_any};
use super::spread::Spread;
use super::status::{Outcome, Rejected};
use super::{
    Assignment, Binding, Error, Observed, Plan, Score, Sorted, assigned, binding_name,
    check_eligibility, decision, is_leaving, name_of, namespace, reassigned, taints,
};

/// PickAll: every cluster that passes the filters, and whatever was selected before.
pub(super) fn all(
    observed: &Observed<'_>,
    sorted: &Sorted<'_>,
    plan: &mut Plan,
) -> Result<(), Error> {
    let filtered = filter(observed, sorted, None)?;
    let picked: Vec<(&str, Score)> =
        filtered.passed.iter().map(|cluster| (name_of(cluster), Score::default())).collect();
    let written = write(observed, sorted, &picked, plan)?;
    let decisions = written.into_iter().chain(kept(sorted)).collect();
    plan.outcome = Some(Outcome::all(decisions, filtered.rejected));
    Ok(())
}

/// PickN: the best clusters up to the wished number; a satisfied placement stays where it is.
pub(super) fn n(
    observed: &Observed<'_>,
    sorted: &Sorted<'_>,
    plan: &mut Plan,
) -> Result<(), Error> {
    let wished = usize::try_from(observed.number_of_clusters.unwrap_or(0)).unwrap_or(0);
    let present = sorted.scheduled.len() + sorted.bound.len();
    if wished <= present {
        let removed = if wished < present || !sorted.obsolete.is_empty() {
            shrink(sorted, present - wished, plan)
        } else {
            BTreeSet::new()
        };
        let decisions = kept(sorted)
            .filter(|decision| !removed.contains(decision.cluster_name.as_str()))
            .collect();
        plan.outcome = Some(Outcome::number(decisions, wished, Vec::new()));
        return Ok(());
    }
    let constraints = observed.policy.map_or(&[][..], |policy| &policy.topology_spread_constraints);
    let selected = sorted.selected();
    let spread =
        Spread::new(constraints, &sorted.clusters, |cluster| selected.contains(name_of(cluster)));
    let filtered = filter(observed, sorted, Some(&spread))?;
    let mut scored = score(observed, sorted, &filtered.passed, &spread)?;
    // The better score first, and on a full tie the greater name.
    scored.sort_by(|a, b| (b.1, b.0).cmp(&(a.1, a.0)));
    let desired = wished - present;
    // Each pick changes the balance of the domains, so with constraints the clusters are picked one by one.
    let limit = if constraints.is_empty() { desired } else { 1 };
    let (picked, rest) = scored.split_at(desired.min(limit).min(scored.len()));
    let written = write(observed, sorted, picked, plan)?;
    if limit < desired && picked.len() == limit {
        plan.again = true;
        return Ok(());
    }
    let outscored = rest.iter().map(|(cluster, score)| Rejected::outscored(cluster, *score));
    let rejected = outscored.chain(filtered.rejected).collect();
    let decisions = written.into_iter().chain(kept(sorted)).collect();
    plan.outcome = Some(Outcome::number(decisions, wished, rejected));
    Ok(())
}

/// PickFixed: the listed clusters that exist and are eligible.
pub(super) fn fixed(
    observed: &Observed<'_>,
    sorted: &Sorted<'_>,
    plan: &mut Plan,
) -> Result<(), Error> {
    let names = observed.policy.map_or(&[][..], |policy| &policy.cluster_names);
    // An emptied list is an unfinished edit, not a wish to withdraw everything (placement.md C 14).
    if names.is_empty() {
        return Ok(());
    }
    let (mut valid, mut invalid, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let selected = sorted.selected();
    for name in names {
        match sorted.cluster(name) {
            None => missing.push(Rejected::missing(name)),
            Some(cluster) if is_leaving(cluster) && selected.contains(name.as_str()) => {
                valid.push(name.as_str());
            }
            Some(cluster) => match check_eligibility(cluster, observed.now) {
                Ok(()) => valid.push(name.as_str()),
                Err(why) => invalid.push(Rejected::ineligible(name, &why)),
            },
        }
    }
    let obsolete = Sorted::by_cluster(&sorted.obsolete);
    let unscheduled = Sorted::by_cluster(&sorted.unscheduled);
    for name in valid.iter().filter(|name| !selected.contains(**name)) {
        let decision = decision(name, true, None, picked_reason(name, None));
        match (obsolete.get(name), unscheduled.get(name)) {
            (Some(binding), _) => {
                plan.patch.push(reassigned(observed, binding, binding.spec.state, decision))
            }
            (None, Some(binding)) => plan.patch.push(restored(observed, binding, decision)?),
            (None, None) => plan.create.push(created(observed, decision)),
        }
    }
    let unwanted = sorted
        .obsolete
        .iter()
        .filter(|binding| !valid.contains(&binding.spec.target_cluster.as_str()));
    plan.unschedule.extend(unwanted.map(|binding| (binding.name.to_owned(), binding.spec.state)));
    let decisions: Vec<ClusterDecision> =
        valid.iter().map(|name| decision(name, true, None, picked_reason(name, None))).collect();
    let rejected = invalid.into_iter().chain(missing).collect();
    plan.outcome = Some(Outcome::fixed(decisions, rejected));
    Ok(())
}

/// Clusters that may be picked, in name order, and those that may not.
struct Filtered<'a> {
    passed: Vec<&'a MemberCluster>,
    rejected: Vec<Rejected>,
}

/// Runs the filters. A cluster that is selected already takes no part.
fn filter<'a>(
    observed: &Observed<'_>,
    sorted: &Sorted<'a>,
    spread: Option<&Spread<'_>>,
) -> Result<Filtered<'a>, Error> {
    let selected = sorted.selected();
    let required = required_terms(observed.policy);
    let tolerations = observed.policy.map_or(&[][..], |policy| &policy.tolerations);
    let mut filtered = Filtered { passed: Vec::new(), rejected: Vec::new() };
    for cluster in &sorted.clusters {
        let problem = if !satisfies_any(required, cluster)? {
            Some(
                "cluster does not match with any of the required cluster affinity terms".to_owned(),
            )
        } else if let Err(why) = check_eligibility(cluster, observed.now) {
            Some(why)
        } else if let Err(why) = namespace::check(cluster, observed.namespace) {
            Some(why.to_owned())
        } else if let Some(taint) = taints::first_untolerated(cluster, tolerations) {
            Some(format!(
                "taint {}={}:{:?} cannot be tolerated",
                taint.key, taint.value, taint.effect
            ))
        } else if selected.contains(name_of(cluster)) {
            continue;
        } else {
            spread.and_then(|spread| spread.violation(cluster))
        };
        match problem {
            Some(why) => filtered.rejected.push(Rejected::filtered(name_of(cluster), &why)),
            None => filtered.passed.push(cluster),
        }
    }
    Ok(filtered)
}

fn required_terms(policy: Option<&PlacementPolicy>) -> &[ClusterSelectorTerm] {
    let affinity = policy.and_then(|policy| policy.affinity.as_ref());
    let required = affinity
        .and_then(|affinity| affinity.cluster_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    required.map_or(&[], |selector| &selector.cluster_selector_terms)
}

fn score<'a>(
    observed: &Observed<'_>,
    sorted: &Sorted<'a>,
    passed: &[&'a MemberCluster],
    spread: &Spread<'_>,
) -> Result<Vec<(&'a str, Score)>, Error> {
    let affinity = observed.policy.and_then(|policy| policy.affinity.as_ref());
    let preferred = affinity
        .and_then(|affinity| affinity.cluster_affinity.as_ref())
        .map_or(&[][..], |affinity| &affinity.preferred_during_scheduling_ignored_during_execution);
    let scorer = Scorer::new(preferred, &sorted.clusters)?;
    let obsolete = Sorted::by_cluster(&sorted.obsolete);
    let of = |cluster: &&'a MemberCluster| {
        let score = Score {
            spread: spread.score(cluster),
            affinity: scorer.score(cluster)?,
            obsolete: i32::from(obsolete.contains_key(name_of(cluster))),
        };
        Ok((name_of(cluster), score))
    };
    passed.iter().map(of).collect()
}

/// Brings the bindings in line with the picked clusters and returns the decisions of those written, created first.
fn write(
    observed: &Observed<'_>,
    sorted: &Sorted<'_>,
    picked: &[(&str, Score)],
    plan: &mut Plan,
) -> Result<Vec<ClusterDecision>, Error> {
    let scores: BTreeMap<&str, Score> = picked.iter().copied().collect();
    let obsolete = Sorted::by_cluster(&sorted.obsolete);
    let unscheduled = Sorted::by_cluster(&sorted.unscheduled);
    for (cluster, score) in picked {
        let decision = decision(cluster, true, Some(*score), picked_reason(cluster, Some(*score)));
        match (obsolete.get(cluster), unscheduled.get(cluster)) {
            (Some(binding), _) => {
                plan.patch.push(reassigned(observed, binding, binding.spec.state, decision))
            }
            (None, Some(binding)) => plan.patch.push(restored(observed, binding, decision)?),
            (None, None) => plan.create.push(created(observed, decision)),
        }
    }
    let unwanted =
        sorted.obsolete.iter().filter(|b| !scores.contains_key(b.spec.target_cluster.as_str()));
    plan.unschedule.extend(unwanted.map(|binding| (binding.name.to_owned(), binding.spec.state)));
    let written = plan.create.iter().chain(&plan.patch);
    Ok(written.map(|assignment| assignment.spec.cluster_decision.clone()).collect())
}

fn created(observed: &Observed<'_>, decision: ClusterDecision) -> Assignment {
    let name = binding_name(observed, &decision.cluster_name);
    Assignment { name, spec: assigned(observed, BindingState::Scheduled, decision) }
}

fn restored(
    observed: &Observed<'_>,
    binding: &Binding<'_>,
    decision: ClusterDecision,
) -> Result<Assignment, Error> {
    let state = binding
        .previous_state
        .ok_or_else(|| Error::PreviousState { binding: binding.name.to_owned() })?;
    Ok(reassigned(observed, binding, state, decision))
}

/// Unschedules every obsolete binding, then as many others as there are too many: scheduled before bound, the lower
/// score and then the smaller name first. A cluster that leaves goes first, and by itself. Returns the clusters of those
/// others.
fn shrink<'a>(sorted: &Sorted<'a>, excess: usize, plan: &mut Plan) -> BTreeSet<&'a str> {
    let mut victims: Vec<&Binding<'_>> = Vec::new();
    for list in [&sorted.scheduled, &sorted.bound] {
        let mut list: Vec<_> = list.clone();
        list.sort_by_key(|binding| (stored_score(binding), binding.spec.target_cluster.as_str()));
        victims.extend(list);
    }
    let leaves = |binding: &&Binding<'_>| {
        sorted.cluster(&binding.spec.target_cluster).is_some_and(is_leaving)
    };
    victims.sort_by_key(|binding| !leaves(binding));
    victims.truncate(excess);
    let removed = victims.iter().map(|binding| binding.spec.target_cluster.as_str()).collect();
    victims.retain(|binding| !leaves(binding));
    let unwanted = sorted.obsolete.iter().copied().chain(victims);
    plan.unschedule.extend(unwanted.map(|binding| (binding.name.to_owned(), binding.spec.state)));
    removed
}

/// Bindings without a score sort first.
fn stored_score(binding: &Binding<'_>) -> Option<(i32, i32)> {
    let score = binding.spec.cluster_decision.cluster_score.as_ref()?;
    Some((score.priority_score.unwrap_or(0), score.affinity_score.unwrap_or(0)))
}

/// Returns the decisions of the bindings that stay as they are.
fn kept<'a>(sorted: &'a Sorted<'_>) -> impl Iterator<Item = ClusterDecision> + 'a {
    sorted
        .scheduled
        .iter()
        .chain(&sorted.bound)
        .map(|binding| binding.spec.cluster_decision.clone())
}

fn picked_reason(cluster: &str, score: Option<Score>) -> String {
    let score = score.map_or(String::new(), |score| {
        format!(" (affinity score: {}, topology spread score: {})", score.affinity, score.spread)
    });
    format!(
        "Successfully scheduled resources for placement in \"{cluster}\"{score}: picked by scheduling policy"
    )
}

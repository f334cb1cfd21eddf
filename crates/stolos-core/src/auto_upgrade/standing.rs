//! How the members stand to what a run is for.

use std::collections::BTreeMap;

use stolos_api::update::AutoUpgradeProfileSpec;

use super::catalogue::Published;
use super::channel::Target;
use super::goal::{Goal, Phase};
use crate::update::cluster::{Cluster, Inspection, Member, Power};
use crate::update::outlook;
use crate::update::version::Version;

/// How a member stands to a goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is nothing to do.
    AtTarget,
    /// A run would upgrade it.
    Behind,
    /// A run could not upgrade it at present; it is looked at again when its cluster changes.
    Waits(String),
    /// A run would fail it or break a promise of the channel, for this reason.
    LeftOut(String),
}

/// Says how each of the members stands to a goal.
pub(super) fn of_all<'a>(
    spec: &AutoUpgradeProfileSpec,
    published: &Published,
    goal: &Goal,
    members: &BTreeMap<&'a str, &Member>,
) -> BTreeMap<&'a str, Standing> {
    members.iter().map(|(name, member)| (*name, of(spec, published, goal, member))).collect()
}

fn of(
    spec: &AutoUpgradeProfileSpec,
    published: &Published,
    goal: &Goal,
    member: &Member,
) -> Standing {
    let cluster = match &member.cluster {
        Inspection::Known(cluster) if cluster.power == Power::Stopped => {
            return Standing::Waits("the cluster is stopped".to_owned());
        }
        Inspection::Known(cluster) => cluster,
        Inspection::Unknown(reason) => return Standing::Waits(reason.clone()),
    };
    match outlook::standing(&goal.update, cluster) {
        None | Some(outlook::Standing::AtTarget) => Standing::AtTarget,
        Some(outlook::Standing::Impossible(reason)) => Standing::LeftOut(reason),
        Some(outlook::Standing::Behind) => match &goal.target {
            Target::Images(_) => Standing::Behind,
            Target::Version(version) => kept_back(spec, published, goal.phase, *version, cluster)
                .map_or(Standing::Behind, Standing::LeftOut),
        },
    }
}

/// What channels promise beyond the engine's rules.
fn kept_back(
    spec: &AutoUpgradeProfileSpec,
    published: &Published,
    phase: Phase,
    target: Version,
    cluster: &Cluster,
) -> Option<String> {
    let current = cluster.control_plane;
    if current >= target {
        return None;
    }
    if phase == Phase::Nodes {
        return Some(format!("its control plane is at {current} and not yet at {target}"));
    }
    if spec.long_term_support && cluster.long_term_support {
        return None;
    }
    if !current.reaches_in_one_step(target) {
        return Some(format!(
            "it is at {current}, more than one minor version behind {target}; bring it closer with update runs first"
        ));
    }
    (!published.supports(current)).then(|| {
        format!("it is at {current}, a minor version that is no longer supported; upgrade it with an update run first")
    })
}

//! Services of the clusterset, on the hub: what members are told, and which members.

use jiff::Timestamp;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::condition as type_;
use stolos_api::network::clusterset::{
    ExportedService, ExportedServiceSpec, ExportedServiceStatus, ExportedSlice,
    ImportedServiceSpec, SourceCluster,
};

use super::{Constituent, Merged, conflict_condition, merge, slices_say_the_same};
use crate::condition;
use crate::network::{keys, revision};

/// Most endpoints of one service that a member is told. An object of so many is about half as large as etcd lets one be.
pub const MAX_ENDPOINTS: usize = 5_000;

/// What one member exports.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// Name of the member.
    pub cluster: &'a str,
    /// What it told.
    pub told: &'a ExportedService,
}

/// What members are told of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What the service is, and in what its clusters disagree.
    pub merged: Merged,
    /// What importing members are told.
    pub told: ImportedServiceSpec,
}

/// Decides what a service is, from all exports of it. None without any.
#[must_use]
pub fn resolve(exports: &[Export<'_>]) -> Option<Resolved> {
    let constituents: Vec<_> = exports.iter().map(constituent).collect();
    let merged = merge(&constituents)?;
    let find = |cluster: &str| exports.iter().find(|export| export.cluster == cluster);
    let told = merged.clusters.iter().filter_map(|one| Some(find(&one.cluster)?.told));
    let sizes: Vec<_> = told.clone().map(|told| count(&told.spec.slices)).collect();
    let share = share(&sizes, MAX_ENDPOINTS);
    let clusters = merged.clusters.iter().zip(told).map(|(one, told)| SourceCluster {
        cluster: one.cluster.clone(),
        revision: Some(revision::of(&told.metadata)),
        slices: without_revisions(first(&told.spec.slices, share)),
    });
    let told = ImportedServiceSpec {
        service: merged.spec.clone(),
        labels: merged.labels.clone(),
        annotations: merged.annotations.clone(),
        clusters: clusters.collect(),
    };
    Some(Resolved { merged, told })
}

/// Tells whether a member has been told of a later state of an export than a list shows. `cluster` is the one that exports.
#[must_use]
pub fn is_outdated(cluster: &str, shown: &ExportedService, told: &ImportedServiceSpec) -> bool {
    let told = told.clusters.iter().find(|one| one.cluster == cluster);
    let known = told.and_then(|told| told.revision.as_ref());
    known.is_some_and(|known| revision::is_before(&revision::of(&shown.metadata), known))
}

/// Tells whether a member is told the same as another, of whatever states of exports that was made.
#[must_use]
pub fn says_the_same(a: &ImportedServiceSpec, b: &ImportedServiceSpec) -> bool {
    let ImportedServiceSpec { service, labels, annotations, clusters } = a;
    *service == b.service
        && *labels == b.labels
        && *annotations == b.annotations
        && clusters.iter().map(|one| &one.cluster).eq(b.clusters.iter().map(|one| &one.cluster))
        && clusters.iter().zip(&b.clusters).all(|(a, b)| slices_say_the_same(&a.slices, &b.slices))
}

fn without_revisions(mut slices: Vec<ExportedSlice>) -> Vec<ExportedSlice> {
    for slice in &mut slices {
        slice.revision = None;
    }
    slices
}

fn constituent<'a>(export: &Export<'a>) -> Constituent<'a> {
    let ExportedServiceSpec { exported_since, export: adds, service, .. } = &export.told.spec;
    // One that does not say since when is no older than any other.
    let created = exported_since.as_ref().map_or(Timestamp::MAX, |since| since.0);
    Constituent { cluster: export.cluster, created, export: adds, service }
}

fn count(slices: &[ExportedSlice]) -> usize {
    slices.iter().map(|slice| slice.endpoints.len()).sum()
}

/// Returns how many endpoints each cluster may have so that all together have no more than `max`: as many as it has, or the
/// same as others that have more.
fn share(sizes: &[usize], max: usize) -> usize {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    let (mut left, mut n_left) = (max, sizes.len());
    for size in sizes {
        let share = left / n_left;
        if size > share {
            return share;
        }
        left -= size;
        n_left -= 1;
    }
    max
}

/// Returns the slices with their first endpoints, as many as `max`. A slice without endpoints stays: it has ports.
pub(super) fn first(slices: &[ExportedSlice], max: usize) -> Vec<ExportedSlice> {
    let mut left = max;
    let cut = |slice: &ExportedSlice| {
        let mut slice = slice.clone();
        slice.endpoints.truncate(left);
        left -= slice.endpoints.len();
        slice
    };
    slices.iter().map(cut).collect()
}

/// How a member stands to the clusterset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    Joined,
    /// It does not take part yet, or has not said so lately: what it exports and imports stays.
    Waiting,
    /// It leaves the fleet or has left it.
    Leaving,
}

/// Decides how a member stands to the clusterset. Without a MemberCluster, which the caller has looked for, it has left.
#[must_use]
pub fn standing(member: Option<&MemberCluster>) -> Standing {
    let Some(member) = member.filter(|member| member.metadata.deletion_timestamp.is_none()) else {
        return Standing::Leaving;
    };
    let conditions = member.status.as_ref().map(|status| status.conditions.as_slice());
    let joined = condition::find(conditions.unwrap_or_default(), type_::JOINED);
    if joined.is_some_and(|joined| joined.status == "True") {
        Standing::Joined
    } else {
        Standing::Waiting
    }
}

/// What is to become of what a member is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// It is told, whether it was told before or not.
    Tell,
    /// It is told what changes, if it was told before.
    Renew,
    /// It is told no longer.
    Withdraw,
}

/// Decides what a member is told of a service that is exported, or is not any more.
#[must_use]
pub fn telling(standing: Standing, is_exported: bool) -> Telling {
    match (standing, is_exported) {
        (_, false) | (Standing::Leaving, _) => Telling::Withdraw,
        (Standing::Joined, true) => Telling::Tell,
        (Standing::Waiting, true) => Telling::Renew,
    }
}

/// Returns what an export is told about conflicts, if that is news.
#[must_use]
pub fn answer(
    export: &ExportedService,
    merged: &Merged,
    now: Timestamp,
) -> Option<ExportedServiceStatus> {
    let generation = export.metadata.generation.unwrap_or(0);
    let told = conflict_condition(merged, generation, now);
    let mut status = export.status.clone().unwrap_or_default();
    if !keys::is_news(&status.conditions, &told) {
        return None;
    }
    condition::set(&mut status.conditions, told);
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_shared_out_so_that_small_clusters_keep_theirs() {
        for (sizes, max, want) in [
            (&[][..], 10, 10),
            (&[3, 4], 10, 10),
            (&[3, 8], 10, 7),
            (&[8, 3], 10, 7),
            (&[8, 8, 1], 10, 4),
            (&[8, 8, 8], 2, 0),
        ] {
            let share = share(sizes, max);
            assert_eq!(share, want, "{sizes:?}");
            assert!(sizes.iter().map(|size| size.min(&share)).sum::<usize>() <= max);
        }
    }
}

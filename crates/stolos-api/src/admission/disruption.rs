//! Evictions and disruption budgets, held against the placements that they are about.

use super::{Check, Rules, WRITES};
use crate::placement::GROUP;

pub(super) fn rules() -> Vec<Rules> {
    let type_ = ("type", "params.spec.?policy.?placementType.orValue('PickAll')".to_owned());
    let of = |name, resource, operations, checks| Rules {
        name,
        group: GROUP,
        resource,
        operations,
        against: Some("ClusterResourcePlacement"),
        variables: vec![type_.clone()],
        checks,
    };
    vec![
        of(
            "stolos-clusterresourceplacementevictions",
            "clusterresourceplacementevictions",
            &["CREATE"],
            evictions(),
        ),
        of(
            "stolos-clusterresourceplacementdisruptionbudgets",
            "clusterresourceplacementdisruptionbudgets",
            WRITES,
            budgets(),
        ),
    ]
}

fn evictions() -> Vec<Check> {
    let other = "params.metadata.name != object.spec.placementName";
    vec![
        Check::new(
            format!("{other} || !has(params.metadata.deletionTimestamp)"),
            "cluster resource placement is being deleted",
        )
        .saying("'cluster resource placement ' + params.metadata.name + ' is being deleted'"),
        Check::new(
            format!("{other} || variables.type != 'PickFixed'"),
            "cluster resource placement policy type PickFixed is not supported",
        ),
    ]
}

/// A budget is for the placement of its name. Under PickAll the target number follows the budget, so that only a
/// number of members that must stay means anything.
fn budgets() -> Vec<Check> {
    let other = "params.metadata.name != object.metadata.name || variables.type != 'PickAll'";
    vec![
        Check::new(
            format!("{other} || !has(object.spec.maxUnavailable)"),
            "cluster resource placement policy type PickAll is not supported with any specified max unavailable",
        ),
        Check::new(
            format!(
                "{other} || !has(object.spec.minAvailable) || type(object.spec.minAvailable) == int"
            ),
            "cluster resource placement policy type PickAll is not supported with min available as a percentage",
        ),
    ]
}

//! Taints of members and tolerations of placements.

use stolos_api::cluster::{MemberCluster, Taint};
use stolos_api::placement::{Toleration, TolerationOperator};

/// Returns the first taint that no toleration covers.
pub(super) fn first_untolerated<'a>(
    cluster: &'a MemberCluster,
    tolerations: &[Toleration],
) -> Option<&'a Taint> {
    let tolerated =
        |taint: &Taint| tolerations.iter().any(|toleration| tolerates(toleration, taint));
    cluster.spec.taints.iter().find(|taint| !tolerated(taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_none_or(|effect| effect == taint.effect);
    let key = match toleration.operator {
        TolerationOperator::Exists => toleration.key.is_empty() || toleration.key == taint.key,
        TolerationOperator::Equal => toleration.key == taint.key && toleration.value == taint.value,
    };
    effect && key
}

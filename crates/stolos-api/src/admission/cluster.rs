//! MemberCluster.

use super::{Check, Rules, WRITES, is_label_value, is_qualified_name};
use crate::cluster::GROUP;

pub(super) fn rules() -> Vec<Rules> {
    let (key, value) = (is_qualified_name("taint.key"), is_label_value("taint.value"));
    vec![Rules {
        name: "stolos-memberclusters",
        group: GROUP,
        resource: "memberclusters",
        operations: WRITES,
        against: None,
        variables: vec![("taints", "object.spec.?taints.orValue([])".into())],
        checks: vec![
            Check::new(
                format!("variables.taints.all(taint, {key})"),
                "spec.taints: the key of a taint must be a qualified name such as `example.com/name`",
            ),
            Check::new(
                format!("variables.taints.all(taint, !has(taint.value) || {value})"),
                "spec.taints: the value of a taint must be a label value",
            ),
            Check::new(
                "variables.taints.all(taint, variables.taints.exists_one(other, other == taint))",
                "spec.taints: taints must be unique",
            ),
        ],
    }]
}

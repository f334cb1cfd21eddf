//! Namespace affinity: a ResourcePlacement goes where its namespace is, as far as members tell.

use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::condition;

/// Checks that a member has a namespace. One that does not collect its namespaces may have it.
///
/// # Errors
/// The reason, worded as users of KubeFleet know it.
pub(super) fn check(cluster: &MemberCluster, namespace: Option<&str>) -> Result<(), &'static str> {
    let (Some(namespace), Some(status)) = (namespace, &cluster.status) else { return Ok(()) };
    let collects = status
        .conditions
        .iter()
        .any(|found| found.type_ == condition::NAMESPACE_COLLECTION_SUCCEEDED);
    if !collects {
        return Ok(());
    }
    // A list that was cut off still says what is there.
    match &status.namespaces {
        None => Err("cluster has no namespace information available"),
        Some(namespaces) if namespaces.contains_key(namespace) => Ok(()),
        Some(_) => Err("target namespace does not exist on cluster"),
    }
}

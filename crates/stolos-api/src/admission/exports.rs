//! Members that export services cannot be deleted, unless they say `Skip`.
//!
//! The hub notes at a MemberCluster a service that the member exports.

use super::deletion::Rule;
use crate::cluster::GROUP;
use crate::network::names::EXPORTS_ANNOTATION;

pub(super) fn rule() -> Rule {
    let annotations = "oldObject.metadata.?annotations.orValue({})";
    Rule {
        name: "stolos-memberclusters-exporting",
        group: GROUP,
        version: "v1beta1",
        resource: "memberclusters",
        is_free: format!(
            "oldObject.spec.?deleteOptions.?validationMode.orValue('Strict') == 'Skip' || !('{EXPORTS_ANNOTATION}' in {annotations})"
        ),
        message: "Please delete serviceExports in the member cluster before leaving, request is denied",
        details: Some(format!(
            "'Please delete serviceExport ' + {annotations}['{EXPORTS_ANNOTATION}'] + ' in the member cluster before leaving, request is denied; spec.deleteOptions.validationMode: Skip of cluster.kubernetes-fleet.io/v1beta1 would allow it'"
        )),
    }
}

//! What the MemberCluster of a member says of the services that it exports, so that it is not deleted by mistake. One whose
//! deletion is not to be checked says nothing: whoever deletes it by a version without that field is not held up either.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::cluster::names::member_namespace;
use stolos_api::cluster::{DeleteValidationMode, MemberCluster};
use stolos_api::network::names::EXPORTS_ANNOTATION;
use stolos_controller::{Key, Write};

use super::Services;
use super::look::{Act, Service, Sought};

/// Returns the service that a MemberCluster is said to export.
pub(super) fn told(member: &ObjectMeta) -> Option<&str> {
    member.annotations.as_ref()?.get(EXPORTS_ANNOTATION).map(String::as_str)
}

/// Tells whether the deletion of a member is to be refused for what it exports.
pub(super) fn is_checked(member: &MemberCluster) -> bool {
    let options = member.spec.delete_options.as_ref();
    options.is_none_or(|options| options.validation_mode == DeleteValidationMode::Strict)
}

impl Services {
    /// Names a service that the member exports, for as long as it does; none once it exports none.
    pub(super) fn plan_exports(&self, name: &str) -> Vec<Act> {
        let Some(member) = self.members.get(&Key::cluster(name)) else { return Vec::new() };
        let namespace = member_namespace(name);
        let exports = self.exports.in_namespace(&namespace);
        let live = exports.filter(|_| is_checked(member));
        let live = live.filter(|export| export.metadata.deletion_timestamp.is_none());
        let services = live.map(|export| export.spec.service_reference.namespaced_name.as_str());
        let services: BTreeSet<&str> = services.collect();
        let told = told(&member.metadata);
        let is_right = told.map_or(services.is_empty(), |told| services.contains(told));
        if member.metadata.deletion_timestamp.is_some() || is_right {
            return Vec::new();
        }
        let first = services.first();
        if is_checked(member)
            && let Some(look) = told.and_then(|told| self.look_for_export(told, name))
        {
            return vec![look];
        }
        let mut member = MemberCluster::clone(member);
        let annotations = member.metadata.annotations.get_or_insert_default();
        match first {
            Some(first) => annotations.insert(EXPORTS_ANNOTATION.to_owned(), (*first).to_owned()),
            None => annotations.remove(EXPORTS_ANNOTATION),
        };
        vec![Act::Write(Write::Replace(member.into()))]
    }

    /// Asks by name for an export that no list shows.
    fn look_for_export(&self, service: &str, cluster: &str) -> Option<Act> {
        let namespace = member_namespace(cluster);
        let mut known = self.exports.indexed(service);
        let is_known = known.any(|export| export.metadata.namespace.as_ref() == Some(&namespace));
        let sought =
            Sought::Export(Service { key: service.to_owned(), cluster: cluster.to_owned() });
        (!is_known && !self.absent.contains(&sought)).then_some(Act::Look(sought))
    }
}

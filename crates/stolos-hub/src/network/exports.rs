//! What the MemberCluster of a member says of the services that it exports, so that it is not deleted by mistake.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::member_namespace;
use stolos_api::network::names::EXPORTS_ANNOTATION;
use stolos_controller::{Key, Write};

use super::Services;
use super::look::{Act, Service, Sought};

/// Returns the service that a MemberCluster is said to export.
pub(super) fn told(member: &ObjectMeta) -> Option<&str> {
    member.annotations.as_ref()?.get(EXPORTS_ANNOTATION).map(String::as_str)
}

impl Services {
    /// Names the first service that the member exports; none once it exports none.
    pub(super) fn plan_exports(&self, name: &str) -> Vec<Act> {
        let Some(member) = self.members.get(&Key::cluster(name)) else { return Vec::new() };
        let namespace = member_namespace(name);
        let exports = self.exports.in_namespace(&namespace);
        let live = exports.filter(|export| export.metadata.deletion_timestamp.is_none());
        let services = live.map(|export| export.spec.service_reference.namespaced_name.as_str());
        let first = services.min();
        let told = told(&member.metadata);
        if member.metadata.deletion_timestamp.is_some() || told == first {
            return Vec::new();
        }
        if let Some(look) = told.and_then(|told| self.look_for_export(told, name)) {
            return vec![look];
        }
        let mut member = MemberCluster::clone(member);
        let annotations = member.metadata.annotations.get_or_insert_default();
        match first {
            Some(first) => annotations.insert(EXPORTS_ANNOTATION.to_owned(), first.to_owned()),
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

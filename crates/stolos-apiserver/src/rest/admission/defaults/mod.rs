//! What the server itself fills in where clients leave something open: the plugins of kube-apiserver that are on by
//! default and that users see.

mod accounts;
mod classes;
mod priorities;
mod tolerations;

use std::sync::Arc;

use serde_json::Value;

use super::{Operation, Plugin, Request};
use crate::random::Random;
use crate::store::ClusterStore;

/// Which plugins fill in what clients leave open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Pods get a service account and its token. Only where a controller keeps accounts: no pod could be made otherwise.
    pub service_account: bool,
    /// Pods get the priority of their class.
    pub priority: bool,
    /// Claims get the default storage class.
    pub storage_class: bool,
    /// Ingresses get the default ingress class.
    pub ingress_class: bool,
    /// Pods stay for a while on nodes that are lost.
    pub toleration_seconds: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            service_account: true,
            priority: true,
            storage_class: true,
            ingress_class: true,
            toleration_seconds: true,
        }
    }
}

impl Defaults {
    /// Turns plugins off by the names that `--disable-admission-plugins` has for them. Other names mean nothing here.
    #[must_use]
    pub fn without<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        for name in names {
            match name {
                "ServiceAccount" => self.service_account = false,
                "Priority" => self.priority = false,
                "DefaultStorageClass" => self.storage_class = false,
                "DefaultIngressClass" => self.ingress_class = false,
                "DefaultTolerationSeconds" => self.toleration_seconds = false,
                _ => {}
            }
        }
        self
    }

    /// Returns the plugins, in the order of upstream.
    pub(crate) fn plugins(self, store: &ClusterStore, random: &Random) -> Vec<Arc<dyn Plugin>> {
        let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
        if self.service_account {
            let (store, random) = (store.clone(), random.clone());
            plugins.push(Arc::new(accounts::Accounts { store, random }));
        }
        if self.priority {
            plugins.push(Arc::new(priorities::Priorities(store.clone())));
        }
        if self.toleration_seconds {
            plugins.push(Arc::new(tolerations::Tolerations));
        }
        if self.storage_class {
            plugins.push(Arc::new(classes::DefaultClass::of_storage(store.clone())));
        }
        if self.ingress_class {
            plugins.push(Arc::new(classes::DefaultClass::of_ingresses(store.clone())));
        }
        plugins
    }
}

/// Tells whether a request creates an object of a built-in resource, given as the store calls it.
fn creates(request: &Request<'_>, resource: &str) -> bool {
    request.operation == Operation::Create
        && request.subresource.is_empty()
        && !request.resource.custom
        && request.resource.storage.as_ref() == resource
}

fn is_empty(text: &Value) -> bool {
    text.as_str().is_none_or(str::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_turned_off_by_their_names() {
        let left = Defaults::default().without(["ServiceAccount", "Priority", "PodSecurity"]);
        let want = Defaults { service_account: false, priority: false, ..Defaults::default() };
        assert_eq!(left, want);
    }
}

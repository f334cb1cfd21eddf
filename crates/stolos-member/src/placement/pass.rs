//! One pass over the manifests of a Work.

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DynamicObject};
use serde_json::Value;
use stolos_api::cluster::names::member_namespace;
use stolos_api::placement::names::work_reason;
use stolos_api::placement::{ApplyStrategy, Work, WorkResourceIdentifier};
use stolos_core::placement::apply::{self, Malformed, Manifest};

use super::Applier;
use super::json::text;
use super::kinds::Kind;
use super::manifest::{Done, One, compares_only};

/// Manifests of one wave that are applied at once.
const CONCURRENCY: usize = 8;

/// A manifest as it was read.
pub(super) type Read = (WorkResourceIdentifier, Result<Manifest, Malformed>);

/// The kinds that the manifests of a Work name.
pub(super) type KindsByName = BTreeMap<(String, String, String), Kind>;

/// One pass over the manifests of a Work.
pub(super) struct Pass<'a> {
    pub(super) applier: &'a Applier,
    pub(super) work: &'a Work,
    pub(super) name: &'a str,
    pub(super) strategy: &'a ApplyStrategy,
    /// The reference that objects of this Work carry.
    pub(super) owner: OwnerReference,
    pub(super) kinds: &'a KindsByName,
}

impl Pass<'_> {
    pub(super) fn compares_only(&self) -> bool {
        compares_only(self.work)
    }

    /// Applies the manifests wave by wave; a failed wave does not stop later ones. What is compared only needs no order.
    /// Results keep the order of manifests.
    pub(super) async fn run(&self, manifests: &[Read]) -> Vec<(WorkResourceIdentifier, Done)> {
        let mut results: Vec<Option<Done>> = manifests.iter().map(|_| None).collect();
        let mut waves: BTreeMap<usize, Vec<(usize, &Manifest)>> = BTreeMap::new();
        for (index, (identifier, manifest)) in manifests.iter().enumerate() {
            match manifest {
                Ok(manifest) => {
                    let wave = if self.compares_only() { 0 } else { apply::wave(identifier) };
                    waves.entry(wave).or_default().push((index, manifest));
                }
                Err(malformed) => {
                    let message = malformed.message.clone();
                    let reason = malformed.reason;
                    results[index] = Some(Done::failed(self.compares_only(), reason, message, 0));
                }
            }
        }
        for wave in waves.into_values() {
            // Collected first: a stream that borrows would not be `Send` for every lifetime.
            let work: Vec<_> =
                wave.into_iter().map(|(index, manifest)| self.run_at(index, manifest)).collect();
            let done: Vec<_> =
                futures::stream::iter(work).buffer_unordered(CONCURRENCY).collect().await;
            for (index, result) in done {
                results[index] = Some(result);
            }
        }
        let identifiers = manifests.iter().map(|(identifier, _)| identifier.clone());
        identifiers.zip(results.into_iter().flatten()).collect()
    }

    async fn run_at(&self, index: usize, manifest: &Manifest) -> (usize, Done) {
        let identifier = &manifest.identifier;
        let Some(api) = self.api(identifier) else {
            let message = format!("the member cluster does not serve kind `{}`", identifier.kind);
            let reason = work_reason::DECODING_ERRED;
            return (index, Done::failed(self.compares_only(), reason, message, 0));
        };
        (index, One::new(self, manifest, api).run().await)
    }

    fn api(&self, identifier: &WorkResourceIdentifier) -> Option<Api<DynamicObject>> {
        let name = (identifier.group.clone(), identifier.version.clone(), identifier.kind.clone());
        Some(self.kinds.get(&name)?.api(&self.applier.context.member, &identifier.namespace))
    }

    /// Returns the uids of AppliedWorks among the owners that no Work on the hub stands behind: left over from an earlier
    /// membership.
    pub(super) async fn stale_owners(
        &self,
        live: Option<&Value>,
    ) -> Result<Vec<String>, kube::Error> {
        let context = &self.applier.context;
        let works: Api<Work> =
            Api::namespaced(context.hub.clone(), &member_namespace(&context.name));
        let owners = live.map(apply::owners).unwrap_or_default();
        let others = owners.into_iter().filter(|owner| owner.uid != self.owner.uid);
        let mut stale = Vec::new();
        for owner in others.filter(apply::is_applied_work) {
            if works.get_opt(&owner.name).await?.is_none() {
                stale.push(owner.uid);
            }
        }
        Ok(stale)
    }
}

/// Asks the member for the kinds that manifests name.
pub(super) async fn kinds_of(
    applier: &Applier,
    manifests: &[Value],
) -> Result<KindsByName, kube::Error> {
    let mut kinds = KindsByName::new();
    for manifest in manifests {
        let api_version = text(manifest, "/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let name = (group.to_owned(), version.to_owned(), text(manifest, "/kind"));
        if kinds.contains_key(&name) || name.2.is_empty() {
            continue;
        }
        if let Some(kind) = applier.kinds.get(&name.0, &name.1, &name.2).await? {
            kinds.insert(name, kind);
        }
    }
    Ok(kinds)
}

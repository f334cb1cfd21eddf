//! The copy of a placement's status in the namespace that it selects.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use stolos_api::placement::{
    ClusterResourcePlacement, ClusterResourcePlacementStatus, PlacementStatus,
};
use stolos_controller::{Key, Write};
use stolos_core::placement::condition::upsert;
use stolos_core::placement::mirror::{self, Home, Observed};
use stolos_core::placement::object::{self, Gvk};
use stolos_core::placement::select::{self, Catalogue, NotSynced, Query};

use super::object::Job;
use super::selection::owner;
use super::world::World;

impl World {
    /// Returns why a placement cannot select what it says: its status is in another namespace.
    pub(super) fn moved(placement: &ClusterResourcePlacement) -> Option<select::Error> {
        if !is_copied(placement) {
            return None;
        }
        let selectors = &placement.spec.resource_selectors;
        let (before, now) = mirror::moved_from(selectors, placement.status.as_ref()?)?;
        Some(select::Error::NamespaceChanged { before: before.to_owned(), now: now.to_owned() })
    }

    /// Writes the copy unless it says what `status` says, and puts into `status` what is known of the copy.
    pub(super) fn copy(
        &self,
        placement: &ClusterResourcePlacement,
        status: &mut PlacementStatus,
        now: Timestamp,
    ) -> Vec<Job> {
        // A report may come before the selection that refuses another namespace.
        if !is_copied(placement) || Self::moved(placement).is_some() {
            return Vec::new();
        }
        let home = mirror::home(&placement.spec.resource_selectors, status).map(str::to_owned);
        let Some(namespace) = home else { return Vec::new() };
        // When the namespaces are known, everything is looked at again.
        let Ok(home) = self.home(&namespace) else { return Vec::new() };
        let name = placement.metadata.name.as_deref().unwrap_or_default();
        let existing = self.copies.get(&Key::namespaced(&namespace, name));
        let owner = owner(placement);
        let ours = existing.filter(|copy| {
            copy.metadata.owner_references.iter().flatten().any(|found| found.uid == owner.uid)
        });
        let plan = mirror::plan(&Observed {
            generation: placement.metadata.generation.unwrap_or_default(),
            status,
            home,
            copied: ours.map(|copy| &copy.source_status),
            now,
        });
        if let Some(condition) = plan.condition {
            upsert(&mut status.conditions, condition);
        }
        let Some(source_status) = plan.write else { return Vec::new() };
        let metadata = new_metadata(name, &namespace, owner);
        let copy = ClusterResourcePlacementStatus {
            metadata: existing.map_or(metadata.clone(), |copy| ObjectMeta {
                owner_references: metadata.owner_references,
                ..copy.metadata.clone()
            }),
            source_status,
            last_updated_time: Time(now),
        };
        let write = if existing.is_some() { Write::Replace } else { Write::Create };
        vec![Job(write(copy.into()))]
    }

    fn home<'a>(&self, namespace: &'a str) -> Result<Home<'a>, NotSynced> {
        let query = Query { namespace: None, name: Some(namespace) };
        let found = self.catalogue.objects(&Gvk::new("", "v1", "Namespace"), query)?;
        Ok(match found.first() {
            None => Home::Missing(namespace),
            Some(found) if object::is_deleting(found) => Home::Terminating(namespace),
            Some(_) => Home::Ready(namespace),
        })
    }
}

fn is_copied(placement: &ClusterResourcePlacement) -> bool {
    placement.metadata.namespace.is_none() && mirror::is_wanted(&placement.spec)
}

fn new_metadata(name: &str, namespace: &str, owner: OwnerReference) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

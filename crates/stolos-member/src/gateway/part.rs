//! One data plane for two who ask: the balancer for services of the fleet, and the gateway for entries of this member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stolos_core::network::balance::VipPort;
use stolos_dataplane::{DataPlane, Desired, NotServed, Report, VipStats};
use tokio::sync::Mutex;

use super::decide::PREFIX;

/// What one of the two asks of a data plane; the other's part stays as it is.
pub struct Part<P> {
    plane: Arc<P>,
    parts: Arc<Mutex<Parts>>,
    is_entries: bool,
    begun_with: Option<Desired>,
}

#[derive(Default)]
struct Parts {
    services: Desired,
    entries: Desired,
}

/// Shares a data plane: the first part is for services of the fleet, the second one for entries, if there is to be one.
/// What the data plane began with is part of it until each has asked for something else.
pub fn share<P>(
    plane: Arc<P>,
    begun_with: Option<&Desired>,
    has_entries: bool,
) -> (Arc<Part<P>>, Option<Arc<Part<P>>>) {
    let (entries, services): (Vec<_>, Vec<_>) = begun_with
        .iter()
        .flat_map(|begun| begun.vips.iter().cloned())
        .partition(|vip| vip.service.starts_with(PREFIX));
    let leases = begun_with.map(|begun| begun.leases.clone()).unwrap_or_default();
    let services = Desired { vips: services, leases };
    let entries = Desired { vips: entries, leases: BTreeMap::new() };
    let kept = if has_entries { entries.clone() } else { Desired::default() };
    let parts = Arc::new(Mutex::new(Parts { services: services.clone(), entries: kept }));
    let part = |is_entries, desired: Desired| {
        let begun_with = begun_with.map(|_| desired);
        Arc::new(Part { plane: plane.clone(), parts: parts.clone(), is_entries, begun_with })
    };
    (part(false, services), has_entries.then(|| part(true, entries)))
}

impl<P> Part<P> {
    /// Returns what the data plane began with of this part.
    pub fn begun_with(&self) -> Option<&Desired> {
        self.begun_with.as_ref()
    }
}

impl Parts {
    /// Returns both parts. A port that both ask for is the service's.
    fn union(&self) -> Desired {
        let mut desired = self.services.clone();
        let taken = ports(&self.services);
        let entries = self.entries.vips.iter().filter(|vip| !taken.contains(&vip.balance.vip));
        desired.vips.extend(entries.cloned());
        desired
    }
}

fn ports(desired: &Desired) -> BTreeSet<VipPort> {
    desired.vips.iter().map(|vip| vip.balance.vip).collect()
}

impl<P: DataPlane + Send + Sync + 'static> DataPlane for Part<P> {
    async fn apply(&self, desired: Desired) -> Report {
        // Held until it is applied, so that an older union never comes after a newer one.
        let mut parts = self.parts.lock().await;
        if self.is_entries {
            parts.entries = desired;
        } else {
            parts.services = desired;
        }
        let mut report = self.plane.apply(parts.union()).await;
        let services = ports(&parts.services);
        if !self.is_entries {
            report.not_served.retain(|port, _| services.contains(port));
            return report;
        }
        let entries = ports(&parts.entries);
        report.not_served.retain(|port, _| entries.contains(port));
        let taken = entries.intersection(&services).copied();
        report.not_served.extend(taken.map(|port| (port, NotServed::AddressInUse { port })));
        report
    }

    async fn stats(&self) -> BTreeMap<VipPort, VipStats> {
        self.plane.stats().await
    }

    async fn drain(&self) {
        self.plane.drain().await;
    }
}

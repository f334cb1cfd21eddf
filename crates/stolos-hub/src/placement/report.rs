//! How far a placement got.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use stolos_api::placement::names::{condition as type_, reason};
use stolos_api::placement::{ClusterResourcePlacement, PlacementStatus, RolloutStrategyType};
use stolos_controller::{Key, Plan, Write};
use stolos_core::placement::condition::find_current;
use stolos_core::placement::snapshot::{Snapshot, resources};
use stolos_core::placement::status::{self, Binding, Group, PolicySnapshot};

use super::object::{Job, Twin};
use super::world::World;
use crate::event::{Report, event};

/// Name that events are reported under.
pub(super) const COMPONENT: &str = "placement-controller";

impl World {
    /// Plans the status of a placement.
    pub(super) fn plan_report(&self, key: &Key, now: Timestamp) -> Plan<Job> {
        let Some(placement) = self.placements.get(key) else { return Plan::default() };
        if placement.metadata.deletion_timestamp.is_some() || Self::is_refused(placement) {
            return Plan::default();
        }
        self.report(placement, now)
    }

    /// Tells whether the status says that the selectors, as they are, cannot be used. Only a selection that works ends it.
    pub(super) fn is_refused(placement: &ClusterResourcePlacement) -> bool {
        let Some(status) = &placement.status else { return false };
        let scheduled = type_::of_kind(Self::kind_of(placement), type_::SCHEDULED);
        let generation = placement.metadata.generation.unwrap_or_default();
        find_current(&status.conditions, &scheduled, generation)
            .is_some_and(|found| found.reason == reason::INVALID_RESOURCE_SELECTORS)
    }

    pub(super) fn report(&self, placement: &ClusterResourcePlacement, now: Timestamp) -> Plan<Job> {
        let Some(policy) = self.latest_policy(placement) else { return Plan::default() };
        let snapshots: Vec<_> = self
            .snapshots_of(placement)
            .map(|snapshot| Snapshot { metadata: &snapshot.metadata, spec: &snapshot.spec })
            .collect();
        let groups = resources::groups(&snapshots);
        let latest = groups.last_key_value();
        // A group that is only half there says nothing about what is selected; its last part wakes us.
        if latest.is_some_and(|(_, group)| group.complete().is_none()) {
            return Plan::default();
        }
        let strategy = placement.spec.strategy.as_ref().map(|strategy| strategy.type_);
        let is_external = strategy == Some(RolloutStrategyType::External);
        let named: BTreeMap<String, Group> = groups
            .iter()
            .filter(|(index, _)| is_external || latest.is_some_and(|(latest, _)| latest == *index))
            .filter_map(|(index, group)| {
                let name = group.master()?.metadata.name.clone()?;
                Some((name, Group { index: index.to_string(), resources: group.identifiers() }))
            })
            .collect();
        let bindings: Vec<_> = self
            .bindings_of(&Key::of(&placement.metadata))
            .map(|binding| Binding {
                generation: binding.metadata.generation.unwrap_or_default(),
                deleting: binding.metadata.deletion_timestamp.is_some(),
                spec: &binding.spec,
                status: binding.status.as_ref(),
            })
            .collect();
        let previous = placement.status.clone().unwrap_or_default();
        let mut status = status::aggregate(&status::Observed {
            kind: Self::kind_of(placement),
            generation: placement.metadata.generation.unwrap_or_default(),
            spec: &placement.spec,
            previous: &previous,
            policy_snapshot: PolicySnapshot {
                name: policy.metadata.name.as_deref().unwrap_or_default(),
                generation: policy.metadata.generation.unwrap_or_default(),
                status: policy.status.as_ref(),
            },
            bindings: &bindings,
            latest_index: latest.map(|(index, _)| index.to_string()).as_deref(),
            groups: &named,
            now,
        });
        let copy = self.copy(placement, &mut status, now);
        if placement.status.as_ref() == Some(&status) {
            return Plan::default().then(copy);
        }
        let events = events(placement, &previous, &status, now);
        let reported = ClusterResourcePlacement { status: Some(status), ..placement.clone() };
        let report = Job(Write::ReplaceStatus(reported.into()));
        Plan::default().then(vec![report]).then(copy).then(events)
    }
}

/// Returns an event for each step that became done.
fn events(
    placement: &ClusterResourcePlacement,
    previous: &PlacementStatus,
    status: &PlacementStatus,
    now: Timestamp,
) -> Vec<Job> {
    let (kind, generation) =
        (World::kind_of(placement), placement.metadata.generation.unwrap_or_default());
    let events = status::events(kind, generation, &placement.spec, previous, status);
    let reports = events.into_iter().enumerate().map(|(index, event)| {
        let report = Report {
            component: COMPONENT,
            type_: "Normal",
            reason: event.reason.to_owned(),
            message: event.message,
        };
        Job(Write::Create(about(placement, report, index, now).into()))
    });
    reports.collect()
}

/// Returns an event about a placement of either kind.
pub(super) fn about(
    placement: &ClusterResourcePlacement,
    report: Report,
    index: usize,
    now: Timestamp,
) -> Event {
    match placement.metadata.namespace {
        None => event(placement, report, index, now),
        Some(_) => event(&placement.clone().namespaced(), report, index, now),
    }
}

//! Takes part in the fleet and leaves it, as two agents: the one that exports and imports, and the one that gives addresses.

use jiff::Timestamp;
use kube::Resource;
use stolos_api::cluster::names::agent::SERVICE_EXPORT_IMPORT_AGENT;
use stolos_api::cluster::{AgentStatus, InternalMemberCluster};
use stolos_controller::event::{self, Report};
use stolos_controller::{Plan, Write};
use stolos_core::network::agent::{Membership, membership};

use super::act::Act;
use super::{Agent, MANAGER};

/// How many thousandths of their period heartbeats of a member come early or late.
const MAX_JITTER: u64 = 50;

impl Agent {
    pub(super) fn plan_membership(&self, agent: &'static str, now: Timestamp) -> Plan<Act> {
        let Some(internal) = self.internal.iter().next() else { return Plan::default() };
        let exports = agent == SERVICE_EXPORT_IMPORT_AGENT;
        // Endpoints of others are taken out before the hub may remove what lets them in.
        let n_imports = self.services.len() + self.imports.len() + self.imported_slices.len();
        let n_objects = if exports { self.exports.len() } else { n_imports };
        match membership(internal, agent, n_objects, self.jitter(), now) {
            Membership::Join { report, wake_at } => {
                self.told(internal, report).waking_at(Some(wake_at))
            }
            Membership::Left { report } => self.told(internal, report),
            Membership::CleanUp if exports => {
                let left =
                    self.exports.iter().filter(|one| one.metadata.deletion_timestamp.is_none());
                let deleted =
                    left.map(|one| self.on_member(Write::Delete(one.as_ref().clone().into())));
                Plan::default().then(deleted.collect())
            }
            Membership::CleanUp => {
                let left =
                    self.services.iter().filter(|one| one.metadata.deletion_timestamp.is_none());
                let deleted =
                    left.map(|one| self.on_member(Write::Delete(one.as_ref().clone().into())));
                // Those of MultiClusterServices go with them.
                let by_hand = self.imports.iter().filter(|one| {
                    self.services.is_empty() && one.metadata.deletion_timestamp.is_none()
                });
                let withdrawn =
                    by_hand.map(|one| self.on_member(Write::Delete(one.as_ref().clone().into())));
                Plan::default().then(deleted.collect()).then(withdrawn.collect())
            }
        }
    }

    fn told(&self, internal: &InternalMemberCluster, report: Option<AgentStatus>) -> Plan<Act> {
        let Some(report) = report else { return Plan::default() };
        let mut internal = internal.clone();
        let agents = &mut internal.status.get_or_insert_default().agent_status;
        match agents.iter_mut().find(|agent| agent.type_ == report.type_) {
            Some(known) => *known = report,
            None => agents.push(report),
        }
        Plan::from(vec![Act::Hub(Write::ReplaceStatus(internal.into()))])
    }

    /// Returns when within its period this member reports, so that not all report at once.
    fn jitter(&self) -> i8 {
        let sum = self
            .config
            .name
            .bytes()
            .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        i8::try_from(sum % (2 * MAX_JITTER + 1)).unwrap_or_default()
            - i8::try_from(MAX_JITTER).unwrap_or_default()
    }

    /// Returns what people are to be told of an object.
    pub(super) fn events<K>(
        &self,
        object: &K,
        events: &[stolos_core::event::Event],
        now: Timestamp,
    ) -> Vec<Act>
    where
        K: Resource<DynamicType = ()>,
    {
        let told = events.iter().enumerate().map(|(index, told)| {
            let report = Report {
                component: MANAGER,
                type_: told.severity.as_str(),
                reason: told.reason.to_owned(),
                message: told.message.clone(),
            };
            event::event(object, report, index, now)
        });
        told.map(|event| self.on_member(Write::Create(event.into()))).collect()
    }
}

//! What becomes of a member whose turn has come.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use stolos_api::update::{
    ErrorDetail, MemberAction, MemberPrevious, MemberStatus, MemberTarget, PreflightCheck, State,
};

use super::advance::Step;
use super::cluster::{Cluster, Inspection, Member, Power};
use super::gates::earliest;
use super::goal::Verdict;
use super::states::enter;
use super::window::{OPENS_SOON, Opening, Window};
use super::{code, id, preflight};

/// In which order members of a group are taken (maintenance window docs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Open,
    OpensSoon,
    NoWindow,
    Closed,
}

impl Step<'_> {
    pub(super) fn rank(&self, name: &str) -> Rank {
        let window = self.observed.members.get(name).and_then(|member| self.goal.window(member));
        let Some(window) = window else { return Rank::NoWindow };
        match Window::parse(window).map(|window| window.at(self.now)) {
            Ok(Opening::OpenUntil(_)) => Rank::Open,
            Ok(Opening::OpensAt(at)) if at.duration_since(self.now) <= OPENS_SOON => {
                Rank::OpensSoon
            }
            Ok(Opening::OpensAt(_) | Opening::Never) | Err(_) => Rank::Closed,
        }
    }

    /// Decides about the member and writes down what was decided.
    pub(super) fn reach(&mut self, member: &mut MemberStatus) -> State {
        let seen = self.observed.members.get(&member.name);
        match self.assess(seen) {
            Verdict::Start { target, message } => {
                member.attempt += 1;
                member.operation_id =
                    Some(id::operation_id(self.run.uid, &member.name, member.attempt));
                member.target = Some(target);
                member.rollback = None;
                member.message = message;
                member.status.error = None;
                member.status.start_time = Some(MicroTime(self.now));
                if let Some(Inspection::Known(cluster)) = seen.map(|member| &member.cluster) {
                    member.previous.get_or_insert_with(|| previous(cluster));
                }
                enter(&mut member.status, State::Running, self.now);
            }
            Verdict::Skip { reason, message } => {
                member.reason = Some(reason.into());
                member.message = Some(message);
                member.status.error = None;
                enter(&mut member.status, State::Skipped, self.now);
            }
            Verdict::Wait { code, message, until } => {
                self.wake_at = earliest(self.wake_at, until);
                member.message = Some(format!(
                    "set member: {} to Pending due to failed validation err: {message}",
                    member.name
                ));
                member.status.error = Some(error(code, message));
                enter(&mut member.status, State::Pending, self.now);
            }
            Verdict::Fail { code, message } => {
                member.message = Some(message.clone());
                member.status.error = Some(error(code, message));
                enter(&mut member.status, State::Failed, self.now);
            }
        }
        member.status.state
    }

    fn assess(&self, member: Option<&Member>) -> Verdict {
        let Some(member) = member else {
            let message = "the member left the fleet".into();
            return Verdict::Skip { reason: code::MEMBER_LEFT, message };
        };
        let policy = self.run.spec.member_policy.unwrap_or_default();
        let on_busy = policy.on_busy.unwrap_or(MemberAction::Wait);
        if let Some(holder) = member.holder.as_ref().filter(|holder| holder.uid != self.run.uid) {
            let message =
                format!("the cluster is being updated by update run `{}`", holder.update_run);
            return kept_from(on_busy, code::CLUSTER_BUSY, message);
        }
        let cluster = match &member.cluster {
            Inspection::Known(cluster) => cluster,
            Inspection::Unknown(reason) => {
                let action = policy.on_unreachable.unwrap_or(MemberAction::Wait);
                return kept_from(action, code::CLUSTER_NOT_REACHABLE, reason.clone());
            }
        };
        if cluster.power == Power::Stopped {
            let action = policy.on_stopped.unwrap_or(MemberAction::Skip);
            return kept_from(action, code::CLUSTER_STOPPED, "the cluster is stopped".into());
        }
        if let Some(hold) = &cluster.hold {
            return kept_from(on_busy, hold.code, hold.message.clone());
        }
        match self.goal.assess(cluster, &self.images) {
            Verdict::Start { target, message } => {
                let hold = self.hold_back(member, &target);
                hold.unwrap_or(Verdict::Start { target, message })
            }
            verdict => verdict,
        }
    }

    /// Returns why an upgrade that could begin has to wait.
    fn hold_back(&self, member: &Member, target: &MemberTarget) -> Option<Verdict> {
        self.wait_for_window(member).or_else(|| self.wait_for_preflight(member, target))
    }

    fn wait_for_window(&self, member: &Member) -> Option<Verdict> {
        let window = match Window::parse(self.goal.window(member)?) {
            Ok(window) => window,
            Err(problem) => {
                let message = format!("maintenance window: {} {}", problem.field, problem.message);
                let code = code::MAINTENANCE_WINDOW_INVALID;
                return Some(Verdict::Wait { code, message, until: None });
            }
        };
        let code = code::MAINTENANCE_WINDOW_NOT_OPEN;
        match window.at(self.now) {
            Opening::OpenUntil(_) => None,
            Opening::OpensAt(at) => {
                let message = format!("the maintenance window is closed; it opens at {at}");
                Some(Verdict::Wait { code, message, until: Some(at) })
            }
            Opening::Never => {
                let message = "the maintenance window is closed and never opens again".into();
                Some(Verdict::Wait { code, message, until: None })
            }
        }
    }

    fn wait_for_preflight(&self, member: &Member, target: &MemberTarget) -> Option<Verdict> {
        let version = target.kubernetes_version.as_ref().and_then(|version| version.parse().ok());
        // Without another version no API goes away.
        let counts = |check: &&PreflightCheck| {
            **check != PreflightCheck::DeprecatedApis || version.is_some()
        };
        let problems: Vec<String> = (self.run.spec.preflight.iter().filter(counts))
            .filter_map(|check| {
                let finding = member.preflight.iter().find(|finding| finding.check == *check);
                let Some(finding) = finding else {
                    return Some(format!("{check:?}: not looked at yet"));
                };
                let removed = || preflight::removed_apis(&finding.requested, version?);
                Some(format!("{check:?}: {}", finding.problem.clone().or_else(removed)?))
            })
            .collect();
        let message = problems.join("; ");
        let wait = Verdict::Wait { code: code::PREFLIGHT_FAILED, message, until: None };
        (!problems.is_empty()).then_some(wait)
    }
}

/// What the run does with a member that cannot be upgraded as its cluster is.
fn kept_from(action: MemberAction, code: &'static str, message: String) -> Verdict {
    match action {
        MemberAction::Skip => Verdict::Skip { reason: code, message },
        MemberAction::Wait => Verdict::Wait { code, message, until: None },
        MemberAction::Fail => Verdict::Fail { code, message },
    }
}

fn previous(cluster: &Cluster) -> MemberPrevious {
    let images = cluster.pools.iter().filter_map(|pool| pool.image.as_ref());
    let mut node_images: Vec<String> = images.map(ToString::to_string).collect();
    node_images.sort_unstable();
    node_images.dedup();
    let oldest = Some(cluster.oldest_pool()).filter(|oldest| *oldest != cluster.control_plane);
    MemberPrevious {
        kubernetes_version: cluster.control_plane.to_string(),
        oldest_pool_version: oldest.map(|oldest| oldest.to_string()),
        node_images,
    }
}

fn error(code: &str, message: String) -> ErrorDetail {
    ErrorDetail { code: code.into(), message, ..ErrorDetail::default() }
}

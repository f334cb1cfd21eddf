//! What a profile's status says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use stolos_api::update::{
    AutoUpgradeProfileStatus, CONDITION_READY, CONDITION_UP_TO_DATE, ErrorDetail,
    ManagedClusterUpdate, TriggerStatus,
};

use super::channel::Blocked;
use super::code;
use super::history::{self, History};
use super::standing::Standing;
use crate::condition;

/// Members that a message names; the rest is counted.
const NAMED: usize = 5;

/// Reports the run that was started last. It is read from the run, so that it is known after any crash.
pub(super) fn last_run(status: &mut AutoUpgradeProfileStatus, history: &History<'_>) {
    let Some((name, run)) = history.newest_started() else { return };
    let created = condition::time(history::created(run));
    let is_known = status.last_trigger_update_run.as_deref() == Some(name);
    // A person may have deleted the run that came last.
    let is_older = status.last_triggered_at.as_ref().is_some_and(|last| created.0 < last.0);
    if is_known || is_older {
        return;
    }
    status.last_triggered_at = Some(created);
    status.last_trigger_status = Some(TriggerStatus::Succeeded);
    status.last_trigger_error = None;
    status.last_trigger_upgrade_versions = versions(&run.spec.managed_cluster_update);
    status.last_trigger_update_run = Some(name.to_owned());
}

fn versions(update: &ManagedClusterUpdate) -> Vec<String> {
    let images = update.node_image_selection.iter();
    let images = images.flat_map(|selection| &selection.custom_node_image_versions);
    let version = update.upgrade.kubernetes_version.iter().cloned();
    version.chain(images.map(|image| image.version.clone())).collect()
}

pub(super) fn error(blocked: &Blocked) -> ErrorDetail {
    ErrorDetail {
        code: blocked.code.to_owned(),
        message: blocked.message.clone(),
        ..ErrorDetail::default()
    }
}

/// Reports that no run could be made. The moment is that of the first time.
pub(super) fn failed_trigger(
    status: &mut AutoUpgradeProfileStatus,
    blocked: &Blocked,
    now: Timestamp,
) {
    let error = Some(error(blocked));
    let is_known = status.last_trigger_status == Some(TriggerStatus::Failed)
        && status.last_trigger_error == error;
    if is_known {
        return;
    }
    status.last_triggered_at = Some(condition::time(now));
    status.last_trigger_status = Some(TriggerStatus::Failed);
    status.last_trigger_error = error;
}

/// Sets the condition `Ready`.
pub(super) fn ready(
    status: &mut AutoUpgradeProfileStatus,
    is_ready: bool,
    (reason, message): (&str, &str),
    now: Timestamp,
) {
    set(status, CONDITION_READY, if is_ready { "True" } else { "False" }, reason, message, now);
}

/// Sets the condition `UpToDate` from how members stand.
pub(super) fn up_to_date(
    status: &mut AutoUpgradeProfileStatus,
    standings: &BTreeMap<&str, Standing>,
    now: Timestamp,
) {
    let mut behind = Vec::new();
    let mut not_known = Vec::new();
    for (name, standing) in standings {
        match standing {
            Standing::AtTarget => {}
            Standing::Behind => behind.push((*name).to_owned()),
            Standing::LeftOut(why) => behind.push(format!("{name} ({why})")),
            Standing::Waits(why) => not_known.push(format!("{name} ({why})")),
        }
    }
    let total = standings.len();
    let done = total - behind.len() - not_known.len();
    let mut message = format!("{done} of {total} members are at the target");
    for (what, names) in [("behind", &behind), ("not known", &not_known)] {
        if !names.is_empty() {
            message = format!("{message}; {what}: {}", some_of(names));
        }
    }
    let (state, reason) = match (behind.is_empty(), not_known.is_empty()) {
        (false, _) => ("False", code::MEMBERS_BEHIND),
        (true, false) => ("Unknown", code::MEMBERS_BEHIND),
        (true, true) => ("True", code::AT_TARGET),
    };
    set(status, CONDITION_UP_TO_DATE, state, reason, &message, now);
}

fn some_of(names: &[String]) -> String {
    let named = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Sets the condition `UpToDate` of a profile whose target is not known.
pub(super) fn target_unknown(status: &mut AutoUpgradeProfileStatus, message: &str, now: Timestamp) {
    set(status, CONDITION_UP_TO_DATE, "Unknown", code::TARGET_UNKNOWN, message, now);
}

fn set(
    status: &mut AutoUpgradeProfileStatus,
    type_: &str,
    state: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let generation = status.observed_generation.unwrap_or_default();
    let new = condition::new(type_, state, reason, message, generation, now);
    condition::set(&mut status.conditions, new);
}

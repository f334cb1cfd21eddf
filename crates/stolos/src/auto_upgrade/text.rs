//! Words for what a profile wants and how it stands.

use stolos_api::update::{
    AutoUpgradeProfile, CONDITION_READY, CONDITION_UP_TO_DATE, TriggerStatus,
};

/// Returns the channel with what belongs to it: `TargetKubernetesVersion 1.33`.
pub(super) fn channel(profile: &AutoUpgradeProfile) -> String {
    let version = profile.spec.target_kubernetes_version.as_ref();
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    format!("{:?}{version}", profile.spec.channel)
}

/// Returns what the channel stands for.
pub(super) fn target(profile: &AutoUpgradeProfile) -> String {
    let target = profile.status.as_ref().map(|status| status.target.join(", "));
    target.filter(|target| !target.is_empty()).unwrap_or_else(|| "-".to_owned())
}

/// Returns how a profile stands in one word, and why.
pub(super) fn standing(profile: &AutoUpgradeProfile) -> (&'static str, String) {
    let conditions = profile.status.as_ref().map(|status| status.conditions.as_slice());
    let find = |type_: &str| conditions?.iter().find(|found| found.type_ == type_);
    let (ready, up_to_date) = (find(CONDITION_READY), find(CONDITION_UP_TO_DATE));
    let message = |found: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>| {
        found.map(|found| found.message.clone()).unwrap_or_default()
    };
    if profile.spec.disabled {
        return ("Disabled", message(up_to_date));
    }
    match (ready.map(|c| c.status.as_str()), up_to_date.map(|c| c.status.as_str())) {
        (Some("False"), _) => ("NotReady", message(ready)),
        (_, Some("True")) => ("UpToDate", message(up_to_date)),
        (_, Some("False")) => ("Behind", message(up_to_date)),
        _ => ("Unknown", message(up_to_date)),
    }
}

/// Returns the latest run of a profile and whether it could be made.
pub(super) fn latest(profile: &AutoUpgradeProfile) -> Option<String> {
    let status = profile.status.as_ref()?;
    let run = status.last_trigger_update_run.clone();
    match status.last_trigger_status? {
        TriggerStatus::Succeeded => run,
        TriggerStatus::Failed => {
            let error = status.last_trigger_error.as_ref();
            let why = error.map(|error| format!(": {}", error.message)).unwrap_or_default();
            Some(format!("{} failed{why}", run.unwrap_or_else(|| "it".to_owned())))
        }
    }
}

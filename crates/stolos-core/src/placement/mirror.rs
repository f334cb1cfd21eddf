//! The status of a ClusterResourcePlacement in the namespace that it places, for people who may look
//! only there (`statusReportingScope: NamespaceAccessible`).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::placement::names::{condition as type_, reason};
use stolos_api::placement::{
    PlacementSpec, PlacementStatus, ResourceSelectorTerm, StatusReportingScope,
};

use super::condition::{Builder, Status};
use super::select::gvk_of;

/// Kind whose status can be copied.
const KIND: &str = "ClusterResourcePlacement";

/// What the copy depends on.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Generation of the placement.
    pub generation: i64,
    /// Status of the placement, as it is or is about to be.
    pub status: &'a PlacementStatus,
    /// Where the copy belongs.
    pub home: Home<'a>,
    /// The status in the copy, if there is one that belongs to the placement.
    pub copied: Option<&'a PlacementStatus>,
    /// The present moment.
    pub now: Timestamp,
}

/// The namespace that a copy belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home<'a> {
    /// It takes objects.
    Ready(&'a str),
    /// It does not exist.
    Missing(&'a str),
    /// It is being deleted.
    Terminating(&'a str),
}

/// What is to be done about a copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What the copy must say; absent when it says so, or cannot be written.
    pub write: Option<PlacementStatus>,
    /// What the placement says about its copy; absent while that is not known.
    pub condition: Option<Condition>,
}

/// Returns whether a ClusterResourcePlacement has its status copied.
pub fn is_wanted(spec: &PlacementSpec) -> bool {
    spec.status_reporting_scope == StatusReportingScope::NamespaceAccessible
}

/// Returns the namespace that a placement selects: the one that it names, else the one that it selected by label.
pub fn home<'a>(
    selectors: &'a [ResourceSelectorTerm],
    status: &'a PlacementStatus,
) -> Option<&'a str> {
    let selector = selectors.iter().find(|selector| gvk_of(selector).is_namespace())?;
    if !selector.name.is_empty() {
        return Some(&selector.name);
    }
    let mut selected = recorded(status);
    let only = selected.next()?;
    selected.next().is_none().then_some(only)
}

/// Returns the namespace that the status says was selected, if the placement names another. The copy, and whoever may
/// read it, belong to that namespace.
pub fn moved_from<'a>(
    selectors: &'a [ResourceSelectorTerm],
    status: &'a PlacementStatus,
) -> Option<(&'a str, &'a str)> {
    let selector = selectors.iter().find(|selector| gvk_of(selector).is_namespace())?;
    let before = recorded(status).next()?;
    let is_same = selector.name.is_empty() || selector.name == before;
    (!is_same).then_some((before, selector.name.as_str()))
}

fn recorded(status: &PlacementStatus) -> impl Iterator<Item = &str> {
    let namespaces = status
        .selected_resources
        .iter()
        .filter(|resource| resource.group.is_empty() && resource.kind == "Namespace");
    namespaces.map(|resource| resource.name.as_str())
}

/// Decides whether to write the copy, and what to say about it. What the placement says about its copy is not copied.
pub fn plan(observed: &Observed<'_>) -> Plan {
    let type_ = type_::of_kind(KIND, type_::STATUS_SYNCED);
    let build = Builder {
        previous: &observed.status.conditions,
        generation: observed.generation,
        now: observed.now,
    };
    let failed = |why: String| Plan {
        write: None,
        condition: Some(build.condition(&type_, Status::False, reason::STATUS_SYNC_FAILED, why)),
    };
    let namespace = match observed.home {
        Home::Missing(namespace) => {
            return failed(format!("namespace `{namespace}` does not exist"));
        }
        Home::Terminating(namespace) => {
            return failed(format!("namespace `{namespace}` is being deleted"));
        }
        Home::Ready(namespace) => namespace,
    };
    let mut wanted = observed.status.clone();
    wanted.conditions.retain(|condition| condition.type_ != type_);
    if observed.copied != Some(&wanted) {
        return Plan { write: Some(wanted), condition: None };
    }
    let message = format!("the status is copied into namespace `{namespace}`");
    let condition = build.condition(&type_, Status::True, reason::STATUS_SYNC_SUCCEEDED, message);
    Plan { write: None, condition: Some(condition) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::condition::upsert;
    use super::*;

    fn selectors(list: Value) -> Vec<ResourceSelectorTerm> {
        serde_json::from_value(list).unwrap()
    }

    fn namespace(name: &str) -> Value {
        json!({"group": "", "version": "v1", "kind": "Namespace", "name": name})
    }

    fn status(namespaces: &[&str]) -> PlacementStatus {
        let resources: Vec<_> = namespaces
            .iter()
            .map(|name| json!({"version": "v1", "kind": "Namespace", "name": name}))
            .collect();
        serde_json::from_value(json!({"selectedResources": resources})).unwrap()
    }

    fn observed<'a>(
        status: &'a PlacementStatus,
        home: Home<'a>,
        copied: Option<&'a PlacementStatus>,
    ) -> Observed<'a> {
        Observed { generation: 3, status, home, copied, now: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn a_copy_belongs_to_the_one_namespace_that_is_selected() {
        let role =
            json!({"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole"});
        let by_name = selectors(json!([role, namespace("app")]));
        assert_eq!(home(&by_name, &status(&[])), Some("app"));
        let by_label = selectors(json!([{
            "group": "", "version": "v1", "kind": "Namespace", "labelSelector": {},
        }]));
        assert_eq!(home(&by_label, &status(&["app"])), Some("app"));
        assert_eq!(home(&by_label, &status(&["app", "other"])), None);
        assert_eq!(home(&by_label, &status(&[])), None);
        assert_eq!(home(&selectors(json!([role])), &status(&["app"])), None);
    }

    #[test]
    fn another_namespace_than_the_recorded_one_is_noticed() {
        let app = selectors(json!([namespace("app")]));
        assert_eq!(moved_from(&app, &status(&[])), None);
        assert_eq!(moved_from(&app, &status(&["app"])), None);
        assert_eq!(moved_from(&app, &status(&["other"])), Some(("other", "app")));
    }

    #[test]
    fn a_copy_is_written_once_and_then_reported() {
        let mut status = status(&["app"]);
        let first = plan(&observed(&status, Home::Ready("app"), None));
        assert_eq!((first.write.as_ref(), &first.condition), (Some(&status), &None));
        let copied = first.write.unwrap();
        let second = plan(&observed(&status, Home::Ready("app"), Some(&copied)));
        assert_eq!(second.write, None);
        let synced = second.condition.unwrap();
        assert_eq!(
            (synced.type_.as_str(), synced.status.as_str(), synced.reason.as_str()),
            ("ClusterResourcePlacementStatusSynced", "True", "StatusSyncSucceeded")
        );
        upsert(&mut status.conditions, synced);
        let third = plan(&observed(&status, Home::Ready("app"), Some(&copied)));
        assert_eq!(third.write, None, "what is said about the copy is no reason to copy again");
    }

    #[test]
    fn a_namespace_that_takes_nothing_is_reported() {
        let status = status(&["app"]);
        for home in [Home::Missing("app"), Home::Terminating("app")] {
            let plan = plan(&observed(&status, home, None));
            assert_eq!(plan.write, None);
            let failed = plan.condition.unwrap();
            assert_eq!(
                (failed.status.as_str(), failed.reason.as_str()),
                ("False", "StatusSyncFailed")
            );
            assert!(failed.message.contains("namespace `app`"), "{}", failed.message);
        }
    }
}

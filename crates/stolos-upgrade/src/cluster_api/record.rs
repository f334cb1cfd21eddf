//! The record of upgrades in an annotation of the `Cluster`: the provider's only memory.
//!
//! It is written in the same write that starts an upgrade, and everything that follows is decided from it and from what
//! the objects show. So a crash between two writes loses nothing, and nothing is done twice.

use std::collections::BTreeMap;

use kube::core::DynamicObject;
use serde::{Deserialize, Serialize};
use stolos_api::update::MemberTarget;
use stolos_core::update::cluster::Operation;

/// Annotation of a `Cluster` with its upgrades, newest last, as JSON.
pub(super) const ANNOTATION: &str = "fleet.stolos.dev/upgrades";

/// How many upgrades are remembered. An id is asked for again only by a request that was under way at a crash, so the
/// last one is enough; a few more help people.
const REMEMBERED: usize = 8;

/// Upgrades of a cluster, newest last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Record(Vec<Upgrade>);

/// One upgrade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Upgrade {
    pub(super) id: String,
    pub(super) target: MemberTarget,
    pub(super) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

/// How an upgrade stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Running,
    Done,
    Failed,
}

impl Record {
    /// Reads the record of a `Cluster`.
    ///
    /// # Errors
    /// When somebody wrote something else there. Then nothing may be started: what runs is not known.
    pub(super) fn of(cluster: &DynamicObject) -> Result<Self, String> {
        let annotations = cluster.metadata.annotations.as_ref();
        match annotations.and_then(|annotations| annotations.get(ANNOTATION)) {
            None => Ok(Self::default()),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                format!("annotation `{ANNOTATION}` of the Cluster cannot be read: {error}")
            }),
        }
    }

    /// Returns the annotation's value.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("plain data has a JSON form")
    }

    /// Returns the upgrade that is under way.
    pub(super) fn running(&self) -> Option<&Upgrade> {
        self.0.iter().rev().find(|upgrade| upgrade.state == State::Running)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|upgrade| upgrade.id == id)
    }

    /// Returns the record with one more upgrade.
    pub(super) fn with(&self, id: &str, target: &MemberTarget) -> Self {
        let begun = Upgrade {
            id: id.to_owned(),
            target: target.clone(),
            state: State::Running,
            code: None,
            message: None,
        };
        let forgotten = (self.0.len() + 1).saturating_sub(REMEMBERED);
        Self(self.0.iter().skip(forgotten).cloned().chain([begun]).collect())
    }

    /// Returns the record with the end of the upgrade that is under way; `None` if it goes on.
    pub(super) fn ended(&self, operation: &Operation) -> Option<Self> {
        let mut record = self.clone();
        let upgrade = record.0.iter_mut().rev().find(|upgrade| upgrade.state == State::Running)?;
        match operation {
            Operation::Running(_) => return None,
            Operation::Done(message) => {
                upgrade.state = State::Done;
                upgrade.message.clone_from(message);
            }
            Operation::Failed { code, message } => {
                upgrade.state = State::Failed;
                upgrade.code = Some(code.clone());
                upgrade.message = Some(message.clone());
            }
        }
        Some(record)
    }

    /// Returns all upgrades as the engine knows them; the one that goes on with the text about it.
    pub(super) fn operations(&self, progress: Option<String>) -> BTreeMap<String, Operation> {
        let operation = |upgrade: &Upgrade| match upgrade.state {
            State::Running => Operation::Running(progress.clone()),
            State::Done => Operation::Done(upgrade.message.clone()),
            State::Failed => Operation::Failed {
                code: upgrade.code.clone().unwrap_or_default(),
                message: upgrade.message.clone().unwrap_or_default(),
            },
        };
        self.0.iter().map(|upgrade| (upgrade.id.clone(), operation(upgrade))).collect()
    }
}

#[cfg(test)]
mod tests {
    use stolos_api::update::UpgradeType;

    use super::*;

    fn target() -> MemberTarget {
        MemberTarget {
            upgrade_type: UpgradeType::Full,
            kubernetes_version: Some("1.34.1".into()),
            node_images: Vec::new(),
            keeps_snapshots: false,
            rollback: false,
        }
    }

    #[test]
    fn a_record_survives_its_annotation_and_stays_small() {
        let mut record = Record::default();
        for attempt in 0..20 {
            record = record.with(&format!("id-{attempt}"), &target());
            assert_eq!(record.running().unwrap().id, format!("id-{attempt}"));
            record = record.ended(&Operation::Done(None)).unwrap();
        }
        let mut cluster = DynamicObject::new(
            "c",
            &kube::core::ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&()),
        );
        cluster.metadata.annotations = Some([(ANNOTATION.to_owned(), record.text())].into());
        assert_eq!(Record::of(&cluster).unwrap(), record);
        assert_eq!(record.operations(None).len(), REMEMBERED);
        assert!(record.has("id-19") && !record.has("id-1"));
        assert_eq!(record.running(), None);
        assert_eq!(record.ended(&Operation::Done(None)), None);
    }

    #[test]
    fn foreign_text_is_an_error() {
        let mut cluster = DynamicObject::new(
            "c",
            &kube::core::ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&()),
        );
        cluster.metadata.annotations = Some([(ANNOTATION.to_owned(), "yes".to_owned())].into());
        assert!(Record::of(&cluster).unwrap_err().contains(ANNOTATION));
    }
}

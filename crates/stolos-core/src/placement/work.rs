//! Which Works carry a binding's resource snapshots to its member.
//!
//! Overrides, if there are any, are applied to the objects before they come here.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use stolos_api::cluster::names::member_namespace;
use stolos_api::placement::names::{annotation, label};
use stolos_api::placement::{
    ApplyStrategy, DeletePropagationPolicy, EnvelopeType, ReportBackStrategy, ResourceBindingSpec,
    Work, WorkSpec, WorkloadTemplate,
};

use super::hash;
use super::object::{self, envelope_type};

#[cfg(test)]
mod tests;

/// A binding and the placement that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Name of the placement.
    pub placement: &'a str,
    /// Namespace of the placement, if it has one.
    pub namespace: Option<&'a str>,
    /// Name of the binding.
    pub binding: &'a str,
    /// Generation of the binding.
    pub generation: i64,
    /// Spec of the binding.
    pub spec: &'a ResourceBindingSpec,
    /// Index of the resource group that the binding names.
    pub index: &'a str,
    /// What becomes of the objects when the placement is deleted.
    pub propagation_policy: DeletePropagationPolicy,
    /// Whether the status of the objects comes back to the hub.
    pub report_back: Option<ReportBackStrategy>,
}

/// The objects of one resource snapshot, as they go to the member.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Position of the snapshot behind the master; the master has none.
    pub subindex: Option<u64>,
    /// The objects.
    pub objects: Vec<Value>,
}

/// What to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Works to create.
    pub create: Vec<Work>,
    /// Works to replace; each carries the resource version that it was decided on.
    pub update: Vec<Work>,
    /// Names of Works that only get the apply strategy of the binding, see [`strategy_patch`].
    pub push_strategy: Vec<String>,
    /// Names of Works to delete.
    pub delete: Vec<String>,
    /// Names of Works that must be gone before they can be created again.
    pub waits_for: Vec<String>,
}

impl Plan {
    /// Returns whether the Works already are as they should be.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why the Works cannot be made. The author of the placement must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An envelope holds something that is not an object.
    #[error("entry `{entry}` of {envelope} is not a Kubernetes object with apiVersion and kind")]
    NotAnObject {
        /// The envelope.
        envelope: String,
        /// Its key in the envelope.
        entry: String,
    },
    /// An envelope holds an object of a namespace that it may not hold.
    #[error("entry `{entry}` of {envelope} must {must}")]
    Namespace {
        /// The envelope.
        envelope: String,
        /// Its key in the envelope.
        entry: String,
        /// What would be right.
        must: String,
    },
    /// Two Works claim to be made from one envelope.
    #[error("more than one work carries {0}")]
    DuplicateEnvelopeWorks(String),
}

/// Returns the name of the Work for a resource snapshot.
pub fn name(placement: &str, namespace: Option<&str>, subindex: Option<u64>) -> String {
    let prefix = namespace
        .map_or_else(|| placement.to_owned(), |namespace| format!("{namespace}.{placement}"));
    match subindex {
        None => format!("{prefix}-work"),
        Some(subindex) => format!("{prefix}-{subindex}"),
    }
}

/// Returns whether there are Works and all were made from the snapshot that a binding names. When
/// that snapshot is gone, such Works need no writing; without any, nothing was ever placed.
pub fn all_carry(existing: &[&Work], snapshot: &str) -> bool {
    let carries = |work: &&Work| {
        annotation_of(&work.metadata, annotation::PARENT_RESOURCE_SNAPSHOT_NAME) == Some(snapshot)
    };
    !existing.is_empty() && existing.iter().all(carries)
}

/// Tells whether a Work was made for a later generation of its binding than this one, which then is not what it is now.
pub fn is_ahead_of(work: &Work, generation: i64) -> bool {
    let made_for = annotation_of(&work.metadata, annotation::BINDING_GENERATION);
    made_for
        .and_then(|made_for| made_for.parse().ok())
        .is_some_and(|made_for: i64| made_for > generation)
}

/// Returns the names of Works whose apply strategy is not that of the binding. It is pushed even
/// when nothing else can be written.
pub fn outdated_strategies(existing: &[&Work], strategy: Option<&ApplyStrategy>) -> Vec<String> {
    existing
        .iter()
        .filter(|work| !is_deleting(work) && work.spec.apply_strategy.as_ref() != strategy)
        .map(|work| name_of(work).to_owned())
        .collect()
}

/// Returns the JSON patch that gives a Work this apply strategy and nothing else.
pub fn strategy_patch(strategy: Option<&ApplyStrategy>) -> Value {
    match strategy {
        Some(strategy) => {
            json!([{"op": "add", "path": "/spec/applyStrategy", "value": strategy}])
        }
        None => json!([{"op": "remove", "path": "/spec/applyStrategy"}]),
    }
}

/// Value of the annotation of a Work whose objects stay on the member after it.
const ABANDON: &str = "Abandon";

/// Returns a Work that takes what it placed along when it goes, if it is not such a one. That must be written before a Work is
/// deleted for any other reason than the end of its placement: only the placement's end leaves objects behind.
pub fn withdrawing(work: &Work) -> Option<Work> {
    annotation_of(&work.metadata, annotation::PROPAGATION_POLICY)?;
    let mut withdrawing = work.clone();
    withdrawing.metadata.annotations.get_or_insert_default().remove(annotation::PROPAGATION_POLICY);
    Some(withdrawing)
}

/// Decides which Works to write for a binding, given the objects of its resource group and the
/// Works that carry its label. Planning again after the writes plans nothing.
///
/// # Errors
/// When an envelope cannot be opened; nothing is to be written then.
pub fn plan(target: &Target<'_>, parts: Vec<Part>, existing: &[&Work]) -> Result<Plan, Error> {
    let existing: BTreeMap<&str, &Work> =
        existing.iter().map(|work| (name_of(work), *work)).collect();
    let outdated: BTreeSet<_> = existing
        .values()
        .filter(|work| work.spec.apply_strategy != target.spec.apply_strategy)
        .map(|work| name_of(work))
        .collect();
    let mut plan = Plan::default();
    let mut wanted = BTreeSet::new();
    for work in desired(target, parts, &existing)? {
        wanted.insert(name_of(&work).to_owned());
        match existing.get(name_of(&work)) {
            None => plan.create.push(work),
            Some(found) if is_deleting(found) => plan.waits_for.push(name_of(found).to_owned()),
            Some(found) if !is_current(found, &work) => plan.update.push(replacement(found, work)),
            Some(found) if outdated.contains(name_of(found)) => {
                plan.push_strategy.push(name_of(found).to_owned());
            }
            Some(_) => {}
        }
    }
    let unwanted = existing.values().filter(|work| !wanted.contains(name_of(work)));
    let live = unwanted.filter(|work| !is_deleting(work));
    plan.delete = live.map(|work| name_of(work).to_owned()).collect();
    Ok(plan)
}

/// Returns whether the Works of a binding are as [`plan`] would make them, without looking at a single object: the group
/// has `n_parts` snapshots that hold `n_envelopes` envelopes.
pub fn is_settled(
    target: &Target<'_>,
    n_parts: usize,
    n_envelopes: usize,
    existing: &[&Work],
) -> bool {
    let wanted = new_work(target, String::new(), Vec::new(), BTreeMap::new());
    existing.len() == n_parts + n_envelopes
        && existing.iter().all(|work| {
            !is_deleting(work)
                && is_current(work, &wanted)
                && work.spec.apply_strategy == wanted.spec.apply_strategy
        })
}

fn desired(
    target: &Target<'_>,
    parts: Vec<Part>,
    existing: &BTreeMap<&str, &Work>,
) -> Result<Vec<Work>, Error> {
    let mut works = Vec::new();
    for part in parts {
        let name = name(target.placement, target.namespace, part.subindex);
        let (envelopes, objects): (Vec<_>, Vec<_>) =
            part.objects.into_iter().partition(|object| envelope_type(object).is_some());
        for envelope in &envelopes {
            works.push(envelope_work(target, &name, envelope, existing)?);
        }
        works.push(new_work(target, name, objects, BTreeMap::new()));
    }
    Ok(works)
}

fn new_work(
    target: &Target<'_>,
    name: String,
    manifests: Vec<Value>,
    labels: BTreeMap<String, String>,
) -> Work {
    let spec = target.spec;
    let own_labels = [
        (label::PARENT_BINDING, Some(target.binding)),
        (label::PARENT_PLACEMENT, Some(target.placement)),
        (label::PARENT_RESOURCE_SNAPSHOT_INDEX, Some(target.index)),
        (label::PARENT_PLACEMENT_NAMESPACE, target.namespace),
    ];
    let own_labels =
        own_labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
    let abandons = match target.propagation_policy {
        DeletePropagationPolicy::Abandon => {
            Some((annotation::PROPAGATION_POLICY, ABANDON.to_owned()))
        }
        DeletePropagationPolicy::Delete => None,
    };
    let annotations = [
        (annotation::PARENT_RESOURCE_SNAPSHOT_NAME, spec.resource_snapshot_name.clone()),
        (annotation::PARENT_OVERRIDE_HASH, hash_of(&spec.resource_override_snapshots)),
        (
            annotation::PARENT_CLUSTER_OVERRIDE_HASH,
            hash_of(&spec.cluster_resource_override_snapshots),
        ),
        (annotation::BINDING_GENERATION, target.generation.to_string()),
    ];
    let annotations = annotations.into_iter().chain(abandons);
    Work {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(member_namespace(&spec.target_cluster)),
            labels: Some(labels.into_iter().chain(own_labels).collect()),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).collect()),
            ..ObjectMeta::default()
        },
        spec: WorkSpec {
            workload: WorkloadTemplate { manifests },
            apply_strategy: spec.apply_strategy.clone(),
            report_back_strategy: target.report_back,
        },
        status: None,
    }
}

/// Hashes a list as Go would, where an empty one is null: Works that KubeFleet wrote are known again.
fn hash_of<T: serde::Serialize>(list: &[T]) -> String {
    hash::of(&Some(list).filter(|list| !list.is_empty()))
}

fn envelope_work(
    target: &Target<'_>,
    work_name: &str,
    envelope: &Value,
    existing: &BTreeMap<&str, &Work>,
) -> Result<Work, Error> {
    let type_ = envelope_type(envelope).map_or("", type_name);
    let (namespace, name) = (object::namespace(envelope), object::name(envelope));
    let mut labels: BTreeMap<String, String> = [
        (label::ENVELOPE_TYPE.to_owned(), type_.to_owned()),
        (label::ENVELOPE_NAME.to_owned(), name.to_owned()),
    ]
    .into();
    if !namespace.is_empty() {
        labels.insert(label::ENVELOPE_NAMESPACE.to_owned(), namespace.to_owned());
    }
    let carries = |work: &&&Work| {
        let found = work.metadata.labels.as_ref();
        !is_deleting(work)
            && found.is_some_and(|found| labels.iter().all(|(k, v)| found.get(k) == Some(v)))
    };
    let mut carriers = existing.values().filter(carries);
    // A Work keeps the name that an older release gave it.
    let name = match (carriers.next(), carriers.next()) {
        (Some(_), Some(_)) => return Err(Error::DuplicateEnvelopeWorks(describe(envelope))),
        (Some(work), None) => name_of(work).to_owned(),
        (None, _) => {
            let digest = hash::sha256(format!("{type_}/{namespace}/{name}"));
            format!("{work_name}-envelope-{}", &digest[..16])
        }
    };
    Ok(new_work(target, name, opened(envelope)?, labels))
}

/// Returns the objects in an envelope, in an order that does not depend on their keys.
fn opened(envelope: &Value) -> Result<Vec<Value>, Error> {
    let data = envelope.get("data").and_then(Value::as_object);
    let mut manifests = Vec::new();
    for (entry, manifest) in data.into_iter().flatten() {
        check_entry(envelope, entry, manifest)?;
        manifests.push((hash::canonical_json(manifest), manifest.clone()));
    }
    manifests.sort_by(|(left, _), (right, _)| right.cmp(left));
    Ok(manifests.into_iter().map(|(_, manifest)| manifest).collect())
}

fn check_entry(envelope: &Value, entry: &str, manifest: &Value) -> Result<(), Error> {
    let is_text = |field: &str| manifest.get(field).and_then(Value::as_str).is_some();
    if !is_text("apiVersion") || !is_text("kind") {
        return Err(Error::NotAnObject { envelope: describe(envelope), entry: entry.to_owned() });
    }
    let (own, home) = (object::namespace(manifest), object::namespace(envelope));
    let must = match envelope_type(envelope) {
        Some(EnvelopeType::ClusterResourceEnvelope) if !own.is_empty() => {
            "be cluster-scoped, without a namespace".to_owned()
        }
        Some(EnvelopeType::ResourceEnvelope) if own != home => {
            format!("be in namespace `{home}`, that of the envelope")
        }
        _ => return Ok(()),
    };
    Err(Error::Namespace { envelope: describe(envelope), entry: entry.to_owned(), must })
}

fn describe(envelope: &Value) -> String {
    let type_ = envelope_type(envelope).map_or("", type_name);
    let (namespace, name) = (object::namespace(envelope), object::name(envelope));
    if namespace.is_empty() {
        format!("{type_} `{name}`")
    } else {
        format!("{type_} `{namespace}/{name}`")
    }
}

fn type_name(type_: EnvelopeType) -> &'static str {
    match type_ {
        EnvelopeType::ConfigMap => "ConfigMap",
        EnvelopeType::ClusterResourceEnvelope => "ClusterResourceEnvelope",
        EnvelopeType::ResourceEnvelope => "ResourceEnvelope",
    }
}

/// Returns whether a Work has the content of the snapshot and overrides that it should have. The
/// manifests themselves are not compared: API servers may store them in a slightly other form.
fn is_current(found: &Work, wanted: &Work) -> bool {
    let key = label::PARENT_RESOURCE_SNAPSHOT_INDEX;
    let index = |work: &Work| work.metadata.labels.as_ref().and_then(|l| l.get(key)).cloned();
    let has_same =
        |key: &str| annotation_of(&found.metadata, key) == annotation_of(&wanted.metadata, key);
    index(found) == index(wanted)
        && has_same(annotation::PARENT_OVERRIDE_HASH)
        && has_same(annotation::PARENT_CLUSTER_OVERRIDE_HASH)
        && has_same(annotation::PROPAGATION_POLICY)
        && found.spec.report_back_strategy == wanted.spec.report_back_strategy
}

/// Returns the Work to write over an existing one: its labels, annotations and finalizers stay
/// unless the wanted ones say otherwise.
fn replacement(found: &Work, wanted: Work) -> Work {
    let mut metadata = withdrawing(found).unwrap_or_else(|| found.clone()).metadata;
    metadata.managed_fields = None;
    metadata.labels.get_or_insert_default().extend(wanted.metadata.labels.unwrap_or_default());
    metadata
        .annotations
        .get_or_insert_default()
        .extend(wanted.metadata.annotations.unwrap_or_default());
    Work { metadata, spec: wanted.spec, status: None }
}

fn annotation_of<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn name_of(work: &Work) -> &str {
    work.metadata.name.as_deref().unwrap_or_default()
}

fn is_deleting(work: &Work) -> bool {
    work.metadata.deletion_timestamp.is_some()
}

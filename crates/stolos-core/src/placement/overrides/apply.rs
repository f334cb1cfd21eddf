//! Changing manifests for one member.

use std::borrow::Cow;

use serde_json::{Map, Value};
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{
    JsonPatchOverride, OverrideRule, OverrideType, ResourceBindingSpec, check_json_patch,
};

use super::{Content, Snapshot, is_for, patch};
use crate::placement::object::{self, Gvk, envelope_type};

/// Stands for the name of the member.
const NAME_VARIABLE: &str = "${MEMBER-CLUSTER-NAME}";
/// Begins what stands for the value of a label of the member; the key and `}` follow.
const LABEL_VARIABLE: &str = "${MEMBER-CLUSTER-LABEL-KEY-";

/// Why the manifests for a member cannot be made. The author of the override must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The binding names a snapshot that does not exist.
    #[error("{kind} {name} is not found")]
    Missing {
        /// Its kind.
        kind: &'static str,
        /// Its name, with its namespace if it has one.
        name: String,
    },
    /// A rule cannot be applied to an object.
    #[error("{snapshot} cannot change {object}: {problem}")]
    Rule {
        /// Kind and name of the snapshot.
        snapshot: String,
        /// Kind and name of the object.
        object: String,
        /// What is wrong with the rule.
        problem: String,
    },
    /// What the rules made is not an object.
    #[error("overrides make {object} an object that no cluster takes: {problem}")]
    Result {
        /// Kind and name of the object.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The overrides that are in force on a member.
#[derive(Clone, Debug)]
pub struct Applicable<'a> {
    member: &'a MemberCluster,
    /// In the order in which they are applied.
    snapshots: Vec<Snapshot<'a>>,
}

impl<'a> Applicable<'a> {
    /// Collects the snapshots that a binding names. `find` returns a snapshot by namespace, empty for a
    /// ClusterResourceOverrideSnapshot, and name.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub fn of(
        binding: &ResourceBindingSpec,
        member: &'a MemberCluster,
        find: impl Fn(&str, &str) -> Option<Snapshot<'a>>,
    ) -> Result<Self, Error> {
        let mut snapshots = Vec::new();
        for name in &binding.cluster_resource_override_snapshots {
            snapshots.push(find("", name).ok_or_else(|| Error::Missing {
                kind: "ClusterResourceOverrideSnapshot",
                name: name.clone(),
            })?);
        }
        for named in &binding.resource_override_snapshots {
            snapshots.push(find(&named.namespace, &named.name).ok_or_else(|| Error::Missing {
                kind: "ResourceOverrideSnapshot",
                name: format!("{}/{}", named.namespace, named.name),
            })?);
        }
        Ok(Self { member, snapshots })
    }

    /// Returns the objects as they go to the member; those that are left out there are missing. The content of an envelope
    /// is changed like any object, the envelope itself is not.
    ///
    /// # Errors
    /// When a rule does not fit; nothing is to be written then.
    pub fn apply(&self, objects: Vec<Value>) -> Result<Vec<Value>, Error> {
        if self.snapshots.is_empty() {
            return Ok(objects);
        }
        let changed = objects.into_iter().map(|object| match envelope_type(&object) {
            Some(_) => self.apply_within(object).map(Some),
            None => self.apply_to(object),
        });
        changed.filter_map(Result::transpose).collect()
    }

    fn apply_within(&self, mut envelope: Value) -> Result<Value, Error> {
        let Some(data) = envelope.get_mut("data").and_then(Value::as_object_mut) else {
            return Ok(envelope);
        };
        let mut changed = Map::new();
        for (entry, wrapped) in std::mem::take(data) {
            if let Some(wrapped) = self.apply_to(wrapped)? {
                changed.insert(entry, wrapped);
            }
        }
        *data = changed;
        Ok(envelope)
    }

    /// Changes one object; nothing is left of one that a rule deletes. A deletion is final, whatever comes after it.
    fn apply_to(&self, object: Value) -> Result<Option<Value>, Error> {
        let name = describe(&object);
        let original = Identity::of(&object);
        let mut changed = object;
        for snapshot in &self.snapshots {
            if !snapshot.content.changes(&changed) {
                continue;
            }
            let rules = snapshot.content.policy().override_rules.iter();
            for rule in rules.filter(|rule| is_for(rule.cluster_selector.as_ref(), self.member)) {
                match rule.override_type {
                    OverrideType::Delete => return Ok(None),
                    OverrideType::JsonPatch => {
                        self.patch(&mut changed, rule).map_err(|problem| Error::Rule {
                            snapshot: describe_snapshot(snapshot),
                            object: name.clone(),
                            problem,
                        })?;
                    }
                }
            }
        }
        original.check(&changed).map_err(|problem| Error::Result { object: name, problem })?;
        Ok(Some(changed))
    }

    fn patch(&self, object: &mut Value, rule: &OverrideRule) -> Result<(), String> {
        for change in &rule.json_patch_overrides {
            check_json_patch(change)?;
            let value =
                change.value.as_ref().map(|value| resolve(value, self.member)).transpose()?;
            patch::apply(object, &JsonPatchOverride { value, ..change.clone() })?;
        }
        Ok(())
    }
}

/// Returns a value with its variables replaced, wherever they stand in it.
fn resolve(value: &Value, member: &MemberCluster) -> Result<Value, String> {
    Ok(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(resolve_text(text, member)?.into_owned()),
        Value::Array(items) => {
            items.iter().map(|item| resolve(item, member)).collect::<Result<_, _>>()?
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| {
                Ok((resolve_text(name, member)?.into_owned(), resolve(field, member)?))
            })
            .collect::<Result<_, String>>()?,
    })
}

fn resolve_text<'t>(text: &'t str, member: &MemberCluster) -> Result<Cow<'t, str>, String> {
    if !text.contains("${MEMBER-CLUSTER-") {
        return Ok(Cow::Borrowed(text));
    }
    let name = member.metadata.name.as_deref().unwrap_or_default();
    let mut text = text.replace(NAME_VARIABLE, name);
    // Neither names nor label values can hold a variable, so this ends.
    while let Some(start) = text.find(LABEL_VARIABLE) {
        let after = start + LABEL_VARIABLE.len();
        let Some(length) = text[after..].find('}') else {
            return Err(format!("variable `{}` lacks its closing `}}`", &text[start..]));
        };
        let key = &text[after..after + length];
        let labels = member.metadata.labels.as_ref();
        let Some(value) = labels.and_then(|labels| labels.get(key)) else {
            return Err(format!("member cluster `{name}` has no label `{key}`"));
        };
        let value = value.clone();
        text.replace_range(start..=after + length, &value);
    }
    Ok(Cow::Owned(text))
}

/// What no override may change.
struct Identity {
    gvk: Gvk,
    namespace: String,
    name: String,
}

impl Identity {
    fn of(object: &Value) -> Self {
        Self {
            gvk: Gvk::of(object),
            namespace: object::namespace(object).to_owned(),
            name: object::name(object).to_owned(),
        }
    }

    /// Checks that a changed object is the same one still, with metadata that an API server takes.
    fn check(&self, object: &Value) -> Result<(), String> {
        let Self { gvk, namespace, name } = self;
        let is_same = *gvk == Gvk::of(object)
            && namespace == object::namespace(object)
            && name == object::name(object);
        if !is_same {
            return Err("it is another object".to_owned());
        }
        for field in ["labels", "annotations"] {
            let values = object.get("metadata").and_then(|metadata| metadata.get(field));
            let problem = match values {
                None | Some(Value::Null) => continue,
                Some(Value::Object(values)) => {
                    let Some((key, _)) = values.iter().find(|(_, value)| !value.is_string()) else {
                        continue;
                    };
                    format!("`metadata.{field}[{key}]` must be a string")
                }
                Some(_) => format!("`metadata.{field}` must be an object of strings"),
            };
            return Err(problem);
        }
        Ok(())
    }
}

fn describe(object: &Value) -> String {
    let (namespace, name) = (object::namespace(object), object::name(object));
    let kind = object::text(object, "/kind");
    if namespace.is_empty() {
        format!("{kind} `{name}`")
    } else {
        format!("{kind} `{namespace}/{name}`")
    }
}

fn describe_snapshot(snapshot: &Snapshot<'_>) -> String {
    let name = snapshot.name;
    match snapshot.content {
        Content::Cluster(_) => format!("ClusterResourceOverrideSnapshot `{name}`"),
        Content::Namespaced { namespace, .. } => {
            format!("ResourceOverrideSnapshot `{namespace}/{name}`")
        }
    }
}

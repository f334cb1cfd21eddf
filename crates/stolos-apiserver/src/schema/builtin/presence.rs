//! What the types of kube-apiserver make of fields that are empty or not there.
//!
//! Its structures are never left out, some lists are null instead of absent, and most zeros mean the same as absence. That
//! shows in what clients read and in `managedFields`: whoever sets something in a structure does not add the structure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::topology::short;
use crate::schema::{Schema, Type};

/// A model in each line, then its fields with the letter of their [`Presence`]. Fields that are pointers there, and so can be
/// absent, empty or zero, are not listed.
const TABLE: &str = include_str!("presence.tsv");

static FIELDS: LazyLock<BTreeMap<&str, Vec<(&str, Presence)>>> = LazyLock::new(|| {
    let field = |text: &'static str| {
        let (name, letter) = text.split_once(':')?;
        Some((name, Presence::of_letter(letter)?))
    };
    let lines = TABLE.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(model, fields)| (model, fields.split(' ').filter_map(field).collect())).collect()
});

/// What becomes of a field that holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is an empty structure.
    Structure,
    /// It is null.
    Null,
    /// It is an empty text.
    Text,
    /// It is the number zero.
    Zero,
    /// It is false.
    False,
    /// It is left out, also when a client sends its zero.
    Dropped,
}

static EMPTY: LazyLock<Value> = LazyLock::new(|| json!({}));
static TEXT: LazyLock<Value> = LazyLock::new(|| json!(""));
static ZERO: LazyLock<Value> = LazyLock::new(|| json!(0));
static FALSE: Value = Value::Bool(false);

impl Presence {
    fn of_letter(letter: &str) -> Option<Self> {
        Some(match letter {
            "e" => Self::Structure,
            "n" => Self::Null,
            "s" => Self::Text,
            "i" => Self::Zero,
            "b" => Self::False,
            "d" => Self::Dropped,
            _ => return None,
        })
    }

    /// Returns what stands in the field when nobody has set it.
    #[must_use]
    pub fn unset(self) -> Option<&'static Value> {
        match self {
            Self::Structure => Some(&EMPTY),
            Self::Null => Some(&Value::Null),
            Self::Text => Some(&TEXT),
            Self::Zero => Some(&ZERO),
            Self::False => Some(&FALSE),
            Self::Dropped => None,
        }
    }
}

/// Returns what is known of the fields of a model.
pub(super) fn of(model: &str) -> BTreeMap<String, Presence> {
    let fields = FIELDS.get(short(model)).into_iter().flatten();
    fields.map(|(field, presence)| ((*field).to_owned(), *presence)).collect()
}

/// Tells whether a value counts as absent in this field.
pub(super) fn is_dropped(schema: &Schema, name: &str, value: &Value) -> bool {
    let zero = match value {
        Value::Null => return true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    };
    zero && fits(schema, name, value) && schema.presence.get(name) == Some(&Presence::Dropped)
}

/// Tells whether a value is of its field's shape. An empty list in place of a map is a mistake, not an absence.
fn fits(schema: &Schema, name: &str, value: &Value) -> bool {
    match schema.properties.get(name).map(|field| &field.type_) {
        Some(Type::Array) => value.is_array(),
        Some(Type::Object) => value.is_object(),
        Some(Type::Any) | None => true,
        Some(_) => !value.is_array() && !value.is_object(),
    }
}

/// Fills in the structures that are never left out, which have defaults of their own.
pub(super) fn fill_structures(schema: &Schema, value: &mut Value) {
    fill_where(schema, value, |presence| presence == Presence::Structure);
}

/// Fills in what is never left out.
pub(super) fn fill(schema: &Schema, value: &mut Value) {
    fill_where(schema, value, |_| true);
}

fn fill_where(schema: &Schema, value: &mut Value, chosen: fn(Presence) -> bool) {
    match value {
        Value::Object(fields) if !schema.preserve_unknown => {
            for (name, presence) in schema.presence.iter().filter(|(_, kind)| chosen(**kind)) {
                // Null is a structure that nobody has set.
                let unset = |old: &Value| *presence == Presence::Structure && old.is_null();
                let absent = fields.get(name).is_none_or(unset);
                if let Some(unset) = presence.unset().filter(|_| absent) {
                    fields.insert(name.clone(), unset.clone());
                }
            }
            for (name, child) in fields {
                let known = schema.properties.get(name).or(schema.additional_properties.as_ref());
                if let Some(known) = known {
                    fill_where(known, child, chosen);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for item in items {
                fill_where(schema, item, chosen);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_always_there_and_pointers_are_not() {
        let deployment = of("io.k8s.api.apps.v1.DeploymentSpec");
        assert_eq!(deployment.get("strategy"), Some(&Presence::Structure));
        assert_eq!(deployment.get("selector"), Some(&Presence::Null));
        assert_eq!(deployment.get("replicas"), None);
        assert_eq!(of("io.k8s.api.core.v1.Volume").get("emptyDir"), None);
    }

    #[test]
    fn only_an_empty_value_of_the_right_shape_is_an_absence() {
        let schema = crate::schema::builtin::kind("", "v1", "ConfigMap").unwrap();
        assert!(is_dropped(&schema, "data", &json!({})));
        for wrong in [json!([]), json!(""), json!(0), json!(false)] {
            assert!(!is_dropped(&schema, "data", &wrong), "{wrong}");
        }
    }

    #[test]
    fn every_line_of_the_table_is_understood() {
        for line in TABLE.lines() {
            let (model, fields) = line.split_once('\t').unwrap();
            assert_eq!(of(model).len(), fields.split(' ').count(), "{model}");
        }
    }

    #[test]
    fn what_holds_nothing_takes_its_form() {
        let schema = crate::schema::builtin::kind("apps", "v1", "Deployment").unwrap();
        let mut object =
            json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c" }] } } } });
        fill(&schema, &mut object);
        let spec = &object["spec"];
        assert_eq!((&spec["strategy"], &spec["selector"]), (&json!({}), &Value::Null));
        let container = json!({ "name": "c", "resources": {} });
        assert_eq!(spec["template"]["spec"]["containers"], json!([container]));
        assert_eq!(object["status"], json!({}));
    }
}

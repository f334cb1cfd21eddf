//! Lists: computed ones, and lists of objects with the meaning that their schema gives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::error::Error;
use super::value::Value;
use crate::schema::{ListType, Schema};

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// List of an object, with its schema if one is known.
    Json {
        /// Elements.
        items: &'a [Json],
        /// Schema of the list.
        schema: Option<&'a Schema>,
    },
    /// Computed list.
    Owned(Arc<Vec<Value<'a>>>),
    /// Computed list that means what the list of an object does that it was made from.
    Merged {
        /// Elements.
        items: Arc<Vec<Value<'a>>>,
        /// What the list means.
        topology: &'a ListType,
    },
}

impl<'a> List<'a> {
    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json { items, .. } => items.len(),
            Self::Owned(items) | Self::Merged { items, .. } => items.len(),
        }
    }

    /// Reports whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns an element.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json { items, schema } => items.get(index).map(|item| element(item, *schema)),
            Self::Owned(items) | Self::Merged { items, .. } => items.get(index).cloned(),
        }
    }

    /// Returns all elements.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Value<'a>> + ExactSizeIterator + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// Reports whether an element equals a value.
    pub(super) fn contains(&self, value: &Value<'a>) -> bool {
        self.iter().any(|item| item.equals(value))
    }

    /// Sets and list-maps are equal in any order.
    pub(super) fn equals(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        match self.topology() {
            Some(ListType::Set) => self.iter().all(|item| other.contains(&item)),
            Some(ListType::Map(keys)) => {
                // Elements are found by key, so that large lists compare in their length.
                let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
                let mut theirs: BTreeMap<String, Value<'a>> = BTreeMap::new();
                for item in other.iter() {
                    theirs.insert(value_key(&names, &item), item);
                }
                self.iter().all(|item| {
                    theirs.get(&value_key(&names, &item)).is_some_and(|found| item.equals(found))
                })
            }
            _ => self.iter().zip(other.iter()).all(|(left, right)| left.equals(&right)),
        }
    }

    /// Adds two lists. What a set already has is not added; in a list-map an element replaces the one with its keys.
    pub(super) fn plus(&self, other: &Self) -> Value<'a> {
        let mut items: Vec<Value<'a>> = self.iter().collect();
        match self.topology() {
            Some(ListType::Set) => {
                for item in other.iter() {
                    if !items.iter().any(|known| known.equals(&item)) {
                        items.push(item);
                    }
                }
            }
            Some(ListType::Map(keys)) => {
                let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
                let mut places: BTreeMap<String, usize> = BTreeMap::new();
                for (index, item) in items.iter().enumerate() {
                    places.insert(value_key(&names, item), index);
                }
                for item in other.iter() {
                    let key = value_key(&names, &item);
                    if let Some(place) = places.get(&key) {
                        items[*place] = item;
                    } else {
                        places.insert(key, items.len());
                        items.push(item);
                    }
                }
            }
            _ => items.extend(other.iter()),
        }
        match self.topology() {
            Some(topology) if *topology != ListType::Atomic => {
                Value::List(Self::Merged { items: Arc::new(items), topology })
            }
            _ => Value::list(items),
        }
    }

    fn topology(&self) -> Option<&'a ListType> {
        match self {
            Self::Json { schema: Some(schema), .. } => Some(&schema.list_type),
            Self::Merged { topology, .. } => Some(topology),
            _ => None,
        }
    }

    /// Returns the element at an index.
    pub(super) fn at(&self, index: i64) -> Result<Value<'a>, Error> {
        let found = usize::try_from(index).ok().and_then(|index| self.get(index));
        found.ok_or_else(|| Error::new(format!("index out of bounds: {index}")))
    }
}

fn element<'a>(item: &'a Json, schema: Option<&'a Schema>) -> Value<'a> {
    match schema.and_then(|schema| schema.items.as_ref()) {
        Some(items) => Value::of_schema(items, item),
        None => Value::of_json(item),
    }
}

fn value_key(names: &[&str], item: &Value<'_>) -> String {
    let Value::Map(map) = item else { return String::new() };
    let parts: Vec<Json> = names
        .iter()
        .map(|name| {
            let identifier = super::names::escape(name).unwrap_or_default();
            map.field(&identifier).ok().flatten().and_then(|value| value.to_json())
        })
        .map(Option::unwrap_or_default)
        .collect();
    serde_json::to_string(&parts).unwrap_or_default()
}

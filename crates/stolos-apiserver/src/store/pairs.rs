//! A small map of strings, as tight in memory as it can be: a store holds one or two of them for every object, and a
//! `BTreeMap` takes half a kilobyte for its first entry.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Strings by their keys, ordered by key: labels, or selectable fields. Made once, then only read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs(Box<[(Box<str>, Box<str>)]>);

impl Pairs {
    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Iterates over keys and values, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Index<&str> for Pairs {
    type Output = str;

    fn index(&self, key: &str) -> &str {
        self.get(key).unwrap_or_else(|| panic!("there is no `{key}`"))
    }
}

/// Of several values of one key the last one counts.
impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(key, value)| (key.into(), value.into()));
        let ordered: BTreeMap<Box<str>, Box<str>> = pairs.collect();
        Self(ordered.into_iter().collect())
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<Box<str>, Box<str>>::deserialize(deserializer)
            .map(|ordered| Self(ordered.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_keys_in_whatever_order_they_came() {
        let pairs: Pairs = [("b", "2"), ("a", "1"), ("c", "3"), ("a", "4")].into_iter().collect();
        assert_eq!((pairs.get("a"), pairs.get("b"), pairs.get("d")), (Some("4"), Some("2"), None));
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", "4"), ("b", "2"), ("c", "3")]);
        assert_eq!(&pairs["c"], "3");
    }

    #[test]
    fn pairs_are_written_and_read_as_a_map() {
        let pairs: Pairs = [("b", "2"), ("a", "1")].into_iter().collect();
        let json = serde_json::to_string(&pairs).expect("pairs are strings");
        assert_eq!(json, r#"{"a":"1","b":"2"}"#);
        assert_eq!(serde_json::from_str::<Pairs>(&json).expect("it is a map"), pairs);
        assert!(serde_json::from_str::<Pairs>("{}").expect("it is a map").is_empty());
    }
}

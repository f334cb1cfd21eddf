//! Names of API resources: group, version, kind.

use std::fmt;

/// A group and a version, such as `apps/v1`; the core group is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// API group, empty for the core group.
    pub group: String,
    /// Version within the group.
    pub version: String,
}

impl GroupVersion {
    /// Builds a group-version from its two parts.
    #[must_use]
    pub fn new(group: &str, version: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned() }
    }

    /// Reads the `apiVersion` of an object: `v1` or `group/version`.
    #[must_use]
    pub fn parse(api_version: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group, version),
            None => Self::new("", api_version),
        }
    }
}

/// Writes the form used in `apiVersion`.
impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

//! Kubernetes versions and the rules by which one may follow another.

use std::fmt;
use std::str::FromStr;

/// A full Kubernetes version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Always 1 today.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
    /// The patch.
    pub patch: u32,
}

impl Version {
    /// Whether a cluster may go from `self` to `to` in one step: patches freely, minors one at a time.
    pub fn reaches_in_one_step(self, to: Self) -> bool {
        self.major == to.major && to.minor <= self.minor + 1
    }

    /// Whether both are patches of one minor.
    pub fn is_same_minor(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }

    /// How many minors `self` is ahead of `other`; 0 when it is not.
    pub fn minors_ahead_of(self, other: Self) -> u32 {
        self.minor.saturating_sub(other.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Text is not a Kubernetes version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version such as 1.33.2")]
pub struct ParseError(pub String);

/// Reads what clusters report: a leading `v` and a vendor's suffix are allowed (`v1.33.2+k3s1`, `v1.33.2-gke.100`).
impl FromStr for Version {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let core = text.split(['+', '-']).next().unwrap_or(text);
        match WantedVersion::from_str(core) {
            Ok(WantedVersion { major, minor, patch: Some(patch) }) => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(ParseError(text.into())),
        }
    }
}

/// The version that a run asks for: a full one, or a minor that stands for its newest patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedVersion {
    major: u32,
    minor: u32,
    patch: Option<u32>,
}

impl WantedVersion {
    /// Returns the version that is meant where `offered` can be had; `None` for a minor of which no patch is offered.
    pub fn resolve(self, offered: &[Version]) -> Option<Version> {
        let Self { major, minor, patch } = self;
        match patch {
            Some(patch) => Some(Version { major, minor, patch }),
            None => offered.iter().copied().filter(|v| (v.major, v.minor) == (major, minor)).max(),
        }
    }

    /// Whether a version is of this minor or a later one.
    pub fn is_reached_by(self, version: Version) -> bool {
        (self.major, self.minor) <= (version.major, version.minor)
    }

    /// Whether every version of `version`'s minor or later satisfies the wish for a minor.
    pub fn is_older_minor_than(self, version: Version) -> bool {
        (self.major, self.minor) < (version.major, version.minor)
    }
}

impl fmt::Display for WantedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(f, ".{patch}"))
    }
}

impl FromStr for WantedVersion {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError(text.into());
        let parts: Vec<u32> = (text.strip_prefix('v').unwrap_or(text).split('.'))
            .map(|part| part.parse().map_err(|_| error()))
            .collect::<Result<_, _>>()?;
        match parts[..] {
            [major, minor] => Ok(Self { major, minor, patch: None }),
            [major, minor, patch] => Ok(Self { major, minor, patch: Some(patch) }),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn reported_versions_may_carry_a_vendors_suffix() {
        assert_eq!(version("v1.33.2+k3s1"), version("1.33.2"));
        assert_eq!(version("v1.33.2-gke.100"), version("1.33.2"));
        assert!("1.33".parse::<Version>().is_err());
        assert!("latest".parse::<Version>().is_err());
    }

    #[test]
    fn a_minor_means_its_newest_patch() {
        let offered = [version("1.33.2"), version("1.33.10"), version("1.34.0")];
        let wanted = |text: &str| text.parse::<WantedVersion>().unwrap().resolve(&offered);
        assert_eq!(wanted("1.33"), Some(version("1.33.10")));
        assert_eq!(wanted("v1.35"), None);
        assert_eq!(wanted("1.35.1"), Some(version("1.35.1")));
    }

    #[test]
    fn minors_go_one_at_a_time() {
        assert!(version("1.32.9").reaches_in_one_step(version("1.33.0")));
        assert!(!version("1.32.9").reaches_in_one_step(version("1.34.0")));
        assert_eq!(version("1.34.0").minors_ahead_of(version("1.31.4")), 3);
    }
}

//! The zone that is answered for.

use std::fmt;
use std::str::FromStr;

use stolos_core::network::traffic::is_label;

/// Longest name of a zone: a label of 63 bytes must fit before it into the 253 of a name.
const MAX_ZONE: usize = 253 - 64;

/// Name of a zone, in lower case and without the last dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(String);

/// A text is no name of a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a zone: labels of letters, digits and dashes with dots between them, at most 189 characters, such as `fleet.local`"
)]
pub struct ZoneError(String);

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.len() > MAX_ZONE || !name.split('.').all(is_label) {
            return Err(ZoneError(text.to_owned()));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Zone {
    /// Returns a name in the zone.
    pub(crate) fn name_of(&self, relative: &str) -> String {
        format!("{relative}.{}", self.0)
    }

    /// Returns the labels of a name, in lower case, that stand before the zone; None if it is another zone's.
    pub(crate) fn relative<'a>(&self, labels: &'a [String]) -> Option<&'a [String]> {
        let own: Vec<&str> = self.0.split('.').collect();
        let (before, zone) = labels.split_at_checked(labels.len().checked_sub(own.len())?)?;
        zone.iter().eq(own).then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_name_with_room_before_it() {
        for (text, want) in [
            ("Fleet.Local.", Some("fleet.local")),
            ("local", Some("local")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a b", None),
        ] {
            let zone = text.parse::<Zone>().ok();
            assert_eq!(zone.map(|zone| zone.to_string()).as_deref(), want, "{text}");
        }
        let long = vec!["a".repeat(62); 3].join(".");
        assert!(long.parse::<Zone>().is_ok());
        let error = format!("{long}.a").parse::<Zone>().unwrap_err().to_string();
        assert!(error.contains("at most 189 characters"), "{error}");
    }

    #[test]
    fn a_name_belongs_to_its_zone_alone() {
        let zone: Zone = "fleet.local".parse().unwrap();
        let relative = |name: &str| {
            let labels: Vec<String> = name.split('.').map(str::to_owned).collect();
            zone.relative(&labels).map(|before| before.join("."))
        };
        assert_eq!(relative("fleet.local").as_deref(), Some(""));
        assert_eq!(relative("app-shop.fleet.local").as_deref(), Some("app-shop"));
        assert_eq!(relative("a.b.fleet.local").as_deref(), Some("a.b"));
        for other in ["local", "afleet.local", "fleet.local.com", "example.com"] {
            assert_eq!(relative(other), None, "{other}");
        }
    }
}

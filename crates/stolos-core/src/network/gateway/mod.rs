//! Members whose pods other members cannot reach: what they export is an entry of their own, with one port for each port
//! of a Service (networking-dataplane.md, 6.4).
//!
//! The ports of an entry are remembered in an annotation of the ServiceExport, so that nothing but a change of the
//! Service moves them. Whoever serves the entry reads the same annotation.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stolos_api::network::names::gateway as names;
use stolos_api::network::{Protocol, ServiceExport};

use super::keys;

mod allocate;
pub mod certificate;
mod serve;

pub use allocate::{Allocation, Holders, allocate, confirmed, is_starved, tell, untell};
pub use serve::{Source, report, vips};

/// How a member is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Addresses at which other members connect; there is one at least.
    pub addresses: Vec<Ipv4Addr>,
    /// Ports that entries may have.
    pub ports: PortRange,
    /// Whether other members must show a certificate of the fleet.
    pub tls: Tls,
}

/// Whether connections between members are encrypted, with certificates on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tls {
    /// They must be.
    #[default]
    Require,
    /// They are not, so that importers of other makes can connect too.
    Off,
}

impl Tls {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Off => "off",
        }
    }

    /// Reads the mark of exported endpoints. None: they are no gateways. A mark that cannot be read asks for encryption,
    /// as whoever wrote it meant something.
    #[must_use]
    pub fn of_mark(mark: Option<&str>) -> Option<Self> {
        mark.map(|mark| if mark == Self::Off.as_str() { Self::Off } else { Self::Require })
    }
}

/// Ports from the first to the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    fn size(self) -> u16 {
        // The first port is 1 or more, so all of them fit.
        self.last - self.first + 1
    }

    /// Returns all ports, beginning with the one that `hash` points at.
    fn beginning_at(self, hash: u64) -> impl Iterator<Item = u16> {
        let size = u64::from(self.size());
        let offset = move |n: u64| u16::try_from((hash % size + n) % size).unwrap_or_default();
        (0..size).map(move |n| self.first + offset(n))
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("`{text}` must be two ports such as 20000-29999, the lower one first");
        let (first, last) = text.split_once('-').ok_or_else(wanted)?;
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or_else(wanted);
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(wanted()) } else { Ok(Self { first, last }) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Where other members connect to an exported Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Addresses of the gateway.
    pub addresses: Vec<Ipv4Addr>,
    /// Whether connections are encrypted.
    pub tls: Tls,
    /// One port for each port of the Service that is carried, in their order.
    pub ports: Vec<EntryPort>,
}

/// A port of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryPort {
    /// Name of the port of the Service, which is empty for the only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at which other members connect.
    pub port: u16,
}

impl Entry {
    /// Returns the entry of an export, if it has one that can be read.
    #[must_use]
    pub fn of(export: &ServiceExport) -> Option<Self> {
        let text = keys::annotation(&export.metadata, names::ENTRY)?;
        serde_json::from_str(text).ok()
    }

    /// Returns what the annotation of the export is to say.
    #[must_use]
    pub fn text(&self) -> String {
        // Addresses, words and numbers only.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the port for a port of the Service.
    #[must_use]
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let is_it = |one: &&EntryPort| one.name == name && one.protocol == protocol;
        self.ports.iter().find(is_it).map(|one| one.port)
    }
}

/// Returns the name that the certificate of a member's gateway has.
#[must_use]
pub fn certificate_name(member: &str) -> String {
    format!("{member}.gateway.fleet.stolos.dev")
}

//! What a DNS name is answered with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::profile::ProviderProfile;

/// Longest DNS name in text, and longest label of one (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Where clients are sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An address.
    V4(Ipv4Addr),
    /// An address.
    V6(Ipv6Addr),
    /// A host by its name, in lower case and without the last dot.
    Host(String),
}

impl Target {
    /// Reads an address or the name of a host; None if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(IpAddr::V4(address)) => return Some(Self::V4(address)),
            Ok(IpAddr::V6(address)) => return Some(Self::V6(address)),
            Err(_) => {}
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        is_host(&name).then_some(Self::Host(name))
    }

    /// Tells whether a question can be answered with it.
    fn answers(&self, question: Question) -> bool {
        match (self, question) {
            (Self::V4(_), Question::V4) | (Self::V6(_), Question::V6) | (Self::Host(_), _) => true,
            (Self::V4(_) | Self::V6(_), _) => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
            Self::Host(name) => name.fmt(f),
        }
    }
}

/// Tells whether a text in lower case is the name of a host that can be looked up.
fn is_host(name: &str) -> bool {
    let is_numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    name.len() <= MAX_NAME && !is_numeric && name.split('.').all(is_label)
}

/// Tells whether a text in lower case can be a label of a DNS name: letters, digits, dashes and underscores, with no dash
/// at its ends.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(is_part)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What is asked of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Its IPv4 address.
    V4,
    /// Its IPv6 address.
    V6,
    /// Which name it is an alias of.
    Alias,
}

/// An endpoint that a name may be answered with.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Where it is.
    pub target: &'a Target,
    /// Its share of the answers, relative to the others; without one it gets none.
    pub weight: u32,
    /// Whether its checks succeed, or none has been made.
    pub is_up: bool,
}

/// Draws an endpoint by weight among those that are up and can answer the question. If all of these are down, they are
/// drawn as if they were up: a wrong judgement must not make a name vanish. None if there is nothing to answer with.
///
/// `random` is a number that any value is as likely for as any other.
#[must_use]
pub fn draw<'a>(
    candidates: &[Candidate<'a>],
    question: Question,
    random: u64,
) -> Option<&'a Target> {
    let fitting = || candidates.iter().filter(|one| one.weight > 0 && one.target.answers(question));
    let any_up = fitting().any(|one| one.is_up);
    let drawn = || fitting().filter(|one| one.is_up || !any_up);
    let total: u64 = drawn().map(|one| u64::from(one.weight)).sum();
    // The upper half of the product: even over all weights, without the bias of a remainder.
    let mut place = u64::try_from((u128::from(random) * u128::from(total)) >> 64).ok()?;
    for one in drawn() {
        match place.checked_sub(one.weight.into()) {
            Some(rest) => place = rest,
            None => return Some(one.target),
        }
    }
    None
}

/// Decides for how many seconds an answer may be kept: no longer than the time between two checks. Whoever keeps it
/// longer would use an endpoint that is known to be down, and the number of failures in a row that a profile tolerates
/// says for how long it accepts that.
#[must_use]
pub fn ttl_seconds(profile: &ProviderProfile) -> u32 {
    let interval = u32::try_from(profile.monitor.interval_in_seconds).unwrap_or(u32::MAX);
    profile.ttl_seconds.min(interval.max(1))
}

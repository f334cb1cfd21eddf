//! What a user asks of the balancing of a service, by annotations (networking-dataplane 6.8).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stolos_api::network::ServiceImportStatus;
use stolos_api::network::names::balancing;

use super::balance::affinity::DEFAULT_TIMEOUT_SECONDS;
use super::balance::{Access, Affinity, Check, LeasePolicy, Locality, Settings};
pub use super::range::Network;

/// What all annotations of this kind begin with.
const PREFIX: &str = "network.fleet.stolos.dev/";

/// Every annotation that is read.
const KNOWN: [&str; 18] = [
    balancing::MODE,
    balancing::VIP,
    balancing::ANNOUNCE,
    balancing::AFFINITY,
    balancing::AFFINITY_TIMEOUT_SECONDS,
    balancing::AFFINITY_STRICT,
    balancing::HEALTH_CHECK,
    balancing::HEALTH_CHECK_PORT,
    balancing::HEALTH_CHECK_PATH,
    balancing::HEALTH_CHECK_INTERVAL_SECONDS,
    balancing::DRAIN_SECONDS,
    balancing::SLOW_START_SECONDS,
    balancing::FAIL_OPEN,
    balancing::PROXY_PROTOCOL,
    balancing::SOURCE_RANGES,
    balancing::MAX_CONNECTIONS_PER_CLIENT,
    balancing::LEASE_POLICY,
    balancing::OWN_CLUSTER_MULTIPLIER,
];

/// Networks that one service may name.
const MAX_SOURCE_RANGES: usize = 100;

/// What a user asks of the balancing of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knobs {
    /// How connections get to endpoints; None: as the fleet is set up.
    pub mode: Option<Mode>,
    /// Address that the service is to have.
    pub vip: Option<IpAddr>,
    /// How the network is told where the address is.
    pub announce: Announce,
    /// How connections are spread, and endpoints watched.
    pub settings: Settings,
    /// Whether endpoints are told the address of the client, by version 2 of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// How connections get to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By the load balancer of the cluster and its service proxy.
    Service,
    /// By rules in the kernel.
    Kernel,
    /// By a proxy in user space.
    Proxy,
}

/// How the network is told where an address is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Announce {
    /// Not by us.
    #[default]
    None,
    /// By answers to questions for the address on the local network.
    L2,
}

/// An annotation that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata.annotations[{annotation}]: {message}")]
pub struct Problem {
    /// The annotation.
    pub annotation: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Ways to bring connections to endpoints, by name.
const MODES: [(&str, Mode); 3] =
    [("service", Mode::Service), ("kernel", Mode::Kernel), ("proxy", Mode::Proxy)];

/// Returns how a user wants connections to get to endpoints, if that can be read.
#[must_use]
pub fn mode(annotations: &BTreeMap<String, String>) -> Option<Mode> {
    let text = annotations.get(balancing::MODE)?.trim();
    MODES.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode)
}

/// Returns the address that a user wants a service to have, if that can be read.
#[must_use]
pub fn vip(annotations: &BTreeMap<String, String>) -> Option<IpAddr> {
    annotations.get(balancing::VIP)?.trim().parse().ok()
}

/// Reads what a user asks. Affinity comes from the imported service unless an annotation says otherwise; `cluster` is
/// the member on which the service is imported.
///
/// # Errors
///
/// Every annotation that cannot be read.
pub fn read(
    annotations: &BTreeMap<String, String>,
    import: &ServiceImportStatus,
    cluster: &str,
) -> Result<Knobs, Vec<Problem>> {
    let mut reader = Reader { annotations, problems: Vec::new() };
    reader.find_unknown();
    let knobs = Knobs {
        mode: reader.choice(balancing::MODE, &MODES),
        vip: reader.parsed(balancing::VIP, "an IP address"),
        announce: reader
            .choice(balancing::ANNOUNCE, &[("none", Announce::None), ("l2", Announce::L2)])
            .unwrap_or_default(),
        settings: reader.settings(import, cluster),
        proxy_protocol: reader.choice(balancing::PROXY_PROTOCOL, &[("v2", ())]).is_some(),
    };
    let proxied = matches!(knobs.mode, None | Some(Mode::Proxy));
    if knobs.proxy_protocol && !proxied {
        reader.complain(balancing::PROXY_PROTOCOL, "needs the mode `proxy`".to_owned());
    }
    if reader.problems.is_empty() { Ok(knobs) } else { Err(reader.problems) }
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn text(&self, annotation: &str) -> Option<&'a str> {
        self.annotations.get(annotation).map(|text| text.trim())
    }

    fn complain(&mut self, annotation: &str, message: String) {
        self.problems.push(Problem { annotation: annotation.to_owned(), message });
    }

    /// A typing error must not go unnoticed.
    fn find_unknown(&mut self) {
        let ours = self.annotations.keys().filter(|name| name.starts_with(PREFIX));
        let unknown: Vec<_> = ours.filter(|name| !KNOWN.contains(&name.as_str())).collect();
        for name in unknown {
            let known: Vec<_> =
                KNOWN.iter().filter_map(|known| known.strip_prefix(PREFIX)).collect();
            let message =
                format!("is not known; after `{PREFIX}` comes one of {}", known.join(", "));
            self.complain(name, message);
        }
    }

    fn choice<T: Copy>(&mut self, annotation: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(annotation)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            self.complain(annotation, format!("must be {}, not `{text}`", names.join(" or ")));
        }
        found
    }

    fn number(&mut self, annotation: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let text = self.text(annotation)?;
        let found = text.parse().ok().filter(|number| range.contains(number));
        if found.is_none() {
            let (least, most) = (range.start(), range.end());
            let message =
                format!("must be a whole number between {least} and {most}, not `{text}`");
            self.complain(annotation, message);
        }
        found
    }

    fn parsed<T: FromStr>(&mut self, annotation: &str, what: &str) -> Option<T> {
        let text = self.text(annotation)?;
        let found = text.parse().ok();
        if found.is_none() {
            self.complain(annotation, format!("must be {what}, not `{text}`"));
        }
        found
    }

    fn source_ranges(&mut self) -> Vec<Network> {
        let Some(text) = self.text(balancing::SOURCE_RANGES) else { return Vec::new() };
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        if parts.len() > MAX_SOURCE_RANGES {
            let message =
                format!("names {} networks, at most {MAX_SOURCE_RANGES} are allowed", parts.len());
            self.complain(balancing::SOURCE_RANGES, message);
            return Vec::new();
        }
        match parts.into_iter().map(str::parse).collect() {
            Ok(networks) => networks,
            Err(message) => {
                self.complain(balancing::SOURCE_RANGES, message);
                Vec::new()
            }
        }
    }

    fn settings(&mut self, import: &ServiceImportStatus, cluster: &str) -> Settings {
        let mut settings = Settings { affinity: self.affinity(import), ..Settings::default() };
        self.health(&mut settings);
        if let Some(seconds) = self.number(balancing::DRAIN_SECONDS, 0..=86_400) {
            settings.drain_seconds = seconds;
        }
        if let Some(seconds) = self.number(balancing::SLOW_START_SECONDS, 0..=3_600) {
            settings.slow_start_seconds = seconds;
        }
        if let Some(opens) = self.choice(balancing::FAIL_OPEN, &[("true", true), ("false", false)])
        {
            settings.fail_open = opens;
        }
        let policies = [
            ("Keep", LeasePolicy::Keep),
            ("Check", LeasePolicy::Check),
            ("Drop", LeasePolicy::Drop),
        ];
        settings.lease_policy = self.choice(balancing::LEASE_POLICY, &policies).unwrap_or_default();
        let multiplier = self.number(balancing::OWN_CLUSTER_MULTIPLIER, 1..=1_000);
        let locality = |multiplier| Locality { cluster: cluster.to_owned(), multiplier };
        settings.locality = multiplier.map(locality);
        settings.access = Access {
            source_ranges: self.source_ranges(),
            max_connections_per_client: self
                .number(balancing::MAX_CONNECTIONS_PER_CLIENT, 1..=1_000_000),
        };
        settings
    }

    fn affinity(&mut self, import: &ServiceImportStatus) -> Affinity {
        let asked = self.choice(balancing::AFFINITY, &[("None", false), ("ClientIP", true)]);
        let strict = self.choice(balancing::AFFINITY_STRICT, &[("true", true), ("false", false)]);
        let timeout = self.number(balancing::AFFINITY_TIMEOUT_SECONDS, 1..=86_400);
        let by_client = asked.unwrap_or(import.session_affinity == "ClientIP");
        let config = import.session_affinity_config.as_ref();
        let imported = config
            .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
            .and_then(|seconds| u32::try_from(seconds).ok());
        match (by_client, strict.unwrap_or_default()) {
            (false, true) => {
                let message = format!("needs the annotation {} with ClientIP", balancing::AFFINITY);
                self.complain(balancing::AFFINITY_STRICT, message);
                Affinity::None
            }
            (false, false) => Affinity::None,
            (true, false) => Affinity::ClientIp,
            (true, true) => Affinity::StrictClientIp {
                timeout_seconds: timeout.or(imported).unwrap_or(DEFAULT_TIMEOUT_SECONDS),
            },
        }
    }

    fn health(&mut self, settings: &mut Settings) {
        let path = self.text(balancing::HEALTH_CHECK_PATH);
        let kinds = [("none", Kind::None), ("tcp", Kind::Tcp), ("http", Kind::Http)];
        let kind = self.choice(balancing::HEALTH_CHECK, &kinds);
        settings.health.check =
            match kind.unwrap_or(if path.is_some() { Kind::Http } else { Kind::Tcp }) {
                Kind::None => None,
                Kind::Tcp => Some(Check::Tcp),
                Kind::Http => Some(Check::Http { path: path.unwrap_or("/").to_owned() }),
            };
        if path.is_some_and(|path| !path.starts_with('/') || path.contains(char::is_whitespace)) {
            let message = "must begin with `/` and have no spaces".to_owned();
            self.complain(balancing::HEALTH_CHECK_PATH, message);
        }
        let port = self.number(balancing::HEALTH_CHECK_PORT, 1..=65_535);
        settings.health.port = port.and_then(|port| u16::try_from(port).ok());
        if let Some(seconds) = self.number(balancing::HEALTH_CHECK_INTERVAL_SECONDS, 1..=300) {
            settings.health.interval_millis = seconds * 1_000;
        }
    }
}

/// A kind of check.
#[derive(Clone, Copy)]
enum Kind {
    None,
    Tcp,
    Http,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decide(asked: &[(&str, &str)]) -> Result<Knobs, Vec<String>> {
        let annotations =
            asked.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read(&annotations, &ServiceImportStatus::default(), "east")
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_asked_is_the_default() {
        assert_eq!(decide(&[]), Ok(Knobs::default()));
        assert_eq!(decide(&[("example.com/mode", "fast")]), Ok(Knobs::default()));
    }

    #[test]
    fn everything_that_can_be_asked_is_read() {
        let knobs = decide(&[
            (balancing::MODE, "proxy"),
            (balancing::VIP, "10.96.0.9"),
            (balancing::ANNOUNCE, "l2"),
            (balancing::AFFINITY, "ClientIP"),
            (balancing::AFFINITY_STRICT, "true"),
            (balancing::AFFINITY_TIMEOUT_SECONDS, "60"),
            (balancing::HEALTH_CHECK_PATH, "/ready"),
            (balancing::HEALTH_CHECK_PORT, "9000"),
            (balancing::HEALTH_CHECK_INTERVAL_SECONDS, "5"),
            (balancing::DRAIN_SECONDS, "0"),
            (balancing::SLOW_START_SECONDS, "30"),
            (balancing::FAIL_OPEN, "false"),
            (balancing::PROXY_PROTOCOL, "v2"),
            (balancing::SOURCE_RANGES, "10.0.0.0/8, fd00::/8"),
            (balancing::MAX_CONNECTIONS_PER_CLIENT, "7"),
            (balancing::LEASE_POLICY, "Drop"),
            (balancing::OWN_CLUSTER_MULTIPLIER, "5"),
        ])
        .unwrap();
        assert_eq!((knobs.mode, knobs.announce), (Some(Mode::Proxy), Announce::L2));
        assert_eq!(knobs.vip, Some("10.96.0.9".parse().unwrap()));
        assert!(knobs.proxy_protocol);
        let settings = &knobs.settings;
        assert_eq!(settings.access.max_connections_per_client, Some(7));
        assert_eq!(settings.affinity, Affinity::StrictClientIp { timeout_seconds: 60 });
        assert_eq!(settings.health.check, Some(Check::Http { path: "/ready".into() }));
        assert_eq!((settings.health.port, settings.health.interval_millis), (Some(9_000), 5_000));
        assert_eq!((settings.drain_seconds, settings.slow_start_seconds), (0, 30));
        assert_eq!((settings.fail_open, settings.lease_policy), (false, LeasePolicy::Drop));
        assert_eq!(settings.locality, Some(Locality { cluster: "east".into(), multiplier: 5 }));
        let may = |address: &str| settings.access.admits(address.parse().unwrap(), 6);
        let allowed = ["10.9.9.9", "11.0.0.1", "fd12::1", "fe00::1", "::ffff:10.1.1.1"].map(may);
        assert_eq!(allowed, [true, false, true, false, true]);
        assert!(!settings.access.admits("10.9.9.9".parse().unwrap(), 7));
    }

    #[test]
    fn whatever_cannot_be_read_is_named_with_what_would_be_right() {
        let problems = decide(&[
            (balancing::MODE, "fast"),
            (balancing::DRAIN_SECONDS, "-1"),
            (balancing::VIP, "here"),
            (balancing::SOURCE_RANGES, "10.0.0.0/33"),
            (balancing::AFFINITY_STRICT, "true"),
            (balancing::HEALTH_CHECK_PATH, "ready"),
            ("network.fleet.stolos.dev/drain", "5"),
        ])
        .unwrap_err();
        insta::assert_snapshot!(problems.join("\n"), @r"
        metadata.annotations[network.fleet.stolos.dev/drain]: is not known; after `network.fleet.stolos.dev/` comes one of mode, vip, announce, affinity, affinity-timeout-seconds, affinity-strict, health-check, health-check-port, health-check-path, health-check-interval-seconds, drain-seconds, slow-start-seconds, fail-open, proxy-protocol, source-ranges, max-connections-per-client, lease-policy, own-cluster-multiplier
        metadata.annotations[network.fleet.stolos.dev/mode]: must be `service` or `kernel` or `proxy`, not `fast`
        metadata.annotations[network.fleet.stolos.dev/vip]: must be an IP address, not `here`
        metadata.annotations[network.fleet.stolos.dev/affinity-strict]: needs the annotation network.fleet.stolos.dev/affinity with ClientIP
        metadata.annotations[network.fleet.stolos.dev/health-check-path]: must begin with `/` and have no spaces
        metadata.annotations[network.fleet.stolos.dev/drain-seconds]: must be a whole number between 0 and 86400, not `-1`
        metadata.annotations[network.fleet.stolos.dev/source-ranges]: `10.0.0.0/33` must be a network such as 10.0.0.0/8 or fd00::/8
        ");
        let kernel = decide(&[(balancing::MODE, "kernel"), (balancing::PROXY_PROTOCOL, "v2")]);
        let want =
            "metadata.annotations[network.fleet.stolos.dev/proxy-protocol]: needs the mode `proxy`";
        assert_eq!(kernel, Err(vec![want.to_owned()]));
    }

    #[test]
    fn every_annotation_is_documented() {
        let page = include_str!("../../../../docs/reference/service-annotations.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let mut documented: Vec<_> = rows.map(|(name, _)| format!("{PREFIX}{name}")).collect();
        documented.sort();
        let mut known = KNOWN.map(str::to_owned);
        known.sort();
        assert_eq!(documented, known);
    }

    #[test]
    fn affinity_comes_from_the_service_unless_something_else_is_asked() {
        let import: ServiceImportStatus = serde_json::from_value(json!({
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 77}},
        }))
        .unwrap();
        let of = |asked: &[(&str, &str)]| {
            let asked = asked.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            read(&asked.collect(), &import, "east").unwrap().settings.affinity
        };
        assert_eq!(of(&[]), Affinity::ClientIp);
        let strict = Affinity::StrictClientIp { timeout_seconds: 77 };
        assert_eq!(of(&[(balancing::AFFINITY_STRICT, "true")]), strict);
        assert_eq!(of(&[(balancing::AFFINITY, "None")]), Affinity::None);
    }
}

//! Which port of a gateway leads to which port of an exported Service.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::network::names::{condition as type_, reason};
use stolos_api::network::{Protocol, ServiceExport, ServicePort};
use twox_hash::XxHash64;

use super::super::keys;
use super::super::serve::Problem;
use super::{Entry, EntryPort, Settings, Tls};

/// Fixed, so that a Service that comes back gets its ports back if they are free.
const SEED: u64 = 0x67_61_74_65;

/// An entry, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The entry.
    pub entry: Entry,
    /// Why ports of the Service are not in it.
    pub problems: Vec<Problem>,
}

/// Who has which port of a gateway.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    of_port: BTreeMap<u16, BTreeSet<Holder>>,
    of_service: BTreeMap<String, (Holder, Entry)>,
}

/// When an export was made, and its Service.
type Holder = (Timestamp, String);

impl Holders {
    /// Takes in which entry an export has; returns the other exports that have one of its ports, too, as
    /// `<namespace>/<name>`.
    pub fn learn(&mut self, export: &ServiceExport) -> BTreeSet<String> {
        // Without its annotation, which only a user takes away, an export keeps what it had.
        let Some(entry) = Entry::of(export) else { return BTreeSet::new() };
        let holder = holder(export);
        let service = holder.1.clone();
        self.forget(&service);
        let mut others = BTreeSet::new();
        for EntryPort { port, .. } in &entry.ports {
            let holders = self.of_port.entry(*port).or_default();
            holders.insert(holder.clone());
            others.extend(holders.iter().map(|(_, other)| other.clone()));
        }
        others.remove(&service);
        self.of_service.insert(service, (holder, entry));
        others
    }

    /// Lets the ports of an export go, which is `<namespace>/<name>`; tells whether it had some.
    pub fn forget(&mut self, service: &str) -> bool {
        let Some((holder, entry)) = self.of_service.remove(service) else { return false };
        for EntryPort { port, .. } in &entry.ports {
            if let Some(holders) = self.of_port.get_mut(port) {
                holders.remove(&holder);
            }
        }
        !entry.ports.is_empty()
    }

    /// Returns the entry that an export had last.
    fn entry(&self, holder: &Holder) -> Option<Entry> {
        self.of_service.get(&holder.1).map(|(_, entry)| entry.clone())
    }

    /// Tells whether an export may keep a port, which it may if no older one has it.
    fn may_keep(&self, port: u16, holder: &Holder) -> bool {
        self.others(port, holder).next().is_none_or(|oldest| oldest >= holder)
    }

    fn is_free(&self, port: u16, holder: &Holder) -> bool {
        self.others(port, holder).next().is_none()
    }

    /// Returns who else has a port, the oldest first.
    fn others<'a>(&'a self, port: u16, holder: &'a Holder) -> impl Iterator<Item = &'a Holder> {
        let holders = self.of_port.get(&port).into_iter().flatten();
        holders.filter(|other| other.1 != holder.1)
    }
}

fn holder(export: &ServiceExport) -> Holder {
    let created = export.metadata.creation_timestamp.as_ref();
    (created.map_or(Timestamp::MAX, |created| created.0), keys::key(&export.metadata))
}

/// Decides which ports lead to an exported Service. It keeps those that it has; a new one is one that nobody has.
#[must_use]
pub fn allocate(
    settings: &Settings,
    export: &ServiceExport,
    service: &Service,
    holders: &Holders,
) -> Allocation {
    let holder = holder(export);
    let before = Entry::of(export).or_else(|| holders.entry(&holder));
    let wanted = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<EntryPort> = Vec::new();
    let mut problems = Vec::new();
    for wanted in wanted.map(keys::exported_port) {
        if let Some(problem) = not_carried(&wanted, settings.tls) {
            problems.push(problem);
            continue;
        }
        let is_new = |port: u16| ports.iter().all(|one: &EntryPort| one.port != port);
        let held = before.as_ref().and_then(|held| held.port(&wanted.name, wanted.protocol));
        let held = held.filter(|port| {
            settings.ports.contains(*port) && holders.may_keep(*port, &holder) && is_new(*port)
        });
        let port = held.or_else(|| {
            let key = format!("{} {} {}", holder.1, wanted.name, wanted.protocol.as_str());
            let mut all = settings.ports.beginning_at(XxHash64::oneshot(SEED, key.as_bytes()));
            all.find(|port| holders.is_free(*port, &holder) && is_new(*port))
        });
        match port {
            Some(port) => {
                let (name, protocol) = (wanted.name, wanted.protocol);
                ports.push(EntryPort { name, protocol, port });
            }
            None => problems.push(exhausted(&wanted, settings)),
        }
    }
    let entry = Entry { addresses: settings.addresses.clone(), tls: settings.tls, ports };
    Allocation { entry, problems }
}

/// Returns why gateways do not carry a port.
fn not_carried(port: &ServicePort, tls: Tls) -> Option<Problem> {
    let why = match (port.protocol, tls) {
        (Protocol::Tcp, _) | (Protocol::Udp, Tls::Off) => return None,
        (Protocol::Udp, Tls::Require) => {
            "gateways encrypt TCP alone; the agent's option --gateway-tls=off would let it pass"
        }
        (Protocol::Sctp, _) => "gateways carry TCP and UDP",
    };
    let (number, protocol) = (port.port, port.protocol.as_str());
    let message = format!("port {number}/{protocol} is not exported: {why}");
    Some(Problem { reason: reason::PROTOCOL_NOT_CARRIED, message })
}

fn exhausted(port: &ServicePort, settings: &Settings) -> Problem {
    let (number, protocol, range) = (port.port, port.protocol.as_str(), settings.ports);
    let message = format!(
        "port {number}/{protocol} is not exported: all ports {range} of the gateway are taken; \
         a larger range (--gateway-ports) or fewer exports would help"
    );
    Problem { reason: reason::GATEWAY_PORTS_EXHAUSTED, message }
}

/// Returns the conditions of an export with what people are told of its entry, if that changes them. `planned` are those
/// that something else changes.
#[must_use]
pub fn tell(
    export: &ServiceExport,
    planned: Option<Vec<Condition>>,
    allocation: Option<&Allocation>,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let Some(allocation) = allocation else { return planned };
    let old = export.status.as_ref().map(|status| &*status.conditions).unwrap_or_default();
    let told = condition(allocation, export.metadata.generation.unwrap_or(0), now);
    if planned.is_none() && !keys::is_news(old, &told) {
        return None;
    }
    let mut conditions = planned.unwrap_or_else(|| old.to_vec());
    crate::condition::set(&mut conditions, told);
    Some(conditions)
}

/// Returns the conditions of an export of a member that has no gateway any more, if that changes them. The ports of the
/// entry stay its own, for the case that the gateway comes back.
#[must_use]
pub fn untell(export: &ServiceExport, planned: Option<Vec<Condition>>) -> Option<Vec<Condition>> {
    let old = export.status.as_ref().map(|status| &*status.conditions).unwrap_or_default();
    if crate::condition::find(old, type_::ENTERED).is_none() {
        return planned;
    }
    let mut conditions = planned.unwrap_or_else(|| old.to_vec());
    conditions.retain(|told| told.type_ != type_::ENTERED && told.type_ != type_::SERVED);
    Some(conditions)
}

/// Tells whether an export lacks ports of the gateway.
#[must_use]
pub fn is_starved(export: &ServiceExport) -> bool {
    let conditions = export.status.as_ref().map(|status| &*status.conditions).unwrap_or_default();
    crate::condition::find(conditions, type_::ENTERED)
        .is_some_and(|told| told.reason == reason::GATEWAY_PORTS_EXHAUSTED)
}

fn condition(allocation: &Allocation, generation: i64, now: Timestamp) -> Condition {
    let Allocation { entry, problems } = allocation;
    let type_ = type_::ENTERED;
    if let Some(first) = problems.first() {
        let mut messages: Vec<_> = problems.iter().map(|problem| problem.message.clone()).collect();
        messages.push(entered(entry));
        let message = messages.join("; ");
        return crate::condition::new(type_, "False", first.reason, &message, generation, now);
    }
    let message = entered(entry);
    crate::condition::new(type_, "True", reason::ENTRY_ALLOCATED, &message, generation, now)
}

/// Returns the entry of an export that is the agent's own word: its condition says the same. The annotation alone is for
/// everybody to write who may export a Service.
#[must_use]
pub fn confirmed(export: &ServiceExport) -> Option<Entry> {
    let entry = Entry::of(export)?;
    let conditions = export.status.as_ref().map(|status| &*status.conditions).unwrap_or_default();
    let told = crate::condition::find(conditions, type_::ENTERED)?;
    told.message.ends_with(&entered(&entry)).then_some(entry)
}

/// Says where other members connect.
fn entered(entry: &Entry) -> String {
    let addresses: Vec<_> = entry.addresses.iter().map(ToString::to_string).collect();
    let ports = entry.ports.iter();
    let ports: Vec<_> =
        ports.map(|one| format!("{}/{}", one.port, one.protocol.as_str())).collect();
    let tls = entry.tls.as_str();
    if ports.is_empty() {
        return format!("other members connect to no port; TLS: {tls}");
    }
    let (addresses, ports) = (addresses.join(", "), ports.join(", "));
    format!("other members connect to {addresses} at {ports}; TLS: {tls}")
}

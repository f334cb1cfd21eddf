//! Addresses and node ports of services: the server gives each service its own.
//!
//! What is taken follows from the services in the store. What a request is about to store is reserved until the request
//! ends, so that two requests never get the same.

mod range;
mod rules;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, RngExt};
use serde_json::{Value, json};

pub use range::{RangeError, ServiceRange};

use crate::mirror::{Mirror, News};
use crate::schema::causes::invalid;
use crate::status::Cause;
use crate::store::{ClusterStore, Key};

static WATCHED: [(&str, ()); 1] = [("services", ())];

/// The node ports that there are, as upstream.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Why a service gets nothing.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// What it wishes cannot be.
    Invalid(Vec<Cause>),
    /// Upstream takes this for its own failure.
    Internal(String),
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self::Invalid(vec![cause])
    }
}

/// The addresses and ports of a logical cluster.
pub(crate) struct Addresses {
    store: ClusterStore,
    range: ServiceRange,
    state: Arc<Mutex<State>>,
}

struct State {
    mirror: Mirror<()>,
    services: BTreeMap<Key, Held>,
    taken: Taken,
}

/// What one service has.
#[derive(Clone, Debug, Default)]
struct Held {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

/// How often each address and port is taken, by services and by reservations.
#[derive(Debug, Default)]
struct Taken {
    addresses: BTreeMap<IpAddr, u32>,
    ports: BTreeMap<u16, u32>,
}

/// Keeps what was given to a service that is not stored yet. Dropping it frees what the service did not take.
pub(crate) struct Reservation {
    state: Arc<Mutex<State>>,
    held: Held,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken.release(&self.held);
    }
}

impl Addresses {
    /// Gives out addresses of a range to the services of a store.
    pub(crate) fn new(store: ClusterStore, range: ServiceRange) -> Self {
        let state = State {
            mirror: Mirror::of(&WATCHED),
            services: BTreeMap::new(),
            taken: Taken::default(),
        };
        Self { store, range, state: Arc::new(Mutex::new(state)) }
    }

    /// Gives a service that is about to be stored the addresses and ports that it needs and does not have.
    ///
    /// # Errors
    ///
    /// When it wishes what cannot be, or nothing is left.
    pub(crate) fn assign(
        &self,
        old: Option<&Value>,
        service: &mut Value,
        random: &mut impl Rng,
    ) -> Result<Reservation, Refusal> {
        if let Some(old) = old {
            rules::carry_over(old, service);
        }
        rules::align(old, service);
        rules::settle_families(self.range.is_ipv6(), service).map_err(Refusal::Invalid)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(&self.store);
        let mut reservation = Reservation { state: Arc::clone(&self.state), held: Held::default() };
        let given = state.give(&self.range, old, service, &mut reservation.held, random);
        // Dropping the reservation takes the lock.
        drop(state);
        given.map(|()| reservation)
    }
}

impl State {
    fn catch_up(&mut self, store: &ClusterStore) {
        let Self { mirror, services, taken } = self;
        mirror.catch_up(store, |news| match news {
            News::Restart => {
                for held in std::mem::take(services).into_values() {
                    taken.release(&held);
                }
            }
            News::Put((), version) => {
                let service = version.object();
                let held = Held {
                    addresses: rules::addresses(&service),
                    ports: distinct(rules::node_ports(&service)),
                };
                taken.hold(&held);
                if let Some(before) = services.insert(version.key.clone(), held) {
                    taken.release(&before);
                }
            }
            News::Gone((), key) => {
                if let Some(held) = services.remove(key) {
                    taken.release(&held);
                }
            }
        });
    }

    fn give(
        &mut self,
        range: &ServiceRange,
        old: Option<&Value>,
        service: &mut Value,
        held: &mut Held,
        random: &mut impl Rng,
    ) -> Result<(), Refusal> {
        let had_place = old.is_some_and(rules::is_inside);
        if rules::is_inside(service) && !had_place {
            self.give_address(range, service, held, random)?;
        }
        if rules::has_node_ports(service) {
            self.give_ports(old, service, held, random)?;
        }
        if rules::wants_health_port(service) {
            self.give_health_port(old, service, held, random)?;
        }
        Ok(())
    }

    fn give_address(
        &mut self,
        range: &ServiceRange,
        service: &mut Value,
        held: &mut Held,
        random: &mut impl Rng,
    ) -> Result<(), Refusal> {
        let wished = rules::addresses(service);
        if let Some(address) = wished.first().copied() {
            let why = if !range.contains(address) {
                "the provided network does not match the current range"
            } else if self.taken.addresses.contains_key(&address) {
                "provided IP is already allocated"
            } else {
                self.hold(held, Held { addresses: vec![address], ports: Vec::new() });
                return Ok(());
            };
            let why = format!("failed to allocate IP {address}: {why}");
            return Err(invalid("spec.clusterIPs", &service["spec"]["clusterIPs"], &why).into());
        }
        if service["spec"]["clusterIP"] == "None" {
            return Ok(());
        }
        let free = |address| !self.taken.addresses.contains_key(&address);
        let address = range.draw(random, free).ok_or_else(|| {
            Refusal::Internal("failed to allocate a serviceIP: range is full".to_owned())
        })?;
        self.hold(held, Held { addresses: vec![address], ports: Vec::new() });
        service["spec"]["clusterIP"] = address.to_string().into();
        service["spec"]["clusterIPs"] = json!([address.to_string()]);
        Ok(())
    }

    fn give_ports(
        &mut self,
        old: Option<&Value>,
        service: &mut Value,
        held: &mut Held,
        random: &mut impl Rng,
    ) -> Result<(), Refusal> {
        let before = old.map(rules::node_ports).unwrap_or_default();
        let chooses = rules::wants_node_ports(service);
        // Protocols of one port share its node port.
        let mut of_port: BTreeMap<i64, u16> = BTreeMap::new();
        let mut own: Vec<(u16, Value)> = Vec::new();
        for (index, port) in
            service["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate()
        {
            let number = port["port"].as_i64().unwrap_or_default();
            let wished = rules::port_number(&port["nodePort"]);
            let shared = of_port.get(&number).copied();
            let is_shared = |node_port: u16| {
                own.iter()
                    .any(|(other, protocol)| *other == node_port && *protocol != port["protocol"])
                    && !own.contains(&(node_port, port["protocol"].clone()))
            };
            let node_port = match (wished, shared) {
                (Some(wished), _) if is_shared(wished) => wished,
                (Some(wished), _) => {
                    let is_own = own.iter().any(|(other, _)| *other == wished);
                    if is_own || !before.contains(&wished) {
                        let field = format!("spec.ports[{index}].nodePort");
                        self.check_port(wished)
                            .map_err(|why| invalid(&field, &port["nodePort"], &why))?;
                        self.hold(held, Held { addresses: Vec::new(), ports: vec![wished] });
                    }
                    wished
                }
                (None, Some(shared)) if is_shared(shared) => shared,
                (None, _) if chooses => self.draw_port(held, random)?,
                (None, _) => continue,
            };
            port["nodePort"] = node_port.into();
            of_port.insert(number, node_port);
            own.push((node_port, port["protocol"].clone()));
        }
        Ok(())
    }

    fn give_health_port(
        &mut self,
        old: Option<&Value>,
        service: &mut Value,
        held: &mut Held,
        random: &mut impl Rng,
    ) -> Result<(), Refusal> {
        if old.is_some_and(rules::wants_health_port) {
            return Ok(());
        }
        let port = &mut service["spec"]["healthCheckNodePort"];
        match rules::port_number(port) {
            None => *port = self.draw_port(held, random)?.into(),
            Some(wished) => {
                self.check_port(wished).map_err(|why| {
                    Refusal::Internal(format!(
                        "failed to allocate requested HealthCheck NodePort {wished}: {why}"
                    ))
                })?;
                self.hold(held, Held { addresses: Vec::new(), ports: vec![wished] });
            }
        }
        Ok(())
    }

    fn check_port(&self, port: u16) -> Result<(), String> {
        if !NODE_PORTS.contains(&port) {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            ));
        }
        if self.taken.ports.contains_key(&port) {
            return Err("provided port is already allocated".to_owned());
        }
        Ok(())
    }

    fn draw_port(&mut self, held: &mut Held, random: &mut impl Rng) -> Result<u16, Refusal> {
        let count = NODE_PORTS.end() - NODE_PORTS.start() + 1;
        let start = random.random_range(0..count);
        let mut row = (0..count).map(|n| NODE_PORTS.start() + (start + n) % count);
        let port = row.find(|port| !self.taken.ports.contains_key(port)).ok_or_else(|| {
            Refusal::Internal("failed to allocate a nodePort: range is full".to_owned())
        })?;
        self.hold(held, Held { addresses: Vec::new(), ports: vec![port] });
        Ok(port)
    }

    /// Reserves something more.
    fn hold(&mut self, held: &mut Held, more: Held) {
        self.taken.hold(&more);
        held.addresses.extend(more.addresses);
        held.ports.extend(more.ports);
    }
}

impl Taken {
    fn hold(&mut self, held: &Held) {
        for address in &held.addresses {
            *self.addresses.entry(*address).or_default() += 1;
        }
        for port in &held.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    fn release(&mut self, held: &Held) {
        held.addresses.iter().for_each(|address| release(&mut self.addresses, address));
        held.ports.iter().for_each(|port| release(&mut self.ports, port));
    }
}

fn release<K: Ord>(taken: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = taken.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            taken.remove(key);
        }
    }
}

fn distinct(mut ports: Vec<u16>) -> Vec<u16> {
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::store::Store;

    fn addresses(range: &str) -> Addresses {
        let store = Store::memory().cluster("addresses").unwrap();
        Addresses::new(store, range.parse().unwrap())
    }

    fn assign(addresses: &Addresses, spec: &Value) -> Result<(Value, Reservation), Refusal> {
        let mut service = json!({"spec": spec});
        let mut random = StdRng::seed_from_u64(1);
        let reservation = addresses.assign(None, &mut service, &mut random)?;
        Ok((service["spec"].take(), reservation))
    }

    #[test]
    fn what_is_reserved_is_taken_until_the_request_ends() {
        let addresses = addresses("10.0.0.0/24");
        let wished = json!({"clusterIP": "10.0.0.9"});
        let (_, first) = assign(&addresses, &wished).unwrap();
        let Err(Refusal::Invalid(causes)) = assign(&addresses, &wished) else {
            panic!("it is taken")
        };
        assert!(causes[0].message.ends_with("provided IP is already allocated"), "{causes:?}");
        drop(first);
        assert!(assign(&addresses, &wished).is_ok());
    }

    #[test]
    fn a_range_that_is_full_gives_nothing() {
        let addresses = addresses("10.0.0.0/29");
        let plain = json!({"type": "ClusterIP"});
        let held: Vec<_> = (0..6).map(|_| assign(&addresses, &plain).unwrap()).collect();
        let full = Refusal::Internal("failed to allocate a serviceIP: range is full".to_owned());
        assert_eq!(assign(&addresses, &plain).err(), Some(full));
        drop(held);
        assert!(assign(&addresses, &plain).is_ok());
    }

    #[test]
    fn protocols_of_a_port_share_its_node_port() {
        let spec = json!({"type": "NodePort", "ports": [
            {"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 54, "protocol": "TCP"},
        ]});
        let (spec, _held) = assign(&addresses("10.0.0.0/24"), &spec).unwrap();
        let port = |index: usize| rules::port_number(&spec["ports"][index]["nodePort"]).unwrap();
        assert_eq!(port(0), port(1));
        assert_ne!(port(0), port(2));
    }

    #[test]
    fn a_refusal_frees_what_was_given_before_it() {
        let addresses = addresses("10.0.0.0/24");
        let bad = json!({"clusterIP": "10.0.0.9", "type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]});
        assert!(assign(&addresses, &bad).is_err());
        assert!(assign(&addresses, &json!({"clusterIP": "10.0.0.9"})).is_ok());
    }
}

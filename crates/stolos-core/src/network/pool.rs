//! Which address of a pool each service of the fleet has in this cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;

use super::knobs::Network;

/// Addresses that a data plane may give to services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool(Network);

impl Pool {
    /// Returns how many addresses services can have.
    #[must_use]
    pub fn size(&self) -> u128 {
        let all = self.0.size();
        if self.has_ends() { all - 2 } else { all }
    }

    /// Tells whether an address is one that services can have.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let ends = [self.0.nth(0), self.0.nth(self.0.size() - 1)];
        self.0.contains(address) && !(self.has_ends() && ends.contains(&Some(address)))
    }

    /// Tells whether the first address is the network's own and the last one everybody's, which only version 4 has.
    fn has_ends(&self) -> bool {
        self.0.is_ipv4() && self.0.size() > 2
    }

    fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let first = u128::from(self.has_ends());
        (first..self.size() + first).filter_map(move |n| self.0.nth(n))
    }
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network: Network = text.parse()?;
        let all_of_them = network.nth(0).is_none_or(|first| first.is_unspecified());
        let is_group = network.nth(0).is_some_and(|first| first.is_multicast());
        if all_of_them || is_group {
            return Err(format!("`{text}` must be a network whose addresses hosts can have"));
        }
        Ok(Self(network))
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A service that is to have an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Names the service among all of them.
    pub service: String,
    /// When it was made; the older one wins.
    pub created: Timestamp,
    /// The address that it has.
    pub held: Option<IpAddr>,
    /// The address that its user asks for.
    pub asked: Option<IpAddr>,
}

/// Why a service has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every address is taken.
    #[error(
        "all {size} addresses of the pool {pool} are taken; a larger pool or fewer services would help"
    )]
    Exhausted {
        /// The pool.
        pool: Pool,
        /// Its addresses.
        size: u128,
    },
    /// The address that is asked for is no address of the pool.
    #[error("the address {asked} is asked for, but services get addresses of {pool}")]
    NotInPool {
        /// The address.
        asked: IpAddr,
        /// The pool.
        pool: Pool,
    },
    /// Another service has the address that is asked for.
    #[error("the address {asked} is asked for, but `{by}` has it")]
    Taken {
        /// The address.
        asked: IpAddr,
        /// The other service.
        by: String,
    },
}

impl Refusal {
    /// Returns the reason in one word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Exhausted { .. } => "AddressPoolExhausted",
            Self::NotInPool { .. } => "AddressNotInPool",
            Self::Taken { .. } => "AddressTaken",
        }
    }
}

/// The address of a service, and why it is not the one that it should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The address; None: there is none for it.
    pub address: Option<IpAddr>,
    /// Why it has none, or has kept the one that it had.
    pub refusal: Option<Refusal>,
}

impl Assignment {
    fn of(address: IpAddr) -> Self {
        Self { address: Some(address), refusal: None }
    }
}

/// Decides which address each service has. Those that have one keep it, unless they ask for another that is free; of two
/// that have the same, the older one does. Nobody gets an address that another one keeps, however old it is.
#[must_use]
pub fn assign(pool: &Pool, claims: &[Claim]) -> BTreeMap<String, Assignment> {
    let mut sorted: Vec<&Claim> = claims.iter().collect();
    sorted.sort_by_key(|claim| (claim.created, &claim.service));
    let mut assigned = Assigned { pool: *pool, taken: BTreeMap::new(), all: BTreeMap::new() };
    for claim in &sorted {
        assigned.keep(claim);
    }
    for claim in &sorted {
        assigned.ask(claim);
    }
    let mut free = pool.addresses();
    for claim in sorted {
        assigned.take_any(claim, &mut free);
    }
    assigned.all
}

/// What has been decided so far.
struct Assigned<'a> {
    pool: Pool,
    taken: BTreeMap<IpAddr, &'a str>,
    all: BTreeMap<String, Assignment>,
}

impl<'a> Assigned<'a> {
    fn set(&mut self, claim: &'a Claim, assignment: Assignment) {
        self.taken.extend(assignment.address.map(|address| (address, claim.service.as_str())));
        self.all.insert(claim.service.clone(), assignment);
    }

    /// Returns the address that a service has, if it is still its own.
    fn held(&self, claim: &Claim) -> Option<IpAddr> {
        claim.held.filter(|held| self.pool.contains(*held) && !self.taken.contains_key(held))
    }

    /// Lets a service keep its address, unless it may get another one that it asks for.
    fn keep(&mut self, claim: &'a Claim) {
        let address = self.held(claim);
        match claim.asked.filter(|asked| claim.held != Some(*asked)) {
            Some(asked) if !self.pool.contains(asked) => {
                let refusal = Some(Refusal::NotInPool { asked, pool: self.pool });
                self.set(claim, Assignment { address, refusal });
            }
            Some(_) => {}
            None => {
                if let Some(address) = address {
                    self.set(claim, Assignment::of(address));
                }
            }
        }
    }

    /// Gives a service the address that it asks for, if nobody has it.
    fn ask(&mut self, claim: &'a Claim) {
        let Some(asked) = claim.asked.filter(|_| !self.all.contains_key(&claim.service)) else {
            return;
        };
        let refusal = match self.taken.get(&asked) {
            _ if !self.pool.contains(asked) => Refusal::NotInPool { asked, pool: self.pool },
            Some(by) => Refusal::Taken { asked, by: (*by).to_owned() },
            None => return self.set(claim, Assignment::of(asked)),
        };
        let address = self.held(claim);
        self.set(claim, Assignment { address, refusal: Some(refusal) });
    }

    /// Gives a service that has none the next free address.
    fn take_any(&mut self, claim: &'a Claim, free: &mut impl Iterator<Item = IpAddr>) {
        if self.all.contains_key(&claim.service) {
            return;
        }
        let address = free.find(|address| !self.taken.contains_key(address));
        let exhausted = Refusal::Exhausted { pool: self.pool, size: self.pool.size() };
        let refusal = address.is_none().then_some(exhausted);
        self.set(claim, Assignment { address, refusal });
    }
}

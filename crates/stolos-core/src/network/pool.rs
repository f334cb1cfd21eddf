//! Which address of a pool each service of the fleet has in this cluster.

use std::cmp::Reverse;
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

/// Decides which address each service has. Those that have one keep it, unless they ask for another; of two that have
/// the same, the older one does. Nobody gets an address that another one keeps, however old it is.
#[must_use]
pub fn assign(pool: &Pool, claims: &[Claim]) -> BTreeMap<String, Result<IpAddr, Refusal>> {
    let mut sorted: Vec<&Claim> = claims.iter().collect();
    sorted.sort_by_key(|claim| (claim.created, &claim.service));
    let mut taken: BTreeMap<IpAddr, &str> = BTreeMap::new();
    let mut assigned = BTreeMap::new();
    for claim in &sorted {
        let kept = claim.held.filter(|held| claim.asked.is_none_or(|asked| asked == *held));
        let kept = kept.filter(|held| pool.contains(*held) && !taken.contains_key(held));
        if let Some(address) = kept {
            taken.insert(address, &claim.service);
            assigned.insert(claim.service.clone(), Ok(address));
        }
    }
    // Those who ask come before those who take whatever there is.
    sorted.sort_by_key(|claim| Reverse(claim.asked.is_some()));
    let mut free = pool.addresses();
    for claim in sorted {
        if assigned.contains_key(&claim.service) {
            continue;
        }
        let found = match claim.asked {
            Some(asked) => ask(pool, asked, &taken),
            None => free
                .find(|address| !taken.contains_key(address))
                .ok_or_else(|| Refusal::Exhausted { pool: *pool, size: pool.size() }),
        };
        if let Ok(address) = found {
            taken.insert(address, &claim.service);
        }
        assigned.insert(claim.service.clone(), found);
    }
    assigned
}

fn ask(pool: &Pool, asked: IpAddr, taken: &BTreeMap<IpAddr, &str>) -> Result<IpAddr, Refusal> {
    match taken.get(&asked) {
        _ if !pool.contains(asked) => Err(Refusal::NotInPool { asked, pool: *pool }),
        Some(by) => Err(Refusal::Taken { asked, by: (*by).to_owned() }),
        None => Ok(asked),
    }
}

//! The addresses of the pods of a cluster.

use std::net::Ipv4Addr;

/// Longest prefix of a network that has addresses between its first and its last one.
const LONGEST_PREFIX: u8 = 30;

/// A network from which the pods of a cluster get their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    first: Ipv4Addr,
    prefix_length: u8,
}

/// The one that clusters usually have: 10.244.0.0/16.
impl Default for PodNetwork {
    fn default() -> Self {
        Self { first: Ipv4Addr::new(10, 244, 0, 0), prefix_length: 16 }
    }
}

impl PodNetwork {
    /// Returns the network with this address in it. A prefix of more than 30 bits counts as 30.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix_length: u8) -> Self {
        let prefix_length = prefix_length.min(LONGEST_PREFIX);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length)).unwrap_or(0);
        Self { first: Ipv4Addr::from_bits(address.to_bits() & mask), prefix_length }
    }

    /// Returns how many pods can have an address of their own: its first and last one are nobody's.
    pub(crate) fn size(self) -> u64 {
        (1 << (32 - u64::from(self.prefix_length))) - 2
    }

    /// Returns an address by number; numbers beyond the size begin again.
    pub(crate) fn nth(self, n: u64) -> Ipv4Addr {
        let offset = u32::try_from(n % self.size() + 1).expect("less than 2^32 addresses");
        Ipv4Addr::from_bits(self.first.to_bits() + offset)
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        let offset = address.to_bits().checked_sub(self.first.to_bits());
        offset.is_some_and(|offset| (1..=self.size()).contains(&u64::from(offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_gives_every_address_but_its_first_and_last() {
        let network = PodNetwork::new(Ipv4Addr::new(127, 3, 0, 9), 29);
        let all: Vec<String> = (0..network.size()).map(|n| network.nth(n).to_string()).collect();
        assert_eq!(all.len(), 6);
        assert_eq!((&*all[0], &*all[5]), ("127.3.0.9", "127.3.0.14"));
        assert_eq!(network.nth(6), network.nth(0), "numbers begin again");
        let is_in = |text: &str| network.contains(text.parse().unwrap());
        let addresses = ["127.3.0.7", "127.3.0.8", "127.3.0.9", "127.3.0.14", "127.3.0.15"];
        assert_eq!(addresses.map(is_in), [false, false, true, true, false]);
    }

    #[test]
    fn the_largest_and_the_smallest_network_have_addresses() {
        let all = PodNetwork::new(Ipv4Addr::LOCALHOST, 0);
        assert_eq!(all.nth(all.size() - 1), Ipv4Addr::new(255, 255, 255, 254));
        let smallest = PodNetwork::new(Ipv4Addr::LOCALHOST, 32);
        assert_eq!(smallest.size(), 2);
    }
}

//! The range of addresses that services get.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::{Rng, RngExt};

/// Addresses of services at most, as upstream.
const MAX_ADDRESSES: u128 = 1 << 16;

/// A range of addresses, such as `10.96.0.0/12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    /// The first address that is given out.
    first: u128,
    /// How many are.
    size: u128,
    is_ipv6: bool,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of addresses for services, use one such as `10.96.0.0/12`")]
pub struct RangeError(String);

impl std::str::FromStr for ServiceRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let wrong = || RangeError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = if address.is_ipv6() { 128 } else { 32 };
        let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
        // A range of one or two addresses has none to give away.
        let host_bits = bits.checked_sub(prefix).filter(|bits| *bits > 1).ok_or_else(wrong)?;
        let total = 1_u128.checked_shl(host_bits).unwrap_or(u128::MAX);
        let network = number(address) & !(total - 1);
        // Neither the address of the network nor, in IPv4, that of everybody in it.
        let unusable = if address.is_ipv6() { 1 } else { 2 };
        let size = (total - unusable).min(MAX_ADDRESSES);
        Ok(Self { first: network + 1, size, is_ipv6: address.is_ipv6() })
    }
}

impl ServiceRange {
    /// Returns whether its addresses are of version 6.
    pub(super) fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    /// Returns whether an address can be given out.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let offset = number(address).checked_sub(self.first);
        address.is_ipv6() == self.is_ipv6 && offset.is_some_and(|offset| offset < self.size)
    }

    /// Returns the first address, that of the API server itself.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.nth(0)
    }

    /// Draws a free address. The lower part of the range is left to those who choose theirs, while there is room.
    pub(super) fn draw(
        &self,
        random: &mut impl Rng,
        is_free: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        let lower = (self.size / 16).clamp(16, 256).min(self.size);
        let upper = self.size - lower;
        let start = if upper == 0 { 0 } else { random.random_range(0..upper) };
        let row = (0..upper).map(|n| lower + (start + n) % upper.max(1)).chain(0..lower);
        row.map(|n| self.nth(n)).find(|address| is_free(*address))
    }

    fn nth(&self, n: u128) -> IpAddr {
        let number = self.first + n;
        if self.is_ipv6 {
            return Ipv6Addr::from_bits(number).into();
        }
        let number = u32::try_from(number).expect("a range of version 4 has 32 bits");
        Ipv4Addr::from_bits(number).into()
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn range(text: &str) -> ServiceRange {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_leave_out_what_belongs_to_the_network() {
        let small = range("10.0.0.7/24");
        assert_eq!(small.first().to_string(), "10.0.0.1");
        let contains = |address: &str| small.contains(address.parse().unwrap());
        assert!(contains("10.0.0.254"));
        for outside in ["10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1", "::a00:1"] {
            assert!(!contains(outside), "{outside}");
        }
        assert!(range("fd00::/64").contains("fd00::1:0".parse().unwrap()));
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/31", "x/8"] {
            assert!(bad.parse::<ServiceRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_address_is_drawn_once_and_the_lower_ones_last() {
        let small = range("10.0.0.0/27");
        let mut random = StdRng::seed_from_u64(7);
        let mut drawn = BTreeSet::new();
        let mut order = Vec::new();
        while let Some(address) = small.draw(&mut random, |address| !drawn.contains(&address)) {
            drawn.insert(address);
            order.push(address.to_string());
        }
        assert_eq!(drawn.len(), 30);
        assert_eq!(order[14..16], ["10.0.0.1", "10.0.0.2"]);
    }
}

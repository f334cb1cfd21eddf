//! Networks: an address and the length of its prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A network in the form of an address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix_length: u8,
}

impl Network {
    /// Tells whether it is one of version 4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Returns how many addresses it has; the network of all addresses of version 6 counts one less.
    #[must_use]
    pub fn size(&self) -> u128 {
        let length = if self.is_ipv4() { 32 } else { 128 };
        1_u128.checked_shl(length - u32::from(self.prefix_length)).unwrap_or(u128::MAX)
    }

    /// Returns an address by number, which is less than the size.
    #[must_use]
    pub fn nth(&self, n: u128) -> Option<IpAddr> {
        if n >= self.size() {
            return None;
        }
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_length)).unwrap_or(0);
                let n = u32::try_from(n).ok()?;
                Some(IpAddr::V4(Ipv4Addr::from_bits((address.to_bits() & mask) + n)))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_length)).unwrap_or(0);
                Some(IpAddr::V6(Ipv6Addr::from_bits((address.to_bits() & mask) + n)))
            }
        }
    }

    /// Tells whether an address is in the network. One of version 4 in the clothes of version 6 counts as version 4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_length)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_length)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` must be a network such as 10.0.0.0/8 or fd00::/8");
        let (address, prefix_length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix_length: u8 = prefix_length.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix_length > longest {
            return Err(wrong());
        }
        Ok(Self { address, prefix_length })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_network_of_length_0_is_everything_of_its_version() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.7".parse().unwrap()));
        assert!(!all.contains("2001:db8::1".parse().unwrap()));
        assert_eq!(serde_json::to_value(all).unwrap(), json!("0.0.0.0/0"));
        let one: Network = "2001:db8::1/128".parse().unwrap();
        assert!(one.contains("2001:db8::1".parse().unwrap()));
        assert!(!one.contains("2001:db8::2".parse().unwrap()));
    }

    #[test]
    fn the_addresses_of_a_network_are_numbered() {
        for (text, size, last) in [
            ("10.1.2.3/24", 256, "10.1.2.255"),
            ("10.1.2.3/32", 1, "10.1.2.3"),
            ("0.0.0.0/0", 1 << 32, "255.255.255.255"),
            ("fd00::7/64", 1 << 64, "fd00::ffff:ffff:ffff:ffff"),
            ("fd00::7/128", 1, "fd00::7"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.size(), size, "{text}");
            assert_eq!(network.nth(size - 1), Some(last.parse().unwrap()), "{text}");
            assert_eq!(network.nth(size), None, "{text}");
        }
        let all: Network = "::/0".parse().unwrap();
        assert_eq!(all.nth(5), Some("::5".parse().unwrap()));
    }
}

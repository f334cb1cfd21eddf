//! Addresses and networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::opaque::Opaque;
use super::{Body, no_overload};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::Value;

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "ip" => |args| match &args[0] {
            Value::String(text) => parse_ip(text.as_str()).map(wrap),
            Value::Opaque(Opaque::Cidr(cidr)) => Ok(wrap(cidr.address)),
            _ => no_overload(),
        },
        "isIP" => |args| match &args[0] {
            Value::String(text) => Ok(parse_ip(text.as_str()).is_ok().into()),
            _ => no_overload(),
        },
        "ip.isCanonical" => |args| match &args[0] {
            Value::String(text) => {
                Ok((parse_ip(text.as_str())?.to_string() == text.as_str()).into())
            }
            _ => no_overload(),
        },
        "family" => |args| Ok(Value::Int(if address(&args[0])?.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |args| Ok(address(&args[0])?.is_unspecified().into()),
        "isLoopback" => |args| Ok(address(&args[0])?.is_loopback().into()),
        "isLinkLocalMulticast" => |args| Ok(is_link_local_multicast(address(&args[0])?).into()),
        "isLinkLocalUnicast" => |args| Ok(is_link_local_unicast(address(&args[0])?).into()),
        "isGlobalUnicast" => |args| Ok(is_global_unicast(address(&args[0])?).into()),
        "cidr" => |args| match &args[0] {
            Value::String(text) => {
                Cidr::parse(text.as_str()).map(|cidr| Value::Opaque(Opaque::Cidr(cidr)))
            }
            _ => no_overload(),
        },
        "isCIDR" => |args| match &args[0] {
            Value::String(text) => Ok(Cidr::parse(text.as_str()).is_ok().into()),
            _ => no_overload(),
        },
        "containsIP" => |args| {
            let other = match &args[1] {
                Value::String(text) => match parse_ip(text.as_str()) {
                    Ok(address) => address,
                    Err(_) => return no_overload(),
                },
                other => address(other)?,
            };
            Ok(cidr(&args[0])?.contains(other).into())
        },
        "containsCIDR" => |args| {
            let other = match &args[1] {
                Value::String(text) => match Cidr::parse(text.as_str()) {
                    Ok(network) => network,
                    Err(_) => return no_overload(),
                },
                other => cidr(other)?,
            };
            let network = cidr(&args[0])?;
            Ok((network.bits <= other.bits && network.contains(other.address)).into())
        },
        "masked" => |args| {
            let network = cidr(&args[0])?;
            let address = network.masked(network.address);
            Ok(Value::Opaque(Opaque::Cidr(Cidr { address, ..network })))
        },
        "prefixLength" => |args| Ok(Value::Int(cidr(&args[0])?.bits.into())),
        _ => return None,
    })
}

/// An address and how many of its bits name the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    fn parse(text: &str) -> Result<Self, Error> {
        let broken = |why: &str| {
            Error::new(format!(
                "network address parse error during conversion from string: network address parse error during \
                 conversion from string: {why}"
            ))
        };
        let (address, bits) = text
            .split_once('/')
            .ok_or_else(|| broken(&format!("netip.ParsePrefix({text:?}): no '/'")))?;
        let parsed: IpAddr = address
            .parse()
            .map_err(|_| broken(&format!("netip.ParsePrefix({text:?}): unable to parse IP")))?;
        if matches!(parsed, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(broken("IPv4-mapped IPv6 address is not allowed"));
        }
        let most = if parsed.is_ipv4() { 32 } else { 128 };
        let is_plain = !bits.is_empty()
            && bits.bytes().all(|byte| byte.is_ascii_digit())
            && (bits.len() == 1 || !bits.starts_with('0'));
        let bits = bits.parse::<u8>().ok().filter(|bits| is_plain && *bits <= most);
        let bits = bits.ok_or_else(|| {
            broken(&format!("netip.ParsePrefix({text:?}): prefix length out of range"))
        })?;
        Ok(Self { address: parsed, bits })
    }

    fn masked(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits.min(32))).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits.min(128))).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
            }
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && self.masked(address) == self.masked(self.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn wrap<'a>(address: IpAddr) -> Value<'a> {
    Value::Opaque(Opaque::Ip(address))
}

fn parse_ip(text: &str) -> Result<IpAddr, Error> {
    let address: IpAddr = text.parse().map_err(|_| {
        Error::new(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        ))
    })?;
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(Error::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        address => Ok(address),
    }
}

fn address(value: &Value<'_>) -> Result<IpAddr, Error> {
    match value {
        Value::Opaque(Opaque::Ip(address)) => Ok(*address),
        _ => Err(Error::no_such_overload()),
    }
}

fn cidr(value: &Value<'_>) -> Result<Cidr, Error> {
    match value {
        Value::Opaque(Opaque::Cidr(cidr)) => Ok(*cidr),
        _ => Err(Error::no_such_overload()),
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_global_unicast(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(is_broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || is_link_local_unicast(address))
}

//! PROXY protocol, version 2: the header that tells the address of a client to whoever is behind a proxy.
//!
//! Written before the first byte of a connection when a service asks for it, and read by a gateway from its peers. The
//! reader is strict: a header that is not exactly as the specification says is refused, because it comes from outside
//! and decides whom a connection is counted as. Version 1 (the text form) is not spoken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of every header (specification, section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;
const VERSION_LOCAL: u8 = 0x20;
const VERSION_PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Two addresses and two ports.
const ADDRESSES_V4: u8 = 12;
const ADDRESSES_V6: u8 = 36;

/// Bytes of the longest header that is read, its extensions included. The length field allows 64 KiB, but real headers
/// stay below a few hundred bytes, and whoever sends more only wants us to wait.
pub const MAX_HEADER: usize = 2048;

/// What a header says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The connection is the sender's own, for instance a health check: its addresses are the real ones.
    Local,
    /// The sender forwards a connection.
    Proxied {
        /// Where the connection came from.
        source: SocketAddr,
        /// Where it was going.
        destination: SocketAddr,
    },
}

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it says.
    pub origin: Origin,
    /// How many bytes it takes; the data begin after them.
    pub n_bytes: usize,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes must be read first.
    #[error("the PROXY header is incomplete: at least {0} bytes are needed")]
    Incomplete(usize),
    /// The stream begins with something else.
    #[error("the stream does not begin with the signature of a PROXY header of version 2")]
    Signature,
    /// Version or command are unknown.
    #[error(
        "version and command of the PROXY header are {0:#04x}, not 0x20 (LOCAL) or 0x21 (PROXY)"
    )]
    Command(u8),
    /// The kind of addresses is unknown or not for TCP.
    #[error(
        "address family and transport of the PROXY header are {0:#04x}, not 0x11 or 0x21 (TCP)"
    )]
    Family(u8),
    /// The header is longer than [`MAX_HEADER`] or too short for its addresses.
    #[error(
        "the PROXY header claims {0} bytes after the first 16, outside of what its kind allows"
    )]
    Length(usize),
    /// The extensions do not fill the header exactly.
    #[error("the extensions of the PROXY header do not end where the header does")]
    Extensions,
}

/// Returns the header for a TCP connection from `source` to `destination`.
///
/// An IPv4 address beside an IPv6 address is written as IPv6, as the form knows only pairs of a kind.
pub fn write(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = Vec::with_capacity(FIXED + usize::from(ADDRESSES_V6));
    header.extend_from_slice(&SIGNATURE);
    header.push(VERSION_PROXY);
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.push(TCP4);
            header.extend_from_slice(&[0, ADDRESSES_V4]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
        (from, to) => {
            header.push(TCP6);
            header.extend_from_slice(&[0, ADDRESSES_V6]);
            header.extend_from_slice(&as_v6(from).octets());
            header.extend_from_slice(&as_v6(to).octets());
        }
    }
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header
}

/// Reads the header at the beginning of a TCP stream.
///
/// # Errors
///
/// [`Error::Incomplete`] while what is there so far may begin a header; anything else is final.
pub fn read(bytes: &[u8]) -> Result<Header, Error> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(Error::Signature);
    }
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        return Err(Error::Incomplete(FIXED));
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED + length > MAX_HEADER {
        return Err(Error::Length(length));
    }
    let shortest = usize::from(match (fixed[12], fixed[13]) {
        // The addresses of a LOCAL header are to be skipped, whatever they are (section 2.2).
        (VERSION_LOCAL, _) => 0,
        (VERSION_PROXY, TCP4) => ADDRESSES_V4,
        (VERSION_PROXY, TCP6) => ADDRESSES_V6,
        (VERSION_PROXY, family) => return Err(Error::Family(family)),
        (command, _) => return Err(Error::Command(command)),
    });
    if length < shortest {
        return Err(Error::Length(length));
    }
    let Some(body) = rest.get(..length) else {
        return Err(Error::Incomplete(FIXED + length));
    };
    let n_bytes = FIXED + length;
    if fixed[12] == VERSION_LOCAL {
        return Ok(Header { origin: Origin::Local, n_bytes });
    }
    let (addresses, extensions) = body.split_at(shortest);
    check_extensions(extensions)?;
    Ok(Header { origin: proxied(addresses), n_bytes })
}

/// Each extension is one byte of type, two of length, then as many of value (section 2.2).
fn check_extensions(mut rest: &[u8]) -> Result<(), Error> {
    while let Some((head, tail)) = rest.split_at_checked(3) {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        rest = tail.get(length..).ok_or(Error::Extensions)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(Error::Extensions) }
}

/// Takes two addresses and two ports from bytes of one of the two known lengths.
fn proxied(addresses: &[u8]) -> Origin {
    let size = if addresses.len() == usize::from(ADDRESSES_V4) { 4 } else { 16 };
    let (from, rest) = addresses.split_at(size);
    let (to, ports) = rest.split_at(size);
    let address = |bytes: &[u8], port: &[u8]| {
        SocketAddr::new(ip(bytes), u16::from_be_bytes([port[0], port[1]]))
    };
    Origin::Proxied { source: address(from, &ports[..2]), destination: address(to, &ports[2..]) }
}

fn ip(bytes: &[u8]) -> IpAddr {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(octets).into();
    }
    let octets = <[u8; 16]>::try_from(bytes).expect("addresses have 4 or 16 bytes");
    Ipv6Addr::from(octets).into()
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A header with `family` and `body`, as another program would write it.
    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_header_has_the_bytes_of_the_specification() {
        let bytes = write(at("192.0.2.1:258"), at("198.51.100.7:443"));
        let want = [
            0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54,
            0x0a, // signature
            0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 7, 1, 2, 1, 187,
        ];
        assert_eq!(bytes, want);
    }

    #[test]
    fn an_address_of_each_kind_makes_an_ipv6_header() {
        let bytes = write(at("192.0.2.1:1"), at("[2001:db8::1]:2"));
        let origin = read(&bytes).unwrap().origin;
        let want = Origin::Proxied {
            source: at("[::ffff:192.0.2.1]:1"),
            destination: at("[2001:db8::1]:2"),
        };
        assert_eq!(origin, want);
    }

    #[test]
    fn what_is_no_header_is_refused_with_the_reason() {
        let long = u16::try_from(MAX_HEADER).unwrap().to_be_bytes();
        let too_long = [&SIGNATURE[..], &[VERSION_PROXY, TCP4], &long].concat();
        let cases = [
            ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Error::Signature),
            ("version 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), Error::Signature),
            ("version 3", header(0x31, TCP4, &[0; 12]), Error::Command(0x31)),
            ("an unknown command", header(0x22, TCP4, &[0; 12]), Error::Command(0x22)),
            ("no family", header(VERSION_PROXY, 0, &[]), Error::Family(0)),
            ("a UDP flow", header(VERSION_PROXY, 0x12, &[0; 12]), Error::Family(0x12)),
            ("a UDP flow of IPv6", header(VERSION_PROXY, 0x22, &[0; 36]), Error::Family(0x22)),
            ("a unix socket", header(VERSION_PROXY, 0x31, &[0; 216]), Error::Family(0x31)),
            ("too short for IPv4", header(VERSION_PROXY, TCP4, &[0; 11]), Error::Length(11)),
            ("too short for IPv6", header(VERSION_PROXY, TCP6, &[0; 12]), Error::Length(12)),
            ("too long", too_long, Error::Length(MAX_HEADER)),
            ("half an extension", header(VERSION_PROXY, TCP4, &[0; 14]), Error::Extensions),
            (
                "an extension longer than the header",
                header(VERSION_PROXY, TCP4, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 2, 0]),
                Error::Extensions,
            ),
        ];
        for (name, bytes, want) in cases {
            assert_eq!(read(&bytes), Err(want), "{name}");
        }
    }

    #[test]
    fn extensions_are_skipped() {
        let body = [&[1; 12][..], &[4, 0, 1, 7], &[0x20, 0, 0]].concat();
        let read = read(&header(VERSION_PROXY, TCP4, &body)).unwrap();
        assert_eq!(read.n_bytes, FIXED + 19);
    }

    #[test]
    fn a_local_header_has_no_addresses() {
        for body in [&[][..], &[9; 40]] {
            let bytes = header(VERSION_LOCAL, 0, body);
            let want = Header { origin: Origin::Local, n_bytes: bytes.len() };
            assert_eq!(read(&bytes), Ok(want));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_after_it(
            source: SocketAddr, destination: SocketAddr, data: Vec<u8>, cut: prop::sample::Index,
        ) {
            let header = write(source, destination);
            let bytes = [&header[..], &data[..]].concat();
            let read_back = read(&bytes).unwrap();
            prop_assert_eq!(read_back.n_bytes, header.len());
            let Origin::Proxied { source: from, destination: to } = read_back.origin else {
                return Err(TestCaseError::fail("a forwarded connection reads as local"));
            };
            prop_assert_eq!((from.ip().to_canonical(), from.port()), (source.ip().to_canonical(), source.port()));
            prop_assert_eq!(
                (to.ip().to_canonical(), to.port()),
                (destination.ip().to_canonical(), destination.port())
            );
            // Any beginning asks for more, and for no more than there is.
            let cut = cut.index(header.len());
            let Err(Error::Incomplete(needed)) = read(&header[..cut]) else {
                return Err(TestCaseError::fail("the beginning of a header does not ask for more"));
            };
            prop_assert!(cut < needed && needed <= header.len());
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>, command: u8, family: u8) {
            let _ = read(&bytes);
            if let Ok(read) = read(&header(command, family, &bytes[..bytes.len().min(3000)])) {
                prop_assert!(read.n_bytes <= MAX_HEADER);
            }
        }
    }
}

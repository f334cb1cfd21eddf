//! The few requests of rtnetlink that a test network takes, in the form of `rtnetlink(7)`.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;

/// Makes a cable between the namespace of the calling thread and another one: `here` at this end, `there` at that.
pub(crate) fn connect(here: &str, there: &str, other: BorrowedFd<'_>) -> io::Result<()> {
    let mut peer = link(0, 0, 0);
    attribute(&mut peer, IFLA_IFNAME, &name(there));
    attribute(&mut peer, IFLA_NET_NS_FD, &other.as_raw_fd().to_ne_bytes());
    let mut data = Vec::new();
    attribute(&mut data, VETH_INFO_PEER, &peer);
    let mut info = Vec::new();
    attribute(&mut info, IFLA_INFO_KIND, b"veth");
    attribute(&mut info, IFLA_INFO_DATA, &data);
    let mut body = link(0, 0, 0);
    attribute(&mut body, IFLA_IFNAME, &name(here));
    attribute(&mut body, IFLA_LINKINFO, &info);
    request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &body)
}

/// Switches an interface on or off.
pub(crate) fn set_up(interface: &str, up: bool) -> io::Result<()> {
    let flags = if up { IFF_UP } else { 0 };
    request(RTM_NEWLINK, 0, &link(index(interface)?, flags, IFF_UP))
}

/// Gives an address to an interface.
pub(crate) fn add_address(interface: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mut body = vec![AF_INET, prefix, 0, 0];
    body.extend(index(interface)?.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &address.octets());
    attribute(&mut body, IFA_ADDRESS, &address.octets());
    request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body)
}

fn index(interface: &str) -> io::Result<u32> {
    let any = std::net::UdpSocket::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))?;
    Ok(rustix::net::netdevice::name_to_index(&any, interface)?)
}

fn name(interface: &str) -> Vec<u8> {
    [interface.as_bytes(), &[0]].concat()
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![AF_UNSPEC, 0, 0, 0];
    for word in [index, flags, change] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// `struct rtattr` and its value, padded to words.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Sends one request and waits for its acknowledgement.
fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let route = Some(Protocol::from(NETLINK_ROUTE));
    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, route)?;
    socket.send(&message)?;
    let mut answer = [0; 4096];
    let n = socket.read(&mut answer)?;
    let is_error = answer[4..6] == NLMSG_ERROR.to_ne_bytes();
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 if is_error && n >= 20 => Ok(()),
        code if is_error => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

//! The addresses of simulated pods and of the services in front of them: a part of this machine's loopback network that no
//! other fleet of the machine uses.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};

use stolos_core::network::pool::Pool;
use stolos_sim::PodNetwork;

use crate::exit::Hinted;

/// Fleets that one machine has room for. Each has a network of 12 bits' length from 127.16.0.0 on: its lower half is for
/// pods, the upper one for services.
const SLOTS: std::ops::RangeInclusive<u8> = 1..=14;
const SLOT_LENGTH: u8 = 12;

/// Members of a fleet whose addresses can be told apart at a glance, as 127.16.0.0/16 and 127.17.0.0/16.
const FEW: u32 = 8;
/// Length of the networks of few members, and of up to 1,024.
const LENGTHS: (u8, u8) = (16, 23);

/// Port at which a fleet shows that it uses its part, at the last address of that.
const MARKER_PORT: u16 = 7439;

/// The part of loopback that a fleet uses, until it is dropped.
pub(super) struct Loopback {
    slot: u8,
    first: Ipv4Addr,
    length: u8,
    _marker: Option<UdpSocket>,
}

impl Loopback {
    /// Takes a part that no other fleet uses: that which the fleet had before, or the first one from `seed` on.
    pub(super) fn take(n_members: u32, before: Option<u8>, seed: u64) -> anyhow::Result<Self> {
        let length = if n_members <= FEW { LENGTHS.0 } else { LENGTHS.1 };
        let n_slots = SLOTS.count();
        let skipped = usize::try_from(seed % n_slots as u64).unwrap_or(0);
        let before = before.filter(|slot| SLOTS.contains(slot));
        for slot in before.into_iter().chain(SLOTS.cycle().skip(skipped).take(n_slots)) {
            let first = Ipv4Addr::new(127, slot << (16 - SLOT_LENGTH), 0, 0);
            let last = Ipv4Addr::from_bits(first.to_bits() + (1 << (32 - SLOT_LENGTH)) - 2);
            match UdpSocket::bind((last, MARKER_PORT)) {
                Ok(marker) => return Ok(Self { slot, first, length, _marker: Some(marker) }),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                // Where loopback is one address only, pods and services say so themselves.
                Err(_) => return Ok(Self { slot, first, length, _marker: None }),
            }
        }
        Err(Hinted::error(
            format!("{} fleets on this machine use all of its loopback addresses", SLOTS.count()),
            "stop another `stolos up`, or start this one without --enable-networking-features",
        ))
    }

    /// Returns what a later start is to name, so that services keep their addresses.
    pub(super) fn slot(&self) -> u8 {
        self.slot
    }

    /// Returns the addresses of the pods of a member, given by number.
    pub(super) fn pods(&self, member: usize) -> PodNetwork {
        PodNetwork::new(self.network(0, member), self.length)
    }

    /// Returns the addresses that services have at a member, given by number.
    pub(super) fn services(&self, member: usize) -> Pool {
        let upper_half = 1 << (32 - SLOT_LENGTH - 1);
        let network = format!("{}/{}", self.network(upper_half, member), self.length);
        network.parse().expect("an address and the length of its prefix are a network")
    }

    fn network(&self, offset: u32, member: usize) -> Ipv4Addr {
        // More members than there are networks share them; the command line allows none.
        let n_networks = 1 << (self.length - SLOT_LENGTH - 1);
        let member = u32::try_from(member).unwrap_or(0) % n_networks;
        let number = offset + (member << (32 - u32::from(self.length)));
        Ipv4Addr::from_bits(self.first.to_bits() + number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(n_members: u32) -> Loopback {
        let length = if n_members <= FEW { LENGTHS.0 } else { LENGTHS.1 };
        Loopback { slot: 1, first: Ipv4Addr::new(127, 16, 0, 0), length, _marker: None }
    }

    #[test]
    fn members_have_networks_of_their_own() {
        let few = loopback(3);
        let of = |member| (few.pods(member), few.services(member).to_string());
        let pods = |second| PodNetwork::new(Ipv4Addr::new(127, second, 0, 0), 16);
        assert_eq!(of(0), (pods(16), "127.24.0.0/16".to_owned()));
        assert_eq!(of(7), (pods(23), "127.31.0.0/16".to_owned()));
        let many = loopback(1_000);
        assert_eq!(many.pods(999), PodNetwork::new(Ipv4Addr::new(127, 23, 206, 0), 23));
        assert_eq!(many.services(999).to_string(), "127.31.206.0/23");
    }

    #[test]
    fn two_fleets_have_different_parts_and_a_fleet_gets_its_own_back() {
        let take = |before| Loopback::take(3, before, 5).unwrap();
        let (first, second) = (take(None), take(None));
        assert_ne!(first.first, second.first);
        assert!(first.first.is_loopback() && second.first.is_loopback());
        let slot = second.slot();
        drop(second);
        // Other tests may take what is free, but not what is next to it.
        let again = take(Some(slot));
        assert_ne!(first.first, again.first, "what is in use is left alone");
        assert_ne!(take(Some(again.slot())).first, again.first);
    }
}

//! Where clients can be sent.

use std::net::Ipv6Addr;

use stolos_core::network::traffic::{ProviderError, PublicAddress, Target};

/// Returns where clients are sent for the address with this id.
pub(crate) fn target(resource_id: &str) -> Result<Target, ProviderError> {
    let address = PublicAddress::address_of(resource_id).ok_or_else(|| {
        let of_azure = "is an address of Azure, which only Azure Traffic Manager can send clients to; the built-in DNS takes addresses that members report themselves";
        refused(400, format_args!("`{resource_id}` {of_azure}"))
    })?;
    let target = Target::parse(address);
    let target = target.filter(is_reachable);
    target.ok_or_else(|| {
        refused(
            400,
            format_args!(
                "`{address}` is neither an address that others can reach nor the name of a host"
            ),
        )
    })
}

/// Tells whether others than the machine that has the address could reach it, for all that is known.
fn is_reachable(target: &Target) -> bool {
    match target {
        Target::V4(address) => {
            !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_broadcast()
                && !address.is_link_local()
        }
        Target::V6(address) => {
            !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_unicast_link_local()
                && is_not_mapped(*address)
        }
        Target::Host(_) => true,
    }
}

/// An IPv4 address in the clothes of IPv6 is no answer to a question for an IPv6 address.
fn is_not_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_none()
}

/// Refuses what was asked for.
pub(crate) fn refused(status: u16, message: impl std::fmt::Display) -> ProviderError {
    ProviderError { status: Some(status), message: message.to_string() }
}

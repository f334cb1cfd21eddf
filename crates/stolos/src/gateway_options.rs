//! Options about how other members reach the pods of a member.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::bail;
use clap::{Args, ValueEnum};
use stolos_core::network::gateway::{PortRange, Settings, Tls};

/// How other members reach the pods of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reachability {
    /// By their own addresses, which no other member uses for its pods
    Flat,
    /// By a gateway: `stolos dataplane --reachability gateway`
    Gateway,
}

/// Whether connections between members are encrypted.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GatewayTls {
    /// Yes: both sides show a certificate of the fleet
    Require,
    /// No, so that importers of other makes can connect too
    Off,
}

/// How exported Services are entered.
#[derive(Args)]
pub(crate) struct EntryOptions {
    /// How other members reach the pods of this one
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Reachability::Flat)]
    pub(crate) reachability: Reachability,
    /// With --reachability=gateway: address of the gateway that other members connect to; may be given several times
    #[arg(long, value_name = "IPV4")]
    pub(crate) gateway_address: Vec<Ipv4Addr>,
    /// With --reachability=gateway: ports that exported Services get at the gateway
    #[arg(long, value_name = "LOW-HIGH", default_value = "20000-29999")]
    pub(crate) gateway_ports: PortRange,
    /// With --reachability=gateway: whether connections between members are encrypted
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = GatewayTls::Require)]
    pub(crate) gateway_tls: GatewayTls,
}

/// How a data plane serves the entries of its member.
#[derive(Args)]
pub(crate) struct GatewayOptions {
    /// How other members reach the pods of this one; with `gateway`, this process is the gateway
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Reachability::Flat)]
    pub(crate) reachability: Reachability,
    /// With --reachability=gateway: address at which it listens; may be given several times [default: what other members connect to]
    #[arg(long, value_name = "IP")]
    pub(crate) gateway_bind_address: Vec<IpAddr>,
    /// Secret in --fleet-system-namespace of the member with its certificate (`tls.crt`, `tls.key`) and the authorities of the fleet (`ca.crt`), for connections between members
    #[arg(long, value_name = "NAME", default_value = "stolos-gateway-tls")]
    pub(crate) gateway_tls_secret: String,
}

impl EntryOptions {
    /// Returns how the member is entered, if it has a gateway.
    pub(crate) fn settings(&self) -> anyhow::Result<Option<Settings>> {
        match (self.reachability, &*self.gateway_address) {
            (Reachability::Flat, []) => return Ok(None),
            (Reachability::Flat, _) => {
                bail!("--gateway-address needs --reachability=gateway");
            }
            (Reachability::Gateway, []) => {
                bail!(
                    "--reachability=gateway needs --gateway-address, where other members connect"
                );
            }
            (Reachability::Gateway, _) => {}
        }
        let mut addresses = self.gateway_address.clone();
        addresses.sort_unstable();
        addresses.dedup();
        let tls = match self.gateway_tls {
            GatewayTls::Require => Tls::Require,
            GatewayTls::Off => Tls::Off,
        };
        Ok(Some(Settings { addresses, ports: self.gateway_ports, tls }))
    }
}

//! Options of balancing by DNS, and the sockets that come of them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use stolos_dns::{Clock, Directory, Listener, Zone};
use stolos_hub::traffic::{Nobody, SharedProvider};
use tracing::warn;

/// Who answers the DNS names of TrafficManagerProfiles.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Balancing by DNS")]
pub(crate) struct DnsOptions {
    /// Address at which this process itself answers the DNS names of TrafficManagerProfiles, over UDP and TCP, such as
    /// :53 [default: not served]
    #[arg(long, value_name = "ADDRESS", value_parser = crate::observe::address)]
    pub(crate) dns_bind_address: Option<SocketAddr>,
    /// Zone of the DNS names: a TrafficManagerProfile is `<namespace>-<name>` in it
    #[arg(long, value_name = "ZONE", default_value = DEFAULT_ZONE)]
    pub(crate) traffic_manager_zone: Zone,
}

const DEFAULT_ZONE: &str = "fleet.local";

impl Default for DnsOptions {
    fn default() -> Self {
        let zone = DEFAULT_ZONE.parse().expect("the default is the name of a zone");
        Self { dns_bind_address: None, traffic_manager_zone: zone }
    }
}

/// Answers DNS names, or nobody does.
pub(crate) struct Dns {
    provider: Option<SharedProvider>,
    served: Option<(Directory, Listener)>,
}

impl DnsOptions {
    /// Takes the address, if there is one. `enabled` tells whether there are TrafficManagerProfiles, `networking` whether
    /// there are services across clusters that could be behind them.
    pub(crate) async fn bind(
        &self,
        enabled: bool,
        networking: bool,
        clock: Clock,
    ) -> anyhow::Result<Dns> {
        if enabled && !networking {
            bail!("balancing by DNS needs services across clusters: --enable-networking-features");
        }
        let Some(address) = self.dns_bind_address else {
            if enabled {
                warn!("nobody answers DNS names: there is no --dns-bind-address");
            }
            let nobody = || -> SharedProvider { Arc::new(Nobody) };
            return Ok(Dns { provider: enabled.then(nobody), served: None });
        };
        if !enabled {
            bail!("--dns-bind-address needs --enable-traffic-manager-feature");
        }
        let listener = Listener::bind(address)
            .await
            .with_context(|| format!("failed to listen on {address} for DNS"))?;
        let nameserver = Some(listener.address().ip()).filter(|ip| !ip.is_unspecified());
        let directory = Directory::new(self.traffic_manager_zone.clone(), nameserver, clock);
        let provider: SharedProvider = Arc::new(directory.clone());
        Ok(Dns { provider: Some(provider), served: Some((directory, listener)) })
    }
}

impl Dns {
    /// Returns who is to answer; None if the hub has no such feature.
    pub(crate) fn provider(&self) -> Option<SharedProvider> {
        self.provider.clone()
    }

    /// Returns the address that is listened on.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.served.as_ref().map(|(_, listener)| listener.address())
    }

    /// Answers and checks endpoints until the future is dropped.
    pub(crate) async fn serve(self) {
        let Some((directory, listener)) = self.served else {
            return std::future::pending().await;
        };
        tokio::join!(listener.serve(directory.clone()), stolos_dns::check(directory));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: DnsOptions,
    }

    fn options(args: &[&str]) -> Result<DnsOptions, String> {
        let args = ["hub"].iter().chain(args);
        let command = Command::try_parse_from(args).map_err(|error| error.to_string())?;
        Ok(command.options)
    }

    async fn bound(args: &[&str], enabled: bool, networking: bool) -> Result<Dns, String> {
        let clock: Clock = Arc::new(jiff::Timestamp::now);
        let bound = options(args).unwrap().bind(enabled, networking, clock).await;
        bound.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn nothing_is_served_unless_asked_for() {
        let dns = bound(&[], false, false).await.unwrap();
        assert!(dns.provider().is_none() && dns.address().is_none());
        let dns = bound(&[], true, true).await.unwrap();
        assert!(dns.provider().is_some() && dns.address().is_none(), "objects are told why");
        let dns = bound(&["--dns-bind-address=127.0.0.1:0"], true, true).await.unwrap();
        assert!(
            dns.provider().is_some() && dns.address().is_some_and(|address| address.port() > 0)
        );
    }

    #[tokio::test]
    async fn what_does_not_go_together_is_named_with_what_would() {
        let address = "--dns-bind-address=127.0.0.1:0";
        for (args, enabled, networking, want) in [
            (vec![address], false, true, "needs --enable-traffic-manager-feature"),
            (vec![address], true, false, "--enable-networking-features"),
            (vec![], true, false, "--enable-networking-features"),
            (
                vec!["--dns-bind-address=192.0.2.1:53"],
                true,
                true,
                "failed to listen on 192.0.2.1:53 for DNS: ",
            ),
        ] {
            let error = bound(&args, enabled, networking).await.err().unwrap();
            assert!(error.contains(want), "{error}");
        }
        let error = options(&["--traffic-manager-zone=a..b"]).unwrap_err();
        assert!(error.contains("`a..b` is not the name of a zone"), "{error}");
    }
}

//! The data plane's proxy beside HAProxy, nginx and a routed path, between network namespaces.
//!
//! ```text
//! client 10.9.1.1  ──  10.9.0.1  balancer  10.10.N.1  ──  10.10.N.2  endpoints 0 and 1
//! ```
//!
//! Everything shares the machine's cores, so only ratios of one sitting mean anything, and CPU time more than rates.

use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use crate::report::Figures;

mod load;
mod network;
mod paths;
mod proxy;

pub(crate) use load::{HoldArgs, hold};
pub(crate) use proxy::{ProxyArgs, run as run_proxy};

use load::{Bulk, Requests};
use network::Network;
use paths::Running;

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "Needs root and the programs ip, nginx (with its stream module), haproxy, wrk and iperf3.

Figures, each for each path: requests_per_s, p50_ms, p99_ms (32 connections kept alive), connections_per_s (a
connection for each request), bulk_gbit_per_s (1 stream) and bulk8_gbit_per_s (8 streams); CPU time of the proxy
alone: us_per_request, us_per_connection, bulk_s_per_gb, bulk8_s_per_gb; peak_rss_mib after all of that, and idle_rss_mib with as
many idle connections as --idle says.

Examples:
  stolos-bench dataplane
  stolos-bench dataplane --paths stolos,haproxy --runs 3 --seconds 2"
)]
pub(crate) struct Args {
    /// What is measured, in this order, and in the reverse order every second run
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "routed,stolos,haproxy,haproxy-splice,nginx"
    )]
    paths: Vec<Path>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Idle connections for the memory they take
    #[arg(long, default_value_t = 2000)]
    idle: u32,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// A way from the client to the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Path {
    /// Through the balancer's kernel, without any balancing
    Routed,
    /// The proxy of the data plane
    Stolos,
    /// HAProxy in TCP mode
    Haproxy,
    /// HAProxy in TCP mode that may splice
    HaproxySplice,
    /// The stream module of nginx
    Nginx,
}

impl Path {
    fn name(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Stolos => "stolos",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy_splice",
            Self::Nginx => "nginx",
        }
    }
}

pub(crate) async fn once(args: &Args, run: u32) -> anyhow::Result<Figures> {
    let scratch = tempfile::tempdir().context("failed to make a directory")?;
    let network = Network::new().await?;
    let _endpoints = paths::start_endpoints(&network, scratch.path()).await?;
    let mut order = args.paths.clone();
    if run.is_multiple_of(2) {
        order.reverse();
    }
    let mut figures = Figures::default();
    for path in order {
        let measured = measure(args, &network, path, scratch.path(), &mut figures).await;
        measured.with_context(|| format!("failed to measure `{}`", path.name()))?;
    }
    Ok(figures)
}

async fn measure(
    args: &Args,
    network: &Network,
    path: Path,
    scratch: &std::path::Path,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let running = Running::start(network, path, scratch).await?;
    let duration = Duration::from_secs(args.seconds);
    let name = |figure: &str| format!("{}_{figure}", path.name());
    let at = running.address();

    let before = running.cpu_s()?;
    let kept = Requests::measure(network, at, duration, false).await?;
    figures.add(name("requests_per_s"), kept.per_s);
    figures.add(name("p50_ms"), kept.p50_ms);
    figures.add(name("p99_ms"), kept.p99_ms);
    let after_requests = running.cpu_s()?;
    let closed = Requests::measure(network, at, duration, true).await?;
    figures.add(name("connections_per_s"), closed.per_s);
    let after_connections = running.cpu_s()?;
    let bulk = Bulk::measure(network, at, duration, 1).await?;
    figures.add(name("bulk_gbit_per_s"), bulk.gbit_per_s);
    let after_bulk = running.cpu_s()?;
    let bulk8 = Bulk::measure(network, at, duration, 8).await?;
    figures.add(name("bulk8_gbit_per_s"), bulk8.gbit_per_s);
    let after_bulk8 = running.cpu_s()?;
    if path == Path::Routed {
        return Ok(());
    }
    figures.add(name("us_per_request"), (after_requests - before) * 1e6 / kept.count);
    let of_connections = after_connections - after_requests;
    figures.add(name("us_per_connection"), of_connections * 1e6 / closed.count);
    figures.add(name("bulk_s_per_gb"), (after_bulk - after_connections) / bulk.gigabytes);
    figures.add(name("bulk8_s_per_gb"), (after_bulk8 - after_bulk) / bulk8.gigabytes);
    figures.add(name("peak_rss_mib"), running.peak_rss_mib()?);
    drop(running);

    // A fresh one: memory that the load took would hide what connections take.
    let running = Running::start(network, path, scratch).await?;
    let holding = load::start_holding(network, running.address(), args.idle).await?;
    figures.add(name("idle_rss_mib"), running.rss_mib()?);
    drop(holding);
    Ok(())
}

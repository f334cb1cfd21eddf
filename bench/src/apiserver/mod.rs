//! The embedded API server alone: durable creates, reads, watch events.
//!
//! The objects are custom resources of 1.5 KB with a schema and a validation rule, so that a create pays for decoding,
//! pruning, validation, CEL, field ownership, encoding and the disk.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::report::Figures;

mod churn;
pub(crate) mod clusters;
mod load;
mod sample;
mod server;
pub(crate) mod soak;
pub(crate) mod start;
mod watch;

use server::Target;
pub(crate) use server::serve;

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "Figures: creates_N_per_s and gets_N_per_s with N connections, their p50 and \
p99 in ms; events_W_per_s over W watchers, counted where they arrive; over TLS also memory and CPU \
time of the server, and rss_bytes_per_object.

1,000 watchers over TLS need `ulimit -n 2500`.

Examples:
  stolos-bench apiserver
  stolos-bench apiserver --via process --memory
  stolos-bench apiserver --runs 1 --kubeconfig real.yaml --pids 4711 4712
  stolos-bench apiserver --connections 1 16 64 --watchers 10 100 1000 --seconds 3"
)]
pub(crate) struct Args {
    /// How requests reach the server
    #[arg(long, value_enum, default_value_t = Via::Tls)]
    pub(crate) via: Via,
    /// Measures the current context of this kubeconfig, which may be any Kubernetes API server, instead of ours
    #[arg(long, value_name = "FILE", conflicts_with_all = ["via", "memory"])]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// With --kubeconfig: the processes whose memory and CPU time are added up
    #[arg(long, num_args = 1.., value_name = "PID", requires = "kubeconfig")]
    pub(crate) pids: Vec<u32>,
    /// Keeps everything in memory instead of on disk
    #[arg(long)]
    pub(crate) memory: bool,
    /// Numbers of connections that create and get at once
    #[arg(long, num_args = 1.., value_name = "N", default_values_t = [1, 16])]
    pub(crate) connections: Vec<usize>,
    /// Numbers of watchers of the same objects
    #[arg(long, num_args = 1.., value_name = "W", default_values_t = [100, 1000])]
    pub(crate) watchers: Vec<usize>,
    /// Seconds that creates and gets run for, each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Watch events to deliver for each number of watchers
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,
    /// Watches only metadata, as the garbage collector and many informers do
    #[arg(long)]
    pub(crate) metadata: bool,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// How requests reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Via {
    /// A process of its own, over TLS with client certificates
    Tls,
    /// The same process, without a socket
    Process,
}

/// What the serving process is told.
#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// Directory for the kubeconfig, and for the objects unless they stay in memory
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Keeps everything in memory instead of on disk
    #[arg(long)]
    pub(crate) memory: bool,
    /// Number of empty logical clusters beside the one that is served
    #[arg(long, default_value_t = 0)]
    pub(crate) more_clusters: u32,
}

/// Runs every part once on a new server.
pub(crate) async fn once(seed: u64, args: &Args) -> anyhow::Result<Figures> {
    let scratch = crate::fleet::scratch()?;
    let target = match &args.kubeconfig {
        Some(path) => Target::given(path, &args.pids)?,
        None => Target::start(args.via, args.memory, scratch.path()).await?,
    };
    let mut figures = Figures::default();
    sample::install(&target.client().await?).await?;

    let duration = Duration::from_secs(args.seconds);
    let before = target.usage()?;
    let mut created = Vec::new();
    for connections in &args.connections {
        let clients = target.clients(*connections).await?;
        let prefix = format!("c{connections}-s{seed}");
        let load = load::create(clients, &prefix, seed, duration).await?;
        load.figures(&format!("creates_{connections}"), &mut figures)?;
        created.extend(load.names);
    }
    if let (Some(before), Some(after)) = (before, target.usage()?) {
        let grown_bytes = (after.rss_mib - before.rss_mib) * 1024.0 * 1024.0;
        let n_created = u32::try_from(created.len())?;
        figures.add("rss_bytes_per_object", grown_bytes / f64::from(n_created));
        figures.add("rss_empty_mib", before.rss_mib);
        figures.add("objects", f64::from(n_created));
    }
    for connections in &args.connections {
        let clients = target.clients(*connections).await?;
        let load = load::get(clients, &created, seed, duration).await?;
        load.figures(&format!("gets_{connections}"), &mut figures)?;
    }
    for watchers in &args.watchers {
        let rate = watch::fan_out(&target, *watchers, args.events, args.metadata, seed).await?;
        figures.add(format!("events_{watchers}_per_s"), rate);
    }
    if let Some(usage) = target.usage()? {
        figures.add("peak_rss_mib", usage.peak_rss_mib);
        figures.add("cpu_s", usage.cpu_s);
    }
    target.stop().await?;
    Ok(figures)
}

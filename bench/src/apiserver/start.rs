//! How long the API server takes to serve again with many objects on disk, and what they cost in memory.

use serde::Serialize;

use super::server::Target;
use super::{load, sample};
use crate::report::Figures;

/// Connections that fill the store.
const WRITERS: u64 = 16;

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "Figures: empty_ms and start_ms, from the start of the process to its ready line without \
and with the objects, after it was stopped; after_kill_ms, with the objects after it was killed; rss_empty_mib and \
rss_mib right after the start; rss_bytes_per_object.

Examples:
  stolos-bench apiserver-start
  stolos-bench apiserver-start --objects 10000 --runs 3"
)]
pub(crate) struct Args {
    /// Number of custom resources of 1.5 KB in the store
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    objects: u64,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// Fills a new store, kills the server, starts it again, stops it, and starts it again.
pub(crate) async fn once(seed: u64, args: &Args) -> anyhow::Result<Figures> {
    let scratch = crate::fleet::scratch()?;
    let mut figures = Figures::default();
    let (target, _) = Target::tls(scratch.path(), false, 0).await?;
    sample::install(&target.client().await?).await?;
    target.interrupt().await?;

    let (target, empty) = Target::tls(scratch.path(), false, 0).await?;
    figures.add("empty_ms", empty.as_secs_f64() * 1000.0);
    let rss_empty_mib = target.usage()?.map_or(0.0, |usage| usage.rss_mib);
    figures.add("rss_empty_mib", rss_empty_mib);
    let clients = target.clients(usize::try_from(WRITERS)?).await?;
    load::fill(clients, seed, args.objects).await?;
    target.stop().await?;

    let (target, killed) = Target::tls(scratch.path(), false, 0).await?;
    figures.add("after_kill_ms", killed.as_secs_f64() * 1000.0);
    target.interrupt().await?;

    let (target, full) = Target::tls(scratch.path(), false, 0).await?;
    figures.add("start_ms", full.as_secs_f64() * 1000.0);
    let rss_mib = target.usage()?.map_or(0.0, |usage| usage.rss_mib);
    figures.add("rss_mib", rss_mib);
    let grown_bytes = (rss_mib - rss_empty_mib) * 1024.0 * 1024.0;
    figures.add("rss_bytes_per_object", grown_bytes / f64::from(u32::try_from(args.objects)?));
    target.stop().await?;
    Ok(figures)
}

//! What one more empty logical cluster costs.

use serde::Serialize;

use super::server::Target;
use crate::report::Figures;

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "Figures: ready_1_ms and ready_all_ms, from the start of the process to its ready line with one \
cluster and with all; rss_1_mib and rss_all_mib right after it; kib_per_cluster and ms_per_cluster, the difference for \
each cluster more.

Examples:
  stolos-bench apiserver-clusters
  stolos-bench apiserver-clusters --clusters 50 --runs 5"
)]
pub(crate) struct Args {
    /// Number of empty clusters beside the one that is served
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clusters: u32,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// Starts a server with one cluster, and one with many more.
pub(crate) async fn once(args: &Args) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    let mut measured = Vec::new();
    for (name, more) in [("1", 0), ("all", args.clusters)] {
        let scratch = crate::fleet::scratch()?;
        let (target, ready) = Target::tls(scratch.path(), false, more).await?;
        let ready_ms = ready.as_secs_f64() * 1000.0;
        let rss_mib = target.usage()?.map_or(0.0, |usage| usage.rss_mib);
        figures.add(format!("ready_{name}_ms"), ready_ms);
        figures.add(format!("rss_{name}_mib"), rss_mib);
        measured.push((ready_ms, rss_mib));
        target.stop().await?;
    }
    if let [(one_ms, one_mib), (all_ms, all_mib)] = measured[..] {
        let n_clusters = f64::from(args.clusters);
        figures.add("kib_per_cluster", (all_mib - one_mib) * 1024.0 / n_clusters);
        figures.add("ms_per_cluster", (all_ms - one_ms) / n_clusters);
    }
    Ok(figures)
}

//! Time to ready: new in memory, new in a data directory, and again in that directory.

use std::time::Duration;

use serde::Serialize;

use crate::Common;
use crate::fleet::{self, Fleet, Keep};
use crate::report::Figures;

#[derive(clap::Args, Serialize)]
#[command(
    after_help = "Figures: ephemeral_ms, data_dir_ms (a new directory), restart_ms (the same \
directory after kill -9), rss_mib (when ready, in memory).

Examples:
  stolos-bench ready
  stolos-bench ready --members 50 --runs 3
  stolos-bench ready --stolos target/release/stolos"
)]
pub(crate) struct Args {
    /// Number of simulated members
    #[arg(long, default_value_t = 3)]
    pub(crate) members: u32,
    /// Number of runs; the line has each and the medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

pub(crate) async fn once(common: &Common, args: &Args) -> anyhow::Result<Figures> {
    let scratch = fleet::scratch()?;
    let directory = scratch.path().join("data");
    let mut figures = Figures::default();

    let fleet = Fleet::start(common, args.members, Keep::Memory, scratch.path(), &[]).await?;
    figures.add("ephemeral_ms", ms(fleet.ready_after()));
    figures.add("rss_mib", fleet.usage()?.rss_mib);
    fleet.kill().await?;

    for name in ["data_dir_ms", "restart_ms"] {
        let keep = Keep::Directory(&directory);
        let fleet = Fleet::start(common, args.members, keep, scratch.path(), &[]).await?;
        figures.add(name, ms(fleet.ready_after()));
        fleet.kill().await?;
    }
    Ok(figures)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

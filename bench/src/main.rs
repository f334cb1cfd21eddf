//! `stolos-bench`: whole-system benchmarks.
//!
//! Each benchmark starts the real binary (or, for the API server alone, a server of its own), puts load on it and prints
//! one JSON line on standard output: what was measured, on which commit and machine, under which load. A line for
//! people goes to standard error. Nothing here judges a figure; `docs/benchmarks.md` puts them beside their targets.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

mod apiserver;
mod dataplane;
mod endpoints;
mod fleet;
mod machine;
mod placements;
mod process;
mod propagate;
mod reaction;
mod ready;
mod report;
mod stats;
mod updates;

use report::{Figures, Report};

/// Whole-system benchmarks of Stolos.
#[derive(Parser)]
#[command(
    name = "stolos-bench",
    version,
    max_term_width = 100,
    after_help = "Examples:
  cargo build --release -p stolos -p stolos-bench
  target/release/stolos-bench ready
  target/release/stolos-bench propagate --runs 3
  target/release/stolos-bench placements --placements 100 --members 50
  target/release/stolos-bench updates --members 1000
  target/release/stolos-bench reaction
  target/release/stolos-bench apiserver --via tls
  target/release/stolos-bench soak --minutes 60
  target/release/stolos-bench endpoints --members 5 --services 200
  target/release/stolos-bench dataplane --runs 3

The scheduler alone: cargo bench -p stolos-core --bench scheduler
The update engine alone: cargo bench -p stolos-core --bench update"
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    benchmark: Benchmark,
}

/// What every benchmark takes.
#[derive(Args)]
struct Common {
    /// The binary to measure [default: `stolos` beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    stolos: Option<PathBuf>,
    /// Seed of everything random: contents and order of requests
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Time from the start of `stolos up` to its ready line
    Ready(ready::Args),
    /// Time from a change on the hub to its watch event on the members, one object at a time
    Propagate(propagate::Args),
    /// Many placements over many simulated members, until all are available
    Placements(placements::Args),
    /// One update run over many simulated members, until it is completed
    Updates(updates::Args),
    /// Time from an approval, and from the opening of a maintenance window, until an upgrade begins
    Reaction(reaction::Args),
    /// Creates, reads and watch events per second of the embedded API server
    Apiserver(apiserver::Args),
    /// Memory of the embedded API server over a long run at part load
    Soak(apiserver::soak::Args),
    /// Time until the API server serves again with many objects on disk
    ApiserverStart(apiserver::start::Args),
    /// Memory and time that one more empty logical cluster costs the API server
    ApiserverClusters(apiserver::clusters::Args),
    /// From a change of an endpoint on one member to connections that go there, on all other members
    Endpoints(endpoints::Args),
    /// Requests, connections and bytes per second of the L4 proxy beside HAProxy and nginx
    Dataplane(dataplane::Args),
    /// Serves the ports of the benchmark of the data plane
    #[command(hide = true)]
    DataplaneProxy(dataplane::ProxyArgs),
    /// Holds idle connections for the benchmark of the data plane
    #[command(hide = true)]
    HoldConnections(dataplane::HoldArgs),
    /// Serves one cluster for the benchmark of the API server
    #[command(hide = true)]
    Serve(apiserver::ServeArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime
        .context("failed to start")
        .and_then(|runtime| runtime.block_on(run(&cli.common, &cli.benchmark)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(common: &Common, benchmark: &Benchmark) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Ready(args) => {
            let report = Report::new("ready", common.seed, args)?;
            repeat(report, args.runs, |_| ready::once(common, args)).await
        }
        Benchmark::Propagate(args) => {
            let report = Report::new("propagate", common.seed, args)?;
            repeat(report, args.runs, |_| propagate::once(common, args)).await
        }
        Benchmark::Placements(args) => {
            let report = Report::new("placements", common.seed, args)?;
            repeat(report, args.runs, |_| placements::once(common, args)).await
        }
        Benchmark::Updates(args) => {
            let report = Report::new("updates", common.seed, args)?;
            repeat(report, args.runs, |_| updates::once(common, args)).await
        }
        Benchmark::Reaction(args) => {
            let report = Report::new("reaction", common.seed, args)?;
            repeat(report, args.runs, |_| reaction::once(common, args)).await
        }
        Benchmark::Apiserver(args) => {
            let report = Report::new("apiserver", common.seed, args)?;
            let run = |run| apiserver::once(common.seed.wrapping_add(u64::from(run)), args);
            repeat(report, args.runs, run).await
        }
        Benchmark::Soak(args) => apiserver::soak::run(common.seed, args).await,
        Benchmark::ApiserverStart(args) => {
            let report = Report::new("apiserver-start", common.seed, args)?;
            repeat(report, args.runs, |_| apiserver::start::once(common.seed, args)).await
        }
        Benchmark::ApiserverClusters(args) => {
            let report = Report::new("apiserver-clusters", common.seed, args)?;
            repeat(report, args.runs, |_| apiserver::clusters::once(args)).await
        }
        Benchmark::Endpoints(args) => {
            let report = Report::new("endpoints", common.seed, args)?;
            repeat(report, args.runs, |_| endpoints::once(common, args)).await
        }
        Benchmark::Dataplane(args) => {
            let report = Report::new("dataplane", common.seed, args)?;
            repeat(report, args.runs, |run| dataplane::once(args, run)).await
        }
        Benchmark::DataplaneProxy(args) => dataplane::run_proxy(args).await,
        Benchmark::HoldConnections(args) => dataplane::hold(args).await,
        Benchmark::Serve(args) => apiserver::serve(args).await,
    }
}

/// Runs a benchmark some times, shows each run, and prints the line with the medians.
async fn repeat<F>(
    mut report: Report,
    runs: u32,
    mut once: impl FnMut(u32) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Figures>>,
{
    for run in 1..=runs {
        let figures = once(run).await?;
        say(&format!("run {run} of {runs}: {figures}"));
        report.add(figures);
    }
    let line = report.finish()?;
    writeln!(std::io::stdout().lock(), "{line}").context("failed to write to standard output")
}

/// Tells the person who runs it.
fn say(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

//! A long run at part load: objects, namespaces, definitions and watches come and go, and memory must stay where it is.
//!
//! Prints one JSON line a minute. Fails when the memory of the server grew over the last half, or requests failed.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::Via;
use super::churn::{self, Churn};
use super::load;
use super::sample;
use super::server::Target;
use crate::machine;
use crate::process::Usage;

#[derive(clap::Args, Serialize)]
#[command(after_help = "Example:
  stolos-bench soak --minutes 60 --percent 30")]
pub(crate) struct Args {
    /// Minutes to run for
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(2..=10_000))]
    minutes: u64,
    /// Load, in percent of the creates per second that the server does at most
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=100))]
    percent: u64,
    /// Connections that write and read
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    connections: u64,
    /// Objects at a time, at most
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    objects: u64,
    /// Watches at a time; one in ten reads nothing
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    watchers: u64,
    /// Most growth of the server's memory over the last half, in MiB, by the line of least squares
    #[arg(long, default_value_t = 8.0, value_name = "MIB")]
    max_growth_mib: f64,
}

/// How long the load is measured that 100 percent stands for.
const CALIBRATION: Duration = Duration::from_secs(5);

/// What has happened so far.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) watches: AtomicU64,
    /// Requests that failed though they should not.
    pub(super) failures: AtomicU64,
}

impl Counts {
    /// Counts a failure and shows it, if it is among the first.
    pub(super) fn failed(&self, error: &anyhow::Error) {
        const SHOWN: u64 = 10;
        if self.failures.fetch_add(1, Ordering::Relaxed) < SHOWN {
            crate::say(&format!("a request failed: {error:#}"));
        }
    }
}

/// One line of output.
#[derive(Serialize)]
struct Line {
    benchmark: &'static str,
    minute: u64,
    rss_mib: f64,
    cpu_s: f64,
    requests: u64,
    events: u64,
    watches: u64,
    failures: u64,
}

/// Runs the load, shows a line a minute, and judges the memory.
pub(crate) async fn run(seed: u64, args: &Args) -> anyhow::Result<()> {
    let rate = calibrate(args, seed).await?;
    let scratch = crate::fleet::scratch()?;
    let target = Target::start(Via::Tls, false, scratch.path()).await?;
    let client = target.client().await?;
    sample::install(&client).await?;
    print(&json!({
        "benchmark": "soak", "commit": machine::commit(), "at": jiff::Timestamp::now(),
        "machine": machine::Machine::read(), "load": machine::load(), "seed": seed,
        "settings": args, "requests_per_s": rate,
    }))?;

    let counts = Arc::new(Counts::default());
    let mut tasks = tokio::task::JoinSet::new();
    let connections = usize::try_from(args.connections)?;
    let pause = Duration::from_secs_f64(f64::from(u32::try_from(connections)?) / rate);
    for (worker, client) in (0..).zip(target.clients(connections).await?) {
        let slots = usize::try_from(args.objects)?.div_ceil(connections);
        let churn = Churn::new(client, worker, slots, seed, Arc::clone(&counts));
        tasks.spawn(paced(churn, pause));
    }
    for (n, client) in (0..).zip(target.clients(usize::try_from(args.watchers)?).await?) {
        tasks.spawn(churn::watch(client, n, n % 10 == 9, Arc::clone(&counts)));
    }
    tasks.spawn(churn::namespaces(client.clone(), Arc::clone(&counts)));
    tasks.spawn(churn::definitions(client, Arc::clone(&counts)));

    let mut sizes = Vec::new();
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    minutes.tick().await;
    for minute in 1..=args.minutes {
        tokio::select! {
            _ = minutes.tick() => {}
            Some(ended) = tasks.join_next() => {
                ended.context("a part of the load panicked")?;
                bail!("a part of the load ended");
            }
        }
        let usage = target.usage()?.context("the server is a process")?;
        print(&line(minute, &usage, &counts))?;
        sizes.push(usage.rss_mib);
    }
    tasks.shutdown().await;
    target.stop().await?;
    judge(args, &sizes, &counts)
}

/// Returns the requests per second to make, measured on a server of its own: what the peak leaves in memory would hide
/// what the soak is to find.
async fn calibrate(args: &Args, seed: u64) -> anyhow::Result<f64> {
    let scratch = crate::fleet::scratch()?;
    let target = Target::start(Via::Tls, false, scratch.path()).await?;
    sample::install(&target.client().await?).await?;
    let clients = target.clients(usize::try_from(args.connections)?).await?;
    let begin = Instant::now();
    let load = load::create(clients, "calibration", seed, CALIBRATION).await?;
    let created = f64::from(u32::try_from(load.names.len())?);
    let rate = created / begin.elapsed().as_secs_f64();
    target.stop().await?;
    Ok((rate * f64::from(u32::try_from(args.percent)?) / 100.0).max(1.0))
}

async fn paced(mut churn: Churn, pause: Duration) {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        churn.step().await;
    }
}

fn line(minute: u64, usage: &Usage, counts: &Counts) -> Line {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Line {
        benchmark: "soak",
        minute,
        rss_mib: usage.rss_mib,
        cpu_s: usage.cpu_s,
        requests: read(&counts.requests),
        events: read(&counts.events),
        watches: read(&counts.watches),
        failures: read(&counts.failures),
    }
}

fn print(line: &impl Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(line).context("failed to write a line")?;
    writeln!(std::io::stdout().lock(), "{line}").context("failed to write to standard output")
}

fn judge(args: &Args, sizes: &[f64], counts: &Counts) -> anyhow::Result<()> {
    let growth_mib = growth(&sizes[sizes.len() / 2..]);
    let failures = counts.failures.load(Ordering::Relaxed);
    let passed = growth_mib <= args.max_growth_mib && failures == 0;
    print(&json!({ "benchmark": "soak", "growth_mib": growth_mib, "passed": passed }))?;
    if failures > 0 {
        bail!("{failures} requests failed");
    }
    if !passed {
        let most = args.max_growth_mib;
        bail!("memory grew by {growth_mib:.1} MiB over the last half, more than {most} MiB");
    }
    Ok(())
}

/// Returns how much values grow from the first to the last along their line of least squares.
fn growth(values: &[f64]) -> f64 {
    let points = || (0_u32..).map(f64::from).zip(values);
    let Some(last) = points().last().map(|(x, _)| x).filter(|last| *last > 0.0) else {
        return 0.0;
    };
    let n = last + 1.0;
    let (mean_x, mean_y) = (last / 2.0, values.iter().sum::<f64>() / n);
    let covariance: f64 = points().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance * last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_line_not_of_the_ends() {
        let close = |values: &[f64], want: f64| (growth(values) - want).abs() < 1e-9;
        assert!(close(&[1.0, 2.0, 3.0, 4.0], 3.0));
        assert!(close(&[5.0, 5.0, 5.0], 0.0));
        assert!(close(&[4.0, 9.0, 4.0, 4.0, 9.0, 4.0], 0.0), "peaks are no growth");
        assert!(close(&[3.0], 0.0) && close(&[], 0.0));
    }
}

//! What the client does, by programs that we did not write, and idle connections.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use super::network::{Network, Space};
use super::paths::{BULK, WEB};

/// Requests that wrk made.
pub(super) struct Requests {
    pub(super) count: f64,
    pub(super) per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Bytes that iperf3 sent.
pub(super) struct Bulk {
    pub(super) gigabytes: f64,
    pub(super) gbit_per_s: f64,
}

impl Requests {
    /// Lets 32 connections make requests, or one connection for each request with `close`.
    pub(super) async fn measure(
        network: &Network,
        address: &str,
        duration: Duration,
        close: bool,
    ) -> anyhow::Result<Self> {
        let mut wrk = network.command(Space::Client, "wrk");
        wrk.args(["-t", "1", "-c", "32", "--latency", "-d", &format!("{}s", duration.as_secs())]);
        if close {
            wrk.args(["-H", "Connection: close"]);
        }
        let output = wrk.arg(format!("http://{address}:{WEB}/")).output().await;
        let output = output.context("failed to run `wrk`")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Self::parse(&text).with_context(|| format!("`wrk` printed no figures: {text}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let after = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key))?;
            line.split_whitespace().next()
        };
        let count = text.lines().find(|line| line.contains(" requests in "))?;
        Some(Self {
            count: count.split_whitespace().next()?.parse().ok()?,
            per_s: after("Requests/sec:")?.parse().ok()?,
            p50_ms: milliseconds(after("50%")?)?,
            p99_ms: milliseconds(after("99%")?)?,
        })
    }
}

/// Reads `1.50ms`, `420.00us` or `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else {
        (text.strip_suffix('s')?, 1000.0)
    };
    Some(number.parse::<f64>().ok()? * factor)
}

impl Bulk {
    pub(super) async fn measure(
        network: &Network,
        address: &str,
        duration: Duration,
        streams: u8,
    ) -> anyhow::Result<Self> {
        let mut iperf = network.command(Space::Client, "iperf3");
        iperf.args(["-J", "-c", address, "-p", &BULK.to_string(), "-O", "1"]);
        iperf.args(["-P", &streams.to_string(), "-t", &duration.as_secs().to_string()]);
        let output = iperf.output().await.context("failed to run `iperf3`")?;
        let report: Value =
            serde_json::from_slice(&output.stdout).context("no JSON of `iperf3`")?;
        let sum = &report["end"]["sum_received"];
        let (Some(bytes), Some(rate)) = (sum["bytes"].as_f64(), sum["bits_per_second"].as_f64())
        else {
            bail!("`iperf3` measured nothing: {}", report["error"]);
        };
        // The first second is left out of the figures and not out of the CPU time.
        let whole = (duration.as_secs_f64() + 1.0) / duration.as_secs_f64();
        Ok(Self { gigabytes: bytes * whole / 1e9, gbit_per_s: rate / 1e9 })
    }
}

/// Keeps connections open from the client's namespace until dropped.
pub(super) async fn start_holding(
    network: &Network,
    address: &str,
    connections: u32,
) -> anyhow::Result<Child> {
    let this = std::env::current_exe().context("this program has no path")?;
    let mut hold = network.command(Space::Client, &this.to_string_lossy());
    hold.args(["hold-connections", &format!("{address}:{WEB}"), &connections.to_string()]);
    let mut child = hold.stdout(Stdio::piped()).spawn().context("failed to start the client")?;
    let stdout = child.stdout.take().context("the client has no output")?;
    let mut done = String::new();
    let read = BufReader::new(stdout).read_line(&mut done).await;
    read.context("failed to read from the client")?;
    if done.trim() != "holding" {
        bail!("the client could not hold {connections} connections");
    }
    Ok(child)
}

/// Arguments of the process that holds idle connections.
#[derive(clap::Args)]
pub(crate) struct HoldArgs {
    /// Where to
    address: SocketAddr,
    /// How many
    connections: u32,
}

/// Opens connections, says so and keeps them until killed.
pub(crate) async fn hold(args: &HoldArgs) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut held = Vec::new();
    for _ in 0..args.connections {
        let connection = TcpStream::connect(args.address).await.context("failed to connect")?;
        // One byte, so that no proxy waits for the first one before it connects to an endpoint.
        connection.writable().await?;
        connection.try_write(b"G")?;
        held.push(connection);
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "holding")?;
    stdout.flush()?;
    std::future::pending::<()>().await;
    drop(held);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_wrk_are_read() {
        let text = "Running 4s test @ http://10.9.0.1:8080/\n  Latency Distribution\n     50%  612.00us\n     75%    0.9ms
     90%    1.10ms\n     99%    2.40ms\n  190321 requests in 4.10s, 39.93MB read\nRequests/sec:  46419.75\n";
        let requests = Requests::parse(text).unwrap();
        assert!((requests.count - 190_321.0).abs() < f64::EPSILON);
        assert!((requests.per_s - 46_419.75).abs() < f64::EPSILON);
        assert!((requests.p50_ms - 0.612).abs() < 1e-9);
        assert!((requests.p99_ms - 2.4).abs() < 1e-9);
    }
}

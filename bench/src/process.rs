//! A process under test: how it starts, what it uses, how it ends.

use std::ops::Add;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// How long a process may take to say that it is ready. Only a hang takes this long.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long a process may take to end by itself. Only a hang takes this long.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// Unit of CPU times in `/proc/PID/stat`; the kernel's interface fixes it on every common architecture.
const TICKS_PER_SECOND: f64 = 100.0;

const KIB_PER_MIB: f64 = 1024.0;

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    /// Kept open: a process that prints into a closed pipe would fail.
    _stdout: BufReader<ChildStdout>,
}

/// What a process has used until now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Memory in RAM at the moment, in MiB.
    pub(crate) rss_mib: f64,
    /// The most memory it ever had in RAM, in MiB.
    pub(crate) peak_rss_mib: f64,
    /// CPU time of all threads, user and system, in seconds.
    pub(crate) cpu_s: f64,
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rss_mib: self.rss_mib + other.rss_mib,
            peak_rss_mib: self.peak_rss_mib + other.peak_rss_mib,
            cpu_s: self.cpu_s + other.cpu_s,
        }
    }
}

/// The line with which a process said that it is ready.
pub(crate) struct Ready {
    pub(crate) line: Value,
    /// From just before the process was started to the line.
    pub(crate) after: Duration,
}

impl Process {
    /// Starts a program and waits for its first line, a JSON object. `directory` takes its temporary files.
    pub(crate) async fn start(
        program: &Path,
        args: &[&str],
        directory: &Path,
    ) -> anyhow::Result<(Self, Ready)> {
        let shown = program.display();
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(args)
            .env("TMPDIR", directory)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start `{shown}`"))?;
        let pid = child.id().context("the process ended at once")?;
        let mut stdout =
            BufReader::new(child.stdout.take().expect("standard output is a pipe, see above"));
        let mut line = String::new();
        let read = tokio::time::timeout(READY_WITHIN, stdout.read_line(&mut line)).await;
        let after = begin.elapsed();
        let n_bytes = read
            .with_context(|| {
                format!("`{shown}` was not ready within {} s", READY_WITHIN.as_secs())
            })?
            .with_context(|| format!("failed to read from `{shown}`"))?;
        if n_bytes == 0 {
            bail!("`{shown} {}` ended before it was ready", args.join(" "));
        }
        let line = serde_json::from_str(&line)
            .with_context(|| format!("`{shown}` printed no JSON: {}", line.trim()))?;
        Ok((Self { child, pid, _stdout: stdout }, Ready { line, after }))
    }

    /// Reads what it has used, from `/proc`.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        usage_of(self.pid)
    }

    /// Interrupts it, as Ctrl-C does, and waits until it has ended by itself.
    pub(crate) async fn interrupt(mut self) -> anyhow::Result<()> {
        let pid = self.pid.to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().await;
        sent.context("failed to run `kill`")?;
        let ended = tokio::time::timeout(ENDED_WITHIN, self.child.wait()).await;
        ended.context("the process did not end")?.context("failed to wait for the process")?;
        Ok(())
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("failed to kill the process")
    }
}

/// Reads what any process has used, from `/proc`.
pub(crate) fn usage_of(pid: u32) -> anyhow::Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))
    };
    let (status, stat) = (read("status")?, read("stat")?);
    usage(&status, &stat).context("`/proc` tells neither memory nor CPU time")
}

fn usage(status: &str, stat: &str) -> Option<Usage> {
    let mib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: f64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        Some(kib / KIB_PER_MIB)
    };
    // The second field is the name in parentheses and may hold spaces; utime and stime are fields 14 and 15.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(Usage {
        rss_mib: mib("VmRSS")?,
        peak_rss_mib: mib("VmHWM")?,
        cpu_s: (user + system) / TICKS_PER_SECOND,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_past_a_name_with_spaces() {
        let status = "Name:\ta b\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\n";
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0";
        let usage = usage(status, stat).unwrap();
        assert!((usage.peak_rss_mib - 4.0).abs() < f64::EPSILON);
        assert!((usage.rss_mib - 2.0).abs() < f64::EPSILON);
        assert!((usage.cpu_s - 2.0).abs() < f64::EPSILON);
    }
}

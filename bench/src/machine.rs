//! What a figure was measured on.

use std::process::Command;

use serde::Serialize;

/// The machine, as far as it explains a figure.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: Option<String>,
    cores: usize,
    memory_gib: Option<u64>,
    kernel: Option<String>,
}

impl Machine {
    pub(crate) fn read() -> Self {
        Self {
            cpu: value_in("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: value_in("/proc/meminfo", "MemTotal").and_then(|text| gib(&text)),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .ok()
                .map(|text| text.trim().to_owned()),
        }
    }
}

/// Returns the load averages over 1, 5 and 15 minutes; above the number of cores, others are waiting too.
pub(crate) fn load() -> Option<[f64; 3]> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let mut averages = text.split_whitespace().map_while(|word| word.parse().ok());
    Some([averages.next()?, averages.next()?, averages.next()?])
}

/// Returns the commit of the working directory, with `-dirty` when files differ from it; `None` outside of a repository.
pub(crate) fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// Returns the value after `key:` in a file of such lines.
fn value_in(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// Reads `24633188 kB` as 23.
fn gib(text: &str) -> Option<u64> {
    let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(kib / (1024 * 1024))
}

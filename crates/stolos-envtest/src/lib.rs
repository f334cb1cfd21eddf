//! The two programs that controller-runtime's envtest starts, on the embedded API server.
//!
//! `kube-apiserver` serves one cluster in memory without the controllers that kube-controller-manager runs, as envtest
//! suites expect: objects with dead owners stay, namespaces stay Terminating, no service account appears by itself.
//! `etcd` only says that it is healthy: nothing is stored in it.

use std::process::ExitCode;

pub mod apiserver;
pub mod etcd;
pub mod flags;

/// Runs a program on the arguments of this process: prints its help, or runs until it is told to stop.
///
/// A failure is printed with its causes and gives the exit code 1.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "help and failures are for people")]
pub fn main(program: &Program) -> ExitCode {
    let flags = flags::parse(program.flags, std::env::args().skip(1));
    if flags.is_set("help") {
        print!("{}", flags::help(program.usage, program.flags));
        return ExitCode::SUCCESS;
    }
    if flags.is_set("version") {
        println!("{}", program.version);
        return ExitCode::SUCCESS;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let ended = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on((program.run)(flags)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a program runs until it is told to stop.
pub type Run = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// One of the two programs.
pub struct Program {
    /// First lines of its help.
    pub usage: &'static str,
    /// What `--version` prints.
    pub version: &'static str,
    /// The flags that it reads.
    pub flags: &'static [flags::Flag],
    /// Serves until the process is told to stop.
    pub run: fn(flags::Flags) -> Run,
}

/// Waits until the process is told to stop, by SIGTERM or from the keyboard.
///
/// # Errors
///
/// When the signals cannot be received.
#[cfg(unix)]
async fn told_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => pressed,
    }
}

/// Waits until the process is told to stop from the keyboard.
///
/// # Errors
///
/// When the signal cannot be received.
#[cfg(not(unix))]
async fn told_to_stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

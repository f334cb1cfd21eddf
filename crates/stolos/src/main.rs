//! The `stolos` binary: arguments, reporters, exit codes, roles; wiring and nothing else.

use std::process::ExitCode;

use clap::Parser;

mod arguments;
mod auto_upgrade;
mod cli;
mod connect;
mod crds;
mod demo;
mod dns_options;
mod exit;
mod fleet;
mod follow;
mod gate;
mod gateway_options;
mod http;
mod hub_options;
mod input;
mod kubefleet;
mod limit_options;
mod member;
mod observe;
mod output;
mod placement;
mod policies;
mod reference;
mod roles;
mod service;
mod stages;
mod strategy;
mod tree;
mod up;
mod update_run;
mod windows;

use cli::{Cli, Command};
use exit::Exit;

fn main() -> ExitCode {
    let arguments = kubefleet::arguments(std::env::args_os(), |name| std::env::var(name).ok());
    let cli = match Cli::try_parse_from(arguments.args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows where they are printed.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            let _ = error.print();
            return code.into();
        }
    };
    start_logging(&cli);
    for (flag, why) in arguments.ignored {
        tracing::warn!(flag, why, "ignored a flag of KubeFleet");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::report(&anyhow::Error::from(error).context("failed to start")).into();
        }
    };
    let result = runtime.block_on(run(cli));
    // What is still running has nothing left to say to anybody.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error).into(),
    }
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let global = cli.global;
    match cli.command {
        Command::Up(args) => up::run(args, global.output).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Hub(args) => roles::hub(args).await,
        Command::Member(mut args) => match args.command.take() {
            Some(command) => member::run(command, global.output).await,
            None => Box::pin(roles::member(*args)).await,
        },
        Command::Simulate(args) => roles::simulate(args).await,
        Command::Dataplane(args) => Box::pin(roles::dataplane(args)).await,
        Command::Fleet(command) => fleet::run(command, global.output).await,
        Command::Strategy(command) => strategy::run(command, global.output).await,
        Command::AutoUpgrade(command) => auto_upgrade::run(command, global.output).await,
        Command::Gate(command) => gate::run(command, global.output).await,
        Command::UpdateRun(command) => update_run::run(command, global.output).await,
        Command::Placement(command) => placement::run(command, global.output).await,
        Command::Service(command) => Box::pin(service::run(command, global.output)).await,
        Command::Plan(command) => placement::plan(command, global.output).await,
        Command::Calendar(args) => update_run::calendar::run(args, global.output).await,
        Command::Explain(command) => placement::explain(command, global.output).await,
        Command::Crds(args) => crds::print(&args),
        Command::CliReference => reference::print(),
    }
}

/// Logs go to standard error; `STOLOS_LOG` sets what is logged, as in `info` or `stolos_hub=debug`.
fn start_logging(cli: &Cli) {
    use tracing_subscriber::EnvFilter;
    // The watcher of kube warns of what its back-off handles, its client of what it returns as an error too. What reads
    // DNS warns of whatever strangers send.
    let level = if cli.global.verbose { "info" } else { "warn" };
    let default = format!("{level},kube_runtime=error,kube_client=off,hickory_proto=error");
    let filter = EnvFilter::try_from_env("STOLOS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

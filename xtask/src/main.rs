//! Chores of the project: checks, generated files, a real Kubernetes API server for tests, CI.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool for developers"
)]

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

mod ci;
mod clients;
mod differential;
mod kubernetes;
mod layers;
mod orphans;
mod process;
mod protobuf_table;
mod simulate;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Stolos project")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything that CI runs, cheapest first
    Ci {
        /// Skips the tests, for when they have just been run
        #[arg(long)]
        no_tests: bool,
    },
    /// Checks that dependencies between crates point down the floors
    CheckLayers,
    /// Checks that every Rust file belongs to a target
    CheckOrphans,
    /// Writes generated files (CRDs, CLI reference), or checks them
    Generate {
        /// Fails when a file on disk differs instead of writing it
        #[arg(long)]
        check: bool,
    },
    /// Writes the message table of the protobuf decoder from the Kubernetes packages in the Go module cache
    ProtobufTable {
        /// Directory with `api@v…`, `apimachinery@v…` and so on: `$(go env GOMODCACHE)/k8s.io`
        modules: PathBuf,
        /// Version of the modules
        #[arg(long, default_value = "0.34.4")]
        version: String,
        /// Fails when the table on disk differs instead of writing it
        #[arg(long)]
        check: bool,
    },
    /// Fetches and compiles what the tests with other people's clients need: Go, Python, a chart
    Clients,
    /// Plays stories of a whole fleet under faults, the same each time
    Simulate {
        /// Which stories, by a part of the name of their test; without it, all that the gate plays
        stories: Option<String>,
        /// One story, or those from one to another in one fleet: `338` or `320-338`
        #[arg(long, requires = "stories")]
        seed: Option<String>,
        /// How many stories, from the first
        #[arg(long, default_value_t = 2000)]
        count: u64,
    },
    /// Records what a real API server answers, for the differential tests
    #[command(subcommand)]
    Differential(differential::Command),
    /// Builds and runs real Kubernetes API servers for the tests
    #[command(subcommand)]
    Kubernetes(kubernetes::Command),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Ci { no_tests } => ci::run_gate(no_tests),
        Command::CheckLayers => layers::check(),
        Command::CheckOrphans => orphans::check(),
        Command::Generate { check } => ci::generate(check),
        Command::ProtobufTable { modules, version, check } => {
            protobuf_table::run(&modules, &version, check)
        }
        Command::Clients => clients::prepare(),
        Command::Simulate { stories: None, .. } => simulate::all(),
        Command::Simulate { stories: Some(stories), seed: Some(seed), .. } => {
            simulate::some(&stories, &seed)
        }
        Command::Simulate { stories: Some(stories), seed: None, count } => {
            simulate::many(&stories, count)
        }
        Command::Differential(command) => differential::run(command),
        Command::Kubernetes(command) => kubernetes::run(command),
    }
}

/// Returns the directory of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lives in the workspace").to_owned()
}

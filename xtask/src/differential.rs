//! Recordings of a real API server, and the page of differences that is written from them.

use std::process::Command as Process;

use anyhow::Context;

use crate::{process, root};

/// What to write.
#[derive(Clone, Copy, clap::Subcommand)]
pub(crate) enum Command {
    /// Plays the request scripts against a real API server and records its answers
    Record,
    /// Takes differences that are gone off the list, then writes the page
    Prune,
    /// Writes `docs/reference/apiserver-differences.md` from the list of known differences
    Page,
}

/// Runs the tests of the differential runner in the mode that writes.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Record => play("record", "recordings_are_what_a_real_server_answers"),
        Command::Prune => {
            play("prune", "our_answers_differ")?;
            play("page", "the_page_of_differences")
        }
        Command::Page => play("page", "the_page_of_differences"),
    }
}

/// Runs one test: the others may well fail until all is written.
fn play(mode: &str, test: &str) -> anyhow::Result<()> {
    let mut cargo: Process = process::cargo();
    cargo
        .current_dir(root())
        .args(["test", "--package", "stolos-apiserver", "--test", "it", "--", test])
        .env("STOLOS_DIFFERENTIAL", mode);
    process::run(&mut cargo).context("the differential runner failed")
}

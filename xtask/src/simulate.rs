//! Stories of a whole fleet under faults, the same each time that they are played.

use std::env;
use std::process::Command;

use crate::process::{cargo, run};

/// What is played about, and how many stories of it the gate plays; an ordinary test run plays a few.
const STORIES: [(&str, u64); 4] = [
    ("nothing_is_withdrawn", 2000),
    ("no_cluster_is_upgraded_twice", 2000),
    ("no_endpoint_is_taken_away", 1000),
    ("no_endpoint_of_the_clusterset", 1000),
];

/// Plays what the gate plays.
pub(crate) fn all() -> anyhow::Result<()> {
    STORIES.iter().try_for_each(|(stories, count)| many(stories, *count))
}

/// Plays the first stories of a kind.
pub(crate) fn many(stories: &str, count: u64) -> anyhow::Result<()> {
    run(test(stories).env("STOLOS_SEEDS", count.to_string()))
}

/// Plays one story, or those from one to another in one fleet.
pub(crate) fn some(stories: &str, seed: &str) -> anyhow::Result<()> {
    run(test(stories).env("STOLOS_SEED", seed))
}

/// Built as tests usually are, they would take ten times as long, and tokio would draw anew which branch of a `select!` is
/// looked at first: it takes a seed for that only with this flag.
fn test(stories: &str) -> Command {
    let flags = [env::var("RUSTFLAGS").unwrap_or_default(), "--cfg tokio_unstable".into()];
    let mut test = cargo();
    test.args(["test", "--locked", "--release", "--package", "stolos-hub", "--test", "simulation"])
        .arg(stories)
        .env("RUSTFLAGS", flags.join(" "));
    test
}

//! A whole fleet in one process, on paused time, under faults: nothing is removed from a member that nobody withdrew, and
//! once the faults end, everything is as it should be.
//!
//! Each seed is a story: what users do, where processes are killed, which requests fail, are lost after they were carried
//! out, or are answered with something old or empty. `STOLOS_SEEDS` says how many are played; `STOLOS_SEED` plays one, or
//! `40-43` in one fleet. `STOLOS_TRACE` has every request printed. Time, uids and all that is drawn come from the seed, so
//! `cargo xtask simulate` plays the same story again; a failure prints the command. Which request a fault hits depends on the
//! seed and the request alone, so that a story changes little with the code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
#![expect(clippy::print_stderr, reason = "a trace is printed for who asked for it")]

mod faults;
mod fleet;
mod oracle;
mod services;
mod story;
mod updates;

use std::panic::AssertUnwindSafe;

use fleet::{Fleet, MEMBERS, Wing};
use futures::FutureExt;
use services::Flavour;
use tokio::runtime::Builder;

/// Stories that are played when nobody says how many.
const SEEDS: u64 = 16;

/// Stories that share the API servers of one fleet; starting those costs more than a story.
const PER_FLEET: u64 = 40;

/// Threads that play stories, each with a time of its own.
const THREADS: u64 = 2;

#[test]
fn nothing_is_withdrawn_that_nobody_withdrew() {
    play_all("withdrawn", || Fleet::start(Wing::Placement, &MEMBERS), story::play);
}

#[test]
fn no_cluster_is_upgraded_twice_and_none_is_forgotten() {
    play_all("upgraded", updates::Fleet::start, updates::play);
}

#[test]
fn no_endpoint_is_taken_away_that_nobody_took_away() {
    play_services("taken_away", Flavour::Azure);
}

#[test]
fn no_endpoint_of_the_clusterset_goes_that_nobody_took_away() {
    play_services("of_the_clusterset", Flavour::Standard);
}

fn play_services(test: &str, flavour: Flavour) {
    play_all(
        test,
        || Fleet::start(Wing::Services(flavour), &services::MEMBERS),
        async |fleet: &mut Fleet, seed| services::play(fleet, flavour, seed).await,
    );
}

/// Plays every story, or those that somebody asks for. `test` is what the test is called with.
fn play_all<F>(
    test: &str,
    start: impl AsyncFn() -> F + Sync,
    story: impl AsyncFn(&mut F, u64) -> Result<(), String> + Sync,
) {
    let play = |seeds: &[u64]| {
        // What watches draw to wait after an error.
        fastrand::seed(seeds[0]);
        let (start, story) = (&start, &story);
        runtime(seeds[0]).block_on(async move { play(test, seeds, start().await, story).await })
    };
    if let Some(seeds) = asked_for() {
        play(&seeds).unwrap();
        return;
    }
    let seeds: Vec<u64> = (0..number("STOLOS_SEEDS").unwrap_or(SEEDS)).collect();
    let batches: Vec<&[u64]> = seeds.chunks(usize::try_from(PER_FLEET).unwrap()).collect();
    let failed = std::thread::scope(|scope| {
        let play_every = |first: u64| {
            let mine = (0..).zip(&batches).filter(move |(index, _)| index % THREADS == first);
            let results: Vec<_> = mine.filter_map(|(_, batch)| play(batch).err()).collect();
            results
        };
        let threads: Vec<_> =
            (0..THREADS).map(|first| scope.spawn(move || play_every(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<String>>()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Plays stories one after the other in one fleet, up to the first that goes wrong.
async fn play<F>(
    test: &str,
    seeds: &[u64],
    mut fleet: F,
    story: &impl AsyncFn(&mut F, u64) -> Result<(), String>,
) -> Result<(), String> {
    for &seed in seeds {
        let problem = match AssertUnwindSafe(story(&mut fleet, seed)).catch_unwind().await {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(_) => "panicked".to_owned(),
        };
        return Err(format!(
            "seed {seed}: {problem}\nplay it again: cargo xtask simulate {test} --seed {}-{seed}\n\
             or without those before it: --seed {seed}",
            seeds[0]
        ));
    }
    Ok(())
}

#[test]
fn a_member_is_kept_right_while_the_hub_is_away_and_comes_back_without_a_storm() {
    let runtime = runtime(0);
    runtime.block_on(async {
        let mut fleet = Fleet::start(Wing::Placement, &MEMBERS).await;
        story::without_hub(&mut fleet).await.unwrap();
    });
}

/// Returns a runtime on paused time.
fn runtime(seed: u64) -> tokio::runtime::Runtime {
    let mut runtime = Builder::new_current_thread();
    draw_from(seed, &mut runtime);
    runtime.enable_time().start_paused(true).build().unwrap()
}

/// Has tokio draw from the seed which branch of a `select!` is looked at first.
#[cfg(tokio_unstable)]
fn draw_from(seed: u64, runtime: &mut Builder) {
    runtime.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
}

/// Tokio lets nobody say so; `cargo xtask simulate` does.
#[cfg(not(tokio_unstable))]
fn draw_from(_seed: u64, _runtime: &mut Builder) {}

/// Returns the stories that somebody asks for: one, or the first and the last.
fn asked_for() -> Option<Vec<u64>> {
    let asked = std::env::var("STOLOS_SEED").ok()?;
    let (first, last) = asked.split_once('-').unwrap_or((&asked, &asked));
    let [first, last]: [u64; 2] = [first, last].map(|text| text.parse().expect("a number"));
    Some((first..=last).collect())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

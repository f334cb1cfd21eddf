//! Update runs over simulated clusters under the same faults: no cluster is upgraded twice for one attempt, never two at once
//! where one is allowed, none by two runs at a time, none after a stop; and once the faults end, every run comes to its end
//! and has forgotten nobody.

mod fleet;
mod story;
mod watchers;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

/// Plays stories one after the other, up to the first that goes wrong.
pub(crate) async fn play(seeds: &[u64]) -> Result<(), String> {
    let mut fleet = fleet::Fleet::start().await;
    for &seed in seeds {
        let played = AssertUnwindSafe(story::play(&mut fleet, seed)).catch_unwind().await;
        let problem = match played {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(_) => "panicked".to_owned(),
        };
        return Err(format!(
            "seed {seed}: {problem}\nplay it again: STOLOS_SEED={seed} cargo test -p stolos-hub --test simulation upgraded"
        ));
    }
    Ok(())
}

//! Services of three clusters under the same faults: no importer loses an endpoint that nobody took away, no address goes that
//! somebody imports; and once the faults end, every importer has the endpoints of exactly those who export.

mod oracle;
mod story;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::fleet::{Fleet, Wing};

const MEMBERS: [&str; 3] = ["a", "b", "c"];

/// Plays stories one after the other, up to the first that goes wrong.
pub(crate) async fn play(seeds: &[u64]) -> Result<(), String> {
    let mut fleet = Fleet::start(Wing::Services, &MEMBERS).await;
    for &seed in seeds {
        let played = AssertUnwindSafe(story::play(&mut fleet, seed)).catch_unwind().await;
        let problem = match played {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(_) => "panicked".to_owned(),
        };
        return Err(format!(
            "seed {seed}: {problem}\nplay it again: STOLOS_SEED={seed} cargo test -p stolos-hub --test simulation endpoint"
        ));
    }
    Ok(())
}

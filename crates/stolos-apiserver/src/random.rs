//! The server's chance: an argument, so that tests can have the same chance again.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use uuid::Uuid;

/// Draws uids, generated names and addresses. Keys and tokens are never drawn from it.
#[derive(Clone)]
pub struct Random(Option<Arc<Mutex<StdRng>>>);

impl Random {
    /// Returns the chance of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// Returns chance that is the same for the same seed and the same draws.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// Draws something.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
        match &self.0 {
            None => draw(&mut rand::rng()),
            Some(seeded) => draw(&mut *seeded.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Draws the uid of an object.
    pub(crate) fn uid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.draw(|random| random.fill_bytes(&mut bytes));
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Draws a number.
    pub(crate) fn number(&self, range: RangeInclusive<u64>) -> u64 {
        self.draw(|random| random.random_range(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |random: Random| (random.uid(), random.number(1..=1000), random.uid());
        assert_eq!(draw(Random::seeded(7)), draw(Random::seeded(7)));
        assert_ne!(draw(Random::seeded(7)), draw(Random::seeded(8)));
        assert_ne!(draw(Random::system()), draw(Random::system()));
    }

    #[test]
    fn a_uid_is_a_random_uuid() {
        for random in [Random::system(), Random::seeded(7)] {
            assert_eq!(random.uid().get_version(), Some(uuid::Version::Random));
        }
    }
}

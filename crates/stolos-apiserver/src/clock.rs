//! The server's clock: an argument, so that tests run on paused time.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// Tells the time for timestamps of objects. Resource versions never depend on it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns the clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// Returns a clock that starts at `start` and follows tokio's time, which tests can pause and advance.
    #[must_use]
    pub fn tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self(Arc::new(move || {
            start
                + SignedDuration::try_from(origin.elapsed())
                    .expect("a test runs for less than 292 years")
        }))
    }

    /// Returns the present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

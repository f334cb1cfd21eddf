//! Whether an endpoint is up, from checks and from what became of connections.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How endpoints are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthSettings {
    /// What a check does; without, only endpoints that nobody else vouches for are checked, by connecting.
    pub check: Option<Check>,
    /// Port that is checked, if not that of the endpoint.
    pub port: Option<u16>,
    /// Milliseconds between two checks of an endpoint. The shell adds jitter.
    pub interval_millis: u32,
    /// Milliseconds after which an unanswered check has failed.
    pub timeout_millis: u32,
    /// Failures in a row after which an endpoint is down.
    pub down_after: u8,
    /// Successes in a row after which an endpoint is up again.
    pub up_after: u8,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            check: Some(Check::Tcp),
            port: None,
            interval_millis: 2_000,
            timeout_millis: 1_000,
            down_after: 2,
            up_after: 2,
        }
    }
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum Check {
    /// Connects.
    Tcp,
    /// Asks for a path and expects an answer with a status from 200 to 399.
    Http {
        /// The path, from its slash.
        path: String,
    },
}

/// What speaks for or against an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A check succeeded.
    CheckPassed,
    /// A check failed.
    CheckFailed,
    /// A client's connection was taken.
    ConnectionMade,
    /// A client's connection was refused or timed out.
    ConnectionFailed,
}

/// Whether an endpoint is up. An endpoint of which nothing is known is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    up: bool,
    /// Evidence in a row that speaks against the present state.
    against: u8,
    since: Timestamp,
    recovered: bool,
}

impl Health {
    /// Returns the health of an endpoint of which nothing is known.
    #[must_use]
    pub fn assumed(now: Timestamp) -> Self {
        Self { up: true, against: 0, since: now, recovered: false }
    }

    /// Tells whether the endpoint is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Returns since when it has been up or down.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Returns the health after some evidence.
    ///
    /// A connection that was made clears failures but does not bring an endpoint up: only checks do, because an
    /// endpoint that is down gets connections by exception.
    #[must_use]
    pub fn after(self, evidence: Evidence, settings: &HealthSettings, now: Timestamp) -> Self {
        let speaks_against = match (self.up, evidence) {
            (true, Evidence::CheckFailed | Evidence::ConnectionFailed)
            | (false, Evidence::CheckPassed) => true,
            (true, Evidence::CheckPassed | Evidence::ConnectionMade)
            | (false, Evidence::CheckFailed | Evidence::ConnectionFailed) => false,
            (false, Evidence::ConnectionMade) => return self,
        };
        let against = if speaks_against { self.against.saturating_add(1) } else { 0 };
        let needed = if self.up { settings.down_after } else { settings.up_after };
        if against < needed.max(1) {
            return Self { against, ..self };
        }
        Self { up: !self.up, against: 0, since: now, recovered: !self.up }
    }

    /// Returns the part of its share that the endpoint gets, in quarters, and when that grows. After a recovery it
    /// grows in three steps over the time of the slow start.
    #[must_use]
    pub fn ramp(&self, slow_start_seconds: u32, now: Timestamp) -> (u64, Option<Timestamp>) {
        const STEPS: i64 = 3;
        const QUARTERS: u64 = 4;
        let whole = SignedDuration::from_secs(slow_start_seconds.into());
        if !self.recovered || whole.is_zero() || now >= self.since + whole {
            return (QUARTERS, None);
        }
        let ends = |step: i64| self.since + SignedDuration::from_millis(step * step_millis(whole));
        let step = (1..=STEPS).find(|step| now < ends(*step) || *step == STEPS).unwrap_or(STEPS);
        let next = if step == STEPS { self.since + whole } else { ends(step) };
        (step.unsigned_abs(), Some(next))
    }
}

fn step_millis(whole: SignedDuration) -> i64 {
    i64::try_from(whole.as_millis() / 3).unwrap_or(i64::MAX / 4)
}

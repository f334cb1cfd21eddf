//! Conditions: setting them without moving their times, finding those that speak of a generation.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Makes a condition. Its transition time is `now` until [`set`] finds an older one of the same status.
#[must_use]
pub fn new(
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: time(now),
    }
}

/// Puts a condition in its place in a list; the transition time moves only when the status does.
pub fn set(conditions: &mut Vec<Condition>, mut condition: Condition) {
    match conditions.iter_mut().find(|old| old.type_ == condition.type_) {
        None => conditions.push(condition),
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time.clone();
            }
            *old = condition;
        }
    }
}

/// Returns the condition of a type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Returns the condition of a type if it speaks of this generation.
#[must_use]
pub fn current<'a>(
    conditions: &'a [Condition],
    type_: &str,
    generation: i64,
) -> Option<&'a Condition> {
    find(conditions, type_).filter(|condition| condition.observed_generation == Some(generation))
}

/// Tells whether a condition is True at this generation.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str, generation: i64) -> bool {
    current(conditions, type_, generation).is_some_and(|condition| condition.status == "True")
}

/// Returns a time of Kubernetes, which keeps whole seconds.
#[must_use]
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

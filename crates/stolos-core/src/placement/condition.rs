//! Reading and writing conditions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// That is not known.
    Unknown,
}

impl Status {
    /// Returns the status as it stands in a condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// Returns the status of a condition.
    pub fn of(condition: &Condition) -> Self {
        match condition.status.as_str() {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

/// Returns the condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Returns the condition of a type if it describes this generation of the object.
pub fn find_current<'a>(
    conditions: &'a [Condition],
    type_: &str,
    generation: i64,
) -> Option<&'a Condition> {
    find(conditions, type_).filter(|found| found.observed_generation == Some(generation))
}

/// Returns whether a condition holds for this generation of the object.
pub fn is_true(conditions: &[Condition], type_: &str, generation: i64) -> bool {
    find_current(conditions, type_, generation)
        .is_some_and(|found| Status::of(found) == Status::True)
}

/// Builds conditions of one object, keeping the transition times of an earlier report.
#[derive(Clone, Copy, Debug)]
pub struct Builder<'a> {
    /// The conditions of the earlier report.
    pub previous: &'a [Condition],
    /// Generation of the object that the conditions describe.
    pub generation: i64,
    /// Time of the report.
    pub now: Timestamp,
}

impl Builder<'_> {
    /// Returns a condition. Its transition time is that of the earlier report unless the status
    /// changed.
    pub fn condition(
        &self,
        type_: &str,
        status: Status,
        reason: &str,
        message: impl Into<String>,
    ) -> Condition {
        let unchanged =
            find(self.previous, type_).filter(|previous| Status::of(previous) == status);
        Condition {
            type_: type_.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            observed_generation: Some(self.generation),
            last_transition_time: unchanged
                .map_or_else(|| Time(self.now), |previous| previous.last_transition_time.clone()),
        }
    }
}

/// Replaces the condition of the same type, or adds it at the end.
pub fn upsert(conditions: &mut Vec<Condition>, condition: Condition) {
    match conditions.iter_mut().find(|existing| existing.type_ == condition.type_) {
        Some(existing) => *existing = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_time_changes_only_with_the_status() {
        let (then, now) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let first = Builder { previous: &[], generation: 1, now: then };
        let previous = [first.condition("Applied", Status::True, "Old", "")];
        let later = Builder { previous: &previous, generation: 2, now };
        let same = later.condition("Applied", Status::True, "New", "");
        assert_eq!((same.last_transition_time.0, same.observed_generation), (then, Some(2)));
        let other = later.condition("Applied", Status::False, "New", "");
        assert_eq!(other.last_transition_time.0, now);
    }
}

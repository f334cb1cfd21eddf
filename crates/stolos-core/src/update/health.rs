//! Gates that complete by themselves when everything is healthy for a while.

use jiff::{SignedDuration, Timestamp};
use stolos_api::update::{Check, CheckState, Gate, HealthCheck};

/// How long a gate waits for health when its author does not say.
const DEFAULT_DEADLINE_SECONDS: i32 = 3600;

/// Most findings that are told in one message; the rest are counted.
const MAX_TOLD: usize = 3;

/// How the health of a gate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Everything was healthy for long enough.
    Reached,
    /// Not yet, for this reason. It changes by itself at that moment.
    Awaited { reason: String, until: Timestamp },
    /// Not by the deadline, for this reason.
    Missed { reason: String },
}

/// Returns until when health must be reached at a gate that was opened at `opened`.
#[must_use]
pub fn deadline(wanted: &HealthCheck, opened: Timestamp) -> Timestamp {
    let after = wanted.deadline_seconds.unwrap_or(DEFAULT_DEADLINE_SECONDS);
    opened.saturating_add(SignedDuration::from_secs(after.into())).unwrap_or(Timestamp::MAX)
}

/// Tells how the health of a gate stands that was opened at `opened`.
pub(super) fn assess(
    wanted: &HealthCheck,
    gate: Option<&Gate>,
    opened: Timestamp,
    now: Timestamp,
) -> Health {
    let seconds = |number: i32| SignedDuration::from_secs(number.into());
    let deadline = deadline(wanted, opened);
    match healthy_since(&wanted.checks, gate, opened) {
        Ok(since) => {
            let stable = seconds(wanted.stable_for_seconds.unwrap_or(0));
            let stable = since.saturating_add(stable).unwrap_or(Timestamp::MAX);
            // The deadline counts, not the moment at which somebody looks.
            if stable <= now.min(deadline) {
                Health::Reached
            } else if now >= deadline {
                let reason = format!("all checks pass, but only since {since}");
                Health::Missed { reason }
            } else {
                let reason = format!("all checks pass since {since}, and must until {stable}");
                Health::Awaited { reason, until: stable.min(deadline) }
            }
        }
        Err(reason) if now >= deadline => Health::Missed { reason },
        Err(reason) => Health::Awaited { reason, until: deadline },
    }
}

/// Returns since when all checks pass, or which do not.
fn healthy_since(
    checks: &[Check],
    gate: Option<&Gate>,
    opened: Timestamp,
) -> Result<Timestamp, String> {
    let found = gate.and_then(|gate| gate.status.as_ref()).map(|status| status.checks.as_slice());
    let found = found.unwrap_or_default();
    let mut since = opened;
    let mut bad = Vec::new();
    let mut rest = 0;
    for check in checks {
        let Some(finding) = found.iter().find(|finding| finding.name == check.name) else {
            bad.push(format!("check `{}` was not made yet", check.name));
            continue;
        };
        since = since.max(finding.last_transition_time.0);
        if finding.state == CheckState::Passing {
            continue;
        }
        if finding.members.is_empty() {
            bad.push(told(&check.name, finding.state, "", finding.message.as_ref()));
        }
        let members = finding.members.iter().map(|member| {
            let on = format!(" on member `{}`", member.name);
            told(&check.name, member.state, &on, member.message.as_ref())
        });
        bad.extend(members);
        let all = finding.failing_members.saturating_add(finding.unknown_members);
        let all = usize::try_from(all).unwrap_or(0);
        rest += all.saturating_sub(finding.members.len());
    }
    if bad.is_empty() {
        return Ok(since);
    }
    rest += bad.len().saturating_sub(MAX_TOLD);
    bad.truncate(MAX_TOLD);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    Err(format!("{}{more}", bad.join("; ")))
}

fn told(check: &str, state: CheckState, on: &str, why: Option<&String>) -> String {
    let what = match state {
        CheckState::Passing => "passes",
        CheckState::Failing => "fails",
        CheckState::Unknown => "is unknown",
    };
    let why = why.map_or_else(String::new, |message| format!(": {message}"));
    format!("check `{check}` {what}{on}{why}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn gate(checks: &Value) -> Gate {
        serde_json::from_value(json!({
            "metadata": {"name": "g"},
            "spec": {"fleetName": "f", "gateType": "HealthCheck", "target": {"updateRun": "r", "stage": "s", "timing": "After"}},
            "status": {"state": "Pending", "checks": checks},
        }))
        .unwrap()
    }

    fn finding(name: &str, state: &str, since: &str) -> Value {
        let members = match state {
            "Passing" => json!([]),
            _ => json!([{"name": "m1", "state": state}]),
        };
        json!({
            "name": name, "state": state, "members": members, "failingMembers": 1,
            "lastTransitionTime": format!("2026-03-04T{since}.000000Z"),
        })
    }

    #[test]
    fn health_must_last_before_the_deadline() {
        let wanted: HealthCheck = serde_json::from_value(json!({
            "checks": [
                {"name": "a", "prometheus": {"url": "http://p", "query": "up"}},
                {"name": "b", "prometheus": {"url": "http://p", "query": "up"}},
            ],
            "stableForSeconds": 60, "deadlineSeconds": 600,
        }))
        .unwrap();
        let both = |state: &str, since: &str| {
            json!([finding("a", "Passing", "10:00:30"), finding("b", state, since)])
        };
        // The gate was opened at 10:00:00; the deadline is 10:10:00.
        for (checks, now, want) in [
            (
                json!([]),
                "10:01:00",
                "awaited until 10:10:00: check `a` was not made yet; check `b` was not made yet",
            ),
            (
                both("Failing", "10:00:30"),
                "10:02:00",
                "awaited until 10:10:00: check `b` fails on member `m1`",
            ),
            (
                both("Unknown", "10:00:30"),
                "10:10:00",
                "missed: check `b` is unknown on member `m1`",
            ),
            (
                both("Passing", "10:01:00"),
                "10:01:59",
                "awaited until 10:02:00: all checks pass since 2026-03-04T10:01:00Z, and must until 2026-03-04T10:02:00Z",
            ),
            (both("Passing", "10:01:00"), "10:02:00", "reached"),
            (both("Passing", "09:00:00"), "10:01:30", "reached"),
            // Healthy in time, looked at too late: reached. Healthy too late: missed.
            (both("Passing", "10:09:00"), "11:00:00", "reached"),
            (
                both("Passing", "10:09:01"),
                "11:00:00",
                "missed: all checks pass, but only since 2026-03-04T10:09:01Z",
            ),
        ] {
            let moment = |time: &str| format!("2026-03-04T{time}Z").parse().unwrap();
            let health = assess(&wanted, Some(&gate(&checks)), moment("10:00:00"), moment(now));
            let text = match health {
                Health::Reached => "reached".into(),
                Health::Awaited { reason, until } => {
                    format!("awaited until {}: {reason}", until.strftime("%H:%M:%S"))
                }
                Health::Missed { reason } => format!("missed: {reason}"),
            };
            assert_eq!(text, want, "{checks} at {now}");
        }
    }
}

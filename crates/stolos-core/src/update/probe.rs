//! Probes: what the objects of a cluster, or the answer of a Prometheus server, mean for a check.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Deserialize;
use serde_json::Value;
use stolos_api::update::{CheckState, CheckStatus, MAX_CHECKED_MEMBERS, MemberCheckStatus};

/// Most objects or series that are told in one message; the rest are counted.
const MAX_TOLD: usize = 3;

/// Longest message, in characters: a gate holds one for each check and member.
const MAX_MESSAGE: usize = 300;

/// The name of a check and the member it looked at, if it looks at members.
pub type Subject = (String, Option<String>);

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether the check passes.
    pub state: CheckState,
    /// Text for people.
    pub message: Option<String>,
}

impl Found {
    /// Says that the check passes.
    pub fn passing() -> Self {
        Self { state: CheckState::Passing, message: None }
    }

    /// Says what is not healthy.
    pub fn failing(message: &str) -> Self {
        Self { state: CheckState::Failing, message: Some(shortened(message)) }
    }

    /// Says why nobody knows.
    pub fn unknown(message: &str) -> Self {
        Self { state: CheckState::Unknown, message: Some(shortened(message)) }
    }

    /// Says what was found of objects that must all be healthy.
    pub fn of_objects(objects: &BTreeMap<String, Option<String>>) -> Self {
        match summary(objects) {
            Some(problems) => Self::failing(&problems),
            None if objects.is_empty() => {
                Self { message: Some("there are no such objects".into()), ..Self::passing() }
            }
            None => Self::passing(),
        }
    }

    /// Judges the answer of a Prometheus server to an instant query: it must hold something, and nothing that is 0 or
    /// not a number.
    pub fn of_prometheus(status: u16, body: &[u8]) -> Self {
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
            return Self::unknown(&format!("the server answered {status}, not as Prometheus does"));
        };
        match answer {
            Answer { data: Some(data), .. } if (200..300).contains(&status) => match data.samples()
            {
                Some(samples) => judge(&samples),
                None => Self::unknown(&format!(
                    "the query gives a {}, but a check needs a scalar or an instant vector",
                    data.result_type
                )),
            },
            Answer { error: Some(error), .. } => Self::unknown(&error),
            Answer { .. } => Self::unknown(&format!("the server answered {status}")),
        }
    }
}

/// Says which objects have a problem; `None` when none has.
pub fn summary(objects: &BTreeMap<String, Option<String>>) -> Option<String> {
    let bad = objects.iter().filter_map(|(name, problem)| Some((name, problem.as_ref()?)));
    let bad: Vec<String> = bad.map(|(name, problem)| format!("`{name}` {problem}")).collect();
    told(&bad)
}

/// Joins problems into one text; `None` when there are none.
pub(super) fn told(bad: &[String]) -> Option<String> {
    let first = bad.iter().take(MAX_TOLD).map(String::as_str).collect::<Vec<_>>().join("; ");
    let rest = bad.len().saturating_sub(MAX_TOLD);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    (!bad.is_empty()).then(|| format!("{first}{more}"))
}

/// Returns what a gate tells of its checks, one entry for each. A check that finds the same as before keeps its time.
pub fn record(
    before: &[CheckStatus],
    found: &BTreeMap<Subject, Found>,
    now: Timestamp,
) -> Vec<CheckStatus> {
    let mut checks: Vec<CheckStatus> = Vec::new();
    // Subjects are in the order of their check, then of their member.
    for ((name, member), found) in found {
        if checks.last().is_none_or(|last| last.name != *name) {
            checks.push(blank(name, now));
        }
        let Some(check) = checks.last_mut() else { continue };
        check.state = worse(check.state, found.state);
        match member {
            None => check.message.clone_from(&found.message),
            Some(member) => count(check, member, found),
        }
    }
    for check in &mut checks {
        let known = before.iter().find(|known| known.name == check.name);
        if let Some(known) = known.filter(|known| known.state == check.state) {
            check.last_transition_time = known.last_transition_time.clone();
        }
    }
    checks
}

fn blank(name: &str, now: Timestamp) -> CheckStatus {
    CheckStatus {
        name: name.to_owned(),
        state: CheckState::Passing,
        last_transition_time: MicroTime(now),
        message: None,
        passing_members: 0,
        failing_members: 0,
        unknown_members: 0,
        members: Vec::new(),
    }
}

/// One member that fails makes the check fail; else one that is not known makes it unknown.
fn worse(one: CheckState, other: CheckState) -> CheckState {
    match (one, other) {
        (CheckState::Failing, _) | (_, CheckState::Failing) => CheckState::Failing,
        (CheckState::Unknown, _) | (_, CheckState::Unknown) => CheckState::Unknown,
        (CheckState::Passing, CheckState::Passing) => CheckState::Passing,
    }
}

fn count(check: &mut CheckStatus, member: &str, found: &Found) {
    match found.state {
        CheckState::Passing => {
            check.passing_members += 1;
            return;
        }
        CheckState::Failing => check.failing_members += 1,
        CheckState::Unknown => check.unknown_members += 1,
    }
    if check.members.len() < MAX_CHECKED_MEMBERS {
        check.members.push(MemberCheckStatus {
            name: member.to_owned(),
            state: found.state,
            message: found.message.clone(),
        });
    }
}

fn shortened(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) else { return text.to_owned() };
    format!("{}…", &text[..end])
}

/// An answer as the HTTP API of Prometheus defines it, as far as it matters here.
#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// The labels of a series, as text, and its value.
type Sample = (String, String);

impl Data {
    fn samples(&self) -> Option<Vec<Sample>> {
        match self.result_type.as_str() {
            "scalar" => Some(vec![("the result".to_owned(), value(&self.result)?)]),
            "vector" => {
                let series = |series: &Value| Some((labels(series), value(series.get("value")?)?));
                self.result.as_array()?.iter().map(series).collect()
            }
            _ => None,
        }
    }
}

fn value(sample: &Value) -> Option<String> {
    Some(sample.get(1)?.as_str()?.to_owned())
}

fn labels(series: &Value) -> String {
    let labels = series.get("metric").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.map(|(name, value)| format!("{name}={value}"));
    format!("{{{}}}", labels.collect::<Vec<_>>().join(","))
}

fn judge(samples: &[Sample]) -> Found {
    if samples.is_empty() {
        return Found::failing("the query returns nothing");
    }
    let healthy =
        |value: &str| value.parse().is_ok_and(|number: f64| number != 0.0 && !number.is_nan());
    let bad: Vec<String> = (samples.iter())
        .filter(|(_, value)| !healthy(value))
        .map(|(labels, value)| format!("{labels} is {value}"))
        .collect();
    told(&bad).map_or_else(Found::passing, |bad| Found::failing(&bad))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn brief(found: &Found) -> String {
        let message = found.message.as_deref().unwrap_or("-");
        format!("{:?}: {message}", found.state)
    }

    #[test]
    fn a_prometheus_answer_must_hold_something_that_is_not_0() {
        let vector = |values: &[&str]| {
            let series = |(index, value)| json!({"metric": {"job": format!("j{index}")}, "value": [1.5, value]});
            let result: Vec<Value> = values.iter().enumerate().map(series).collect();
            json!({"status": "success", "data": {"resultType": "vector", "result": result}})
        };
        let scalar = |value: &str| json!({"status": "success", "data": {"resultType": "scalar", "result": [1.5, value]}});
        for (status, body, want) in [
            (200, vector(&["1", "0.5", "-1", "+Inf"]), "Passing: -"),
            (200, vector(&[]), "Failing: the query returns nothing"),
            (200, vector(&["1", "0"]), "Failing: {job=\"j1\"} is 0"),
            (200, vector(&["NaN"]), "Failing: {job=\"j0\"} is NaN"),
            (
                200,
                vector(&["0"; 5]),
                "Failing: {job=\"j0\"} is 0; {job=\"j1\"} is 0; {job=\"j2\"} is 0; and 2 more",
            ),
            (200, scalar("1"), "Passing: -"),
            (200, scalar("0"), "Failing: the result is 0"),
            (
                200,
                json!({"status": "success", "data": {"resultType": "matrix", "result": []}}),
                "Unknown: the query gives a matrix, but a check needs a scalar or an instant vector",
            ),
            (
                400,
                json!({"status": "error", "errorType": "bad_data", "error": "parse error"}),
                "Unknown: parse error",
            ),
            (503, json!({}), "Unknown: the server answered 503"),
            (500, vector(&["1"]), "Unknown: the server answered 500"),
            (200, json!("hello"), "Unknown: the server answered 200, not as Prometheus does"),
        ] {
            let found = Found::of_prometheus(status, body.to_string().as_bytes());
            assert_eq!(brief(&found), want, "{status} {body}");
        }
        let html = Found::of_prometheus(502, b"<html>");
        assert_eq!(brief(&html), "Unknown: the server answered 502, not as Prometheus does");
    }

    #[test]
    fn objects_are_told_by_name_and_the_rest_counted() {
        let objects = |bad: usize| -> BTreeMap<String, Option<String>> {
            let problem = |index| (index < bad).then(|| "is ill".to_owned());
            (0..5).map(|index| (format!("o{index}"), problem(index))).collect()
        };
        for (objects, want) in [
            (BTreeMap::new(), "Passing: there are no such objects"),
            (objects(0), "Passing: -"),
            (objects(1), "Failing: `o0` is ill"),
            (objects(5), "Failing: `o0` is ill; `o1` is ill; `o2` is ill; and 2 more"),
        ] {
            assert_eq!(brief(&Found::of_objects(&objects)), want);
        }
    }

    #[test]
    fn messages_have_an_end() {
        let found = Found::failing(&"é".repeat(1000));
        assert_eq!(found.message.unwrap().chars().count(), MAX_MESSAGE + 1);
    }

    fn subject(member: usize) -> Subject {
        ("a".to_owned(), Some(format!("m{member:04}")))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_check_keeps_the_time_of_its_last_change() {
        let check = |first: Found, second: Found| {
            [(subject(1), first), (subject(2), second)].into_iter().collect::<BTreeMap<_, _>>()
        };
        let mut told = Vec::new();
        let mut checks = Vec::new();
        for (second, found) in [
            (10, check(Found::passing(), Found::failing("no"))),
            (20, check(Found::failing("no"), Found::passing())),
            (30, check(Found::passing(), Found::unknown("gone"))),
            (40, check(Found::passing(), Found::passing())),
            (50, check(Found::passing(), Found::passing())),
        ] {
            checks = record(&checks, &found, at(second));
            let check: &CheckStatus = &checks[0];
            told.push(format!("{:?} {}", check.state, check.last_transition_time.0.as_second()));
        }
        assert_eq!(told, ["Failing 10", "Failing 10", "Unknown 30", "Passing 40", "Passing 40"]);
    }

    #[test]
    fn a_gate_with_all_checks_over_a_thousand_members_fits_into_an_object() {
        let long = "é".repeat(MAX_MESSAGE);
        let found = (0..16).flat_map(|check| {
            let long = &long;
            (0..1000).map(move |member| {
                let subject = (format!("check-{check:02}"), subject(member).1);
                (subject, if member % 2 == 0 { Found::passing() } else { Found::failing(long) })
            })
        });
        let checks = record(&[], &found.collect(), at(1));
        let CheckStatus { passing_members, failing_members, unknown_members, members, .. } =
            &checks[15];
        assert_eq!((*passing_members, *failing_members, *unknown_members), (500, 500, 0));
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!((names.len(), names[0], names[19]), (20, "m0001", "m0039"));
        let size = serde_json::to_string(&checks).unwrap().len();
        assert!(size < 300_000, "{size} bytes");
    }
}

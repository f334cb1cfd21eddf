//! Events: the older group takes almost anything, the newer one only what has a time and does not change.

use serde_json::{Map, Value, json};

use crate::name_rules::qualified_problems;
use crate::schema::causes::{invalid, invalid_as, required};
use crate::status::Cause;

const MAX_WORD: usize = 128;
const MAX_NOTE: usize = 1024;

/// Says that a value is wrong as upstream does, which leaves the value out.
fn wrong(field: &str, why: &str) -> Cause {
    invalid_as(field, "\"\"", why)
}

/// What the two groups call the same.
struct Names {
    about: &'static str,
    note: &'static str,
    reporter: &'static str,
    /// How errors call the reporter.
    reporter_in_errors: &'static str,
}

const CORE: Names = Names {
    about: "involvedObject",
    note: "message",
    reporter: "reportingComponent",
    reporter_in_errors: "reportingComponent",
};

const NEWER: Names = Names {
    about: "regarding",
    note: "note",
    reporter: "reportingController",
    reporter_in_errors: "reportingController",
};

pub(super) fn check(group: &str, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let is_newer = group == "events.k8s.io";
    let names = if is_newer { &NEWER } else { &CORE };
    check_words(names, new, causes);
    if !is_newer {
        return;
    }
    if let Some(old) = old {
        check_kept(new, old, causes);
    } else {
        check_timed(new, causes);
    }
    check_series(&new["series"], causes);
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn check_words(names: &Names, event: &Value, causes: &mut Vec<Cause>) {
    let (own, about) = (text(&event["metadata"], "namespace"), &event[names.about]);
    let about = text(about, "namespace");
    let is_timed = !event["eventTime"].is_null();
    let fits = match (about, is_timed) {
        ("", false) => matches!(own, "" | "default"),
        ("", true) => matches!(own, "default" | "kube-system"),
        (about, false) => about == own,
        (_, true) => true,
    };
    if !fits {
        let why = "does not match event.namespace";
        causes.push(invalid("involvedObject.namespace", &about.into(), why));
    }
    if !is_timed {
        return;
    }
    let reporter = text(event, names.reporter);
    if reporter.is_empty() {
        causes.push(required(names.reporter_in_errors, ""));
    }
    let problems = qualified_problems(reporter);
    let problem = |why: &String| invalid(names.reporter_in_errors, &reporter.into(), why);
    causes.extend(problems.iter().map(problem));
    for field in ["reportingInstance", "action", "reason"] {
        match text(event, field).len() {
            0 => causes.push(required(field, "")),
            1..=MAX_WORD => {}
            _ => causes.push(wrong(field, "can have at most 128 characters")),
        }
    }
    if text(event, names.note).len() > MAX_NOTE {
        causes.push(wrong("message", "can have at most 1024 characters"));
    }
}

/// Checks what a new event of the newer group must have, and must not.
fn check_timed(event: &Value, causes: &mut Vec<Cause>) {
    if event["eventTime"].is_null() {
        causes.push(required("eventTime", ""));
    }
    let type_ = text(event, "type");
    if !matches!(type_, "Normal" | "Warning") {
        causes.push(wrong("type", &format!("has invalid value: {type_}")));
    }
    let is_set = |field: &str| {
        let value = &event[field];
        !(value.is_null() || *value == 0 || value.as_object().is_some_and(Map::is_empty))
    };
    for (field, name) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ] {
        if is_set(field) {
            causes.push(wrong(name, "needs to be unset"));
        }
    }
}

fn check_series(series: &Value, causes: &mut Vec<Cause>) {
    if series.is_null() {
        return;
    }
    if series["count"].as_i64().unwrap_or(0) < 2 {
        causes.push(wrong("series.count", "should be at least 2"));
    }
    if series["lastObservedTime"].is_null() {
        causes.push(required("series.lastObservedTime", ""));
    }
}

/// Checks that an event of the newer group only goes on as a series.
fn check_kept(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for (field, name) in [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        // Upstream says this one twice.
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        if new[field] == old[field] {
            continue;
        }
        let why = "field is immutable";
        causes.push(match field {
            "regarding" | "related" => invalid_as(name, &reference(&new[field]), why),
            _ => invalid(name, &new[field], why),
        });
    }
}

/// Writes a reference as upstream holds it, which has no names of an API.
fn reference(value: &Value) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let fields = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    let shown = ["Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath"];
    let pairs = fields.iter().zip(shown);
    let pairs = pairs.map(|(field, shown)| format!("\"{shown}\":{}", json!(text(value, field))));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

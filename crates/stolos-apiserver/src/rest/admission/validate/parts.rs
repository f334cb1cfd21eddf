//! What webhooks, policies and bindings have in common: rules, selectors, match conditions.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::name_rules::{path_segment_problems, qualified_problems};
use crate::rest::admission::expression::{Declared, Returns};
use crate::schema::causes::{duplicate, invalid, not_supported, required, too_many};
use crate::status::Cause;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
/// Most match conditions, as upstream.
const MAX_CONDITIONS: usize = 64;

/// Returns the elements of a list.
pub(super) fn items<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object[field].as_array().into_iter().flatten()
}

/// Returns a text, empty where there is none.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// Checks a value that may be absent against the allowed ones.
pub(super) fn one_of(at: &str, value: &Value, allowed: &[&str], causes: &mut Vec<Cause>) {
    if !value.is_null() && !value.as_str().is_some_and(|value| allowed.contains(&value)) {
        let allowed: Vec<Value> = allowed.iter().map(|value| Value::from(*value)).collect();
        causes.push(not_supported(at, value, &allowed));
    }
}

/// Checks one rule.
pub(super) fn rule(at: &str, rule: &Value, causes: &mut Vec<Cause>) {
    let list = |field: &str| items(rule, field).filter_map(Value::as_str).collect::<Vec<_>>();
    let operations = list("operations");
    if operations.is_empty() {
        causes.push(required(&format!("{at}.operations"), ""));
    }
    only_wildcard(at, rule, "operations", "operations", causes);
    for (n, operation) in items(rule, "operations").enumerate() {
        one_of(&format!("{at}.operations[{n}]"), operation, &OPERATIONS, causes);
    }
    if list("apiGroups").is_empty() {
        causes.push(required(&format!("{at}.apiGroups"), ""));
    }
    only_wildcard(at, rule, "apiGroups", "API groups", causes);
    if list("apiVersions").is_empty() {
        causes.push(required(&format!("{at}.apiVersions"), ""));
    }
    only_wildcard(at, rule, "apiVersions", "API versions", causes);
    for (n, version) in list("apiVersions").iter().enumerate() {
        if version.is_empty() {
            causes.push(required(&format!("{at}.apiVersions[{n}]"), ""));
        }
    }
    resources(&format!("{at}.resources"), &rule["resources"], causes);
    one_of(&format!("{at}.scope"), &rule["scope"], &SCOPES, causes);
}

fn only_wildcard(at: &str, rule: &Value, field: &str, what: &str, causes: &mut Vec<Cause>) {
    let count = items(rule, field).count();
    if count > 1 && items(rule, field).any(|item| item == "*") {
        let why = format!("if '*' is present, must not specify other {what}");
        causes.push(invalid(&format!("{at}.{field}"), &rule[field], &why));
    }
}

fn resources(at: &str, list: &Value, causes: &mut Vec<Cause>) {
    let resources: Vec<&str> =
        list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if resources.is_empty() {
        causes.push(required(at, ""));
    }
    let (mut with_all_parts, mut parts_of_all) = (BTreeSet::new(), BTreeSet::new());
    let mut has_plain = false;
    for (n, resource) in resources.iter().enumerate() {
        let at = format!("{at}[{n}]");
        if resource.is_empty() {
            causes.push(required(&at, ""));
            continue;
        }
        let Some((plural, part)) = resource.split_once('/') else {
            has_plain = *resource != "*";
            continue;
        };
        for (is_covered, by) in [
            (with_all_parts.contains(plural), format!("{plural}/*")),
            (parts_of_all.contains(part), format!("*/{part}")),
        ] {
            if is_covered {
                let why = format!("if '{by}' is present, must not specify {resource}");
                causes.push(invalid(&at, &(*resource).into(), &why));
            }
        }
        if part == "*" {
            with_all_parts.insert(plural);
        }
        if plural == "*" {
            parts_of_all.insert(part);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        causes.push(invalid(at, list, why));
    }
    if resources.contains(&"*") && has_plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        causes.push(invalid(at, list, why));
    }
}

/// Checks a rule of a policy or binding, which may name objects.
pub(super) fn named_rule(at: &str, rule: &Value, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    for (n, name) in items(rule, "resourceNames").enumerate() {
        let at = format!("{at}.resourceNames[{n}]");
        let text = name.as_str().unwrap_or_default();
        causes.extend(path_segment_problems(text).iter().map(|why| invalid(&at, name, why)));
        if !seen.insert(text) {
            causes.push(duplicate(&at, name));
        }
    }
    self::rule(at, rule, causes);
}

/// Checks match conditions; expressions may use what is declared.
pub(super) fn conditions(
    at: &str,
    conditions: &Value,
    declared: &Declared,
    causes: &mut Vec<Cause>,
) {
    let list = conditions.as_array().map_or(&[][..], Vec::as_slice);
    if list.len() > MAX_CONDITIONS {
        causes.push(too_many(at, list.len(), MAX_CONDITIONS as u64));
    }
    let mut seen = BTreeSet::new();
    for (n, condition) in list.iter().enumerate() {
        let at = format!("{at}[{n}]");
        expression(
            &format!("{at}.expression"),
            text(condition, "expression").trim(),
            "",
            declared,
            Returns::Bool,
            causes,
        );
        let name = text(condition, "name");
        let field = format!("{at}.name");
        if name.is_empty() {
            causes.push(required(&field, ""));
            continue;
        }
        let problems = qualified_problems(name);
        causes.extend(problems.iter().map(|why| invalid(&field, &name.into(), why)));
        if !seen.insert(name) {
            causes.push(duplicate(&field, &name.into()));
        }
    }
}

/// Checks an expression; `missing` says what is needed where there is none.
pub(super) fn expression(
    at: &str,
    source: &str,
    missing: &str,
    declared: &Declared,
    returns: Returns,
    causes: &mut Vec<Cause>,
) {
    if source.trim().is_empty() {
        causes.push(required(at, missing));
    } else if let Err(why) = declared.compile(source, returns) {
        causes.push(invalid(at, &source.into(), &why));
    }
}

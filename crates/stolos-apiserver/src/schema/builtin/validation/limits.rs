//! Limit ranges and quotas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::list;
use super::resources::{amount, can_be_overcommitted, container_name, is_in_quotas, name, quota};
use crate::name_rules::qualified_problems;
use crate::schema::causes::{duplicate, forbidden, invalid, required};
use crate::schema::quantity::Quantity;
use crate::status::Cause;

/// Scopes of which a pod is always in one and never in both.
const EXCLUSIVE: [[&str; 2]; 2] =
    [["BestEffort", "NotBestEffort"], ["NotTerminating", "Terminating"]];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Scopes that have a value to compare.
const WITH_VALUES: [&str; 2] = ["PriorityClass", "VolumeAttributesClass"];

const CPU_AND_MEMORY: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

pub(super) fn check_range(spec: &Value, causes: &mut Vec<Cause>) {
    let mut kinds = BTreeSet::new();
    for (index, limit) in list(spec, "limits").enumerate() {
        let path = format!("spec.limits[{index}]");
        let kind = limit["type"].as_str().unwrap_or_default();
        check_kind(kind, &format!("{path}.type"), causes);
        if !kinds.insert(kind) {
            causes.push(duplicate(&format!("{path}.type"), &kind.into()));
        }
        check_limit(kind, limit, &path, causes);
    }
}

fn check_kind(kind: &str, path: &str, causes: &mut Vec<Cause>) {
    let problems = qualified_problems(kind);
    let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind);
    if problems.is_empty() && !kind.contains('/') && !standard {
        let why = "must be a standard limit type or fully qualified";
        causes.push(invalid(path, &kind.into(), why));
    }
    causes.extend(problems.iter().map(|why| invalid(path, &kind.into(), why)));
}

fn check_limit(kind: &str, limit: &Value, path: &str, causes: &mut Vec<Cause>) {
    let check_name = match kind {
        "Pod" | "Container" => container_name,
        _ => name,
    };
    let mut bounds: BTreeMap<&str, BTreeMap<&str, Quantity>> = BTreeMap::new();
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if field == "maxLimitRequestRatio" && kind == "PersistentVolumeClaim" {
            let bound = |field: &str| limit[field].get("storage").is_some();
            if !bound("min") && !bound("max") {
                let why =
                    "either minimum or maximum storage value is required, but neither was provided";
                causes.push(required(&format!("{path}.limits"), why));
            }
        }
        let Some(amounts) = limit[field].as_object().filter(|amounts| !amounts.is_empty()) else {
            continue;
        };
        if kind == "Pod" && field.starts_with("default") {
            let why = "may not be specified when `type` is 'Pod'";
            causes.push(forbidden(&format!("{path}.{field}"), why));
            continue;
        }
        for (resource, value) in amounts {
            check_name(resource, &format!("{path}.{field}[{resource}]"), causes);
            if let Some(amount) = amount(value) {
                bounds.entry(resource).or_default().insert(field, amount);
            }
        }
    }
    for (resource, bounds) in &bounds {
        check_bounds(resource, bounds, path, causes);
    }
}

/// Checks what the bounds of one resource say about each other.
fn check_bounds(
    resource: &str,
    bounds: &BTreeMap<&str, Quantity>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let get = |field: &str| bounds.get(field).copied();
    let mut refuse = |field: &str, shown: Quantity, why: String| {
        let field = format!("{path}.{field}[{resource}]");
        causes.push(invalid(&field, &shown.to_string().into(), &why));
    };
    let (min, max) = (get("min"), get("max"));
    let (default, request) = (get("default"), get("defaultRequest"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        refuse("min", min, format!("min value {min} is greater than max value {max}"));
    }
    if let Some(request) = request {
        if let Some(min) = min.filter(|min| *min > request) {
            let why = format!("min value {min} is greater than default request value {request}");
            refuse("defaultRequest", request, why);
        }
        if let Some(max) = max.filter(|max| request > *max) {
            let why = format!("default request value {request} is greater than max value {max}");
            refuse("defaultRequest", request, why);
        }
        if let Some(default) = default.filter(|default| request > *default) {
            let why = format!(
                "default request value {request} is greater than default limit value {default}"
            );
            refuse("defaultRequest", request, why);
        }
    }
    if let Some(default) = default {
        if let Some(min) = min.filter(|min| *min > default) {
            refuse(
                "default",
                min,
                format!("min value {min} is greater than default value {default}"),
            );
        }
        if let Some(max) = max.filter(|max| default > *max) {
            refuse(
                "default",
                max,
                format!("default value {default} is greater than max value {max}"),
            );
        }
    }
    if let Some(ratio) = get("maxLimitRequestRatio") {
        if ratio < Quantity::from_integer(1) {
            refuse("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let most = max.as_float() / min.as_float();
            if ratio.as_float() > most {
                let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
                refuse("maxLimitRequestRatio", ratio, why);
            }
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && default != request
        && !can_be_overcommitted(resource)
    {
        let why = format!(
            "default value {default} must equal to defaultRequest value {request} in {resource}"
        );
        refuse("defaultRequest", request, why);
    }
}

pub(super) fn check_quota(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    check_amounts(&spec["hard"], "spec.hard", causes);
    check_scopes(spec, causes);
    if spec["scopeSelector"].is_object() {
        check_scope_selector(spec, causes);
    }
    if let Some(old) = old {
        let scopes = |spec: &Value| -> BTreeSet<String> {
            list(spec, "scopes").filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if scopes(spec) != scopes(&old["spec"]) {
            causes.push(invalid("spec.scopes", &spec["scopes"], "field is immutable"));
        }
    }
    for part in ["hard", "used"] {
        check_amounts(&new["status"][part], &format!("status.{part}"), causes);
    }
}

fn check_amounts(amounts: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (resource, value) in amounts.as_object().into_iter().flatten() {
        quota(resource, value, &format!("{path}[{resource}]"), causes);
    }
}

fn check_scopes(spec: &Value, causes: &mut Vec<Cause>) {
    let scopes: Vec<&str> = list(spec, "scopes").filter_map(Value::as_str).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            causes.push(invalid("spec.scopes", &spec["scopes"], "unsupported scope"));
        }
        for _ in misfits(spec, scope) {
            let why = "unsupported scope applied to resource";
            causes.push(invalid("spec.scopes", &spec["scopes"], why));
        }
    }
    check_exclusive("spec.scopes", spec, &scopes, causes);
}

/// Returns what a quota counts and a scope does not look at.
fn misfits<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a String> {
    let counted = spec["hard"].as_object().into_iter().flatten().map(|(resource, _)| resource);
    counted.filter(move |resource| is_in_quotas(resource) && !fits(scope, resource))
}

fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            resource == "persistentvolumeclaims" || resource == "requests.storage"
        }
        _ if SCOPES.contains(&scope) => resource == "pods" || CPU_AND_MEMORY.contains(&resource),
        _ => true,
    }
}

fn check_exclusive(path: &str, spec: &Value, scopes: &[&str], causes: &mut Vec<Cause>) {
    for pair in EXCLUSIVE {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            causes.push(invalid(path, &spec["scopes"], "conflicting scopes"));
        }
    }
}

fn check_scope_selector(spec: &Value, causes: &mut Vec<Cause>) {
    const PATH: &str = "spec.scopeSelector.matchExpressions";
    let selector = &spec["scopeSelector"];
    let mut scopes = Vec::new();
    for expression in list(selector, "matchExpressions") {
        let text = |field: &str| expression[field].as_str().unwrap_or_default();
        let (scope, operator) = (text("scopeName"), text("operator"));
        let values = list(expression, "values").count();
        let at = |field: &str| format!("{PATH}.{field}");
        if !SCOPES.contains(&scope) {
            causes.push(invalid(&at("scopeName"), &scope.into(), "unsupported scope"));
        }
        for _ in misfits(spec, scope) {
            causes.push(invalid(PATH, selector, "unsupported scope applied to resource"));
        }
        if SCOPES.contains(&scope) && !WITH_VALUES.contains(&scope) && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                       ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                       ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            causes.push(invalid(&at("operator"), &operator.into(), why));
        }
        match operator {
            "In" | "NotIn" if values == 0 => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                causes.push(required(&at("values"), why));
            }
            "Exists" | "DoesNotExist" if values != 0 => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                causes.push(invalid(&at("values"), &expression["values"], why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => causes.push(invalid(
                &at("operator"),
                &operator.into(),
                "not a valid selector operator",
            )),
        }
        scopes.push(scope);
    }
    check_exclusive(PATH, spec, &scopes, causes);
}

//! Autoscalers: bounds, what is scaled, by what it is measured, and how fast it may go.
//!
//! Both versions follow the rules of the second, as in kube-apiserver: error texts of version 1 name fields of version 2.

use serde_json::{Value, json};

use super::resources::{amount, container_name};
use super::{check_label, list};
use crate::name_rules::path_segment_problems;
use crate::schema::builtin::autoscaler::to_v2;
use crate::schema::causes::{forbidden, invalid, not_supported, required};
use crate::status::Cause;

/// Longest time that a policy looks at.
const MAX_PERIOD_SECONDS: i64 = 1800;
/// Longest time for which earlier recommendations count.
const MAX_WINDOW_SECONDS: i64 = 3600;

/// Kinds of metrics, and the field that holds each.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

pub(super) fn check(version: &str, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let in_v2 = |autoscaler: &Value| {
        let mut autoscaler = autoscaler.clone();
        if version == "v1" {
            to_v2(&mut autoscaler);
        }
        autoscaler
    };
    let whole = in_v2(new);
    let spec = &whole["spec"];
    let old = old.map(|old| in_v2(old)["spec"].clone());
    check_bounds(spec, old.as_ref(), causes);
    let reference = &spec["scaleTargetRef"];
    check_reference(reference, "spec.scaleTargetRef", causes);
    check_target_version(reference, old.as_ref().map(|old| &old["scaleTargetRef"]), causes);
    let mut old_metrics = old.iter().flat_map(|old| list(old, "metrics"));
    let lenient = old_metrics.any(|metric| {
        let object = &metric["object"];
        metric["type"] == "Object" && version_problem(&object["describedObject"], true).is_some()
    });
    for (index, metric) in list(spec, "metrics").enumerate() {
        check_metric(metric, &format!("spec.metrics[{index}]"), lenient, causes);
    }
    let outside = |metric: &Value| metric["type"] == "Object" || metric["type"] == "External";
    if spec["minReplicas"] == 0 && !list(spec, "metrics").any(outside) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        causes.push(forbidden("spec.metrics", why));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            check_rules(rules, &format!("spec.behavior.{direction}"), causes);
        }
    }
    for field in ["currentReplicas", "desiredReplicas"] {
        let count = &whole["status"][field];
        if count.as_i64().is_some_and(|count| count < 0) {
            let why = "must be greater than or equal to 0";
            causes.push(invalid(&format!("status.{field}"), count, why));
        }
    }
}

fn check_bounds(spec: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let most = spec["maxReplicas"].as_i64().unwrap_or(0);
    // Nothing at least is for those who have it already.
    let floor = i64::from(old.is_none_or(|old| old["minReplicas"] != 0));
    let least = spec["minReplicas"].as_i64();
    if let Some(least) = least.filter(|least| *least < floor) {
        let why = format!("must be greater than or equal to {floor}");
        causes.push(invalid("spec.minReplicas", &least.into(), &why));
    }
    if most < 1 {
        causes.push(invalid("spec.maxReplicas", &most.into(), "must be greater than 0"));
    }
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        causes.push(invalid("spec.maxReplicas", &most.into(), why));
    }
}

fn check_reference(reference: &Value, path: &str, causes: &mut Vec<Cause>) {
    for field in ["kind", "name"] {
        check_segment(&reference[field], &format!("{path}.{field}"), "", causes);
    }
}

/// Asks for a text that can be a part of a path; `missing` says what is asked for where there is none.
fn check_segment(text: &Value, path: &str, missing: &str, causes: &mut Vec<Cause>) {
    match text.as_str().unwrap_or_default() {
        "" => causes.push(required(path, missing)),
        name => {
            let problems = path_segment_problems(name);
            causes.extend(problems.iter().map(|why| invalid(path, text, why)));
        }
    }
}

/// Only workloads scale, and only one of them is in the group without a name.
fn check_target_version(reference: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let same = |field: &str| old.is_some_and(|old| old[field] == reference[field]);
    if same("apiVersion") && same("kind") {
        return;
    }
    let core = reference["kind"] == "ReplicationController";
    push_version_problem(reference, core, "spec.scaleTargetRef", causes);
}

fn push_version_problem(reference: &Value, core: bool, path: &str, causes: &mut Vec<Cause>) {
    if let Some(why) = version_problem(reference, core) {
        let version = reference["apiVersion"].as_str().unwrap_or_default();
        causes.push(invalid(&format!("{path}.apiVersion"), &version.into(), &why));
    }
}

fn version_problem(reference: &Value, core: bool) -> Option<String> {
    let version = reference["apiVersion"].as_str().unwrap_or_default();
    if version.matches('/').count() > 1 {
        return Some(format!("unexpected GroupVersion string: {version}"));
    }
    let group = version.split_once('/').map_or("", |(group, _)| group);
    (!core && group.is_empty()).then(|| "apiVersion must specify API group".to_owned())
}

fn check_metric(metric: &Value, path: &str, lenient: bool, causes: &mut Vec<Cause>) {
    let kind = metric["type"].as_str().unwrap_or_default();
    let field = format!("{path}.type");
    if kind.is_empty() {
        causes.push(required(&field, "must specify a metric source type"));
    }
    let own = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    let kinds = SOURCES.map(|(name, _)| Value::from(name));
    if own.is_none() {
        causes.push(not_supported(&field, &kind.into(), &kinds));
    }
    // Upstream looks into the first of them alone, in this order.
    let present: Vec<&str> = ["object", "external", "pods", "resource", "containerResource"]
        .into_iter()
        .filter(|source| metric[source].is_object())
        .collect();
    if let Some(first) = present.first() {
        check_source(first, &metric[first], &format!("{path}.{first}"), lenient, causes);
    }
    match own {
        Some(own) if !present.contains(&own) => {
            let why = "must populate information for the given metric source";
            causes.push(required(&format!("{path}.{own}"), why));
        }
        Some(_) => {}
        None => causes.push(not_supported(&field, &kind.into(), &kinds)),
    }
    if present.len() != 1 {
        for other in present.iter().filter(|source| Some(**source) != own) {
            let why = "must populate the given metric source only";
            causes.push(forbidden(&format!("{path}.{other}"), why));
        }
    }
}

fn check_source(kind: &str, source: &Value, path: &str, lenient: bool, causes: &mut Vec<Cause>) {
    let target = &source["target"];
    let has = |field: &str| target[field].is_string() || target[field].is_number();
    let at = |field: &str| format!("{path}.target.{field}");
    if kind == "object" {
        let described = format!("{path}.describedObject");
        check_reference(&source["describedObject"], &described, causes);
        if !lenient {
            push_version_problem(&source["describedObject"], true, &described, causes);
        }
    }
    let is_share = kind == "resource" || kind == "containerResource";
    if is_share {
        check_resource(kind, source, path, causes);
    } else {
        let name = &source["metric"]["name"];
        check_segment(name, &format!("{path}.metric.name"), "must specify a metric name", causes);
    }
    check_target(target, &format!("{path}.target"), causes);
    match kind {
        "pods" if !has("averageValue") => {
            let why = "must specify a positive target averageValue";
            causes.push(required(&at("averageValue"), why));
        }
        "pods" => {}
        "object" | "external" => {
            let each = if kind == "object" {
                "must set either a target value or averageValue"
            } else {
                "must set either a target value for metric or a per-pod target"
            };
            if !has("value") && !has("averageValue") {
                causes.push(required(&at("averageValue"), each));
            }
            if kind == "external" && has("value") && has("averageValue") {
                let why = "may not set both a target value for metric and a per-pod target";
                causes.push(forbidden(&at("value"), why));
            }
        }
        _ if !has("averageUtilization") && !has("averageValue") => {
            let why = "must set either a target raw value or a target utilization";
            causes.push(required(&at("averageUtilization"), why));
        }
        _ if has("averageUtilization") && has("averageValue") => {
            let why = "may not set both a target raw value and a target utilization";
            causes.push(forbidden(&at("averageValue"), why));
        }
        _ => {}
    }
}

fn check_resource(kind: &str, source: &Value, path: &str, causes: &mut Vec<Cause>) {
    let name = source["name"].as_str().unwrap_or_default();
    let field = format!("{path}.name");
    if name.is_empty() {
        causes.push(required(&field, "must specify a resource name"));
    } else if kind == "containerResource" {
        container_name(name, &field, causes);
    }
    if kind == "containerResource" {
        let field = format!("{path}.container");
        if source["container"].as_str().is_none_or(str::is_empty) {
            causes.push(required(&field, "must specify a container"));
        } else {
            check_label(&source["container"], &field, causes);
        }
    }
}

fn check_target(target: &Value, path: &str, causes: &mut Vec<Cause>) {
    let kind = target["type"].as_str().unwrap_or_default();
    let field = format!("{path}.type");
    if kind.is_empty() {
        causes.push(required(&field, "must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let why = "must be either Utilization, Value, or AverageValue";
        causes.push(invalid(&field, &kind.into(), why));
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = amount(&target[field]).filter(|amount| amount.sign() != 1) {
            let field = format!("{path}.{field}");
            causes.push(invalid(&field, &json!(amount.to_string()), "must be positive"));
        }
    }
    let share = &target["averageUtilization"];
    if share.as_i64().is_some_and(|share| share < 1) {
        let field = format!("{path}.averageUtilization");
        causes.push(invalid(&field, share, "must be greater than 0"));
    }
}

fn check_rules(rules: &Value, path: &str, causes: &mut Vec<Cause>) {
    let window = &rules["stabilizationWindowSeconds"];
    let field = format!("{path}.stabilizationWindowSeconds");
    match window.as_i64() {
        Some(seconds) if seconds < 0 => {
            causes.push(invalid(&field, window, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > MAX_WINDOW_SECONDS => {
            let why = format!("must be less than or equal to {MAX_WINDOW_SECONDS}");
            causes.push(invalid(&field, window, &why));
        }
        _ => {}
    }
    let choices = ["Disabled", "Max", "Min"];
    let choice = &rules["selectPolicy"];
    if choice.as_str().is_some_and(|choice| !choices.contains(&choice)) {
        let choices = choices.map(Value::from);
        causes.push(not_supported(&format!("{path}.selectPolicy"), choice, &choices));
    }
    if list(rules, "policies").next().is_none() {
        let why = "must specify at least one Policy";
        causes.push(required(&format!("{path}.policies"), why));
    }
    for (index, policy) in list(rules, "policies").enumerate() {
        check_policy(policy, &format!("{path}.policies[{index}]"), causes);
    }
}

fn check_policy(policy: &Value, path: &str, causes: &mut Vec<Cause>) {
    super::check_choice(policy, "type", path, &["Percent", "Pods"], causes);
    let number = |field: &str| policy[field].as_i64().unwrap_or(0);
    for field in ["value", "periodSeconds"] {
        if number(field) <= 0 {
            let why = "must be greater than zero";
            causes.push(invalid(&format!("{path}.{field}"), &number(field).into(), why));
        }
    }
    let period = number("periodSeconds");
    if period > MAX_PERIOD_SECONDS {
        let why = format!("must be less than or equal to {MAX_PERIOD_SECONDS}");
        causes.push(invalid(&format!("{path}.periodSeconds"), &period.into(), &why));
    }
}

//! The two versions of HorizontalPodAutoscaler. The second one is stored.
//!
//! Version 1 knows one metric, the use of CPU. What else the second version says travels in annotations, in the words of
//! its predecessors, so that a client of version 1 writes back what it did not understand.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ANNOTATIONS: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// Names of a field in the older and in the present form of metrics.
type Pair = (&'static str, &'static str);

/// Sources of metrics: where they stand, and their fields as a wish (`target`) or as a report (`current`).
const SOURCES: [(&str, &[Pair], &[Pair]); 5] = [
    (
        "object",
        &[
            ("averageValue", "target.averageValue"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("target", "describedObject"),
            ("targetValue", "target.value"),
        ],
        &[
            ("averageValue", "current.averageValue"),
            ("currentValue", "current.value"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("target", "describedObject"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("targetAverageValue", "target.averageValue"),
        ],
        &[
            ("currentAverageValue", "current.averageValue"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
        ],
    ),
    ("resource", RESOURCE_TARGET, RESOURCE_CURRENT),
    ("containerResource", RESOURCE_TARGET, RESOURCE_CURRENT),
    (
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("targetAverageValue", "target.averageValue"),
            ("targetValue", "target.value"),
        ],
        &[
            ("currentAverageValue", "current.averageValue"),
            ("currentValue", "current.value"),
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
        ],
    ),
];

const RESOURCE_TARGET: &[Pair] = &[
    ("container", "container"),
    ("name", "name"),
    ("targetAverageUtilization", "target.averageUtilization"),
    ("targetAverageValue", "target.averageValue"),
];
const RESOURCE_CURRENT: &[Pair] = &[
    ("container", "container"),
    ("currentAverageUtilization", "current.averageUtilization"),
    ("currentAverageValue", "current.averageValue"),
    ("name", "name"),
];

/// Turns an autoscaler of version 2 into one of version 1.
pub(crate) fn to_v1(object: &mut Value) {
    drop_annotations(object);
    let metrics = take_list(object, "spec", "metrics");
    let (cpu, others): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(is_cpu_share);
    if let Some(share) = cpu.first() {
        let share = share["resource"]["target"]["averageUtilization"].clone();
        object["spec"]["targetCPUUtilizationPercentage"] = share;
    }
    let current = take_list(object, "status", "currentMetrics");
    let share = current.iter().rev().find_map(|metric| {
        let share = &metric["resource"]["current"]["averageUtilization"];
        (metric["resource"]["name"] == "cpu" && share.is_number()).then(|| share.clone())
    });
    if let Some(share) = share {
        object["status"]["currentCPUUtilizationPercentage"] = share;
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        // Version 1 always names the number.
        status.entry("currentReplicas").or_insert_with(|| 0.into());
    }
    let conditions = take_list(object, "status", "conditions");
    let behavior = object["spec"].as_object_mut().and_then(|spec| spec.remove("behavior"));
    let older = |metrics: Vec<Value>, report| -> Vec<Value> {
        metrics.iter().map(|metric| older_metric(metric, report)).collect()
    };
    annotate(object, METRICS, older(others, false).into());
    annotate(object, CURRENT_METRICS, older(current, true).into());
    annotate(object, CONDITIONS, conditions.into());
    annotate(object, BEHAVIOR, behavior.map_or(Value::Null, |value| with_keys(&value, capital)));
}

/// Turns an autoscaler of version 1 into one of version 2.
pub(crate) fn to_v2(object: &mut Value) {
    let mut metrics = newer_metrics(object, METRICS, false).unwrap_or_default();
    if let Some(share) = take(object, "spec", "targetCPUUtilizationPercentage") {
        metrics
            .push(cpu_share("target", json!({"type": "Utilization", "averageUtilization": share})));
    }
    if metrics.is_empty() {
        const SHARE: i64 = 80;
        metrics
            .push(cpu_share("target", json!({"type": "Utilization", "averageUtilization": SHARE})));
    }
    if object["spec"].is_object() {
        object["spec"]["metrics"] = metrics.into();
    }
    let share = take(object, "status", "currentCPUUtilizationPercentage");
    let current = newer_metrics(object, CURRENT_METRICS, true)
        .or_else(|| Some(vec![cpu_share("current", json!({ "averageUtilization": share? }))]));
    if let Some(current) = current {
        set(object, "status.currentMetrics", current.into());
    }
    if let Some(conditions) = annotation(object, CONDITIONS).filter(Value::is_array) {
        set(object, "status.conditions", conditions);
    }
    if let Some(behavior) = annotation(object, BEHAVIOR).filter(|value| *value != json!({})) {
        set(object, "spec.behavior", with_keys(&behavior, lower));
    }
    drop_annotations(object);
}

fn is_cpu_share(metric: &Value) -> bool {
    let resource = &metric["resource"];
    metric["type"] == "Resource"
        && resource["name"] == "cpu"
        && resource["target"]["averageUtilization"].is_number()
}

fn cpu_share(field: &str, value: Value) -> Value {
    json!({ "type": "Resource", "resource": { "name": "cpu", field: value } })
}

fn older_metric(metric: &Value, report: bool) -> Value {
    let mut older = json!({ "type": metric["type"] });
    for (source, wish, current) in SOURCES {
        if let Some(found) = metric.get(source) {
            let pairs = if report { current } else { wish };
            older[source] = renamed(found, pairs.iter().map(|(old, new)| (*new, *old)));
        }
    }
    older
}

fn newer_metrics(object: &Value, name: &str, report: bool) -> Option<Vec<Value>> {
    let metrics = annotation(object, name)?;
    Some(metrics.as_array()?.iter().map(|metric| newer_metric(metric, report)).collect())
}

fn newer_metric(metric: &Value, report: bool) -> Value {
    let mut newer = json!({ "type": metric["type"] });
    for (source, wish, current) in SOURCES {
        if let Some(found) = metric.get(source) {
            let pairs = if report { current } else { wish };
            newer[source] = renamed(found, pairs.iter().copied());
            if !report {
                newer[source]["target"]["type"] = target_type(source, found).into();
            }
        }
    }
    newer
}

/// The older form does not say which of its numbers is meant.
fn target_type(source: &str, older: &Value) -> &'static str {
    match source {
        "resource" | "containerResource" if older.get("targetAverageUtilization").is_some() => {
            "Utilization"
        }
        "object" if older.get("averageValue").is_none() => "Value",
        "external" if older.get("targetValue").is_some() => "Value",
        _ => "AverageValue",
    }
}

fn renamed<'a>(from: &Value, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut to = json!({});
    for (old, new) in pairs {
        let found = old.split('.').try_fold(from, |value, field| value.get(field));
        if let Some(value) = found {
            set(&mut to, new, value.clone());
        }
    }
    to
}

fn set(object: &mut Value, path: &str, value: Value) {
    let node = path.split('.').fold(object, |node, field| {
        if !node.is_object() {
            *node = json!({});
        }
        &mut node[field]
    });
    *node = value;
}

fn take(object: &mut Value, part: &str, field: &str) -> Option<Value> {
    object.get_mut(part)?.as_object_mut()?.remove(field).filter(|value| !value.is_null())
}

fn take_list(object: &mut Value, part: &str, field: &str) -> Vec<Value> {
    match take(object, part, field) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn annotation(object: &Value, name: &str) -> Option<Value> {
    serde_json::from_str(object["metadata"]["annotations"][name].as_str()?).ok()
}

/// Writes a value into an annotation, unless there is nothing to say.
fn annotate(object: &mut Value, name: &str, value: Value) {
    let nothing = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if !nothing && object["metadata"].is_object() {
        let annotations = &mut object["metadata"]["annotations"];
        if !annotations.is_object() {
            *annotations = json!({});
        }
        annotations[name] = value.to_string().into();
    }
}

fn drop_annotations(object: &mut Value) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
        return;
    };
    let before = annotations.len();
    annotations.retain(|name, _| !ANNOTATIONS.contains(&name.as_str()));
    if annotations.is_empty() && before > 0 {
        metadata.remove("annotations");
    }
}

/// Renames every field. The annotation of the behavior is written with Go's names of fields.
fn with_keys(value: &Value, change: fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields
                .map(|(key, value)| (change(key), with_keys(value, change)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(|item| with_keys(item, change)).collect(),
        other => other.clone(),
    }
}

fn capital(key: &str) -> String {
    with_first(key, |letter| letter.to_ascii_uppercase())
}

fn lower(key: &str) -> String {
    with_first(key, |letter| letter.to_ascii_lowercase())
}

fn with_first(key: &str, change: impl Fn(char) -> char) -> String {
    let mut letters = key.chars();
    letters.next().map(change).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newer() -> Value {
        json!({
            "metadata": {"name": "a", "annotations": {"mine": "x"}},
            "spec": {
                "minReplicas": 1, "maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "10"}}},
                    {"type": "External", "external": {"metric": {"name": "queue"},
                        "target": {"type": "Value", "value": "30"}}},
                    {"type": "Object", "object": {"metric": {"name": "rps"}, "describedObject": {"kind": "Service", "name": "s"},
                        "target": {"type": "Value", "value": "7"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                        "target": {"type": "Utilization", "averageUtilization": 60}}},
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 50}}},
                ],
                "behavior": {"scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}},
            },
            "status": {
                "currentReplicas": 1, "desiredReplicas": 2,
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 12, "averageValue": "3m"}}}],
            },
        })
    }

    #[test]
    fn version_1_shows_the_share_of_cpu_and_keeps_the_rest_in_annotations() {
        let mut object = newer();
        to_v1(&mut object);
        assert_eq!(
            object["spec"],
            json!({"minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 50,
                "scaleTargetRef": {"kind": "Deployment", "name": "web"}})
        );
        let status = json!({"currentReplicas": 1, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 12});
        assert_eq!(object["status"], status);
        let metrics = annotation(&object, METRICS).unwrap();
        assert_eq!(metrics.as_array().unwrap().len(), 4);
        assert_eq!(
            metrics[0],
            json!({"type": "Pods", "pods": {"metricName": "hits", "selector": {"matchLabels": {"a": "b"}},
                "targetAverageValue": "10"}})
        );
        let behavior = object["metadata"]["annotations"][BEHAVIOR].as_str().unwrap();
        assert!(behavior.contains("\"SelectPolicy\":\"Max\""), "{behavior}");
    }

    #[test]
    fn nothing_is_lost_on_the_way_through_version_1() {
        let mut object = newer();
        to_v1(&mut object);
        to_v2(&mut object);
        assert_eq!(object, newer());
    }

    #[test]
    fn without_any_metric_80_percent_of_cpu_is_meant() {
        let mut object = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3}});
        to_v2(&mut object);
        let want = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        assert_eq!(object["spec"]["metrics"], want);
        to_v1(&mut object);
        let want = json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 80});
        assert_eq!(object, json!({"metadata": {"name": "a"}, "spec": want}));
    }
}

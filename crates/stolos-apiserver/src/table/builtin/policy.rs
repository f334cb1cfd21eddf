//! Disruption budgets, autoscalers, admission.

use jiff::Timestamp;
use serde_json::Value;

use super::read::{NONE, UNSET, age, at, at_most, int, list, name, or, scalar, text};
use super::{AGE, Heading, NAME, Printer, selector};
use crate::table::duration::UNKNOWN;

const ADMISSION: &str = "admissionregistration.k8s.io";

const WEBHOOK_COLUMNS: &[Heading] =
    &[NAME, Heading::integer("Webhooks", "Number of webhooks."), AGE];

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "policy",
        kind: "PodDisruptionBudget",
        columns: &[
            NAME,
            Heading::string("Min Available", "Pods that must stay available."),
            Heading::string("Max Unavailable", "Pods that may be unavailable."),
            Heading::integer("Allowed Disruptions", "Pods that may be evicted at this moment."),
            AGE,
        ],
        cells: |object, now| {
            let bound = |path| or(&scalar(at(object, path)), "N/A").into();
            vec![
                name(object),
                bound("spec.minAvailable"),
                bound("spec.maxUnavailable"),
                int(object, "status.disruptionsAllowed").into(),
                age(object, now),
            ]
        },
    },
    Printer {
        group: "autoscaling",
        kind: "HorizontalPodAutoscaler",
        columns: &[
            NAME,
            Heading::string("Reference", "Object that is scaled."),
            Heading::string("Targets", "Present values of the metrics and where they should be."),
            Heading::string("MinPods", "Fewest pods."),
            Heading::string("MaxPods", "Most pods."),
            Heading::string("Replicas", "Pods at this moment."),
            AGE,
        ],
        cells: autoscaler,
    },
    Printer {
        group: ADMISSION,
        kind: "MutatingWebhookConfiguration",
        columns: WEBHOOK_COLUMNS,
        cells: webhooks,
    },
    Printer {
        group: ADMISSION,
        kind: "ValidatingWebhookConfiguration",
        columns: WEBHOOK_COLUMNS,
        cells: webhooks,
    },
    Printer {
        group: ADMISSION,
        kind: "ValidatingAdmissionPolicy",
        columns: &[
            NAME,
            Heading::integer("Validations", "Number of rules."),
            Heading::string("ParamKind", "Kind of the objects with parameters."),
            AGE,
        ],
        cells: |object, now| {
            let validations = list(object, "spec.validations").len().into();
            vec![name(object), validations, param_kind(object).into(), age(object, now)]
        },
    },
    Printer {
        group: ADMISSION,
        kind: "ValidatingAdmissionPolicyBinding",
        columns: &[
            NAME,
            Heading::string("PolicyName", "Policy that is put in force."),
            Heading::string("ParamRef", "Object with parameters."),
            AGE,
        ],
        cells: |object, now| {
            let policy = text(object, "spec.policyName").into();
            vec![name(object), policy, param_ref(object).into(), age(object, now)]
        },
    },
];

fn webhooks(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), list(object, "webhooks").len().into(), age(object, now)]
}

fn param_kind(policy: &Value) -> String {
    let kind = at(policy, "spec.paramKind");
    if kind.is_null() {
        return UNSET.to_owned();
    }
    format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind"))
}

/// Parameters without a namespace may come from any.
fn param_ref(binding: &Value) -> String {
    let reference = at(binding, "spec.paramRef");
    let selector = at(reference, "selector");
    match text(reference, "name") {
        "" if selector.is_null() => UNSET.to_owned(),
        "" => selector::expression(selector).unwrap_or_default(),
        name => format!("{}/{name}", or(text(reference, "namespace"), "*")),
    }
}

fn autoscaler(scaler: &Value, now: Timestamp) -> Vec<Value> {
    let target = at(scaler, "spec.scaleTargetRef");
    vec![
        name(scaler),
        format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
        metrics(scaler).into(),
        or(&scalar(at(scaler, "spec.minReplicas")), UNSET).into(),
        int(scaler, "spec.maxReplicas").into(),
        int(scaler, "status.currentReplicas").into(),
        age(scaler, now),
    ]
}

fn metrics(scaler: &Value) -> String {
    let percentage = at(scaler, "spec.targetCPUUtilizationPercentage");
    let specs = list(scaler, "spec.metrics");
    if !percentage.is_null() {
        let current = percent(at(scaler, "status.currentCPUUtilizationPercentage"), UNKNOWN);
        return format!("cpu: {current}/{}", percent(percentage, "<auto>"));
    }
    let statuses = list(scaler, "status.currentMetrics");
    let written: Vec<String> =
        specs.iter().enumerate().map(|(index, spec)| metric(spec, statuses.get(index))).collect();
    or(&at_most(2, &written, ", "), NONE).to_owned()
}

fn metric(spec: &Value, status: Option<&Value>) -> String {
    let source = match text(spec, "type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let target = &spec[source]["target"];
    let current =
        |field: &str| status.map_or(&Value::Null, |status| &status[source]["current"][field]);
    let average = &target["averageValue"];
    let known_average = || or(&scalar(current("averageValue")), UNKNOWN).to_owned();
    match source {
        "pods" => format!("{}/{}", known_average(), scalar(average)),
        "external" | "object" if !average.is_null() => {
            format!("{}/{} (avg)", known_average(), scalar(average))
        }
        "external" | "object" => {
            format!("{}/{}", or(&scalar(current("value")), UNKNOWN), scalar(&target["value"]))
        }
        _ => {
            let resource = text(&spec[source], "name");
            if average.is_null() {
                let utilization = percent(current("averageUtilization"), UNKNOWN);
                format!(
                    "{resource}: {utilization}/{}",
                    percent(&target["averageUtilization"], "<auto>")
                )
            } else {
                format!("{resource}: {}/{}", known_average(), scalar(average))
            }
        }
    }
}

fn percent(value: &Value, otherwise: &str) -> String {
    value.as_i64().map_or_else(|| otherwise.to_owned(), |value| format!("{value}%"))
}

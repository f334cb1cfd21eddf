//! Pods: what a person wants to know of a pod is spread over its containers, so this is the longest of the printers.

use jiff::Timestamp;
use serde_json::Value;

use super::read::{
    NONE, age, at, condition, condition_holds, containers, deleting, flag, int, list, name, or,
    text, time,
};
use super::{AGE, Heading, NAME, Printer, selector};
use crate::table::duration;

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "",
        kind: "Pod",
        columns: &[
            NAME,
            Heading::string("Ready", "Containers that are ready, of all that run side by side."),
            Heading::string("Status", "Phase of the pod, or why it is not there yet."),
            Heading::string(
                "Restarts",
                "Restarts of the containers, and when the last one happened.",
            ),
            AGE,
            Heading::string("IP", "Address of the pod.").wide(),
            Heading::string("Node", "Node that the pod runs on.").wide(),
            Heading::string("Nominated Node", "Node that is being cleared for the pod.").wide(),
            Heading::string("Readiness Gates", "Readiness gates that are open, of all.").wide(),
        ],
        cells: pod,
    },
    Printer {
        group: "",
        kind: "PodTemplate",
        columns: &[
            NAME,
            Heading::string("Containers", "Names of the containers."),
            Heading::string("Images", "Images of the containers."),
            Heading::string("Pod Labels", "Labels that pods of this template get."),
        ],
        cells: |object, _| {
            let [names, images] = containers(object, "template.spec.containers");
            vec![
                name(object),
                names,
                images,
                selector::labels(at(object, "template.metadata.labels")).into(),
            ]
        },
    },
];

fn pod(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let ip = match list(pod, "status.podIPs").first() {
        Some(first) => text(first, "ip"),
        None => text(pod, "status.podIP"),
    };
    vec![
        name(pod),
        format!("{}/{}", summary.n_ready, summary.n_containers).into(),
        summary.reason.into(),
        summary.restarts.cell(now),
        age(pod, now),
        or(ip, NONE).into(),
        or(text(pod, "spec.nodeName"), NONE).into(),
        or(text(pod, "status.nominatedNodeName"), NONE).into(),
        readiness_gates(pod).into(),
    ]
}

struct Summary {
    reason: String,
    n_ready: usize,
    n_containers: usize,
    restarts: Restarts,
}

#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += int(status, "restartCount");
        self.last = self.last.max(time(status, "lastState.terminated.finishedAt"));
    }

    fn cell(self, now: Timestamp) -> Value {
        match self.last {
            Some(last) if self.count != 0 => {
                format!("{} ({} ago)", self.count, duration::human(now.duration_since(last))).into()
            }
            _ => self.count.to_string().into(),
        }
    }
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let init = Init::of(pod);
        let n_sidecars = list(pod, "spec.initContainers")
            .iter()
            .filter(|container| is_sidecar(container))
            .count();
        let mut summary = Self {
            reason: base_reason(pod).to_owned(),
            n_ready: init.n_ready,
            n_containers: list(pod, "spec.containers").len() + n_sidecars,
            restarts: init.restarts,
        };
        let initializing = init.blocked_by.is_some();
        if let Some(reason) = init.blocked_by {
            summary.reason = reason;
        }
        if !initializing || condition_holds(pod, "status.conditions", "Initialized") {
            summary.restarts = init.sidecar_restarts;
            summary.add_containers(pod);
        }
        if deleting(pod) {
            if text(pod, "status.reason") == "NodeLost" {
                "Unknown".clone_into(&mut summary.reason);
            } else if !matches!(text(pod, "status.phase"), "Succeeded" | "Failed") {
                "Terminating".clone_into(&mut summary.reason);
            }
        }
        summary
    }

    /// The first container with something to say gives the reason, hence the reverse order.
    fn add_containers(&mut self, pod: &Value) {
        let mut any_running = false;
        for status in list(pod, "status.containerStatuses").iter().rev() {
            self.restarts.add(status);
            let waiting = text(status, "state.waiting.reason");
            let terminated = at(status, "state.terminated");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if !terminated.is_null() {
                self.reason = ended(terminated);
            } else if flag(status, "ready") && !at(status, "state.running").is_null() {
                any_running = true;
                self.n_ready += 1;
            }
        }
        if self.reason == "Completed" && any_running {
            let ready = condition_holds(pod, "status.conditions", "Ready");
            (if ready { "Running" } else { "NotReady" }).clone_into(&mut self.reason);
        }
    }
}

/// How far the init containers have come.
#[derive(Default)]
struct Init {
    /// Why the pod is still initialising.
    blocked_by: Option<String>,
    n_ready: usize,
    restarts: Restarts,
    /// Sidecars go on while the pod runs, so their restarts count for longer.
    sidecar_restarts: Restarts,
}

impl Init {
    fn of(pod: &Value) -> Self {
        let specs = list(pod, "spec.initContainers");
        let mut init = Self::default();
        for (index, status) in list(pod, "status.initContainerStatuses").iter().enumerate() {
            let sidecar = specs
                .iter()
                .any(|spec| text(spec, "name") == text(status, "name") && is_sidecar(spec));
            init.restarts.add(status);
            if sidecar {
                init.sidecar_restarts.add(status);
            }
            let terminated = at(status, "state.terminated");
            if !terminated.is_null() && int(terminated, "exitCode") == 0 {
                continue;
            }
            if sidecar && flag(status, "started") {
                init.n_ready += usize::from(flag(status, "ready"));
                continue;
            }
            init.blocked_by = Some(if terminated.is_null() {
                match text(status, "state.waiting.reason") {
                    "" | "PodInitializing" => format!("Init:{index}/{}", specs.len()),
                    reason => format!("Init:{reason}"),
                }
            } else {
                format!("Init:{}", ended(terminated))
            });
            break;
        }
        init
    }
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// Says how a container ended.
fn ended(terminated: &Value) -> String {
    match (text(terminated, "reason"), int(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn base_reason(pod: &Value) -> &str {
    let gated = condition(pod, "status.conditions", "PodScheduled")
        .is_some_and(|condition| text(condition, "reason") == "SchedulingGated");
    if gated {
        "SchedulingGated"
    } else {
        or(text(pod, "status.reason"), text(pod, "status.phase"))
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let is_open =
        |gate: &&Value| condition_holds(pod, "status.conditions", text(gate, "conditionType"));
    format!("{}/{}", gates.iter().filter(is_open).count(), gates.len())
}

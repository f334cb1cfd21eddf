//! Jobs.

use jiff::Timestamp;
use serde_json::Value;

use super::read::{
    NONE, UNSET, age, at, condition_holds, containers, deleting, int, list, name, text, time,
};
use super::{AGE, CONTAINERS, Heading, IMAGES, NAME, Printer, SELECTOR, selector};
use crate::table::duration;

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "batch",
        kind: "Job",
        columns: &[
            NAME,
            Heading::string("Status", "Whether the job runs, and how it ended."),
            Heading::string("Completions", "Pods that succeeded, of those needed."),
            Heading::string("Duration", "Time from the start to the end, or to this moment."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        cells: job,
    },
    Printer {
        group: "batch",
        kind: "CronJob",
        columns: &[
            NAME,
            Heading::string("Schedule", "When jobs start, as a cron expression."),
            Heading::string("Timezone", "Time zone of the schedule."),
            Heading::boolean("Suspend", "No further jobs start."),
            Heading::integer("Active", "Jobs that run."),
            Heading::string("Last Schedule", "Time since the last job started."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        cells: cron_job,
    },
];

fn job(job: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(job, "spec.template.spec.containers");
    vec![
        name(job),
        status(job).into(),
        completions(job).into(),
        run_time(job, now).into(),
        age(job, now),
        names,
        images,
        selector::cell(at(job, "spec.selector")),
    ]
}

fn status(job: &Value) -> &'static str {
    let holds = |type_| condition_holds(job, "status.conditions", type_);
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if deleting(job) {
        "Terminating"
    } else {
        let passing = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
        passing.into_iter().find(|type_| holds(type_)).unwrap_or("Running")
    }
}

fn completions(job: &Value) -> String {
    let succeeded = int(job, "status.succeeded");
    match (at(job, "spec.completions").as_i64(), int(job, "spec.parallelism")) {
        (Some(needed), _) => format!("{succeeded}/{needed}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn run_time(job: &Value, now: Timestamp) -> String {
    let end = time(job, "status.completionTime").unwrap_or(now);
    let start = time(job, "status.startTime");
    start.map(|start| duration::human(end.duration_since(start))).unwrap_or_default()
}

fn cron_job(cron_job: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(cron_job, "spec.jobTemplate.spec.template.spec.containers");
    let last = time(cron_job, "status.lastScheduleTime");
    vec![
        name(cron_job),
        text(cron_job, "spec.schedule").into(),
        at(cron_job, "spec.timeZone").as_str().unwrap_or(NONE).into(),
        suspended(cron_job).into(),
        list(cron_job, "status.active").len().into(),
        last.map_or_else(|| NONE.to_owned(), |last| duration::since(Some(last), now)).into(),
        age(cron_job, now),
        names,
        images,
        selector::cell(at(cron_job, "spec.jobTemplate.spec.selector")),
    ]
}

fn suspended(cron_job: &Value) -> &'static str {
    match at(cron_job, "spec.suspend").as_bool() {
        None => UNSET,
        Some(true) => "True",
        Some(false) => "False",
    }
}

//! The run and the fleet of the benchmarks of update runs.

use jiff::Timestamp;
use serde_json::json;
use stolos_api::update::{UpdateRunSpec, UpdateRunStatus};
use stolos_core::update::cluster::{Cluster, Inspection, Member};
use stolos_core::update::{Observed, Run, StrategyLimits};

/// When the runs begin.
pub(crate) fn begin() -> Timestamp {
    "2026-03-04T10:00:00Z".parse().expect("it is a time")
}

pub(crate) fn run<'a>(spec: &'a UpdateRunSpec, status: Option<&'a UpdateRunStatus>) -> Run<'a> {
    Run {
        name: "run",
        uid: "5d3cf8b5-6c7f-4d8c-b7a9-6b1f3a5c2d10",
        generation: Some(1),
        spec,
        status,
        strategy: None,
        limits: StrategyLimits::default(),
        deleting: false,
    }
}

pub(crate) fn spec() -> UpdateRunSpec {
    let spec = json!({
        "fleetName": "fleet",
        "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
        "strategy": {"stages": [
            {"name": "canary", "groups": [{"name": "canary", "maxConcurrency": "20"}]},
            {"name": "prod", "groups": [
                {"name": "west", "maxConcurrency": "25"}, {"name": "east", "maxConcurrency": "25"},
            ]},
        ]},
    });
    serde_json::from_value(spec).expect("it is a run")
}

pub(crate) fn fleet(size: usize) -> Observed {
    let member = |index: usize| {
        let group = if index < size / 20 { "canary" } else { ["west", "east"][index % 2] };
        let cluster = Cluster::running("1.33.0".parse().expect("it is a version"));
        let id = format!("/subscriptions/s/resourceGroups/g/providers/managedClusters/m{index:05}");
        let member =
            Member { group: Some(group.to_owned()), ..Member::new(id, Inspection::Known(cluster)) };
        (format!("member-{index:05}"), member)
    };
    Observed { members: (0..size).map(member).collect(), ..Observed::default() }
}

//! The update engine alone: whole runs over 1,000 and 10,000 members, played on a simulated clock.
//!
//! Each member makes two transitions: its upgrade begins, and it ends. The throughput that criterion prints counts them.
//! With even durations, fifty upgrades end at one moment and fifty begin; with staggered ones, nearly every moment has a
//! plan of its own, which is the worst case.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stolos_api::update::{State, UpdateRunSpec};
use stolos_core::update::cluster::{Cluster, Inspection, Member};
use stolos_core::update::{Durations, Forecast, Observed, Run, forecast};

const SIZES: [usize; 2] = [1_000, 10_000];

criterion_group!(benches, whole_runs);
criterion_main!(benches);

fn whole_runs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update_run");
    group.sample_size(10);
    for size in SIZES {
        group.throughput(Throughput::Elements(2 * size as u64));
        let observed = fleet(size);
        let spec = spec();
        for (case, durations) in [("even", even()), ("staggered", staggered(size))] {
            group.bench_function(BenchmarkId::new(case, size), |bencher| {
                bencher.iter(|| play(&spec, black_box(&observed), &durations));
            });
        }
    }
    group.finish();
}

fn play(spec: &UpdateRunSpec, observed: &Observed, durations: &Durations) -> Forecast {
    let run = Run {
        name: "run",
        uid: "5d3cf8b5-6c7f-4d8c-b7a9-6b1f3a5c2d10",
        generation: Some(1),
        spec,
        status: None,
        strategy: None,
        deleting: false,
    };
    let now: Timestamp = "2026-03-04T10:00:00Z".parse().expect("it is a time");
    let forecast = forecast(&run, observed, durations, now);
    assert_eq!(forecast.state, State::Completed);
    forecast
}

fn spec() -> UpdateRunSpec {
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

fn fleet(size: usize) -> Observed {
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

fn even() -> Durations {
    Durations { default: SignedDuration::from_mins(20), members: BTreeMap::new() }
}

fn staggered(size: usize) -> Durations {
    let seconds = |index: usize| {
        let index = i64::try_from(index).unwrap_or_default();
        SignedDuration::from_secs(1_200 + (index * 7_919) % 1_201)
    };
    let members = (0..size).map(|index| (format!("member-{index:05}"), seconds(index)));
    Durations { members: members.collect(), ..even() }
}

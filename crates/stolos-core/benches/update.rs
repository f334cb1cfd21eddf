//! The update engine alone: whole runs over 1,000 and 10,000 members, played on a simulated clock.
//!
//! Each member makes two transitions: its upgrade begins, and it ends. The throughput that criterion prints counts them.
//! With even durations, fifty upgrades end at one moment and fifty begin; with staggered ones, nearly every moment has a
//! plan of its own, which is the worst case. With windows, a member may begin in one hour of the day alone, and all who
//! wait are looked at in every plan.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::SignedDuration;
use serde_json::json;
use stolos_api::update::{MaintenanceWindows, State, UpdateRunSpec};
use stolos_core::update::{Durations, Forecast, Observed, forecast};

mod updates;

use updates::{begin, fleet, run, spec};

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
    let mut observed = fleet(SIZES[0]);
    for (index, member) in observed.members.values_mut().enumerate() {
        member.windows = an_hour_a_day(index);
    }
    group.throughput(Throughput::Elements(2 * SIZES[0] as u64));
    group.bench_function(BenchmarkId::new("windows", SIZES[0]), |bencher| {
        bencher.iter(|| play(&spec(), black_box(&observed), &staggered(SIZES[0])));
    });
    group.finish();
}

fn play(spec: &UpdateRunSpec, observed: &Observed, durations: &Durations) -> Forecast {
    let forecast = forecast(&run(spec, None), observed, durations, begin());
    assert_eq!(forecast.state, State::Completed);
    forecast
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

fn an_hour_a_day(index: usize) -> MaintenanceWindows {
    let window = json!({
        "schedule": {"daily": {"intervalDays": 1}},
        "durationHours": 1,
        "startTime": format!("{:02}:00", index % 24),
    });
    serde_json::from_value(json!({ "kubernetes": window })).expect("it is a window")
}

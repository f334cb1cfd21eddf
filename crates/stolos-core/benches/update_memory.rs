//! Memory of the update engine: bytes for each member of a fleet of 10,000, counted at the allocator.
//!
//! Prints a JSON line. `observed` is the world that plans read, `status` the run's status before anything begins and at the
//! end, `plan` what one plan holds besides the status that it was given, in the middle of the run, and `in_passing` what
//! such a plan allocates and frees again.

use std::alloc::System;
use std::io::Write;

use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use stolos_api::update::{RunState, State, UpdateRunSpec, UpdateRunStatus};
use stolos_core::update::cluster::Operation;
use stolos_core::update::{Observed, Plan, plan_from};

mod updates;

use updates::{begin, fleet, run, spec};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const N_MEMBERS: usize = 10_000;

fn main() -> std::io::Result<()> {
    let (mut observed, of_world) = held(|| fleet(N_MEMBERS));
    let mut spec = spec();
    let (fresh, _) = held(|| step(&spec, UpdateRunStatus::default(), &observed));
    let at_first = held(|| fresh.status.clone()).1;
    spec.state = RunState::Run;
    let mut status = fresh.status;
    let mut in_the_middle = None;
    while status.status.state != State::Completed {
        let region = Region::new(ALLOCATOR);
        let plan = step(&spec, status, &observed);
        let change = region.change();
        if n_done(&plan.status) > N_MEMBERS / 2 {
            let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
            in_the_middle.get_or_insert((held, change.bytes_allocated - held));
        }
        let Plan { status: next, start, .. } = plan;
        status = next;
        let done = start.into_iter().map(|start| (start.operation_id, Operation::Done(None)));
        observed.operations = done.collect();
    }
    let at_last = held(|| status.clone()).1;
    let (of_plan, in_passing) = in_the_middle.unwrap_or_default();
    let json = serde_json::to_vec(&status)?.len();
    let line = json!({
        "benchmark": "update-memory",
        "members": N_MEMBERS,
        "bytes_per_member": {
            "observed": of_world / N_MEMBERS,
            "status_at_first": at_first / N_MEMBERS,
            "status_at_last": at_last / N_MEMBERS,
            "status_as_json": json / N_MEMBERS,
            "plan": of_plan / N_MEMBERS,
            "in_passing": in_passing / N_MEMBERS,
        },
    });
    writeln!(std::io::stdout().lock(), "{line}")
}

fn step(spec: &UpdateRunSpec, status: UpdateRunStatus, observed: &Observed) -> Plan {
    plan_from(&run(spec, None), status, observed, begin())
}

fn n_done(status: &UpdateRunStatus) -> usize {
    let done = status.progress.as_deref().and_then(|progress| progress.split('/').next());
    done.and_then(|done| done.parse().ok()).unwrap_or(0)
}

/// Makes something and returns how many bytes it holds.
fn held<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    (made, change.bytes_allocated.saturating_sub(change.bytes_deallocated))
}

//! The loop itself.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::Client;
use tracing::{debug, warn};

use crate::queue::Queue;
use crate::watch::{Change, Watches};
use crate::write::WriteError;
use crate::{Clock, Controller, Effect, Readiness, Round, RoundResult};

/// How a controller runs.
#[derive(Clone)]
pub struct Options {
    /// Name for logs.
    pub name: &'static str,
    /// Items whose writes are under way at once.
    pub concurrency: usize,
    /// Clock for plans and timers.
    pub clock: Clock,
    /// Where it says which first lists it still waits for.
    pub readiness: Readiness,
}

/// What the writes of one item came to.
struct Outcome<C: Controller> {
    item: C::Item,
    begun: Begun,
    written: Vec<Change<C::Object>>,
    error: Option<WriteError>,
}

/// When a round began, and when it is to be had again anyway.
#[derive(Clone, Copy)]
struct Begun {
    at: Instant,
    wake_at: Option<Timestamp>,
}

/// Effects of one step that are under way at once; enough to share the group commits of the API server.
const SIDE_BY_SIDE: usize = 16;

/// Changes taken in before the loop plans again; a flood of events must not starve the plans.
const BATCH: usize = 256;

/// Runs a controller until the future is dropped.
///
/// Dropping it is safe at any moment: what was written is in the API server, and all else is planned anew.
pub async fn run<C: Controller>(
    mut controller: C,
    client: Client,
    watches: Watches<C::Object>,
    options: Options,
) {
    let mut watches = watches;
    let mut queue: Queue<C::Item> = Queue::new(C::can_wait);
    let mut running = FuturesUnordered::new();
    let mut was_synced = false;
    loop {
        if !was_synced {
            options.readiness.waits_for(options.name, watches.unsynced());
            was_synced = watches.synced();
        }
        if was_synced {
            while queue.n_running() < options.concurrency {
                let Some(item) = queue.next() else { break };
                let at = Instant::now();
                controller.hear_of_begin(&item);
                let plan = controller.plan(&item, (options.clock)());
                let begun = Begun { at, wake_at: plan.wake_at };
                if let Some(at) = plan.wake_at {
                    queue.wake_at(&item, at);
                }
                if plan.is_empty() {
                    queue.done(&item);
                    tell(&controller, &queue, &item, begun, RoundResult::Success);
                } else {
                    running.push(carry_out::<C>(&client, item, begun, plan.steps));
                }
            }
        }
        let due = queue.next_due();
        let timer = pin!(sleep_until(due, &options.clock));
        tokio::select! {
            Some(outcome) = running.next(), if !running.is_empty() => {
                finish(&mut controller, &mut queue, outcome, &options);
            }
            Some(signal) = async { watches.signals().next().await } => {
                let mut next = Some(signal);
                for _ in 0..BATCH {
                    let Some(signal) = next.take() else { break };
                    if let Some(change) = watches.interpret(signal) {
                        controller.learn(change).into_iter().for_each(|item| queue.mark(item));
                    }
                    next = futures::FutureExt::now_or_never(watches.signals().next()).flatten();
                }
                if let Some(change) = next.and_then(|signal| watches.interpret(signal)) {
                    controller.learn(change).into_iter().for_each(|item| queue.mark(item));
                }
            }
            () = timer => queue.mark_due((options.clock)()),
        }
    }
}

async fn sleep_until(due: Option<Timestamp>, clock: &Clock) {
    match due {
        Some(at) => {
            let wait = Duration::try_from(at.duration_since(clock())).unwrap_or_default();
            tokio::time::sleep(wait).await;
        }
        None => futures::future::pending().await,
    }
}

/// Carries steps out in order until one fails.
async fn carry_out<C: Controller>(
    client: &Client,
    item: C::Item,
    begun: Begun,
    steps: Vec<Vec<C::Effect>>,
) -> Outcome<C> {
    let mut written = Vec::new();
    for step in &steps {
        // A loop: the closure of a `map` would keep the future from being `Send` for every lifetime.
        let mut effects = Vec::with_capacity(step.len());
        for effect in step {
            effects.push(effect.carry_out(client));
        }
        let mut answers = futures::stream::iter(effects).buffer_unordered(SIDE_BY_SIDE);
        let mut failure = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(changes) => written.extend(changes),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            return Outcome { item, begun, written, error: Some(error.into()) };
        }
    }
    Outcome { item, begun, written, error: None }
}

fn finish<C: Controller>(
    controller: &mut C,
    queue: &mut Queue<C::Item>,
    outcome: Outcome<C>,
    options: &Options,
) {
    for change in outcome.written {
        controller.learn(change).into_iter().for_each(|item| queue.mark(item));
    }
    let result = match outcome.error {
        None => {
            queue.done(&outcome.item);
            RoundResult::Success
        }
        Some(WriteError::Outdated(error)) => {
            debug!(controller = options.name, item = ?outcome.item, %error, "planned on outdated state");
            queue.outdated(&outcome.item, (options.clock)());
            RoundResult::Outdated
        }
        Some(WriteError::Failed(error)) => {
            warn!(controller = options.name, item = ?outcome.item, %error, "failed to write");
            queue.failed(&outcome.item, (options.clock)());
            RoundResult::Failed
        }
    };
    tell(controller, queue, &outcome.item, outcome.begun, result);
}

fn tell<C: Controller>(
    controller: &C,
    queue: &Queue<C::Item>,
    item: &C::Item,
    begun: Begun,
    result: RoundResult,
) {
    let Begun { at, wake_at } = begun;
    let n_running = queue.n_running();
    controller.hear_of(&Round { item, result, took: at.elapsed(), wake_at, n_running });
}

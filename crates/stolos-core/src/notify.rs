//! Event subscriptions: which event a receiver is told next, and when it is tried again.
//!
//! There is no queue. What the receiver knows of each object stands in the subscription's status; the next event is the
//! first difference between that and the objects. So nothing is lost or piles up while the receiver or the hub is away:
//! states that came and went in between are told once, with the last one. An event whose delivery was not recorded is
//! sent again under the same id.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use sha2::{Digest, Sha256};
use stolos_api::update::{
    CONDITION_READY, DEFAULT_MAX_ATTEMPTS, DeliveryRetry, EventSubscriptionSpec,
    EventSubscriptionStatus, EventType, Told,
};

use crate::condition;

/// Pause before an event is sent again; it doubles each time.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(1);

/// Longest pause.
const LAST_RETRY: SignedDuration = SignedDuration::from_mins(5);

/// Kinds of objects that events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    UpdateRun,
    Gate,
}

impl Kind {
    /// Returns the kind as it stands in objects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpdateRun => "UpdateRun",
            Self::Gate => "Gate",
        }
    }

    /// The state in which objects of the kind begin.
    fn first_state(self) -> &'static str {
        match self {
            Self::UpdateRun => "NotStarted",
            Self::Gate => "Pending",
        }
    }
}

/// An object that events are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notable {
    /// When it was created.
    pub created: Timestamp,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its state.
    pub state: String,
}

/// A subscription as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Subscription<'a> {
    /// Uid of the object.
    pub uid: &'a str,
    /// When it was created: what was there before is known to the receiver.
    pub created: Timestamp,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// What its author wants.
    pub spec: &'a EventSubscriptionSpec,
    /// What was told so far.
    pub status: Option<&'a EventSubscriptionStatus>,
}

/// One delivery of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Id of the event, the same for each attempt.
    pub event_id: String,
    /// How often it was sent before.
    pub attempt: i32,
    /// What happened.
    pub event: EventType,
    /// The object; its last known state when it is gone.
    pub told: Told,
}

/// What the receiver answered to a delivery: nothing, or why it did not take the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Id of the event.
    pub event_id: String,
    /// The attempt.
    pub attempt: i32,
    /// Whether it was taken.
    pub result: Result<(), String>,
}

/// What to do for a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The subscription's new status. It is written before anything is sent.
    pub status: EventSubscriptionStatus,
    /// What to send.
    pub send: Option<Delivery>,
    /// An event that was given up, for people.
    pub given_up: Option<String>,
    /// When to plan again even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

/// Decides what a receiver is told next. `answer` is the latest one, whatever event it was about.
#[must_use]
pub fn plan(
    subscription: &Subscription<'_>,
    objects: &[Notable],
    answer: Option<&Answer>,
    now: Timestamp,
) -> Plan {
    let mut status =
        subscription.status.cloned().unwrap_or_else(|| first_status(subscription, objects));
    status.observed_generation = subscription.generation;
    let mut plan = Plan { status, send: None, given_up: None, wake_at: None };
    let mut objects = objects.to_vec();
    objects.sort_unstable();
    let mut answer = answer;
    while let Some(next) = next(subscription, &plan.status, &objects) {
        let retry = plan.status.retry.clone().filter(|retry| retry.event_id == next.event_id);
        let next = Delivery { attempt: retry.as_ref().map_or(0, |retry| retry.attempts), ..next };
        if !is_wanted(subscription.spec, next.event) {
            settle(&mut plan.status, next);
            continue;
        }
        let answered = answer
            .take()
            .filter(|answer| answer.event_id == next.event_id && answer.attempt == next.attempt);
        match answered.map(|answer| &answer.result) {
            None => {
                let due = retry.map(|retry| retry.next_attempt_time.0).filter(|at| *at > now);
                plan.wake_at = due;
                plan.send = due.is_none().then_some(next);
                break;
            }
            Some(Ok(())) => {
                plan.status.delivered += 1;
                ready(&mut plan.status, "True", "Delivering", "the receiver takes events", now);
                settle(&mut plan.status, next);
            }
            Some(Err(message)) => not_taken(&mut plan, subscription.spec, next, message, now),
        }
    }
    if plan.send.is_none() && plan.wake_at.is_none() && plan.status.conditions.is_empty() {
        ready(&mut plan.status, "True", "Delivering", "nothing has happened yet", now);
    }
    plan
}

/// The receiver is not told what was there before it subscribed.
fn first_status(subscription: &Subscription<'_>, objects: &[Notable]) -> EventSubscriptionStatus {
    let old = objects.iter().filter(|object| object.created < subscription.created);
    let told = old.map(|object| told(object, &object.state)).collect();
    EventSubscriptionStatus { told, ..EventSubscriptionStatus::default() }
}

fn told(object: &Notable, state: &str) -> Told {
    Told {
        kind: object.kind.as_str().to_owned(),
        name: object.name.clone(),
        uid: object.uid.clone(),
        state: state.to_owned(),
        events: 0,
    }
}

/// Returns the first difference between what the receiver knows and what is.
fn next(
    subscription: &Subscription<'_>,
    status: &EventSubscriptionStatus,
    objects: &[Notable],
) -> Option<Delivery> {
    let changed = objects.iter().find_map(|object| {
        let is_gate = object.kind == Kind::Gate;
        match status.told.iter().find(|told| told.uid == object.uid) {
            None => {
                let event =
                    if is_gate { EventType::GateCreated } else { EventType::UpdateRunCreated };
                Some((event, told(object, object.kind.first_state())))
            }
            Some(told) if told.state != object.state => {
                let event =
                    if is_gate { EventType::GateUpdated } else { EventType::UpdateRunUpdated };
                Some((event, Told { state: object.state.clone(), ..told.clone() }))
            }
            Some(_) => None,
        }
    });
    let gone = || {
        let told = status.told.iter().find(|told| objects.iter().all(|o| o.uid != told.uid))?;
        let is_gate = told.kind == Kind::Gate.as_str();
        let event = if is_gate { EventType::GateDeleted } else { EventType::UpdateRunDeleted };
        Some((event, told.clone()))
    };
    let (event, told) = changed.or_else(gone)?;
    let event_id = id(subscription.uid, event, &told);
    Some(Delivery { event_id, attempt: 0, event, told })
}

fn id(subscription: &str, event: EventType, told: &Told) -> String {
    let what = (subscription, event, &told.uid, &told.state, told.events);
    let digest = Sha256::digest(serde_json::to_vec(&what).unwrap_or_default());
    hex::encode(&digest[..16])
}

fn is_wanted(spec: &EventSubscriptionSpec, event: EventType) -> bool {
    spec.events.is_empty() || spec.events.contains(&event)
}

/// Notes that the receiver knows of an event, or never will.
fn settle(status: &mut EventSubscriptionStatus, delivery: Delivery) {
    status.retry = None;
    let Delivery { event, mut told, .. } = delivery;
    told.events = told.events.saturating_add(1);
    status.told.retain(|other| other.uid != told.uid);
    if !matches!(event, EventType::GateDeleted | EventType::UpdateRunDeleted) {
        status.told.push(told);
    }
}

fn not_taken(
    plan: &mut Plan,
    spec: &EventSubscriptionSpec,
    delivery: Delivery,
    message: &str,
    now: Timestamp,
) {
    let attempts = delivery.attempt.saturating_add(1);
    let what = format!("{:?} of `{}`", delivery.event, delivery.told.name);
    if attempts >= spec.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS) {
        plan.status.dead_lettered += 1;
        let text = format!("{what} was given up after {attempts} attempts: {message}");
        ready(&mut plan.status, "False", "EventGivenUp", &text, now);
        plan.given_up = Some(text);
        settle(&mut plan.status, delivery);
        return;
    }
    let pause = FIRST_RETRY.checked_mul(1 << delivery.attempt.clamp(0, 16));
    let pause = pause.map_or(LAST_RETRY, |pause| pause.min(LAST_RETRY));
    let at = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
    // As precise as it is stored.
    let at = at.round(jiff::Unit::Microsecond).unwrap_or(at);
    ready(
        &mut plan.status,
        "False",
        "DeliveryFailed",
        &format!("{what} was not taken: {message}"),
        now,
    );
    plan.status.retry = Some(DeliveryRetry {
        event_id: delivery.event_id,
        attempts,
        next_attempt_time: MicroTime(at),
        message: message.to_owned(),
    });
}

fn ready(
    status: &mut EventSubscriptionStatus,
    state: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let generation = status.observed_generation.unwrap_or_default();
    let new = condition::new(CONDITION_READY, state, reason, message, generation, now);
    condition::set(&mut status.conditions, new);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    struct Player {
        spec: EventSubscriptionSpec,
        status: Option<EventSubscriptionStatus>,
        objects: Vec<Notable>,
        answer: Option<Answer>,
        now: Timestamp,
        log: Vec<String>,
    }

    impl Player {
        fn new(spec: serde_json::Value) -> Self {
            let mut all = json!({
                "fleetName": "local", "url": "https://example.com", "signingSecret": {"name": "s"},
            });
            for (key, value) in spec.as_object().unwrap() {
                all[key] = value.clone();
            }
            Self {
                spec: serde_json::from_value(all).unwrap(),
                status: None,
                objects: Vec::new(),
                answer: None,
                now: at(100),
                log: Vec::new(),
            }
        }

        fn object(&mut self, created: i64, kind: Kind, name: &str, state: &str) {
            self.objects.retain(|object| object.name != name);
            self.objects.push(Notable {
                created: at(created),
                kind,
                name: name.into(),
                uid: format!("uid-{name}"),
                state: state.into(),
            });
        }

        fn step(&mut self, taken: bool) -> Plan {
            let subscription = Subscription {
                uid: "uid",
                created: at(50),
                generation: Some(1),
                spec: &self.spec,
                status: self.status.as_ref(),
            };
            let plan = plan(&subscription, &self.objects, self.answer.as_ref(), self.now);
            self.status = Some(plan.status.clone());
            if let Some(given_up) = &plan.given_up {
                self.log.push(format!("given up: {given_up}"));
            }
            if let Some(send) = &plan.send {
                let what = format!("{:?} {} {}", send.event, send.told.name, send.told.state);
                if taken {
                    self.log.push(what);
                }
                self.answer = Some(Answer {
                    event_id: send.event_id.clone(),
                    attempt: send.attempt,
                    result: if taken { Ok(()) } else { Err("503".into()) },
                });
            }
            plan
        }

        fn play(&mut self, taken: bool) {
            for _ in 0..200 {
                let plan = self.step(taken);
                match (plan.send, plan.wake_at) {
                    (Some(_), _) => {}
                    (None, Some(at)) => self.now = at,
                    (None, None) => return,
                }
            }
            panic!("does not come to rest: {:#?}", self.log);
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_receiver_is_told_what_happens_after_it_subscribed_in_order() {
        let mut player = Player::new(json!({}));
        player.object(10, Kind::UpdateRun, "old", "Completed");
        player.object(60, Kind::UpdateRun, "run", "Running");
        player.play(true);
        player.object(70, Kind::Gate, "gate", "Pending");
        player.object(60, Kind::UpdateRun, "run", "Pending");
        player.play(true);
        player.object(70, Kind::Gate, "gate", "Completed");
        player.play(true);
        player.objects.clear();
        player.play(true);
        assert_eq!(
            player.log,
            [
                "UpdateRunCreated run NotStarted",
                "UpdateRunUpdated run Running",
                "UpdateRunUpdated run Pending",
                "GateCreated gate Pending",
                "GateUpdated gate Completed",
                "UpdateRunDeleted old Completed",
                "UpdateRunDeleted run Pending",
                "GateDeleted gate Completed",
            ]
        );
        assert_eq!(player.status.unwrap().told, []);
    }

    #[test]
    fn an_event_that_is_never_taken_is_given_up_and_the_next_one_goes_on() {
        let mut player = Player::new(json!({"maxAttempts": 3, "events": ["GateCreated"]}));
        player.object(60, Kind::Gate, "a", "Completed");
        player.play(false);
        assert_eq!(player.log, ["given up: GateCreated of `a` was given up after 3 attempts: 503"]);
        assert_eq!(player.now, at(103), "1 s and 2 s of pauses");
        player.object(60, Kind::Gate, "b", "Pending");
        player.play(true);
        assert_eq!(player.log[1..], ["GateCreated b Pending"]);
        let status = player.status.unwrap();
        assert_eq!((status.delivered, status.dead_lettered), (1, 1));
    }

    #[test]
    fn an_event_is_sent_again_under_its_id_when_the_answer_was_lost() {
        let mut player = Player::new(json!({}));
        player.object(60, Kind::Gate, "a", "Pending");
        let first = player.step(true).send.unwrap();
        player.answer = None;
        let second = player.step(true).send.unwrap();
        assert_eq!(first, second);
        player.play(true);
        assert_eq!(player.status.unwrap().delivered, 1);
    }

    proptest! {
        /// Whatever happens, with answers lost at any point, the receiver comes to know the last state of everything.
        #[test]
        fn the_last_state_arrives(script in prop::collection::vec((0..4_u8, 0..4_u8, any::<bool>(), any::<bool>()), 1..40)) {
            const STATES: [&str; 3] = ["Pending", "Skipped", "Completed"];
            let mut player = Player::new(json!({"maxAttempts": 30}));
            for (object, state, taken, lost) in script {
                let name = format!("g{object}");
                match STATES.get(usize::from(state)) {
                    Some(state) => player.object(60, Kind::Gate, &name, state),
                    None => player.objects.retain(|object| object.name != name),
                }
                player.step(taken);
                if lost {
                    player.answer = None;
                }
            }
            player.play(true);
            let status = player.status.unwrap();
            prop_assert_eq!(status.told.len(), player.objects.len());
            for object in &player.objects {
                let told = status.told.iter().find(|told| told.uid == object.uid).unwrap();
                prop_assert_eq!(&told.state, &object.state);
            }
            prop_assert_eq!(status.dead_lettered, 0);
        }
    }
}

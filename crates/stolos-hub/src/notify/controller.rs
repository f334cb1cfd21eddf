//! What the controller knows, whom a change concerns, and one step of a subscription.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::update::{EventSubscription, Gate, UpdateRun};
use stolos_controller::{Change, Controller, Key, Plan, Table, Write};
use stolos_core::notify::{self, Answer, Delivery, Kind, Notable, Subscription};

use super::effect::{Effect, Fact, Object, Post};
use super::message;
use crate::event::Report;

/// Name that events are reported under.
const COMPONENT: &str = "event-subscription-controller";

/// The world of the controller; everything by `<namespace>/<fleet>`.
pub(super) struct Subscriptions {
    subscriptions: Table<EventSubscription>,
    gates: Table<Gate>,
    runs: Table<UpdateRun>,
    /// The latest answer of each receiver.
    answers: BTreeMap<Key, Answer>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            subscriptions: Table::indexed_by(|subscription: &EventSubscription| {
                Some(index(&subscription.metadata, &subscription.spec.fleet_name))
            }),
            gates: Table::indexed_by(|gate: &Gate| {
                Some(index(&gate.metadata, &gate.spec.fleet_name))
            }),
            runs: Table::indexed_by(|run: &UpdateRun| {
                Some(index(&run.metadata, &run.spec.fleet_name))
            }),
            answers: BTreeMap::new(),
        }
    }
}

fn index(meta: &ObjectMeta, fleet: &str) -> String {
    format!("{}/{fleet}", meta.namespace.as_deref().unwrap_or_default())
}

impl Controller for Subscriptions {
    type Item = Key;
    type Object = Fact;
    type Effect = Effect;

    fn learn(&mut self, change: Change<Fact>) -> Vec<Key> {
        match change {
            Change::Applied(Fact::Answer(key, answer)) => {
                self.answers.insert(key.clone(), answer);
                vec![key]
            }
            Change::Applied(Fact::Object(object)) => {
                let concerned = self.concerned(&object);
                let news = match object {
                    Object::EventSubscription(subscription) => {
                        self.subscriptions.insert(*subscription).is_ok()
                    }
                    Object::Gate(gate) => self.gates.insert(*gate).is_ok(),
                    Object::UpdateRun(run) => self.runs.insert(*run).is_ok(),
                    Object::Event(_) => false,
                };
                if news { concerned } else { Vec::new() }
            }
            Change::Deleted(Fact::Object(object)) => {
                match &object {
                    Object::EventSubscription(subscription) => {
                        self.answers.remove(&Key::of(&subscription.metadata));
                        self.subscriptions.remove(&subscription.metadata);
                    }
                    Object::Gate(gate) => drop(self.gates.remove(&gate.metadata)),
                    Object::UpdateRun(run) => drop(self.runs.remove(&run.metadata)),
                    Object::Event(_) => {}
                }
                self.concerned(&object)
            }
            Change::Deleted(Fact::Answer(..)) => Vec::new(),
            Change::Listed { kind, keys } => {
                match kind {
                    "EventSubscription" => {
                        drop(self.subscriptions.retain(&keys));
                        self.answers.retain(|key, _| keys.contains(key));
                    }
                    "Gate" => drop(self.gates.retain(&keys)),
                    _ => drop(self.runs.retain(&keys)),
                }
                self.subscriptions.iter().map(|each| Key::of(&each.metadata)).collect()
            }
        }
    }

    fn plan(&self, key: &Key, now: Timestamp) -> Plan<Effect> {
        let Some(subscription) = self.subscriptions.get(key) else { return Plan::default() };
        if subscription.metadata.deletion_timestamp.is_some() {
            return Plan::default();
        }
        let created = subscription.metadata.creation_timestamp.as_ref();
        let plan = notify::plan(
            &Subscription {
                uid: subscription.metadata.uid.as_deref().unwrap_or_default(),
                created: created.map_or(Timestamp::MIN, |created| created.0),
                generation: subscription.metadata.generation,
                spec: &subscription.spec,
                status: subscription.status.as_ref(),
            },
            &self.notables(&index(&subscription.metadata, &subscription.spec.fleet_name)),
            self.answers.get(key),
            now,
        );
        self.carry_out(key, subscription, plan, now)
    }
}

impl Subscriptions {
    fn concerned(&self, object: &Object) -> Vec<Key> {
        let fleet = match object {
            Object::EventSubscription(subscription) => {
                return vec![Key::of(&subscription.metadata)];
            }
            Object::Gate(gate) => index(&gate.metadata, &gate.spec.fleet_name),
            Object::UpdateRun(run) => index(&run.metadata, &run.spec.fleet_name),
            Object::Event(_) => return Vec::new(),
        };
        self.subscriptions.indexed(&fleet).map(|each| Key::of(&each.metadata)).collect()
    }

    fn notables(&self, fleet: &str) -> Vec<Notable> {
        let notable = |kind, meta: &ObjectMeta, state: String| Notable {
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0),
            kind,
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            state,
        };
        let gates = self.gates.indexed(fleet).map(|gate| {
            let state = gate.status.as_ref().map(|status| status.state).unwrap_or_default();
            notable(Kind::Gate, &gate.metadata, format!("{state:?}"))
        });
        let runs = self.runs.indexed(fleet).map(|run| {
            let state = run.status.as_ref().map(|status| status.status.state).unwrap_or_default();
            notable(Kind::UpdateRun, &run.metadata, format!("{state:?}"))
        });
        gates.chain(runs).collect()
    }

    /// The status goes first: an event whose answer is not recorded is sent again, and one that is recorded never.
    fn carry_out(
        &self,
        key: &Key,
        subscription: &EventSubscription,
        plan: notify::Plan,
        now: Timestamp,
    ) -> Plan<Effect> {
        let notify::Plan { status, send, given_up, wake_at } = plan;
        let mut steps = Plan::default();
        if subscription.status.as_ref() != Some(&status) {
            let reported = EventSubscription { status: Some(status), ..subscription.clone() };
            steps = steps.then(vec![Effect::Write(Write::ReplaceStatus(reported.into()))]);
        }
        if let Some(message) = given_up {
            let report = Report {
                component: COMPONENT,
                type_: "Warning",
                reason: "EventGivenUp".to_owned(),
                message,
            };
            let event = crate::event::event(subscription, report, 0, now);
            steps = steps.then(vec![Effect::Write(Write::Create(event.into()))]);
        }
        if let Some(delivery) = send {
            let post = self.post(key, subscription, &delivery, now);
            steps = steps.then(vec![Effect::Post(Box::new(post))]);
        }
        steps.waking_at(wake_at)
    }

    fn post(
        &self,
        key: &Key,
        subscription: &EventSubscription,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Post {
        let about = Key::namespaced(&key.namespace, &delivery.told.name);
        let object = if delivery.told.kind == Kind::Gate.as_str() {
            self.gates.get(&about).and_then(|gate| message::object(gate.as_ref()))
        } else {
            self.runs.get(&about).and_then(|run| message::object(run.as_ref()))
        };
        // Another object may have the name of one that is gone.
        let object = object.filter(|object| object["metadata"]["uid"] == delivery.told.uid);
        let spec = &subscription.spec;
        Post {
            subscription: key.clone(),
            url: spec.url.clone(),
            signing_secret: spec.signing_secret.name.clone(),
            ca_bundle: spec.ca_bundle.clone(),
            event_id: delivery.event_id.clone(),
            attempt: delivery.attempt,
            message: message::message(subscription, delivery, object, now),
            at: now,
        }
    }
}

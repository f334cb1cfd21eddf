//! The agent's controller: one loop over its InternalMemberCluster, its Works, and what it has placed.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use stolos_api::cluster::names::{agent, member_namespace};
use stolos_api::cluster::{ClusterState, InternalMemberCluster};
use stolos_api::placement::Work;
use stolos_controller::{
    Change, Controller, Effect, Key, Options, Plan, Round, RoundResult, Table, Watches,
};
use tokio::sync::mpsc;

use crate::cluster::heartbeat;
use crate::placement::{Applier, Placed, apply};
use crate::{Config, Context};

/// Works that are applied at once.
const CONCURRENCY: usize = 8;

/// Notes of changed objects that wait to be taken in. When it is full, watches of the member wait.
const NOTES: usize = 1024;

/// Runs the agent until the future is dropped.
pub(crate) async fn run(config: Config) {
    let namespace = member_namespace(&config.name);
    let options = Options {
        name: "member-agent",
        concurrency: CONCURRENCY,
        clock: config.clock.clone(),
        readiness: config.readiness.clone(),
    };
    let hub = config.hub.clone();
    let (notes, mut placed) = mpsc::channel(NOTES);
    let placed = futures::stream::poll_fn(move |context| {
        placed.poll_recv(context).map(|note| note.map(Object::Placed))
    });
    let applier = Arc::new(Applier::new(Arc::new(config), notes));
    let watches: Watches<Object> = Watches::default()
        .add(
            "InternalMemberCluster",
            Api::<InternalMemberCluster>::namespaced(hub.clone(), &namespace),
        )
        .add("Work", Api::<Work>::namespaced(hub.clone(), &namespace))
        .add_stream(placed);
    let agent = Agent { applier, namespace, internal: Table::default(), works: Table::default() };
    stolos_controller::run(agent, hub, watches, options).await;
}

struct Agent {
    applier: Arc<Applier>,
    namespace: String,
    internal: Table<InternalMemberCluster>,
    works: Table<Work>,
}

/// What the agent looks after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// Its own membership.
    Membership,
    /// One Work.
    Work(String),
}

/// What the agent learns of.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Internal(Box<InternalMemberCluster>),
    Work(Box<Work>),
    Placed(Placed),
}

impl From<InternalMemberCluster> for Object {
    fn from(object: InternalMemberCluster) -> Self {
        Self::Internal(Box::new(object))
    }
}

impl From<Work> for Object {
    fn from(object: Work) -> Self {
        Self::Work(Box::new(object))
    }
}

/// What the agent does.
pub(crate) enum Job {
    /// Reports a heartbeat, health and properties.
    Heartbeat(Context, Arc<InternalMemberCluster>),
    /// Lets go of every Work and reports that it has left. Placed objects stay.
    Leave(Context, Arc<InternalMemberCluster>, Vec<Arc<Work>>),
    /// Brings the member in line with a Work.
    Apply(Arc<Applier>, Arc<Work>),
}

impl Effect for Job {
    type Object = Object;

    async fn carry_out(&self, _hub: &kube::Client) -> Result<Vec<Change<Object>>, kube::Error> {
        Ok(self.do_it().await?.into_iter().map(Change::Applied).collect())
    }
}

impl Job {
    async fn do_it(&self) -> Result<Vec<Object>, kube::Error> {
        match self {
            Self::Heartbeat(context, internal) => {
                let reported = heartbeat::report(context, internal).await?;
                if !heartbeat::is_current(internal) {
                    context.metrics.joined();
                }
                Ok(vec![reported.into()])
            }
            Self::Leave(context, internal, works) => {
                let freed = apply::let_go(context, works).await?;
                let left = heartbeat::report_left(context, internal).await?;
                context.metrics.left();
                Ok(freed.into_iter().map(Object::from).chain([left.into()]).collect())
            }
            Self::Apply(applier, work) => {
                Ok(apply::reconcile(applier, work).await?.into_iter().map(Object::from).collect())
            }
        }
    }
}

impl Controller for Agent {
    type Item = Item;
    type Object = Object;
    type Effect = Job;

    fn learn(&mut self, change: Change<Object>) -> Vec<Item> {
        match change {
            Change::Applied(Object::Internal(internal)) => {
                let state = |internal: &InternalMemberCluster| internal.spec.state;
                let new = state(&internal);
                match self.internal.insert(*internal) {
                    Err(()) => Vec::new(),
                    // Joining or leaving concerns every Work.
                    Ok(before) if before.as_deref().map(state) != Some(new) => self.everything(),
                    Ok(_) => vec![Item::Membership],
                }
            }
            Change::Applied(Object::Work(work)) => {
                let name = work.metadata.name.clone().unwrap_or_default();
                match self.works.insert(*work) {
                    Ok(before) if self.concerns(before.as_deref(), &name) => vec![Item::Work(name)],
                    Ok(_) | Err(()) => Vec::new(),
                }
            }
            Change::Applied(Object::Placed(placed)) | Change::Deleted(Object::Placed(placed)) => {
                match placed {
                    Placed::Of(applied_work) => vec![Item::Work(applied_work)],
                    Placed::Unknown => self.everything(),
                }
            }
            Change::Deleted(Object::Internal(internal)) => {
                self.internal.remove(&internal.metadata);
                Vec::new()
            }
            // A Work that is gone proves nothing: what it placed stays.
            Change::Deleted(Object::Work(work)) => {
                self.works.remove(&work.metadata);
                let name = work.metadata.name.as_deref().unwrap_or_default();
                self.applier.context.metrics.forget(name);
                Vec::new()
            }
            Change::Listed { kind, keys } => {
                self.relist(kind, &keys);
                self.everything()
            }
        }
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Job> {
        let Some(internal) = self.internal() else { return Plan::default() };
        let joined = internal.spec.state == ClusterState::Join;
        let context = self.applier.context.clone();
        match item {
            Item::Membership if joined => Self::heartbeat(context, internal, now),
            Item::Membership if heartbeat::has_left(internal) => Plan::default(),
            Item::Membership => {
                let works = self.works.iter().cloned().collect();
                vec![Job::Leave(context, internal.clone(), works)].into()
            }
            Item::Work(name) if joined => {
                let Some(work) = self.works.get(&Key::namespaced(&self.namespace, name)) else {
                    return Plan::default();
                };
                let overdue = context.overdue_at(work).filter(|at| *at > now);
                Plan::from(vec![Job::Apply(self.applier.clone(), work.clone())]).waking_at(overdue)
            }
            Item::Work(_) => Plan::default(),
        }
    }

    fn hear_of(&self, round: &Round<'_, Item>) {
        if let (Item::Work(name), RoundResult::Success) = (round.item, round.result)
            && self.works.get(&Key::namespaced(&self.namespace, name)).is_some()
        {
            self.applier.context.metrics.applied(name, round.took);
        }
    }
}

impl Agent {
    fn internal(&self) -> Option<&Arc<InternalMemberCluster>> {
        self.internal.iter().next()
    }

    fn everything(&self) -> Vec<Item> {
        let works = self.works.iter().filter_map(|work| work.metadata.name.clone()).map(Item::Work);
        works.chain([Item::Membership]).collect()
    }

    fn relist(&mut self, kind: &str, keys: &BTreeSet<Key>) {
        match kind {
            "Work" => drop(self.works.retain(keys)),
            _ => drop(self.internal.retain(keys)),
        }
    }

    /// Tells whether a new state of a Work calls for a look; our own report of its status does not.
    fn concerns(&self, before: Option<&Work>, name: &str) -> bool {
        let Some(after) = self.works.get(&Key::namespaced(&self.namespace, name)) else {
            return false;
        };
        let key = |work: &Work| {
            let meta = &work.metadata;
            (
                meta.generation,
                meta.uid.clone(),
                meta.deletion_timestamp.clone(),
                meta.finalizers.clone(),
            )
        };
        before.map(key) != Some(key(after))
    }

    /// Reports at once when never done for this generation, else when the period is over.
    fn heartbeat(
        context: Context,
        internal: &Arc<InternalMemberCluster>,
        now: Timestamp,
    ) -> Plan<Job> {
        let status = internal.status.as_ref().and_then(|status| status.agent(agent::MEMBER_AGENT));
        let last = status.and_then(|agent| agent.last_received_heartbeat.as_ref()).map(|at| at.0);
        let period = SignedDuration::from_secs(i64::from(internal.spec.heartbeat_period_seconds));
        let due = last.and_then(|last| last.checked_add(period).ok());
        match due {
            Some(due) if due > now && heartbeat::is_current(internal) => {
                Plan::default().waking_at(Some(due))
            }
            _ => Plan::from(vec![Job::Heartbeat(context, internal.clone())])
                .waking_at(now.checked_add(period).ok()),
        }
    }
}

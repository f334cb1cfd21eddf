//! The authority of the fleet, which gives each member a certificate that its gateway and those of others know it by.
//!
//! It is made once and kept in a Secret. Whoever adds another authority to `ca.crt` there lets members believe both, and can
//! then put the other one in the place of the first.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use stolos_api::cluster::InternalMemberCluster;
use stolos_api::cluster::names::SYSTEM_NAMESPACE;
use stolos_api::network::names::gateway as names;
use stolos_controller::{Change, Controller, Effect, Key, Options, Plan, Table, Watches, Write};
use stolos_core::network::gateway::certificate::{Answer, Due, due};
use tracing::warn;

mod sign;

use sign::{Authority, Error};

use crate::cluster::profile::ensure_namespace;

const MANAGER: &str = "hub-gateway-authority";

/// Name in logs and readiness.
pub(crate) const NAME: &str = "gateway-authority";

stolos_controller::kinds! {
    MANAGER;
    InternalMemberCluster, Secret,
}

/// Runs the authority until the future is dropped.
pub(crate) async fn run(client: Client, options: Options) {
    if let Err(error) = ensure_namespace(&client).await {
        warn!(namespace = SYSTEM_NAMESPACE, %error, "failed to create the namespace of the authority");
    }
    let secrets = Api::<Secret>::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let watches = Watches::default()
        .add("InternalMemberCluster", Api::<InternalMemberCluster>::all(client.clone()))
        .add("Secret", secrets);
    let options = Options { name: NAME, ..options };
    stolos_controller::run(Authorities::default(), client, watches, options).await;
}

/// What is decided about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// The authority itself.
    Authority,
    /// The certificate of a member.
    Member(Key),
}

#[derive(Default)]
struct Authorities {
    internal: Table<InternalMemberCluster>,
    secret: Option<Secret>,
}

/// One thing to do.
enum Act {
    /// Makes an authority, unless there is one: its Secret must not exist.
    Found(Timestamp),
    /// Signs a request.
    Sign {
        internal: Box<InternalMemberCluster>,
        authority: Box<Secret>,
        member: String,
        request: String,
        now: Timestamp,
    },
    /// Answers a request.
    Answer(Box<InternalMemberCluster>, Answer),
}

impl Effect for Act {
    type Object = Object;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Object>>, kube::Error> {
        match self {
            Self::Found(now) => match sign::found(*now) {
                Ok(secret) => Write::Create(Object::from(secret)).carry_out(client).await,
                Err(error) => {
                    warn!(%error, "failed to make the authority of the fleet");
                    Ok(Vec::new())
                }
            },
            Self::Sign { internal, authority, member, request, now } => {
                let signed =
                    Authority::of(authority).and_then(|one| one.sign(member, request, *now));
                let answer = match signed {
                    Ok(answer) => answer,
                    Err(error @ Error::Request) => {
                        let problem = Some(error.to_string());
                        Answer { request: request.clone(), problem, ..Answer::default() }
                    }
                    // For whoever keeps the Secret to see to; a change of it is another try.
                    Err(error @ (Error::Authority | Error::Make(_))) => {
                        warn!(member, %error, "failed to sign the request of a member");
                        return Ok(Vec::new());
                    }
                };
                answered(internal, &answer).carry_out(client).await
            }
            Self::Answer(internal, answer) => answered(internal, answer).carry_out(client).await,
        }
    }
}

fn answered(internal: &InternalMemberCluster, answer: &Answer) -> Write<Object> {
    let mut internal = internal.clone();
    let annotations = internal.metadata.annotations.get_or_insert_default();
    annotations.insert(names::CERTIFICATE.to_owned(), answer.text());
    Write::Replace(internal.into())
}

impl Authorities {
    fn everything(&self) -> Vec<Item> {
        let members = self.internal.iter().map(|one| Item::Member(Key::of(&one.metadata)));
        members.chain([Item::Authority]).collect()
    }

    fn plan_member(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let (Some(internal), Some(authority)) = (self.internal.get(key), &self.secret) else {
            return Plan::default();
        };
        let boxed = || Box::new(InternalMemberCluster::clone(internal));
        match due(internal, &sign::authorities(authority), now) {
            Due::Nothing => Plan::default(),
            Due::Wait(until) => Plan::default().waking_at(until),
            Due::Sign { member, request } => {
                let (internal, authority) = (boxed(), Box::new(authority.clone()));
                vec![Act::Sign { internal, authority, member, request, now }].into()
            }
            Due::Refuse(answer) => {
                let is_told = Answer::of(internal).as_ref() == Some(&answer);
                let told = (!is_told).then(|| Act::Answer(boxed(), answer));
                Plan::default().then(told.into_iter().collect())
            }
        }
    }

    fn is_authority(secret: &Secret) -> bool {
        secret.metadata.name.as_deref() == Some(names::AUTHORITY_SECRET)
    }
}

impl Controller for Authorities {
    type Item = Item;
    type Object = Object;
    type Effect = Act;

    fn learn(&mut self, change: Change<Object>) -> Vec<Item> {
        match change {
            Change::Applied(Object::InternalMemberCluster(internal)) => {
                let key = Key::of(&internal.metadata);
                let news = self.internal.insert(*internal).is_ok();
                if news { vec![Item::Member(key)] } else { Vec::new() }
            }
            Change::Deleted(Object::InternalMemberCluster(internal)) => {
                self.internal.remove(&internal.metadata);
                Vec::new()
            }
            Change::Applied(Object::Secret(secret)) if Self::is_authority(&secret) => {
                self.secret = Some(*secret);
                self.everything()
            }
            Change::Deleted(Object::Secret(secret)) if Self::is_authority(&secret) => {
                self.secret = None;
                self.everything()
            }
            Change::Applied(Object::Secret(_)) | Change::Deleted(Object::Secret(_)) => Vec::new(),
            Change::Listed { kind, keys } => {
                self.relist(kind, &keys);
                self.everything()
            }
        }
    }

    fn plan(&self, item: &Item, now: Timestamp) -> Plan<Act> {
        match item {
            // Harmless if a list has only left it out: what exists is not made again.
            Item::Authority if self.secret.is_none() => vec![Act::Found(now)].into(),
            Item::Authority => Plan::default(),
            Item::Member(key) => self.plan_member(key, now),
        }
    }
}

impl Authorities {
    /// A list that leaves the authority out says nothing of it.
    fn relist(&mut self, kind: &str, keys: &BTreeSet<Key>) {
        if kind == "InternalMemberCluster" {
            self.internal.retain(keys);
        }
    }
}

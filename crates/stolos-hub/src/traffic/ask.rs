//! Questions to the provider, each with a time-out, and what is learnt from the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use stolos_api::network::{TrafficManagerBackend, TrafficManagerProfile};
use stolos_controller::Key;
use stolos_core::event::Event;
use stolos_core::network::traffic::backend::{Answers, Plan};
use stolos_core::network::traffic::profile::ProviderProfile;
use stolos_core::network::traffic::{Found, FoundEndpoint, ProfileId, ProviderError};

use super::act::{Object, Seen};
use super::inputs::Inputs;
use super::progress::{Outcome, Progress};
use super::{Answer, SharedProvider, backend, metadata, profile};

/// How long the provider may take to answer. It is asked again afterwards.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Endpoints that are deleted at once.
const SIDE_BY_SIDE: usize = 8;

/// A question to the provider.
pub(super) struct Ask {
    pub(super) provider: SharedProvider,
    pub(super) id: ProfileId,
    /// The object that it is asked for.
    pub(super) about: About,
    pub(super) what: What,
    pub(super) at: Timestamp,
}

/// What the provider is asked for.
pub(super) enum About {
    Profile(TrafficManagerProfile),
    Backend(TrafficManagerBackend),
}

impl About {
    fn key(&self) -> Key {
        match self {
            Self::Profile(profile) => Key::of(&profile.metadata),
            Self::Backend(backend) => Key::of(&backend.metadata),
        }
    }

    fn event(&self, told: &Event, now: Timestamp) -> Object {
        match self {
            Self::Profile(profile) => metadata::event(profile, told, 0, now),
            Self::Backend(backend) => metadata::event(backend, told, 0, now),
        }
    }
}

/// What is asked.
pub(super) enum What {
    /// What it has of a profile.
    ReadProfile(profile::Basis),
    /// To have a profile so.
    PutProfile(profile::Basis, Box<ProviderProfile>),
    /// To have a profile no longer.
    DeleteProfile(profile::Basis),
    /// What it has of the endpoints of a backend.
    ReadEndpoints(Inputs),
    /// To have the endpoints of a backend so.
    Deal(Inputs, Box<Plan>, Vec<FoundEndpoint>),
    /// To have endpoints of a backend that is being deleted no longer.
    Withdraw(Inputs, Vec<String>),
}

impl Ask {
    /// Asks, and returns what is learnt from the answer.
    pub(super) async fn answer(&self) -> Seen {
        let Self { provider, id, what, .. } = self;
        match what {
            What::ReadProfile(basis) => {
                let found = self.find().await;
                let outcome = failed_or(&found, Outcome::Underway);
                self.of_profile(basis, profile::Said::Has(found), outcome)
            }
            What::PutProfile(basis, wanted) => {
                let answer = in_time(provider.put_profile(id, wanted)).await;
                let outcome = failed_or(&answer, Outcome::Done);
                self.of_profile(basis, profile::Said::Put(answer), outcome)
            }
            What::DeleteProfile(basis) => {
                let answer = gone(in_time(provider.delete_profile(id)).await);
                let outcome = failed_or(&answer, Outcome::Done);
                self.of_profile(basis, profile::Said::Deleted(answer), outcome)
            }
            What::ReadEndpoints(inputs) => {
                let found = self.find().await;
                let outcome = failed_or(&found, Outcome::Underway);
                self.of_backend(inputs, backend::Said::Has(found), outcome)
            }
            What::Deal(inputs, plan, found) => {
                let answers = self.deal(plan, found).await;
                let failed = answers.delete.is_some() || answers.put.values().any(Result::is_err);
                let outcome = if failed { Outcome::Failed } else { Outcome::Done };
                self.of_backend(inputs, backend::Said::Dealt(plan.clone(), answers), outcome)
            }
            What::Withdraw(inputs, names) => {
                let answer = self.delete(names).await;
                let outcome = failed_or(&answer, Outcome::Done);
                self.of_backend(inputs, backend::Said::Withdrawn(answer), outcome)
            }
        }
    }

    /// Returns what people are told of an answer that keeps an object from going; whatever else goes wrong is in its
    /// status.
    pub(super) fn told_of(&self, seen: &Seen) -> Option<Object> {
        let (Seen::OfProfile(_, Progress { said: profile::Said::Deleted(Err(error)), .. })
        | Seen::OfBackend(_, Progress { said: backend::Said::Withdrawn(Err(error)), .. })) = seen
        else {
            return None;
        };
        Some(self.about.event(&metadata::refused(&error.message), self.at))
    }

    fn of_profile(&self, basis: &profile::Basis, said: profile::Said, outcome: Outcome) -> Seen {
        let progress = Progress { basis: basis.clone(), said, at: self.at, outcome };
        Seen::OfProfile(self.about.key(), progress)
    }

    fn of_backend(&self, inputs: &Inputs, said: backend::Said, outcome: Outcome) -> Seen {
        let progress = Progress { basis: inputs.clone(), said, at: self.at, outcome };
        Seen::OfBackend(self.about.key(), progress)
    }

    async fn find(&self) -> Answer<Option<Found>> {
        match in_time(self.provider.profile(&self.id)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes endpoints side by side, then puts the others one by one. What is refused does not keep the rest from it.
    async fn deal(&self, plan: &Plan, found: &[FoundEndpoint]) -> Answers {
        let mut answers = Answers { kept: kept(plan, found), ..Answers::default() };
        if let Err(error) = self.delete(&plan.delete).await {
            answers.delete = Some(error);
            return answers;
        }
        for desired in &plan.put {
            let answer = in_time(self.provider.put_endpoint(&self.id, desired)).await;
            let goes_on = answer.as_ref().err().is_none_or(ProviderError::is_refusal);
            let answer = answer.map(|found| (found.resource_id, found.address));
            answers.put.insert(desired.name.clone(), answer);
            if !goes_on {
                break;
            }
        }
        answers
    }

    async fn delete(&self, names: &[String]) -> Answer<()> {
        let delete = async |name: &String| {
            gone(in_time(self.provider.delete_endpoint(&self.id, name)).await)
        };
        let answers: Vec<_> =
            stream::iter(names).map(delete).buffer_unordered(SIDE_BY_SIDE).collect().await;
        answers.into_iter().collect()
    }
}

/// Returns id and address of the endpoints that a plan keeps, from what the provider has.
pub(super) fn kept(
    plan: &Plan,
    found: &[FoundEndpoint],
) -> BTreeMap<String, (String, Option<String>)> {
    let of = |name: &String| {
        let mut all = found.iter();
        let found = all.find(|one| one.endpoint.name.eq_ignore_ascii_case(name))?;
        Some((name.clone(), (found.resource_id.clone(), found.address.clone())))
    };
    plan.keep.iter().filter_map(|kept| of(&kept.name)).collect()
}

async fn in_time<T>(answer: impl Future<Output = Answer<T>>) -> Answer<T> {
    tokio::time::timeout(TIMEOUT, answer).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", TIMEOUT.as_secs());
        Err(ProviderError { status: None, message })
    })
}

/// Takes what is not there for deleted.
fn gone(answer: Answer<()>) -> Answer<()> {
    match answer {
        Err(error) if error.is_absence() => Ok(()),
        other => other,
    }
}

fn failed_or<T>(answer: &Answer<T>, outcome: Outcome) -> Outcome {
    if answer.is_ok() { outcome } else { Outcome::Failed }
}

//! One step of a DNS name.

use jiff::Timestamp;
use kube::ResourceExt;
use stolos_api::network::TrafficManagerProfile;
use stolos_api::network::names::finalizer;
use stolos_controller::{Key, Plan, Write};
use stolos_core::network::traffic::profile::{self, AtProvider, Leave, Provided};
use stolos_core::network::traffic::{Found, ProfileId, ProviderError};

use super::act::Act;
use super::ask::{About, Ask, What};
use super::{Answer, Traffic, TrafficKind, metadata};

/// What the provider's profile depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    uid: String,
    generation: i64,
    is_leaving: bool,
}

/// What the provider said about a profile.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// What it has of it.
    Has(Answer<Option<Found>>),
    /// What came of putting it.
    Put(Answer<Found>),
    /// What came of deleting it.
    Deleted(Answer<()>),
}

/// Returns what the provider calls a profile.
pub(super) fn id(profile: &TrafficManagerProfile) -> ProfileId {
    ProfileId {
        resource_group: profile.spec.resource_group.clone(),
        name: profile::provider_name(profile),
    }
}

impl Traffic {
    /// Plans a profile in rounds: its finalizers, what the provider has, what it should have, and what came of it.
    pub(super) fn plan_profile(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let Some(profile) = self.profiles.get(key) else { return Plan::default() };
        let basis = Basis {
            uid: profile.uid().unwrap_or_default(),
            generation: profile.metadata.generation.unwrap_or(0),
            is_leaving: profile.metadata.deletion_timestamp.is_some(),
        };
        if basis.is_leaving {
            return self.plan_leaving_profile(key, profile, basis, now);
        }
        if let Some(adopted) = metadata::adopted(profile.as_ref(), finalizer::METRICS) {
            return vec![adopted].into();
        }
        let Some((said, again)) = self.of_profiles.current(key, &basis, now) else {
            return vec![self.ask_profile(profile, What::ReadProfile(basis), now)].into();
        };
        let answer = match said {
            Said::Put(answer) => answer.clone().map(|found| provided(&found, true)),
            Said::Has(found) => {
                let known = found.as_ref().map(|found| found.as_ref().map(|found| &found.profile));
                match (profile::provision(profile, known), found) {
                    (AtProvider::Put(_), Ok(None)) if self.is_taken(profile) => Err(taken()),
                    (AtProvider::Put(wanted), _) => {
                        let what = What::PutProfile(basis, wanted);
                        let adopted =
                            metadata::adopted(profile.as_ref(), finalizer::TRAFFIC_MANAGER_PROFILE);
                        let put = self.ask_profile(profile, what, now);
                        return Plan::default().then(adopted.into_iter().collect()).then(vec![put]);
                    }
                    (AtProvider::Unchanged, Ok(Some(found))) => Ok(provided(found, false)),
                    (_, Err(error)) => Err(error.clone()),
                    // It differs or is absent, and is put.
                    (AtProvider::Unchanged | AtProvider::Unknown, Ok(_)) => return Plan::default(),
                }
            }
            Said::Deleted(_) => return Plan::default(),
        };
        self.tell_profile(key, profile, &answer, now).waking_at(again)
    }

    /// Tells whether another profile has the DNS name already. A provider that forgot everything would give it to
    /// whoever comes first.
    fn is_taken(&self, profile: &TrafficManagerProfile) -> bool {
        let mut same = self.profiles.indexed(&dns_name(profile));
        !has_name(profile) && same.any(|one| one.uid() != profile.uid() && has_name(one))
    }

    fn tell_profile(
        &self,
        key: &Key,
        profile: &TrafficManagerProfile,
        answer: &Answer<Provided>,
        now: Timestamp,
    ) -> Plan<Act> {
        let report = profile::report(profile, answer, now);
        let Some(status) = report.status else {
            let conditions = profile.status.as_ref().map(|status| status.conditions.as_slice());
            self.metrics.traffic(TrafficKind::Profile, key, conditions.unwrap_or_default(), now);
            return Plan::default();
        };
        self.metrics.traffic(TrafficKind::Profile, key, &status.conditions, now);
        let events = report.events.iter().enumerate().map(|(index, told)| {
            Act::Write(Write::Create(metadata::event(profile, told, index, now)))
        });
        let events = events.collect();
        let told = TrafficManagerProfile { status: Some(status), ..profile.clone() };
        let told = Act::Write(Write::ReplaceStatus(told.into()));
        Plan::default().then(vec![told]).then(events)
    }

    fn plan_leaving_profile(
        &self,
        key: &Key,
        profile: &TrafficManagerProfile,
        basis: Basis,
        now: Timestamp,
    ) -> Plan<Act> {
        let released = || metadata::released(profile).into_iter().collect();
        if profile::leave(profile) == Leave::Release {
            return Plan::default().then(released());
        }
        match self.of_profiles.current(key, &basis, now) {
            Some((Said::Deleted(Ok(())), _)) => {
                let told = metadata::deleted(&profile::provider_name(profile));
                let told = Write::Create(metadata::event(profile, &told, 0, now));
                Plan::default().then(vec![Act::Write(told)]).then(released())
            }
            Some((Said::Deleted(Err(_)), again)) => Plan::default().waking_at(again),
            _ => vec![self.ask_profile(profile, What::DeleteProfile(basis), now)].into(),
        }
    }

    fn ask_profile(&self, profile: &TrafficManagerProfile, what: What, at: Timestamp) -> Act {
        let about = About::Profile(profile.clone());
        Act::Ask(Box::new(Ask {
            provider: self.provider.clone(),
            id: id(profile),
            about,
            what,
            at,
        }))
    }
}

/// Returns the DNS name that a profile asks for, without the domain of the provider.
pub(super) fn dns_name(profile: &TrafficManagerProfile) -> String {
    profile::wanted(profile).relative_name
}

/// Tells whether a profile was told that it has its DNS name.
fn has_name(profile: &TrafficManagerProfile) -> bool {
    profile.status.as_ref().is_some_and(|status| status.dns_name.is_some())
}

fn taken() -> ProviderError {
    let message = "another profile has the name".to_owned();
    ProviderError { status: Some(409), message }
}

fn provided(found: &Found, is_new: bool) -> Provided {
    let Found { dns_name, resource_id, .. } = found;
    Provided { dns_name: dns_name.clone(), resource_id: resource_id.clone(), is_new }
}

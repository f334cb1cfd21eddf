//! TrafficManagerProfiles (networking 7.4).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stolos_api::network::names::{condition as type_, event, finalizer, reason};
use stolos_api::network::{
    GROUP, MonitorConfig, TrafficManagerProfile, TrafficManagerProfileStatus,
};

use super::super::keys;
use super::{ProviderError, Verdict};
use crate::condition;
use crate::event::Event;

/// Seconds for which an answer of the DNS name may be kept.
const TTL_SECONDS: u32 = 60;

/// What a provider has, or should have, for a profile. Endpoints and foreign tags are not ours to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderProfile {
    /// First part of the DNS name; the provider adds its domain.
    pub relative_name: String,
    /// Seconds for which an answer may be kept.
    pub ttl_seconds: u32,
    /// Where the profile is; `global`.
    pub location: String,
    /// Whether the name is answered.
    pub is_enabled: bool,
    /// How endpoints are chosen; `Weighted`.
    pub routing_method: String,
    /// How endpoints are watched, with the time-out filled in.
    pub monitor: MonitorConfig,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// Returns the name of a profile at its provider. It follows from the UID alone, so that a profile that is made anew
/// under the same name is another one.
#[must_use]
pub fn provider_name(profile: &TrafficManagerProfile) -> String {
    format!("fleet-{}", profile.metadata.uid.as_deref().unwrap_or_default())
}

/// Returns what the provider should have for a profile.
#[must_use]
pub fn wanted(profile: &TrafficManagerProfile) -> ProviderProfile {
    let metadata = &profile.metadata;
    let mut monitor = profile.spec.monitor_config.clone().unwrap_or_default();
    monitor.timeout_in_seconds = Some(monitor.timeout_seconds());
    let tag = format!("{GROUP}.trafficManagerProfile");
    ProviderProfile {
        relative_name: format!("{}-{}", keys::namespace(metadata), keys::name(metadata)),
        ttl_seconds: TTL_SECONDS,
        location: "global".to_owned(),
        is_enabled: true,
        routing_method: "Weighted".to_owned(),
        monitor,
        tags: [(tag, keys::key(metadata))].into(),
    }
}

/// What to do at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtProvider {
    /// Nothing: it has what it should have.
    Unchanged,
    /// Create or update the profile; the cleanup finalizer comes first.
    Put(Box<ProviderProfile>),
    /// Nothing yet: what it has could not be read.
    Unknown,
}

/// Decides what to do at the provider, from what it has. A profile that it refuses to show gets no finalizer, so that a
/// wrong resource group does not stand in the way of deletion.
#[must_use]
pub fn provision(
    profile: &TrafficManagerProfile,
    found: Result<Option<&ProviderProfile>, &ProviderError>,
) -> AtProvider {
    let wanted = wanted(profile);
    match found {
        Err(_) => AtProvider::Unknown,
        Ok(Some(found)) if is_equal(found, &wanted) => AtProvider::Unchanged,
        Ok(Some(found)) => {
            let mut tags = found.tags.clone();
            tags.extend(wanted.tags.clone());
            AtProvider::Put(Box::new(ProviderProfile { tags, ..wanted }))
        }
        Ok(None) => AtProvider::Put(Box::new(wanted)),
    }
}

fn is_equal(found: &ProviderProfile, wanted: &ProviderProfile) -> bool {
    let headers = |profile: &ProviderProfile| -> BTreeSet<(String, String)> {
        let headers = profile.monitor.custom_headers.iter();
        headers.map(|header| (header.name.clone(), header.value.clone())).collect()
    };
    let without_sets = |profile: &ProviderProfile| {
        let monitor = MonitorConfig { custom_headers: Vec::new(), ..profile.monitor.clone() };
        ProviderProfile { monitor, tags: BTreeMap::new(), ..profile.clone() }
    };
    without_sets(found) == without_sets(wanted)
        && headers(found) == headers(wanted)
        && wanted.tags.iter().all(|(name, value)| found.tags.get(name) == Some(value))
}

/// What the provider answered in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provided {
    /// The DNS name.
    pub dns_name: Option<String>,
    /// Id of the profile.
    pub resource_id: String,
    /// Whether it was created or changed just now.
    pub is_new: bool,
}

/// What a profile is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The status, if it is another one than before.
    pub status: Option<TrafficManagerProfileStatus>,
    /// What people should be told.
    pub events: Vec<Event>,
    /// Whether the provider is to be asked again.
    pub retry: bool,
}

/// Decides what a profile is told.
#[must_use]
pub fn report(
    profile: &TrafficManagerProfile,
    answer: &Result<Provided, ProviderError>,
    now: Timestamp,
) -> Report {
    let old = profile.status.clone().unwrap_or_default();
    let mut status =
        TrafficManagerProfileStatus { conditions: old.conditions.clone(), ..Default::default() };
    let mut events = Vec::new();
    match answer {
        Ok(provided) => {
            status.dns_name.clone_from(&provided.dns_name);
            status.resource_id.clone_from(&provided.resource_id);
            if provided.is_new {
                let message = format!("programmed {}", keys::key(&profile.metadata));
                events.push(Event::normal(reason::PROGRAMMED, message));
            }
        }
        Err(error) => events.push(Event::warning(event::AZURE_API_ERROR, &*error.message)),
    }
    let generation = profile.metadata.generation.unwrap_or(0);
    let condition = verdict(answer).condition(type_::PROGRAMMED, generation, now);
    if keys::is_news(&old.conditions, &condition) {
        condition::set(&mut status.conditions, condition);
    }
    Report { status: (status != old).then_some(status), events, retry: answer.is_err() }
}

fn verdict(answer: &Result<Provided, ProviderError>) -> Verdict {
    match answer {
        Ok(_) => {
            let message = "Successfully configured the Azure Traffic Manager profile";
            Verdict::new("True", reason::PROGRAMMED, message)
        }
        Err(error) if error.status == Some(409) => {
            let message =
                "Domain name is not available. Please choose a different profile name or namespace";
            Verdict::new("False", reason::DNS_NAME_NOT_AVAILABLE, message)
        }
        Err(error) if error.is_refusal() => {
            Verdict::new("False", reason::INVALID, format!("Invalid profile: {}", error.message))
        }
        Err(error) => {
            let message = format!("Failed to configure profile and retrying: {}", error.message);
            Verdict::new("Unknown", reason::PENDING, message)
        }
    }
}

/// What to do with a profile that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Delete it at the provider, where it may be gone already; then drop all finalizers.
    DeleteAtProvider,
    /// Drop all finalizers: the provider has never had it.
    Release,
}

/// Decides what to do with a profile that is being deleted.
#[must_use]
pub fn leave(profile: &TrafficManagerProfile) -> Leave {
    if keys::has_finalizer(&profile.metadata, finalizer::TRAFFIC_MANAGER_PROFILE) {
        Leave::DeleteAtProvider
    } else {
        Leave::Release
    }
}

//! The names of the zone and what is behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::{SignedDuration, Timestamp};
use stolos_core::network::balance::{Evidence, Health};
use stolos_core::network::traffic::backend::Endpoint as Stored;
use stolos_core::network::traffic::profile::ProviderProfile;
use stolos_core::network::traffic::{
    Candidate, Found, FoundEndpoint, Monitor, ProfileId, ProviderError, Question, Target, draw,
    is_label, ttl_seconds,
};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::Zone;
use crate::address::{refused, target};
use crate::probe::Probe;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Most names. Each has endpoints to check, and a fleet has a name per service at most.
const MAX_PROFILES: usize = 10_000;

/// Most endpoints of a name; as many as Azure allows.
const MAX_ENDPOINTS: usize = 200;

/// Largest weight of an endpoint; that of Azure.
const MAX_WEIGHT: i64 = 1000;

/// Names and what is behind them. Clones share it.
#[derive(Clone)]
pub struct Directory(Arc<Shared>);

struct Shared {
    zone: Zone,
    nameserver: Option<IpAddr>,
    clock: Clock,
    state: RwLock<State>,
    /// Tells that there may be something else to check.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// By name in lower case.
    profiles: BTreeMap<String, Profile>,
    /// Which profile has a name of the zone.
    names: BTreeMap<String, String>,
    /// From when on what is not here does not exist. None while nobody fills the directory.
    complete_from: Option<Timestamp>,
    serial: u32,
}

struct Profile {
    id: ProfileId,
    config: ProviderProfile,
    monitor: Monitor,
    /// By name in lower case.
    endpoints: BTreeMap<String, Endpoint>,
}

struct Endpoint {
    stored: Stored,
    target: Target,
    weight: u32,
    health: Health,
}

/// Names an endpoint: its profile, and itself.
pub(crate) type EndpointKey = (String, String);

/// What a name is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Clients are sent there, for so many seconds.
    Target(Target, u32),
    /// The name exists, but has nothing of what is asked for.
    Nothing,
    /// There is no such name.
    NoName,
    /// Nobody knows yet.
    NotYet,
}

impl Directory {
    /// Makes an empty directory. `nameserver` is the address that the zone's own name server has, if it is known.
    #[must_use]
    pub fn new(zone: Zone, nameserver: Option<IpAddr>, clock: Clock) -> Self {
        let changed = watch::Sender::new(());
        Self(Arc::new(Shared { zone, nameserver, clock, state: RwLock::default(), changed }))
    }

    /// Notes that it is being filled from now on. What is not in it counts as unknown for another `grace`, and as
    /// non-existent afterwards: whoever asks keeps an answer that there is no such name, but not one that nobody knows.
    pub fn begin(&self, grace: SignedDuration) {
        let now = (self.0.clock)();
        self.write().complete_from = Some(now.saturating_add(grace).unwrap_or(Timestamp::MAX));
    }

    /// Returns a profile with its endpoints.
    ///
    /// # Errors
    ///
    /// If there is no such profile.
    pub fn profile(&self, id: &ProfileId) -> Result<Found, ProviderError> {
        let state = self.read();
        state.profile(id).map(|profile| self.found(profile))
    }

    /// Creates or changes a profile; its endpoints stay.
    ///
    /// # Errors
    ///
    /// If its name is taken, its endpoints cannot be checked in this way, or there are too many.
    pub fn put_profile(
        &self,
        id: &ProfileId,
        config: &ProviderProfile,
    ) -> Result<Found, ProviderError> {
        let monitor = Monitor::new(&config.monitor).map_err(|error| refused(400, error))?;
        let relative = config.relative_name.to_ascii_lowercase();
        if !is_label(&relative) {
            return Err(refused(
                400,
                format_args!(
                    "`{relative}` has {} characters, but namespace and name must make one label of a DNS name: at most 63 letters, digits and dashes, without dots",
                    relative.len()
                ),
            ));
        }
        let key = id.name.to_ascii_lowercase();
        let mut state = self.write();
        if let Some(owner) = state.names.get(&relative).filter(|owner| **owner != key) {
            let owner =
                state.profiles.get(owner).map_or(owner.as_str(), |profile| &profile.id.name);
            return Err(refused(
                409,
                format_args!("`{relative}` is the name of profile `{owner}`"),
            ));
        }
        if state.profiles.len() >= MAX_PROFILES && !state.profiles.contains_key(&key) {
            return Err(refused(403, format_args!("there are {MAX_PROFILES} profiles already")));
        }
        let before = state.profiles.remove(&key);
        if let Some(before) = &before {
            state.names.remove(&before.config.relative_name.to_ascii_lowercase());
        }
        let endpoints = before.map(|before| before.endpoints).unwrap_or_default();
        let profile = Profile { id: id.clone(), config: config.clone(), monitor, endpoints };
        let found = self.found(&profile);
        state.names.insert(relative, key.clone());
        state.profiles.insert(key, profile);
        self.tell_change(&mut state);
        Ok(found)
    }

    /// Deletes a profile with its endpoints.
    ///
    /// # Errors
    ///
    /// If there is no such profile.
    pub fn delete_profile(&self, id: &ProfileId) -> Result<(), ProviderError> {
        let mut state = self.write();
        let profile = state.profiles.remove(&id.name.to_ascii_lowercase());
        let profile = profile.ok_or_else(|| no_profile(id))?;
        state.names.remove(&profile.config.relative_name.to_ascii_lowercase());
        self.tell_change(&mut state);
        Ok(())
    }

    /// Creates or changes an endpoint. What is known of its health stays while its address does.
    ///
    /// # Errors
    ///
    /// If there is no such profile, clients cannot be sent to the address, another endpoint has it, or there are too many.
    pub fn put_endpoint(
        &self,
        id: &ProfileId,
        name: &str,
        resource_id: &str,
        weight: i64,
    ) -> Result<FoundEndpoint, ProviderError> {
        let target = target(resource_id)?;
        let share = u32::try_from(weight).ok().filter(|_| weight <= MAX_WEIGHT);
        let weight_error =
            || refused(400, format_args!("weight {weight} is not from 0 to {MAX_WEIGHT}"));
        let share = share.ok_or_else(weight_error)?;
        let now = (self.0.clock)();
        let key = name.to_ascii_lowercase();
        let mut state = self.write();
        let profile = state.profile_mut(id)?;
        let mut others = profile.endpoints.iter().filter(|(other, _)| **other != key);
        if let Some((_, other)) = others.find(|(_, other)| other.target == target) {
            let name = &other.stored.name;
            return Err(refused(409, format_args!("`{target}` is endpoint `{name}` already")));
        }
        let known = profile.endpoints.get(&key);
        if known.is_none() && profile.endpoints.len() >= MAX_ENDPOINTS {
            return Err(refused(
                403,
                format_args!("the profile has {MAX_ENDPOINTS} endpoints already"),
            ));
        }
        let health = known.filter(|known| known.target == target).map(|known| known.health);
        let stored = Stored {
            name: name.to_owned(),
            target: resource_id.to_owned(),
            weight,
            is_ours_in_form: true,
        };
        let health = health.unwrap_or_else(|| Health::assumed(now));
        let endpoint = Endpoint { stored, target, weight: share, health };
        let found = found_endpoint(&profile.id, &endpoint);
        profile.endpoints.insert(key, endpoint);
        self.tell_change(&mut state);
        Ok(found)
    }

    /// Deletes an endpoint.
    ///
    /// # Errors
    ///
    /// If there is no such endpoint.
    pub fn delete_endpoint(&self, id: &ProfileId, name: &str) -> Result<(), ProviderError> {
        let mut state = self.write();
        let endpoints = &mut state.profile_mut(id)?.endpoints;
        let absent = || refused(404, format_args!("there is no endpoint `{name}`"));
        endpoints.remove(&name.to_ascii_lowercase()).ok_or_else(absent)?;
        self.tell_change(&mut state);
        Ok(())
    }

    /// Returns the zone.
    pub(crate) fn zone(&self) -> &Zone {
        &self.0.zone
    }

    /// Returns the address of the zone's name server.
    pub(crate) fn nameserver(&self) -> Option<IpAddr> {
        self.0.nameserver
    }

    /// Returns a number that grows with each change.
    pub(crate) fn serial(&self) -> u32 {
        self.read().serial
    }

    /// Answers the first of these questions about a name of the zone that has an answer.
    pub(crate) fn answer(&self, relative: &str, questions: &[Question], random: u64) -> Answer {
        let state = self.read();
        let is_complete = state.complete_from.is_some_and(|from| from <= (self.0.clock)());
        let profile = state.names.get(relative).and_then(|name| state.profiles.get(name));
        let Some(profile) = profile else {
            return if is_complete { Answer::NoName } else { Answer::NotYet };
        };
        if profile.endpoints.is_empty() && !is_complete {
            return Answer::NotYet;
        }
        let candidates: Vec<Candidate<'_>> = profile.endpoints.values().map(candidate).collect();
        let mut drawn =
            questions.iter().filter_map(|question| draw(&candidates, *question, random));
        let ttl = ttl_seconds(&profile.config);
        drawn.next().map_or(Answer::Nothing, |target| Answer::Target(target.clone(), ttl))
    }

    /// Returns how each endpoint is to be checked.
    pub(crate) fn probes(&self) -> BTreeMap<EndpointKey, Probe> {
        let state = self.read();
        let of = |(name, profile): (&String, &Profile)| {
            let probe = |(key, endpoint): (&String, &Endpoint)| {
                let probe = Probe::new(endpoint.target.clone(), profile.monitor.clone());
                ((name.clone(), key.clone()), probe)
            };
            profile.endpoints.iter().map(probe).collect::<Vec<_>>()
        };
        state.profiles.iter().flat_map(of).collect()
    }

    /// Notes what came of a check. It counts only while the endpoint is still to be checked in this way.
    pub(crate) fn checked(&self, (profile, endpoint): &EndpointKey, probe: &Probe, passed: bool) {
        let now = (self.0.clock)();
        let mut state = self.write();
        let Some(Profile { id, monitor, endpoints, .. }) = state.profiles.get_mut(profile) else {
            return;
        };
        let Some(endpoint) = endpoints.get_mut(endpoint) else { return };
        if !probe.is_for(&endpoint.target, monitor) {
            return;
        }
        let before = endpoint.health;
        let evidence = if passed { Evidence::CheckPassed } else { Evidence::CheckFailed };
        endpoint.health = before.after(evidence, &monitor.health_settings(), now);
        let (profile, name) = (&id.name, &endpoint.stored.name);
        match (before.is_up(), endpoint.health.is_up()) {
            (true, false) => {
                warn!(%profile, endpoint = %name, target = %endpoint.target, "endpoint is down");
            }
            (false, true) => {
                info!(%profile, endpoint = %name, target = %endpoint.target, "endpoint is up again");
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Returns what tells of each change of the endpoints to check.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    fn tell_change(&self, state: &mut State) {
        // Never less than the time, so that the number grows over restarts too.
        let seconds = u32::try_from((self.0.clock)().as_second()).unwrap_or(u32::MAX);
        state.serial = state.serial.saturating_add(1).max(seconds);
        self.0.changed.send_replace(());
    }

    fn found(&self, profile: &Profile) -> Found {
        Found {
            profile: profile.config.clone(),
            dns_name: Some(self.0.zone.name_of(&profile.config.relative_name.to_ascii_lowercase())),
            resource_id: resource_id(&profile.id),
            endpoints: profile
                .endpoints
                .values()
                .map(|endpoint| found_endpoint(&profile.id, endpoint))
                .collect(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().expect("no holder of this lock panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().expect("no holder of this lock panics")
    }
}

impl State {
    fn profile(&self, id: &ProfileId) -> Result<&Profile, ProviderError> {
        self.profiles.get(&id.name.to_ascii_lowercase()).ok_or_else(|| no_profile(id))
    }

    fn profile_mut(&mut self, id: &ProfileId) -> Result<&mut Profile, ProviderError> {
        self.profiles.get_mut(&id.name.to_ascii_lowercase()).ok_or_else(|| no_profile(id))
    }
}

fn candidate(endpoint: &Endpoint) -> Candidate<'_> {
    let Endpoint { target, weight, health, .. } = endpoint;
    Candidate { target, weight: *weight, is_up: health.is_up() }
}

fn found_endpoint(profile: &ProfileId, endpoint: &Endpoint) -> FoundEndpoint {
    FoundEndpoint {
        endpoint: endpoint.stored.clone(),
        resource_id: format!("{}/azureEndpoints/{}", resource_id(profile), endpoint.stored.name),
        address: Some(endpoint.target.to_string()),
    }
}

/// Returns an id of the form that Azure's have.
fn resource_id(id: &ProfileId) -> String {
    let ProfileId { resource_group, name } = id;
    format!(
        "/subscriptions/stolos/resourceGroups/{resource_group}/providers/Microsoft.Network/trafficManagerProfiles/{name}"
    )
}

fn no_profile(id: &ProfileId) -> ProviderError {
    refused(404, format_args!("there is no profile `{}`", id.name))
}

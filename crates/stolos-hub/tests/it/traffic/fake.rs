//! A provider that keeps what it is given, and fails as it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use stolos_core::network::traffic::backend::{Desired, Endpoint, Provider as Kind};
use stolos_core::network::traffic::profile::ProviderProfile;
use stolos_core::network::traffic::{Found, FoundEndpoint, ProfileId, ProviderError};
use stolos_hub::traffic::{Answer, Provider};
use tokio::sync::watch;

/// A provider in memory. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    n_calls: Arc<watch::Sender<usize>>,
}

#[derive(Default)]
pub(super) struct State {
    /// By name.
    pub(super) profiles: BTreeMap<String, Found>,
    /// What answers this status instead of doing its work, by the name of the call.
    failing: BTreeMap<&'static str, u16>,
    /// Names of the calls so far, but those that only read.
    pub(super) calls: Vec<String>,
    /// Whether profiles come without a DNS name.
    pub(super) is_nameless: bool,
}

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets a call fail, or no longer.
    pub(super) fn fail(&self, call: &'static str, status: Option<u16>) {
        let failing = &mut self.state().failing;
        match status {
            Some(status) => drop(failing.insert(call, status)),
            None => drop(failing.remove(call)),
        }
    }

    /// Waits until so many calls were made from now on, those that read included.
    pub(super) async fn called(&self, n: usize) {
        let mut calls = self.n_calls.subscribe();
        let until = *calls.borrow() + n;
        calls.wait_for(|calls| *calls >= until).await.unwrap();
    }

    /// The only profile.
    pub(super) fn profile(&self) -> Found {
        let state = self.state();
        let mut profiles = state.profiles.values();
        let only = profiles.next().expect("a profile").clone();
        assert!(profiles.next().is_none(), "more than one profile");
        only
    }

    /// The endpoints of the only profile, as `<name after the uid> <weight>`.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let endpoints = self.profile().endpoints;
        let short = |name: &str| name.split_once('#').map_or(name, |(_, rest)| rest).to_owned();
        endpoints
            .iter()
            .map(|one| format!("{} {}", short(&one.endpoint.name), one.endpoint.weight))
            .collect()
    }

    /// Changes the only profile behind the back of the hub.
    pub(super) fn change(&self, change: impl FnOnce(&mut Found)) {
        change(self.state().profiles.values_mut().next().expect("a profile"));
    }

    fn call<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut State) -> Answer<T>,
    ) -> BoxFuture<'static, Answer<T>>
    where
        T: Send + 'static,
    {
        let mut state = self.state();
        if name != "profile" {
            state.calls.push(name.to_owned());
        }
        let answer = match state.failing.get(name) {
            Some(status) => Err(error(*status)),
            None => work(&mut state),
        };
        drop(state);
        self.n_calls.send_modify(|calls| *calls += 1);
        ready(answer).boxed()
    }
}

fn error(status: u16) -> ProviderError {
    ProviderError { status: Some(status), message: format!("the provider answered {status}") }
}

impl State {
    fn find(&mut self, id: &ProfileId) -> Answer<&mut Found> {
        self.profiles.get_mut(&id.name).ok_or_else(|| error(404))
    }
}

impl Provider for Fake {
    fn kind(&self) -> Kind {
        Kind::Azure
    }

    fn profile<'a>(&'a self, id: &'a ProfileId) -> BoxFuture<'a, Answer<Found>> {
        self.call("profile", |state| state.find(id).map(|found| found.clone()))
    }

    fn put_profile<'a>(
        &'a self,
        id: &'a ProfileId,
        profile: &'a ProviderProfile,
    ) -> BoxFuture<'a, Answer<Found>> {
        self.call("put_profile", |state| {
            let dns_name = format!("{}.example", profile.relative_name);
            let known = state.profiles.get(&id.name);
            let found = Found {
                profile: profile.clone(),
                dns_name: (!state.is_nameless).then_some(dns_name),
                resource_id: format!("/profiles/{}", id.name),
                endpoints: known.map(|known| known.endpoints.clone()).unwrap_or_default(),
            };
            state.profiles.insert(id.name.clone(), found.clone());
            Ok(found)
        })
    }

    fn delete_profile<'a>(&'a self, id: &'a ProfileId) -> BoxFuture<'a, Answer<()>> {
        self.call("delete_profile", |state| {
            state.profiles.remove(&id.name).map(drop).ok_or_else(|| error(404))
        })
    }

    fn put_endpoint<'a>(
        &'a self,
        id: &'a ProfileId,
        endpoint: &'a Desired,
    ) -> BoxFuture<'a, Answer<FoundEndpoint>> {
        let Desired { name, target, weight, .. } = endpoint;
        let (name, target, weight) = (name.clone(), target.clone(), *weight);
        self.call("put_endpoint", |state| {
            let endpoints = &mut state.find(id)?.endpoints;
            let is_it = |one: &FoundEndpoint| one.endpoint.name.eq_ignore_ascii_case(&name);
            if endpoints.iter().any(|one| one.endpoint.target == target && !is_it(one)) {
                return Err(error(409));
            }
            endpoints.retain(|one| !is_it(one));
            let resource_id = format!("/endpoints/{name}");
            let address = target.rsplit('/').next().map(str::to_owned);
            let endpoint = Endpoint { name, target, weight, is_ours_in_form: true };
            let found = FoundEndpoint { endpoint, resource_id, address };
            endpoints.push(found.clone());
            endpoints.sort_by(|a, b| a.endpoint.name.cmp(&b.endpoint.name));
            Ok(found)
        })
    }

    fn delete_endpoint<'a>(
        &'a self,
        id: &'a ProfileId,
        name: &'a str,
    ) -> BoxFuture<'a, Answer<()>> {
        self.call("delete_endpoint", |state| {
            let endpoints = &mut state.find(id)?.endpoints;
            let before = endpoints.len();
            endpoints.retain(|one| !one.endpoint.name.eq_ignore_ascii_case(name));
            if endpoints.len() < before { Ok(()) } else { Err(error(404)) }
        })
    }
}

//! One step of a service behind a DNS name.

use jiff::Timestamp;
use stolos_api::network::TrafficManagerBackend;
use stolos_api::network::names::finalizer;
use stolos_controller::{Key, Plan, Write};
use stolos_core::network::traffic::backend::{self, Answers, Endpoint, Observed};
use stolos_core::network::traffic::{Found, FoundEndpoint, ProviderError};

use super::act::{Act, Sought};
use super::ask::{About, Ask, What, kept};
use super::inputs::{Around, Inputs};
use super::{Answer, Traffic, TrafficKind, metadata, profile, profile_of, service_of};

/// What the provider said about a backend.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// What it has of the profile.
    Has(Answer<Option<Found>>),
    /// What came of a plan.
    Dealt(Box<backend::Plan>, Answers),
    /// What came of taking all endpoints away.
    Withdrawn(Answer<()>),
}

impl Traffic {
    /// Plans a backend in rounds: its finalizers, what the provider has, what it should have, and what came of it.
    pub(super) fn plan_backend(&self, key: &Key, now: Timestamp) -> Plan<Act> {
        let Some(backend) = self.backends.get(key) else { return Plan::default() };
        let around = self.around(backend);
        let inputs = self.inputs(backend, &around);
        if backend.metadata.deletion_timestamp.is_some() {
            return self.plan_leaving_backend(key, backend, &around, inputs, now);
        }
        if let Some(adopted) = metadata::adopted(backend.as_ref(), finalizer::METRICS) {
            return vec![adopted].into();
        }
        let sought = self.sought(backend, &around);
        if !sought.is_empty() {
            return Plan::default().then(sought);
        }
        if !around.is_programmed() {
            // Whatever the provider has: the backend waits for its profile.
            let plan = backend::plan(&self.observed(backend, &around, Ok(None)));
            return self.tell_backend(key, backend, &plan, &Answers::default(), now);
        }
        if !self.has_profile(backend) {
            // What its status says is of a former life of this process; the provider may not have it yet.
            return Plan::default();
        }
        let Some((said, again)) = self.of_backends.current(key, &inputs, now) else {
            return self.ask_backend(backend, &around, What::ReadEndpoints(inputs), now);
        };
        let (plan, answers) = match said {
            Said::Dealt(plan, answers) => (plan.as_ref().clone(), answers.clone()),
            Said::Has(found) => {
                let endpoints = endpoints(found);
                let known = endpoints.as_ref().map(Option::as_deref).map_err(|error| *error);
                let plan = backend::plan(&self.observed(backend, &around, known));
                let found = found_endpoints(found);
                if !plan.delete.is_empty() || !plan.put.is_empty() {
                    return self.deal(backend, &around, inputs, (plan, found), now);
                }
                let answers = Answers { kept: kept(&plan, &found), ..Answers::default() };
                (plan, answers)
            }
            Said::Withdrawn(_) => return Plan::default(),
        };
        self.tell_backend(key, backend, &plan, &answers, now).waking_at(again)
    }

    /// Tells whether the provider said to this process that it has the profile.
    fn has_profile(&self, backend: &TrafficManagerBackend) -> bool {
        matches!(
            self.of_profiles.last(&profile_of(backend)),
            Some(profile::Said::Put(Ok(_)) | profile::Said::Has(Ok(Some(_))))
        )
    }

    /// Returns looks for what the backend names and nothing shows: endpoints are taken away only if it is not there.
    fn sought(&self, backend: &TrafficManagerBackend, around: &Around) -> Vec<Act> {
        let profile = around.profile.is_none().then(|| Sought::Profile(profile_of(backend)));
        let import = around.import.is_none().then(|| Sought::Import(service_of(backend)));
        let sought = profile.into_iter().chain(import);
        sought.filter(|sought| !self.absent.contains(sought)).map(Act::Look).collect()
    }

    fn observed<'a>(
        &self,
        backend: &'a TrafficManagerBackend,
        around: &'a Around,
        found: Result<Option<&'a [Endpoint]>, &'a ProviderError>,
    ) -> Observed<'a> {
        Observed {
            backend,
            profile: around.profile.as_ref(),
            found,
            import: around.import.as_ref(),
            exports: &around.exports,
            provider: self.provider.kind(),
        }
    }

    fn deal(
        &self,
        backend: &TrafficManagerBackend,
        around: &Around,
        inputs: Inputs,
        (plan, found): (backend::Plan, Vec<FoundEndpoint>),
        now: Timestamp,
    ) -> Plan<Act> {
        let wanted = plan.finalizer.then_some(finalizer::TRAFFIC_MANAGER_BACKEND);
        let adopted = wanted.and_then(|finalizer| metadata::adopted(backend, finalizer));
        let deal =
            self.ask_backend(backend, around, What::Deal(inputs, Box::new(plan), found), now);
        let mut steps = Plan::default().then(adopted.into_iter().collect());
        steps.steps.extend(deal.steps);
        steps
    }

    /// Tells a backend what came of a plan.
    fn tell_backend(
        &self,
        key: &Key,
        backend: &TrafficManagerBackend,
        plan: &backend::Plan,
        answers: &Answers,
        now: Timestamp,
    ) -> Plan<Act> {
        let report = backend::report(backend, plan, answers, now);
        let Some(status) = report.status else {
            let conditions = backend.status.as_ref().map(|status| status.conditions.as_slice());
            self.metrics.traffic(TrafficKind::Backend, key, conditions.unwrap_or_default(), now);
            return Plan::default();
        };
        self.metrics.traffic(TrafficKind::Backend, key, &status.conditions, now);
        let refusals = answers.put.values().filter_map(|answer| answer.as_ref().err());
        let error = answers.delete.iter().chain(refusals).next();
        let event = error.map(|error| {
            let told = metadata::refused(&error.message);
            Act::Write(Write::Create(metadata::event(backend, &told, 0, now)))
        });
        let told = TrafficManagerBackend { status: Some(status), ..backend.clone() };
        let told = Act::Write(Write::ReplaceStatus(told.into()));
        Plan::default().then(vec![told]).then(event.into_iter().collect())
    }

    fn plan_leaving_backend(
        &self,
        key: &Key,
        backend: &TrafficManagerBackend,
        around: &Around,
        inputs: Inputs,
        now: Timestamp,
    ) -> Plan<Act> {
        let released = || metadata::released(backend).into_iter().collect();
        let ours = backend.metadata.finalizers.iter().flatten();
        if !ours.clone().any(|one| one == finalizer::TRAFFIC_MANAGER_BACKEND) {
            return Plan::default().then(released());
        }
        if around.profile.is_none() {
            let profile = Sought::Profile(profile_of(backend));
            if !self.absent.contains(&profile) {
                return vec![Act::Look(profile)].into();
            }
            // Its endpoints went with the profile.
            return Plan::default().then(released());
        }
        match self.of_backends.current(key, &inputs, now) {
            Some((Said::Withdrawn(Ok(())), _)) => {
                let told = metadata::deleted("all endpoints");
                let told = Write::Create(metadata::event(backend, &told, 0, now));
                Plan::default().then(vec![Act::Write(told)]).then(released())
            }
            Some((Said::Has(found @ Ok(_)), _)) => {
                let endpoints = endpoints(found);
                let known = endpoints.as_ref().map(Option::as_deref).map_err(|error| *error);
                let names = backend::leave(&self.observed(backend, around, known));
                self.ask_backend(backend, around, What::Withdraw(inputs, names), now)
            }
            Some((Said::Has(Err(_)) | Said::Withdrawn(Err(_)), again)) => {
                Plan::default().waking_at(again)
            }
            Some((Said::Dealt(..), _)) | None => {
                self.ask_backend(backend, around, What::ReadEndpoints(inputs), now)
            }
        }
    }

    fn ask_backend(
        &self,
        backend: &TrafficManagerBackend,
        around: &Around,
        what: What,
        at: Timestamp,
    ) -> Plan<Act> {
        let Some(profile) = &around.profile else { return Plan::default() };
        let about = About::Backend(backend.clone());
        let provider = self.provider.clone();
        vec![Act::Ask(Box::new(Ask { provider, id: profile::id(profile), about, what, at }))].into()
    }
}

/// Returns the endpoints of a profile, of which only some may be the backend's.
fn endpoints(found: &Answer<Option<Found>>) -> Result<Option<Vec<Endpoint>>, &ProviderError> {
    let of = |found: &Found| found.endpoints.iter().map(|one| one.endpoint.clone()).collect();
    found.as_ref().map(|found| found.as_ref().map(of))
}

fn found_endpoints(found: &Answer<Option<Found>>) -> Vec<FoundEndpoint> {
    let found = found.as_ref().ok().and_then(Option::as_ref);
    found.map(|found| found.endpoints.clone()).unwrap_or_default()
}

//! What auto-upgrade profiles will do by themselves, as far as it follows from what is known: their own engine is asked, now
//! and at every moment at which it would look again.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Api, ListParams};
use stolos_api::update::{
    AutoUpgradeProfile, CONDITION_READY, RunState, UpdateRun, UpdateRunStrategy, UpdateStrategy,
    VersionCatalogue, VersionCatalogueSpec,
};
use stolos_core::auto_upgrade::{self, Action, Observed, Profile};
use stolos_core::condition;
use stolos_core::update::{self, StrategyLimits};

use crate::fleet::hub::{self, Fleet};

/// How often a profile is asked. Each time it names the next moment that matters: a publication, or the end of a pause.
const MOST_LOOKS: usize = 16;

/// The profiles of a fleet, and what they read.
pub(super) struct Profiles {
    profiles: Vec<(String, AutoUpgradeProfile)>,
    strategies: BTreeMap<String, UpdateStrategy>,
    catalogues: Vec<VersionCatalogueSpec>,
    runs: BTreeMap<String, Arc<UpdateRun>>,
}

/// A run that a profile will begin.
pub(super) struct Coming {
    pub(super) at: Timestamp,
    pub(super) profile: String,
    /// What the profile does: `creates update run x: why`.
    pub(super) event: String,
    pub(super) name: String,
    pub(super) run: UpdateRun,
    pub(super) strategy: Option<UpdateRunStrategy>,
}

/// What can be said of a profile.
pub(super) enum Outlook {
    /// It begins a run, and what comes after that is not known.
    Begins(Box<Coming>),
    /// It cannot begin one, for this reason.
    Blocked(String),
    /// It begins none within the time that was asked for, unless something happens.
    Rests,
}

impl Profiles {
    pub(super) async fn of(fleet: &Fleet, runs: &[UpdateRun]) -> anyhow::Result<Self> {
        let profiles: Vec<AutoUpgradeProfile> = fleet.list().await?;
        let strategies: Vec<UpdateStrategy> = fleet.list().await?;
        let catalogues: Api<VersionCatalogue> =
            Api::namespaced(fleet.client.clone(), &fleet.namespace);
        let catalogues = catalogues.list(&ListParams::default()).await;
        let catalogues = catalogues
            .map_err(|error| hub::explain("failed to read the version catalogues", error))?;
        let short = |name: &str| name.to_owned();
        Ok(Self {
            profiles: (profiles.into_iter())
                .map(|profile| (short(fleet.short_name(&profile)), profile))
                .collect(),
            strategies: (strategies.into_iter())
                .map(|strategy| (short(fleet.short_name(&strategy)), strategy))
                .collect(),
            catalogues: catalogues.into_iter().map(|catalogue| catalogue.spec).collect(),
            runs: (runs.iter())
                .map(|run| (short(fleet.short_name(run)), Arc::new(run.clone())))
                .collect(),
        })
    }

    /// Returns what each profile will do until then.
    pub(super) fn outlooks(
        &self,
        observed: &update::Observed,
        now: Timestamp,
        until: Timestamp,
    ) -> Vec<(&str, Outlook)> {
        let outlook = |(name, profile): &'_ (String, AutoUpgradeProfile)| {
            self.outlook(name, profile, observed, now, until)
        };
        self.profiles.iter().map(|entry| (entry.0.as_str(), outlook(entry))).collect()
    }

    fn outlook(
        &self,
        name: &str,
        profile: &AutoUpgradeProfile,
        observed: &update::Observed,
        now: Timestamp,
        until: Timestamp,
    ) -> Outlook {
        let strategy = profile.spec.strategy_name.as_ref();
        let strategy = strategy.and_then(|strategy| self.strategies.get(strategy));
        let world = Observed {
            members: BTreeMap::clone(&observed.members),
            catalogues: self.catalogues.clone(),
            strategy: strategy.map(|strategy| strategy.spec.strategy.clone()),
            strategy_is_deleting: strategy
                .is_some_and(|strategy| strategy.metadata.deletion_timestamp.is_some()),
            limits: StrategyLimits::default(),
            runs: self.runs.clone(),
        };
        let mut status = profile.status.clone();
        let mut at = now;
        for _ in 0..MOST_LOOKS {
            let asked = Profile {
                name,
                generation: profile.metadata.generation,
                spec: &profile.spec,
                status: status.as_ref(),
            };
            let plan = auto_upgrade::plan(&asked, &world, at);
            let begun = plan.actions.into_iter().find_map(|action| self.begun(profile, action));
            if let Some((event, name_of_run, run)) = begun {
                return Outlook::Begins(Box::new(Coming {
                    at,
                    profile: name.to_owned(),
                    event,
                    name: name_of_run,
                    run,
                    strategy: world.strategy,
                }));
            }
            let next = plan.wake_at.filter(|wake_at| *wake_at > at && *wake_at <= until);
            let Some(wake_at) = next else {
                let ready = condition::find(&plan.status.conditions, CONDITION_READY);
                let unready = ready.filter(|ready| ready.status == "False");
                return unready
                    .map_or(Outlook::Rests, |ready| Outlook::Blocked(ready.message.clone()));
            };
            at = wake_at;
            status = Some(plan.status);
        }
        Outlook::Rests
    }

    /// Returns what a profile does to a run that goes on afterwards, and the run as it is then.
    fn begun(
        &self,
        profile: &AutoUpgradeProfile,
        action: Action,
    ) -> Option<(String, String, UpdateRun)> {
        let known = |name: &str| self.runs.get(name).map(|run| UpdateRun::clone(run));
        match action {
            Action::Create(new) => {
                let starts = new.spec.state == RunState::Run;
                let verb =
                    if starts { "creates and starts" } else { "creates, without starting it," };
                let event = format!("{verb} update run {}: {}", new.name, new.reason);
                let mut run = UpdateRun::new(&new.name, new.spec);
                run.metadata.namespace.clone_from(&profile.metadata.namespace);
                Some((event, new.name, run))
            }
            Action::Start { run: name, .. } => {
                let mut run = known(&name)?;
                run.spec.state = RunState::Run;
                Some((format!("starts update run {name}"), name, run))
            }
            Action::Restart { run: name, restarts, .. } => {
                let mut run = known(&name)?;
                run.spec.restarts = restarts;
                Some((format!("starts update run {name} again"), name, run))
            }
            Action::Delete { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stolos_core::update::cluster::{Cluster, Inspection, Member};

    use super::*;
    use crate::update_run::sample;

    fn profiles(spec: serde_json::Value, catalogue: serde_json::Value) -> Profiles {
        let profile =
            json!({ "metadata": { "name": "local.p", "namespace": "default" }, "spec": spec });
        Profiles {
            profiles: vec![("p".to_owned(), serde_json::from_value(profile).unwrap())],
            strategies: BTreeMap::new(),
            catalogues: vec![serde_json::from_value(catalogue).unwrap()],
            runs: BTreeMap::new(),
        }
    }

    fn told(profiles: &Profiles) -> String {
        let mut observed = update::Observed::default();
        let cluster = Cluster::running("1.34.1".parse().unwrap());
        observed.members.insert("m".into(), Member::new("m", Inspection::Known(cluster)));
        let until = sample::now() + jiff::SignedDuration::from_hours(48);
        match profiles.outlooks(&observed, sample::now(), until).remove(0).1 {
            Outlook::Begins(coming) => {
                let event = coming.event.replace(&coming.name, "RUN");
                format!("{} {event}", coming.at)
            }
            Outlook::Blocked(why) => format!("blocked: {why}"),
            Outlook::Rests => "rests".to_owned(),
        }
    }

    #[test]
    fn a_profile_begins_a_run_when_what_is_announced_is_published() {
        let rapid = || json!({ "fleetName": "local", "channel": "Rapid" });
        let version = |published: &str| {
            json!({ "kubernetesVersions": [
                { "version": "1.34.1" }, { "version": "1.34.2", "published": published },
            ]})
        };
        let outlooks = [
            profiles(rapid(), version("2026-05-01T00:00:00Z")),
            profiles(rapid(), version("2026-06-02T06:00:00Z")),
            profiles(rapid(), version("2026-07-01T00:00:00Z")),
            profiles(
                json!({ "fleetName": "local", "channel": "Rapid", "disabled": true }),
                version("2026-05-01T00:00:00Z"),
            ),
            profiles(
                json!({ "fleetName": "local", "channel": "Rapid", "strategyName": "rings" }),
                version("2026-05-01T00:00:00Z"),
            ),
        ];
        insta::assert_snapshot!(outlooks.iter().map(told).collect::<Vec<_>>().join("\n"), @r"
        2026-06-01T10:05:00Z creates and starts update run RUN: 1 of 1 members are behind 1.34.2: m
        2026-06-02T06:00:00Z creates and starts update run RUN: 1 of 1 members are behind 1.34.2: m
        rests
        blocked: the profile is disabled; raise spec.generate to have a run made
        blocked: there is no UpdateStrategy `rings` in the fleet
        ");
    }
}

//! `stolos fleet update`.

use std::time::Duration;

use clap::Args;
use kube::api::Api;
use stolos_api::cluster::fleet::{
    AzureAccess, Fleet as FleetObject, FleetMember, Hub, SecretReference,
};

use super::hub::{Fleet, explain, post};
use super::members::{self, Verb};
use super::text::{self, MemberState};
use super::{FleetName, show};
use crate::arguments::{self, Change};
use crate::cli::{Output, duration};
use crate::exit::{Exit, Hinted};
use crate::output;

/// How often a change is tried again because somebody else wrote in between.
const ATTEMPTS: usize = 10;

#[derive(Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    fleet: FleetName,
    #[command(flatten)]
    wish: Wish,
    /// Waits until every member has joined the hub
    #[arg(long, requires = "hub")]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
}

/// What is to be changed.
#[derive(Args, Default)]
#[group(required = true, multiple = true)]
struct Wish {
    /// Adds a hub, which cannot be removed again
    #[arg(id = "hub", long = "hub")]
    has_hub: bool,
    /// First label of the new hub's DNS name
    #[arg(long, value_name = "PREFIX", requires = "hub")]
    dns_prefix: Option<String>,
    /// Confirms that a fleet without a hub shall have one for good
    #[arg(long, requires = "hub")]
    allow_hub_upgrade: bool,
    /// Secret of the fleet's namespace with credentials for Azure, for members of AKS
    #[arg(long, value_name = "SECRET")]
    azure_credentials: Option<String>,
    /// `key=value` sets a label of the fleet, `key-` takes it away
    #[arg(long = "label", value_name = "CHANGE", value_parser = arguments::label_change)]
    labels: Vec<Change<String>>,
}

/// Why a change makes no sense.
#[derive(Debug, PartialEq)]
struct Refusal {
    message: String,
    hint: String,
}

/// Changes a fleet as it is wished, or says why not.
fn decide(fleet: &mut FleetObject, wish: &Wish, n_members: usize) -> Result<(), Refusal> {
    let name = fleet.metadata.name.clone().unwrap_or_default();
    if wish.has_hub {
        match &fleet.spec.hub {
            Some(hub) if wish.dns_prefix.is_some() && hub.dns_prefix != wish.dns_prefix => {
                return Err(Refusal {
                    message: format!(
                        "fleet `{name}` has a hub already, and nothing of a hub can be changed"
                    ),
                    hint: "leave --dns-prefix out".to_owned(),
                });
            }
            Some(_) => {}
            None if !wish.allow_hub_upgrade => {
                return Err(Refusal {
                    message: format!(
                        "fleet `{name}` was created without a hub, and a hub cannot be removed again"
                    ),
                    hint: format!(
                        "add --allow-hub-upgrade if that is meant; {} will then need an agent each",
                        output::count(n_members, "member")
                    ),
                });
            }
            None => {
                fleet.spec.hub = Some(Hub { dns_prefix: wish.dns_prefix.clone() });
                fleet.spec.allow_hub_upgrade = Some(true);
            }
        }
    }
    if let Some(secret) = &wish.azure_credentials {
        let poll_interval_seconds =
            fleet.spec.azure.as_ref().and_then(|azure| azure.poll_interval_seconds);
        let credentials_secret = SecretReference { name: secret.clone() };
        fleet.spec.azure = Some(AzureAccess { credentials_secret, poll_interval_seconds });
    }
    let labels = fleet.metadata.labels.get_or_insert_default();
    for change in &wish.labels {
        match change {
            Change::Set(key, value) => _ = labels.insert(key.clone(), value.clone()),
            Change::Remove(key) => _ = labels.remove(key),
        }
    }
    Ok(())
}

pub(super) async fn run(args: UpdateArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet.arguments()).await?;
    let (written, changed) = write(&fleet, &args.wish).await?;
    let name = &args.fleet.name;
    let text = if changed { "updated" } else { "is that way already" };
    output::outcome(name, &written, &format!("fleet `{name}` {text}"), output)?;
    if args.wait {
        wait(&fleet, args.timeout).await?;
    }
    Ok(Exit::Success)
}

async fn write(fleet: &Fleet, wish: &Wish) -> anyhow::Result<(FleetObject, bool)> {
    let api: Api<FleetObject> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let mut attempt = 1;
    loop {
        let mut before = show::get(fleet).await?;
        before.metadata.labels.get_or_insert_default();
        let mut after = before.clone();
        let n_members = before.status.as_ref().map_or(0, |status| status.members);
        decide(&mut after, wish, usize::try_from(n_members).unwrap_or(0))
            .map_err(|refusal| Hinted::error(refusal.message, refusal.hint))?;
        if after == before {
            return Ok((before, false));
        }
        match api.replace(&fleet.name, &post(), &after).await {
            Ok(written) => return Ok((written, true)),
            Err(kube::Error::Api(status)) if status.is_conflict() && attempt < ATTEMPTS => {
                attempt += 1;
            }
            Err(error) => return Err(explain(&format!("failed to change {fleet}"), error)),
        }
    }
}

async fn wait(fleet: &Fleet, within: Duration) -> anyhow::Result<()> {
    let is_there = |member: &FleetMember| text::member_state(member) == MemberState::Joined;
    let all_there = |members: &members::Members| members.values().all(is_there);
    let (members, done) = members::wait(fleet, within, Verb::Join, all_there).await?;
    if done {
        return Ok(());
    }
    let missing = members.iter().filter(|(_, member)| !is_there(member)).map(|(name, _)| name);
    let missing = members::named(missing);
    Err(Hinted::error(
        format!("after {} s these members have not joined the hub: {missing}", within.as_secs()),
        "each needs its agent (`stolos member --name …`); `stolos fleet show -o wide` says why each is not there",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fleet(spec: &serde_json::Value) -> FleetObject {
        serde_json::from_value(json!({ "metadata": { "name": "edge" }, "spec": spec })).unwrap()
    }

    #[test]
    fn a_hub_comes_only_when_it_is_confirmed() {
        let mut edge = fleet(&json!({}));
        let mut wish = Wish { has_hub: true, ..Wish::default() };
        let refusal = decide(&mut edge, &wish, 3).unwrap_err();
        assert_eq!(
            refusal.message,
            "fleet `edge` was created without a hub, and a hub cannot be removed again"
        );
        assert_eq!(
            refusal.hint,
            "add --allow-hub-upgrade if that is meant; 3 members will then need an agent each"
        );
        assert_eq!(edge.spec.hub, None);
        wish.allow_hub_upgrade = true;
        decide(&mut edge, &wish, 3).unwrap();
        assert_eq!((edge.spec.hub.is_some(), edge.spec.allow_hub_upgrade), (true, Some(true)));
    }

    #[test]
    fn a_hub_that_is_there_stays_as_it_is() {
        let mut shop = fleet(&json!({ "hub": { "dnsPrefix": "a" } }));
        let before = shop.spec.clone();
        let wish = |prefix: Option<&str>| Wish {
            has_hub: true,
            dns_prefix: prefix.map(str::to_owned),
            ..Wish::default()
        };
        assert_eq!(decide(&mut shop, &wish(None), 0), Ok(()));
        assert_eq!(decide(&mut shop, &wish(Some("a")), 0), Ok(()));
        assert!(decide(&mut shop, &wish(Some("b")), 0).is_err());
        assert_eq!(shop.spec, before);
    }

    #[test]
    fn other_credentials_leave_the_pace_alone() {
        let azure = json!({ "credentialsSecret": { "name": "a" }, "pollIntervalSeconds": 30 });
        let mut edge = fleet(&json!({ "azure": azure }));
        let wish = Wish { azure_credentials: Some("b".to_owned()), ..Wish::default() };
        decide(&mut edge, &wish, 0).unwrap();
        let azure = edge.spec.azure.unwrap();
        assert_eq!(
            (azure.credentials_secret.name.as_str(), azure.poll_interval_seconds),
            ("b", Some(30))
        );
    }

    #[test]
    fn labels_come_and_go() {
        let mut edge = fleet(&json!({}));
        let changes = ["a=1", "b=2", "a-"].map(|text| arguments::label_change(text).unwrap());
        decide(&mut edge, &Wish { labels: changes.into(), ..Wish::default() }, 0).unwrap();
        assert_eq!(edge.metadata.labels.unwrap(), [("b".to_owned(), "2".to_owned())].into());
    }
}

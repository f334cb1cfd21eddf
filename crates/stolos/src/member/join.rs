//! `stolos member join`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use stolos_api::cluster::fleet::{
    ClusterApiReference, ClusterReference, FleetMember, FleetMemberSpec, SecretReference,
    SimulatedCluster,
};

use crate::arguments;
use crate::cli::{FleetArgs, Output, duration};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::fleet::members::{self, Verb};
use crate::fleet::text::{self, MemberState};
use crate::output;
use crate::windows::WindowArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  stolos member join shop --fleet edge --kubeconfig-secret shop-kubeconfig --group shops
      any cluster; nobody upgrades it
  stolos member join shop --fleet edge --cluster-api clusters/shop --label region=europe --wait
      a Cluster of Cluster API in the namespace clusters, which brings it to other versions
  stolos member join shop --fleet edge --arm-id /subscriptions/…/managedClusters/shop
      a cluster of AKS
  stolos member join shop --fleet edge --arm-id … --window 'saturday 22:00+01:00/6h'
      the same, and nobody begins to upgrade it but on Saturdays from 22:00 to 04:00
  stolos member join shop --fleet edge --simulated
      a simulated cluster, through the kubeconfig in the secret shop-kubeconfig

In a fleet with a hub, the cluster has joined when its agent has (`stolos member --name shop …`).";

#[derive(Args)]
#[command(group = clap::ArgGroup::new("cluster").required(true).args(["kubeconfig_secret", "arm_id", "cluster_api", "simulated"]))]
pub(crate) struct JoinArgs {
    /// Name of the new member within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    /// Any cluster, through the kubeconfig in this secret of the fleet's namespace (key `kubeconfig`)
    #[arg(long, value_name = "SECRET")]
    kubeconfig_secret: Option<String>,
    /// A cluster that Azure's resource manager knows, by its resource id
    #[arg(long, value_name = "ID", value_parser = arm_id)]
    arm_id: Option<String>,
    /// A Cluster of Cluster API, in the fleet's namespace unless another one is named
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = cluster_api)]
    cluster_api: Option<ClusterApiReference>,
    /// Secret with the kubeconfig of the cluster where Cluster API runs [default: the hub itself]
    #[arg(long, value_name = "SECRET", conflicts_with_all = ["kubeconfig_secret", "arm_id", "simulated"])]
    management_secret: Option<String>,
    /// A simulated cluster, through the kubeconfig in this secret [default: NAME-kubeconfig]
    #[arg(long, value_name = "SECRET", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    simulated: Option<String>,
    /// Update group of the member: stages of update runs name it
    #[arg(long, value_parser = arguments::name)]
    group: Option<String>,
    /// Labels of the member, for selectors of strategies and placements; several with commas between, or by repeating it
    #[arg(long = "label", visible_alias = "labels", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = arguments::label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    windows: WindowArgs,
    /// Waits until the cluster has joined
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Takes the resource id of a managed cluster.
fn arm_id(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let right = matches!(
        parts.as_slice(),
        ["", subscriptions, s, groups, g, providers, _, _, name]
            if subscriptions.eq_ignore_ascii_case("subscriptions")
                && groups.eq_ignore_ascii_case("resourceGroups")
                && providers.eq_ignore_ascii_case("providers")
                && ![s, g, name].iter().any(|part| part.is_empty())
    );
    right.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`{text}` is not the resource id of a cluster, as in /subscriptions/ID/resourceGroups/GROUP\
             /providers/Microsoft.ContainerService/managedClusters/NAME"
        )
    })
}

/// Takes `name` or `namespace/name`.
fn cluster_api(text: &str) -> Result<ClusterApiReference, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    if name.is_empty() || name.contains('/') || namespace.is_some_and(str::is_empty) {
        return Err(format!("`{text}` is neither the name of a Cluster nor `namespace/name`"));
    }
    Ok(ClusterApiReference {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        kubeconfig_secret: None,
    })
}

pub(super) async fn run(args: JoinArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    fleet.require().await?;
    let name = &args.name;
    let wanted = draft(&args);
    if let Some(secret) = secret_of(&wanted) {
        warn_without(&fleet, secret).await;
    }
    let mut member = fleet.create(name, &wanted).await?;
    if args.wait {
        member = wait(&fleet, name, args.timeout).await?;
    }
    let text = if args.wait { "has joined" } else { "is joining" };
    output::outcome(name, &member, &format!("member `{name}` {text} {fleet}"), output)?;
    if !args.wait && output == Output::Table {
        let fleet = &fleet.name;
        output::note(&format!("`stolos member show {name} --fleet {fleet}` tells how it stands"));
    }
    Ok(Exit::Success)
}

/// Returns the object that the arguments describe.
fn draft(args: &JoinArgs) -> FleetMember {
    let secret = |name: &String| SecretReference { name: name.clone() };
    let cluster = match (&args.kubeconfig_secret, &args.arm_id, &args.cluster_api, &args.simulated)
    {
        (Some(name), ..) => ClusterReference::KubeconfigSecret(secret(name)),
        (_, Some(id), ..) => ClusterReference::ArmId(id.clone()),
        (_, _, Some(cluster), _) => ClusterReference::ClusterApi(ClusterApiReference {
            kubeconfig_secret: args.management_secret.as_ref().map(secret),
            ..cluster.clone()
        }),
        (.., name) => {
            let given = name.clone().filter(|name| !name.is_empty());
            let name = given.unwrap_or_else(|| format!("{}-kubeconfig", args.name));
            ClusterReference::Simulated(SimulatedCluster { kubeconfig_secret: secret(&name) })
        }
    };
    let spec = FleetMemberSpec {
        fleet_name: args.fleet.fleet.clone(),
        cluster,
        group: args.group.clone(),
        labels: args.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
        maintenance_windows: args.windows.over(None),
    };
    let name = stolos_api::cluster::fleet::object_name(&args.fleet.fleet, &args.name);
    let mut member = FleetMember::new(&name, spec);
    member.metadata.namespace = Some(args.fleet.namespace.clone());
    member
}

fn secret_of(member: &FleetMember) -> Option<&str> {
    match &member.spec.cluster {
        ClusterReference::KubeconfigSecret(secret) => Some(&secret.name),
        ClusterReference::Simulated(cluster) => Some(&cluster.kubeconfig_secret.name),
        ClusterReference::ClusterApi(cluster) => {
            cluster.kubeconfig_secret.as_ref().map(|secret| secret.name.as_str())
        }
        ClusterReference::ArmId(_) => None,
    }
}

/// Warns when the secret is not there. Who may not look gets no warning; the secret may also come later.
async fn warn_without(fleet: &Fleet, secret: &str) {
    let secrets: Api<Secret> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    if let Ok(None) = secrets.get_metadata_opt(secret).await {
        output::note(&format!(
            "warning: there is no secret `{secret}` in namespace `{}`; the cluster cannot be reached before there is",
            fleet.namespace
        ));
    }
}

/// Waits until a member has joined or cannot.
async fn wait(fleet: &Fleet, name: &str, within: Duration) -> anyhow::Result<FleetMember> {
    let is_decided = |members: &members::Members| {
        members.get(name).is_none_or(|member| text::member_state(member) != MemberState::Joining)
    };
    let (members, _) = members::wait(fleet, within, Verb::Join, is_decided).await?;
    let Some(member) = members.get(name) else {
        anyhow::bail!("member `{name}` was deleted while it was waited for");
    };
    let why = text::why_not_joined(member).unwrap_or_default();
    match text::member_state(member) {
        MemberState::Joined => Ok(member.clone()),
        MemberState::Joining => Err(Hinted::error(
            format!("member `{name}` has not joined after {} s: {why}", within.as_secs()),
            format!("in a fleet with a hub it needs its agent: `stolos member --name {name} …`"),
        )),
        MemberState::Refused | MemberState::Left | MemberState::Leaving => Err(Hinted::error(
            format!("member `{name}` cannot join: {why}"),
            format!(
                "it joins as soon as nothing stands in its way; `stolos member leave {name} --fleet {}` gives it up",
                fleet.name
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Parser)]
    #[command(name = "join")]
    struct Line {
        #[command(flatten)]
        args: JoinArgs,
    }

    fn spec(line: &str) -> Result<Value, clap::Error> {
        let words = std::iter::once("join").chain(line.split_whitespace());
        Ok(json!(draft(&Line::try_parse_from(words)?.args).spec))
    }

    #[test]
    fn a_member_stands_for_a_cluster_of_any_kind() {
        let cluster = |line: &str| spec(line).unwrap()["cluster"].clone();
        assert_eq!(
            cluster("a --kubeconfig-secret s"),
            json!({ "kubeconfigSecret": { "name": "s" } })
        );
        assert_eq!(cluster("a --cluster-api c"), json!({ "clusterApi": { "name": "c" } }));
        assert_eq!(
            cluster("a --cluster-api n/c"),
            json!({ "clusterApi": { "namespace": "n", "name": "c" } })
        );
        assert_eq!(
            cluster("a --cluster-api c --management-secret s"),
            json!({ "clusterApi": { "name": "c", "kubeconfigSecret": { "name": "s" } } })
        );
        assert_eq!(
            cluster("--simulated a"),
            json!({ "simulated": { "kubeconfigSecret": { "name": "a-kubeconfig" } } })
        );
        assert_eq!(
            cluster("a --simulated=s"),
            json!({ "simulated": { "kubeconfigSecret": { "name": "s" } } })
        );
        let id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c";
        assert_eq!(cluster(&format!("a --arm-id {id}")), json!({ "armId": id }));
    }

    #[test]
    fn group_and_labels_are_taken_over() {
        let spec =
            spec("a --simulated --fleet edge --group shops --label a=1,b=2 --labels c=3").unwrap();
        assert_eq!((&spec["fleetName"], &spec["group"]), (&json!("edge"), &json!("shops")));
        assert_eq!(spec["labels"], json!({ "a": "1", "b": "2", "c": "3" }));
    }

    #[test]
    fn mistakes_are_named() {
        for wrong in [
            "a",
            "a --simulated --arm-id x",
            "A --simulated",
            "a --simulated --label a",
            "a --simulated --label a-",
            "a --arm-id shop",
            "a --cluster-api a/b/c",
            "a --cluster-api /c",
            "a --simulated --management-secret s",
        ] {
            assert!(spec(wrong).is_err(), "{wrong}");
        }
        let error = spec("a --arm-id shop").unwrap_err().to_string();
        assert!(error.contains("as in /subscriptions/ID/"), "{error}");
    }
}

//! A fleet without a hub, of a hundred members: a grouping for updates, made by commands.

use std::cell::Cell;

use serde_json::{Value, json};

use super::{members, n_requests, nodes, run_state, state};
use crate::backend::Fleet;
use crate::fleet_cli::ok;

const N_MEMBERS: usize = 100;

/// A quarter of the largest stage.
const MOST_AT_ONCE: usize = 24;

const GROUPS: [&str; 3] = ["europe", "america", "asia"];

#[test]
fn a_hubless_fleet_of_a_hundred_members_is_updated_embedded() {
    let Some(fleet) = Fleet::embedded(100) else { return };
    let names = move_to_a_hubless_fleet(&fleet);

    let create = ["updaterun", "create", "june", "--fleet", "edge", "--kubernetes-version"];
    let rules = ["1.35.0", "--stages", "canary:canary;rest:europe,america,asia"];
    let pace = ["--max-concurrency", "25%", "--start"];
    ok(&fleet, &[&create[..], &rules, &pace].concat());
    let most = Cell::new(0);
    let hub = fleet.kubectl("hub");
    let done = hub.wait_for("the run has ended", &["updaterun", "edge.june"], |run| {
        let running = n_running(run);
        assert!(running <= MOST_AT_ONCE, "{running} at once");
        most.set(most.get().max(running));
        matches!(run_state(run), "Completed" | "Failed")
    });
    assert_eq!(run_state(&done), "Completed", "{}", done["status"]);
    assert!(most.get() > 1, "members go side by side");
    assert_eq!(done["status"]["progress"], "100/100");
    assert_eq!(members(&done).count(), N_MEMBERS);
    for (index, name) in (1..).zip(&names) {
        let cluster = format!("member-{index}");
        let seen = nodes(&fleet, &cluster);
        assert_eq!((seen.version.as_str(), seen.upgrades.as_str()), ("v1.35.0", "1"), "{name}");
        assert_eq!(n_requests(&fleet, &cluster), 1, "{name}");
    }
    let shown = ok(&fleet, &["fleet", "show", "edge"]);
    assert!(shown.contains("members    100 Joined"), "{shown}");
}

fn n_running(run: &Value) -> usize {
    members(run).filter(|member| state(member) == "Running").count()
}

/// Dissolves the fleet of `stolos up` and joins its clusters to one without a hub; returns the members' names.
fn move_to_a_hubless_fleet(fleet: &Fleet) -> Vec<String> {
    ok(fleet, &["fleet", "delete", "local", "--with-members", "--timeout", "120s"]);
    ok(fleet, &["fleet", "create", "edge"]);
    let names: Vec<String> = (1..=N_MEMBERS).map(|index| format!("shop-{index}")).collect();
    for (index, name) in (1..).zip(&names) {
        let group = if index <= 4 { "canary" } else { GROUPS[index % GROUPS.len()] };
        let secret = format!("--simulated=member-{index}-kubeconfig");
        ok(fleet, &["member", "join", name, "--fleet", "edge", &secret, "--group", group]);
    }
    let hub = fleet.kubectl("hub");
    hub.wait_for("every cluster has been looked at", &["fleetmembers"], |list| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.len() == N_MEMBERS
            && items.iter().all(|member| member["status"]["kubernetesVersion"] == "1.34.1")
    });
    let agents = hub.get(&["memberclusters"]).expect("they can be listed");
    assert_eq!(agents["items"], json!([]), "no agent is asked for without a hub");
    names
}

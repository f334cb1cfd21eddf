//! Update runs as their users start, stop, approve, repair and wait for them, on both backends.

use serde_json::{Value, json};

use crate::backend::Fleet;
use crate::fleet_cli::ok;

mod hubless;
mod images;
mod preflight;
mod profiles;
mod retries;
mod rollbacks;
mod stages;
mod windows;

/// What a member's nodes tell about themselves, each of them the same.
#[derive(Debug, PartialEq, Eq)]
struct Nodes {
    version: String,
    image: String,
    /// How often each node was upgraded.
    upgrades: String,
}

/// Returns what the nodes of a member tell, which must agree: nothing is under way there.
fn nodes(fleet: &Fleet, member: &str) -> Nodes {
    let listed = fleet.kubectl(member).get(&["nodes"]).expect("nodes can be listed");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let mut seen = items.iter().map(|node| Nodes {
        version: text(&node["status"]["nodeInfo"]["kubeletVersion"]),
        image: text(&node["metadata"]["labels"]["kubernetes.azure.com/node-image-version"]),
        upgrades: text(&node["metadata"]["annotations"]["sim.stolos.dev/upgrades"]),
    });
    let first = seen.next().expect("a member has nodes");
    assert!(seen.all(|other| other == first), "the nodes of {member} differ: {listed}");
    first
}

/// Returns how many upgrades a member was ever asked for.
fn n_requests(fleet: &Fleet, member: &str) -> usize {
    let requests = ["-n", "kube-system", "configmaps", "-l", "sim.stolos.dev/upgrade"];
    let requests = fleet.kubectl(member).get(&requests).expect("they can be listed");
    requests["items"].as_array().map_or(0, Vec::len)
}

/// Changes the facts and the script of a simulated member.
fn script(fleet: &Fleet, member: &str, data: &Value) {
    let patch = json!({ "data": data }).to_string();
    let line = ["-n", "kube-system", "patch", "configmap", "simulated-cluster", "--type", "merge"];
    fleet.kubectl(member).run(&[&line[..], &["-p", &patch]].concat());
}

/// Publishes these node images where a member is, and waits until the hub knows. The location shows it: it changes in
/// the same write.
fn publish(fleet: &Fleet, member: &str, location: &str, images: &[&str]) {
    script(fleet, member, &json!({ "region": location, "nodeImages": images.join(",") }));
    let object = format!("local.{member}");
    let what = format!("the hub knows what {member} is offered in {location}");
    fleet.kubectl("hub").wait_for(&what, &["fleetmember", &object], |member| {
        member["status"]["location"] == location
    });
}

/// Puts a member into an update group.
fn into_group(fleet: &Fleet, member: &str, group: &str) {
    ok(fleet, &["member", "update", member, "--group", group]);
}

/// Waits until a run of the fleet `local` is as wanted.
fn wait_for(fleet: &Fleet, what: &str, run: &str, holds: impl Fn(&Value) -> bool) -> Value {
    fleet.kubectl("hub").wait_for(what, &["updaterun", &format!("local.{run}")], holds)
}

fn get_run(fleet: &Fleet, run: &str) -> Value {
    let object = format!("local.{run}");
    fleet.kubectl("hub").get(&["updaterun", &object]).expect("the run is there")
}

fn state(of: &Value) -> &str {
    of["status"]["state"].as_str().unwrap_or("NotStarted")
}

/// Returns the state of a whole run.
fn run_state(run: &Value) -> &str {
    state(&run["status"])
}

/// Returns every member of a run in its order.
fn members(run: &Value) -> impl Iterator<Item = &Value> {
    let stages = run["status"]["stages"].as_array().into_iter().flatten();
    let groups = stages.flat_map(|stage| stage["groups"].as_array().into_iter().flatten());
    groups.flat_map(|group| group["members"].as_array().into_iter().flatten())
}

/// Returns what a run says about one member.
fn member_of<'a>(run: &'a Value, name: &str) -> &'a Value {
    members(run).find(|member| member["name"] == name).unwrap_or(&Value::Null)
}

//! The flow schemas and priority levels that every cluster has. Two of each are mandatory and do not change.

use serde_json::{Value, json};

use super::complete_object;
use crate::names::GroupVersion;

/// Group and version of both kinds.
pub(crate) const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

const MANDATORY: [&str; 2] = ["catch-all", "exempt"];
/// Marks objects that the server keeps as they are here, until somebody takes the mark off.
const KEPT: &str = "apf.kubernetes.io/autoupdate-spec";

/// Levels with a limit: name, shares of the server, percentage of them that is lent, queues and how many a flow is dealt.
const LEVELS: [(&str, u32, u32, Option<(u32, u32)>); 7] = [
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("node-high", 40, 25, Some((64, 6))),
    ("system", 30, 33, Some((64, 6))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
];
/// Requests that wait in a queue.
const QUEUE_LENGTH: u32 = 50;

/// How the flows of a schema are told apart.
#[derive(Clone, Copy)]
enum Flows {
    One,
    ByNamespace,
    ByUser,
}
use Flows::{ByNamespace, ByUser, One};

/// Whose requests a schema is for.
enum Subject {
    Group(&'static str),
    User(&'static str),
    /// All accounts of the namespace `kube-system`.
    SystemAccounts,
}
use Subject::{Group, SystemAccounts, User};

/// Which of their requests.
enum Requests {
    All,
    Probes,
    /// API group, resources, verbs, and whether the resources are in no namespace.
    Some(&'static [(&'static str, &'static [&'static str], &'static [&'static str], bool)]),
}

const EVERYBODY: &[Subject] = &[Group("system:unauthenticated"), Group("system:authenticated")];

/// Name, precedence, level, flows, subjects and requests.
type Row = (&'static str, u32, &'static str, Flows, &'static [Subject], Requests);

#[rustfmt::skip]
const SCHEMAS: &[Row] = &[
    ("catch-all", 10_000, "catch-all", ByUser, EVERYBODY, Requests::All),
    ("exempt", 1, "exempt", One, &[Group("system:masters")], Requests::All),
    ("global-default", 9_900, "global-default", ByUser, EVERYBODY, Requests::All),
    ("kube-controller-manager", 800, "workload-high", ByNamespace, &[User("system:kube-controller-manager")], Requests::All),
    ("kube-scheduler", 800, "workload-high", ByNamespace, &[User("system:kube-scheduler")], Requests::All),
    ("kube-system-service-accounts", 900, "workload-high", ByNamespace, &[SystemAccounts], Requests::All),
    ("probes", 2, "exempt", One, EVERYBODY, Requests::Probes),
    ("service-accounts", 9_000, "workload-low", ByUser, &[Group("system:serviceaccounts")], Requests::All),
    ("system-leader-election", 100, "leader-election", ByUser,
        &[User("system:kube-controller-manager"), User("system:kube-scheduler"), SystemAccounts],
        Requests::Some(&[("coordination.k8s.io", &["leases"], &["get", "create", "update"], false)])),
    ("system-node-high", 400, "node-high", ByUser, &[Group("system:nodes")],
        Requests::Some(&[("", &["nodes", "nodes/status"], &["*"], true), ("coordination.k8s.io", &["leases"], &["*"], false)])),
    ("system-nodes", 500, "system", ByUser, &[Group("system:nodes")], Requests::All),
];

/// Returns the flow schemas of a fresh cluster.
pub(crate) fn schemas() -> Vec<Value> {
    SCHEMAS.iter().map(|row| object("FlowSchema", row.0, schema_spec(row))).collect()
}

/// Returns the priority levels of a fresh cluster.
pub(crate) fn levels() -> Vec<Value> {
    let names = LEVELS.iter().map(|level| level.0).chain(["exempt"]);
    names
        .filter_map(|name| Some(object("PriorityLevelConfiguration", name, level_spec(name)?)))
        .collect()
}

/// Returns the spec that a mandatory schema must have.
pub(super) fn mandatory_schema(name: &str) -> Option<Value> {
    let row = SCHEMAS.iter().find(|row| row.0 == name && MANDATORY.contains(&name))?;
    Some(complete("FlowSchema", name, schema_spec(row)))
}

/// Returns the spec that a mandatory level must have.
pub(super) fn mandatory_level(name: &str) -> Option<Value> {
    let spec = MANDATORY.contains(&name).then(|| level_spec(name))??;
    Some(complete("PriorityLevelConfiguration", name, spec))
}

fn complete(kind: &str, name: &str, spec: Value) -> Value {
    let mut object = object(kind, name, spec);
    complete_object(&GroupVersion::parse(API_VERSION), kind, &mut object);
    object["spec"].take()
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": kind,
        "metadata": { "name": name, "annotations": { KEPT: "true" } }, "spec": spec,
    })
}

fn level_spec(name: &str) -> Option<Value> {
    if name == "exempt" {
        let exempt = json!({ "nominalConcurrencyShares": 0, "lendablePercent": 0 });
        return Some(json!({ "type": "Exempt", "exempt": exempt }));
    }
    let (_, shares, lent, queues) = LEVELS.iter().find(|level| level.0 == name)?;
    let response = match queues {
        None => json!({ "type": "Reject" }),
        Some((queues, hand)) => json!({
            "type": "Queue",
            "queuing": { "queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH },
        }),
    };
    Some(json!({
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lent, "limitResponse": response,
        },
    }))
}

fn schema_spec((_, precedence, level, flows, subjects, requests): &Row) -> Value {
    let subjects: Vec<Value> = subjects.iter().map(subject).collect();
    let everything = json!([{ "verbs": ["*"], "nonResourceURLs": ["*"] }]);
    let rule = match requests {
        Requests::All => json!({
            "subjects": subjects, "nonResourceRules": everything,
            "resourceRules": [resource_rule("*", &["*"], &["*"], true)],
        }),
        Requests::Probes => {
            let paths = ["/healthz", "/readyz", "/livez"];
            let rules = json!([{ "verbs": ["get"], "nonResourceURLs": paths }]);
            json!({ "subjects": subjects, "nonResourceRules": rules })
        }
        Requests::Some(rules) => {
            let rules: Vec<Value> = rules
                .iter()
                .map(|(group, resources, verbs, cluster)| {
                    resource_rule(group, resources, verbs, *cluster)
                })
                .collect();
            json!({ "subjects": subjects, "resourceRules": rules })
        }
    };
    let mut spec = json!({
        "matchingPrecedence": precedence, "priorityLevelConfiguration": { "name": level }, "rules": [rule],
    });
    match flows {
        One => {}
        ByNamespace => spec["distinguisherMethod"] = json!({ "type": "ByNamespace" }),
        ByUser => spec["distinguisherMethod"] = json!({ "type": "ByUser" }),
    }
    spec
}

fn resource_rule(group: &str, resources: &[&str], verbs: &[&str], cluster: bool) -> Value {
    let mut rule = json!({
        "apiGroups": [group], "resources": resources, "verbs": verbs, "namespaces": ["*"],
    });
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn subject(subject: &Subject) -> Value {
    match subject {
        Group(name) => json!({ "kind": "Group", "group": { "name": name } }),
        User(name) => json!({ "kind": "User", "user": { "name": name } }),
        SystemAccounts => json!({
            "kind": "ServiceAccount", "serviceAccount": { "namespace": "kube-system", "name": "*" },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_leads_to_a_level_that_is_there() {
        let levels = levels();
        let names: Vec<&Value> = levels.iter().map(|level| &level["metadata"]["name"]).collect();
        for schema in schemas() {
            assert!(names.contains(&&schema["spec"]["priorityLevelConfiguration"]["name"]));
        }
    }

    #[test]
    fn what_every_cluster_has_is_valid() {
        let group_version = GroupVersion::parse(API_VERSION);
        for mut object in schemas().into_iter().chain(levels()) {
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            complete_object(&group_version, &kind, &mut object);
            assert_eq!(super::super::validate(&group_version, &kind, &object, None), []);
        }
    }
}

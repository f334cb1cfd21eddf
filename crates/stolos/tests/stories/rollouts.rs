//! The pace of a rollout and what counts as available, on both backends. Deployments are in `overrides.rs`.

use serde_json::{Value, json};

use crate::backend::Fleet;
use crate::kubectl::{Kubectl, wait_until};
use crate::look::{cluster, complete_on, conditions, conditions_on, says, says_on};

#[test]
fn what_nobody_can_observe_goes_out_one_member_at_a_time_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    period(&fleet);
}

#[test]
fn a_bad_version_of_any_workload_reaches_one_member_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    workloads(&fleet);
}

#[test]
fn a_service_is_available_with_its_address_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    service(&fleet);
}

#[test]
fn a_placement_that_moves_serves_all_the_time_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    moves(&fleet);
}

#[test]
fn nothing_goes_out_by_itself_once_others_decide_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    external(&fleet);
}

/// A fleet of real API servers takes long to start, so one is for all.
#[test]
fn rollouts_keep_their_limits_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(3) else { return };
    period(&fleet);
    workloads(&fleet);
    service(&fleet);
    moves(&fleet);
    external(&fleet);
}

const MEMBERS: [&str; 3] = ["member-1", "member-2", "member-3"];

/// Places a namespace of the same name.
fn place(hub: &Kubectl, name: &str, policy: &str, rolling_update: &str) {
    hub.apply(&format!(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata: {{name: {name}}}
spec:
  resourceSelectors:
  - {{group: "", version: v1, kind: Namespace, name: {name}}}
  policy: {policy}
  strategy: {{type: RollingUpdate, rollingUpdate: {rolling_update}}}
"#
    ));
}

fn period(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "slowly"]);
    let job = |schedule: &str| {
        hub.apply(&format!(
            r#"
apiVersion: batch/v1
kind: CronJob
metadata: {{name: night, namespace: slowly}}
spec:
  schedule: "{schedule}"
  suspend: true
  jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: job, image: "job:1"}}]}}}}}}}}
"#
        ));
    };
    job("0 3 * * *");
    let pace = "{maxUnavailable: 1, maxSurge: 1, unavailablePeriodSeconds: 3}";
    place(&hub, "slowly", "{placementType: PickAll}", pace);
    complete_on(&hub, &["crp", "slowly"], &MEMBERS);
    let told = says_on(
        &hub,
        &["crp", "slowly"],
        "member-2",
        "Available=True/NotAllWorkAreAvailabilityTrackable",
    );
    assert!(told["failedPlacements"].is_null(), "{told}");
    job("0 4 * * *");
    complete_after(&hub, "slowly", "1");
    let mut written: Vec<i64> = MEMBERS
        .iter()
        .map(|name| {
            let found = fleet.kubectl(name).wait_for(
                "the change arrives",
                &["-n", "slowly", "cronjob", "night", "--show-managed-fields"],
                |found| found["spec"]["schedule"] == "0 4 * * *",
            );
            last_written(&found)
        })
        .collect();
    written.sort_unstable();
    // Times are whole seconds.
    assert!(
        written[1] - written[0] >= 2 && written[2] - written[1] >= 2,
        "each waits for the one before: {written:?}"
    );
    hub.run(&["delete", "crp", "slowly", "--timeout=60s"]);
}

/// Waits until a placement is complete with a snapshot of at least this index.
fn complete_after(hub: &Kubectl, name: &str, index: &str) {
    hub.wait_for("the snapshot is out", &["crp", name], |found| {
        let seen = found["status"]["observedResourceIndex"].as_str().unwrap_or_default();
        seen >= index
            && conditions(found)
                .last()
                .is_some_and(|last| last == "Available=True/ResourceAvailable")
    });
}

/// Returns when the spec of an object was written last, in seconds.
fn last_written(object: &Value) -> i64 {
    let managers = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let times = managers
        .filter(|entry| entry["subresource"].is_null())
        .filter_map(|entry| entry["time"].as_str())
        .map(|time| time.parse::<jiff::Timestamp>().expect("a time").as_second());
    times.max().expect("somebody wrote it")
}

fn workload(kind: &str, version: u32, fails: Option<&str>) -> Value {
    let mut template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": format!("web:{version}")}]},
    });
    if let Some(reason) = fails {
        template["metadata"]["annotations"] = json!({"sim.stolos.dev/fail": reason});
    }
    let mut spec = json!({ "selector": {"matchLabels": {"app": "web"}}, "template": template });
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("web");
        spec["podManagementPolicy"] = json!("Parallel");
    }
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": "web", "namespace": namespace_of(kind)}, "spec": spec,
    })
}

fn namespace_of(kind: &str) -> String {
    format!("bad-{}", kind.to_lowercase())
}

fn workloads(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    for kind in ["DaemonSet", "StatefulSet"] {
        let namespace = namespace_of(kind);
        let apply = |version: u32, fails: Option<&str>| {
            let force = ["apply", "--server-side", "-f", "-"];
            let output = hub.with_input(&force, &workload(kind, version, fails).to_string());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        hub.run(&["create", "namespace", &namespace]);
        apply(1, None);
        let pace = "{maxUnavailable: 1, maxSurge: 1, unavailablePeriodSeconds: 1}";
        place(&hub, &namespace, "{placementType: PickAll}", pace);
        let placement = ["crp", &namespace];
        complete_on(&hub, &placement, &MEMBERS);

        apply(2, Some("ImagePullBackOff"));
        let stuck = hub.wait_for("the rollout stops", &placement, |found| {
            let last = MEMBERS.map(|name| conditions_on(found, name).last().cloned());
            let count = |want: &str| last.iter().flatten().filter(|last| *last == want).count();
            count("RolloutStarted=False/RolloutNotStartedYet") == 2
                && count("Available=False/NotAllWorkAreAvailable") == 1
        });
        let failing = MEMBERS
            .into_iter()
            .find(|name| !cluster(&stuck, name)["failedPlacements"].is_null())
            .expect("one fails");
        let failed = &cluster(&stuck, failing)["failedPlacements"][0];
        assert_eq!(failed["kind"], kind);
        assert_eq!(failed["condition"]["reason"], "ManifestNotAvailableYet");
        says(&hub, &placement, "RolloutStarted=False/RolloutNotStartedYet");

        // How to apply is not a version: it goes to all at once, in the middle of a rollout that is stuck.
        let strategy = r#"{"spec":{"strategy":{"applyStrategy":{"type":"ServerSideApply"}}}}"#;
        hub.run(&["patch", "crp", &namespace, "--type=merge", "-p", strategy]);
        wait_until("every Work is applied another way", || {
            let label = format!("kubernetes-fleet.io/parent-CRP={namespace}");
            let works = hub.get(&["works", "-A", "-l", &label]).unwrap_or_default();
            let works = works["items"].as_array().cloned().unwrap_or_default();
            let done = works
                .iter()
                .filter(|work| work["spec"]["applyStrategy"]["type"] == "ServerSideApply");
            if done.count() == 3 { Ok(()) } else { Err(Value::from(works)) }
        });

        apply(3, None);
        for name in MEMBERS {
            let object = ["-n", &namespace, kind, "web"];
            fleet.kubectl(name).wait_for("the good version arrives", &object, |found| {
                found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:3"
            });
        }
        complete_on(&hub, &placement, &MEMBERS);
        hub.run(&["delete", "crp", &namespace, "--timeout=60s"]);
    }
}

fn service(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "front"]);
    // Nobody serves this class, so nobody gives an address.
    hub.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: front}
spec: {type: LoadBalancer, loadBalancerClass: example.com/none, ports: [{port: 80}]}
",
    );
    place(
        &hub,
        "front",
        "{placementType: PickFixed, clusterNames: [member-2]}",
        "{maxUnavailable: 1}",
    );
    let said =
        says_on(&hub, &["crp", "front"], "member-2", "Available=False/NotAllWorkAreAvailable");
    assert_eq!(said["failedPlacements"][0]["condition"]["reason"], "ManifestNotAvailableYet");
    let address = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#;
    let patch = ["-n", "front", "patch", "service", "web", "--subresource=status", "-p", address];
    fleet.kubectl("member-2").run(&patch);
    complete_on(&hub, &["crp", "front"], &["member-2"]);
    hub.run(&["delete", "crp", "front", "--timeout=60s"]);
}

fn moves(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "moving"]);
    hub.run(&["-n", "moving", "create", "deployment", "web", "--image=web:1"]);
    let to = |member: &str| {
        let policy = format!(
            "{{placementType: PickN, numberOfClusters: 1, affinity: {{clusterAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{clusterSelectorTerms: [{{labelSelector: {{matchLabels: {{kubernetes-fleet.io/member-name: {member}}}}}}}]}}}}}}}}"
        );
        let pace = "{maxUnavailable: 0, maxSurge: 1, unavailablePeriodSeconds: 1}";
        place(&hub, "moving", &policy, pace);
    };
    to("member-1");
    complete_on(&hub, &["crp", "moving"], &["member-1"]);
    let serves = |name: &str| {
        let found = fleet.kubectl(name).get(&["-n", "moving", "deployment", "web"]);
        found.is_some_and(|found| {
            found["status"]["availableReplicas"] == 1
                && found["metadata"]["deletionTimestamp"].is_null()
        })
    };
    to("member-2");
    wait_until("the placement has moved", || {
        // The old place is asked first: when it does not serve any more, the new one does already.
        let old = serves("member-1");
        let new = serves("member-2");
        assert!(old || new, "nobody serves");
        if !old && new { Ok(()) } else { Err(Value::Null) }
    });
    fleet.kubectl("member-1").wait_gone(&["namespace", "moving"]);
    complete_on(&hub, &["crp", "moving"], &["member-2"]);
    hub.run(&["delete", "crp", "moving", "--timeout=60s"]);
}

fn external(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "held"]);
    let all = "{placementType: PickAll}";
    place(&hub, "held", all, "{unavailablePeriodSeconds: 1}");
    complete_on(&hub, &["crp", "held"], &MEMBERS);
    let patch = r#"{"spec":{"strategy":{"type":"External","rollingUpdate":null}}}"#;
    hub.run(&["patch", "crp", "held", "--type=merge", "-p", patch]);
    let found = complete_on(&hub, &["crp", "held"], &MEMBERS);
    assert_eq!(found["status"]["observedResourceIndex"], "0");
    hub.run(&["label", "namespace", "held", "colour=red"]);
    // A new one of this kind waits for somebody to release it; it is decided after the change above was seen.
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata: {name: waits}
spec:
  resourceSelectors: [{group: "", version: v1, kind: Namespace, name: held}]
  strategy: {type: External}
"#,
    );
    let waits = says(
        &hub,
        &["crp", "waits"],
        "RolloutStarted=Unknown/RolloutControlledByExternalController",
    );
    assert!(waits["status"]["observedResourceIndex"].as_str().is_none_or(str::is_empty));
    assert_eq!(
        conditions_on(&waits, "member-3").last().map(String::as_str),
        Some("RolloutStarted=Unknown/RolloutStartedUnknown")
    );
    for name in MEMBERS {
        let namespace = fleet.kubectl(name).get(&["namespace", "held"]).expect("it is placed");
        assert!(namespace["metadata"]["labels"]["colour"].is_null(), "{namespace}");
    }
    let back = r#"{"spec":{"strategy":{"type":"RollingUpdate"}}}"#;
    let refused = hub.fail(&["patch", "crp", "held", "--type=merge", "-p", back]);
    assert!(
        refused.contains("cannot change rollout strategy type from 'External' to other types"),
        "{refused}"
    );
    hub.run(&["delete", "crp", "waits", "held", "--timeout=60s"]);
}

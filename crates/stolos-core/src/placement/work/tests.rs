//! Works of one binding.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use stolos_api::placement::ApplyStrategyType;

use super::*;

fn spec(snapshot: &str) -> ResourceBindingSpec {
    ResourceBindingSpec {
        target_cluster: "member-1".into(),
        resource_snapshot_name: snapshot.into(),
        apply_strategy: Some(ApplyStrategy::default()),
        ..ResourceBindingSpec::default()
    }
}

fn target<'a>(spec: &'a ResourceBindingSpec, index: &'a str) -> Target<'a> {
    Target {
        placement: "crp",
        namespace: None,
        binding: "crp-member-1",
        generation: 3,
        spec,
        index,
        propagation_policy: DeletePropagationPolicy::Delete,
        report_back: None,
    }
}

fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "app"},
    })
}

fn envelope(name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ResourceEnvelope",
        "metadata": {"name": name, "namespace": "app"}, "data": data,
    })
}

fn parts(parts: &[&[Value]]) -> Vec<Part> {
    let subindices = [None].into_iter().chain((0..).map(Some));
    subindices
        .zip(parts)
        .map(|(subindex, objects)| Part { subindex, objects: objects.to_vec() })
        .collect()
}

fn apply(existing: &mut Vec<Work>, plan: Plan) {
    let Plan { create, update, push_strategy, delete, waits_for: _ } = plan;
    existing.retain(|work| !delete.contains(&name_of(work).to_owned()));
    for work in existing.iter_mut() {
        if push_strategy.contains(&name_of(work).to_owned()) {
            work.spec.apply_strategy = Some(ApplyStrategy {
                type_: ApplyStrategyType::ServerSideApply,
                ..ApplyStrategy::default()
            });
        }
        if let Some(new) = update.iter().find(|new| name_of(new) == name_of(work)) {
            *work = new.clone();
        }
    }
    existing.extend(create);
}

fn refs(works: &[Work]) -> Vec<&Work> {
    works.iter().collect()
}

fn names(works: &[Work]) -> Vec<&str> {
    works.iter().map(name_of).collect()
}

#[test]
fn each_snapshot_has_a_work_with_its_objects() {
    let spec = spec("crp-3-snapshot");
    let parts = parts(&[&[config_map("a")], &[config_map("b")], &[]]);
    let plan = plan(&target(&spec, "3"), parts, &[]).unwrap();
    assert_eq!(names(&plan.create), ["crp-work", "crp-0", "crp-1"]);
    let work = &plan.create[0];
    assert_eq!(work.metadata.namespace.as_deref(), Some("fleet-member-member-1"));
    assert_eq!(work.spec.workload.manifests, [config_map("a")]);
    assert_eq!(work.spec.apply_strategy, spec.apply_strategy);
    assert_eq!(
        serde_json::to_value(&work.metadata.labels).unwrap(),
        json!({
            "kubernetes-fleet.io/parent-CRP": "crp",
            "kubernetes-fleet.io/parent-resource-binding": "crp-member-1",
            "kubernetes-fleet.io/parent-resource-snapshot-index": "3",
        })
    );
    assert_eq!(
        annotation_of(&work.metadata, annotation::PARENT_RESOURCE_SNAPSHOT_NAME),
        Some("crp-3-snapshot")
    );
    assert!(all_carry(&refs(&plan.create), "crp-3-snapshot"));
    assert!(!all_carry(&refs(&plan.create), "crp-4-snapshot"));
    assert!(!all_carry(&[], "crp-3-snapshot"));
}

#[test]
fn works_of_a_namespaced_placement_carry_its_namespace() {
    let spec = spec("rp-0-snapshot");
    let target = Target { namespace: Some("app"), ..target(&spec, "0") };
    let plan = plan(&target, parts(&[&[], &[]]), &[]).unwrap();
    assert_eq!(names(&plan.create), ["app.crp-work", "app.crp-0"]);
    let labels = plan.create[0].metadata.labels.as_ref().unwrap();
    assert_eq!(labels[label::PARENT_PLACEMENT_NAMESPACE], "app");
}

#[test]
fn a_new_snapshot_replaces_what_it_must_and_removes_what_it_lacks() {
    let (old, new) = (spec("crp-0-snapshot"), spec("crp-1-snapshot"));
    let first = parts(&[&[config_map("a")], &[config_map("b")]]);
    let mut works = plan(&target(&old, "0"), first, &[]).unwrap().create;
    works[0].metadata.resource_version = Some("7".into());
    works[0].metadata.finalizers = Some(vec!["kept".into()]);

    let second = parts(&[&[config_map("c")]]);
    let plan = plan(&target(&new, "1"), second, &refs(&works)).unwrap();
    assert_eq!(plan.create, []);
    assert_eq!(plan.delete, ["crp-0"]);
    assert_eq!(names(&plan.update), ["crp-work"]);
    assert_eq!(plan.update[0].metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(plan.update[0].metadata.finalizers, Some(vec!["kept".into()]));
    assert_eq!(plan.update[0].spec.workload.manifests, [config_map("c")]);
}

#[test]
fn a_placement_that_abandons_marks_its_works_and_a_withdrawal_takes_the_mark_off() {
    let spec = spec("crp-0-snapshot");
    let deleting = target(&spec, "0");
    let abandoning =
        Target { propagation_policy: DeletePropagationPolicy::Abandon, ..target(&spec, "0") };
    let works = plan(&abandoning, parts(&[&[]]), &[]).unwrap().create;
    let mark = |work: &Work| {
        annotation_of(&work.metadata, annotation::PROPAGATION_POLICY).map(str::to_owned)
    };
    assert_eq!(mark(&works[0]).as_deref(), Some("Abandon"));
    assert!(is_settled(&abandoning, 1, 0, &refs(&works)));
    assert_eq!(withdrawing(&works[0]).map(|work| mark(&work)), Some(None));

    let plan = plan(&deleting, parts(&[&[]]), &refs(&works)).unwrap();
    assert_eq!(plan.update.iter().map(mark).collect::<Vec<_>>(), [None]);
    assert_eq!(withdrawing(&plan.update[0]), None);
}

#[test]
fn what_comes_back_to_the_hub_is_asked_for_in_the_work() {
    let spec = spec("crp-0-snapshot");
    let mirror = ReportBackStrategy {
        type_: stolos_api::placement::ReportBackStrategyType::Mirror,
        destination: Some(stolos_api::placement::ReportBackDestination::WorkAPI),
    };
    let works = plan(&target(&spec, "0"), parts(&[&[]]), &[]).unwrap().create;
    let asking = Target { report_back: Some(mirror), ..target(&spec, "0") };
    let plan = plan(&asking, parts(&[&[]]), &refs(&works)).unwrap();
    assert_eq!(plan.update[0].spec.report_back_strategy, Some(mirror));
}

#[test]
fn a_changed_override_replaces_the_work() {
    let mut spec = spec("crp-0-snapshot");
    let works = plan(&target(&spec, "0"), parts(&[&[]]), &[]).unwrap().create;
    spec.cluster_resource_override_snapshots = vec!["cro-1".into()];
    let plan = plan(&target(&spec, "0"), parts(&[&[]]), &refs(&works)).unwrap();
    assert_eq!(names(&plan.update), ["crp-work"]);
}

#[test]
fn a_changed_apply_strategy_is_only_pushed() {
    let mut spec = spec("crp-0-snapshot");
    let works = plan(&target(&spec, "0"), parts(&[&[]]), &[]).unwrap().create;
    let strategy =
        ApplyStrategy { type_: ApplyStrategyType::ServerSideApply, ..ApplyStrategy::default() };
    spec.apply_strategy = Some(strategy.clone());
    let plan = plan(&target(&spec, "0"), parts(&[&[]]), &refs(&works)).unwrap();
    assert_eq!((plan.update.len(), plan.push_strategy), (0, vec!["crp-work".to_owned()]));
    assert_eq!(outdated_strategies(&refs(&works), Some(&strategy)), ["crp-work"]);
    assert_eq!(strategy_patch(Some(&strategy))[0]["value"]["type"], "ServerSideApply");
}

#[test]
fn a_work_on_its_way_out_is_waited_for() {
    let spec = spec("crp-0-snapshot");
    let mut works = plan(&target(&spec, "0"), parts(&[&[], &[]]), &[]).unwrap().create;
    for work in &mut works {
        work.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    }
    let plan = plan(&target(&spec, "0"), parts(&[&[]]), &refs(&works)).unwrap();
    assert_eq!(plan, Plan { waits_for: vec!["crp-work".into()], ..Plan::default() });
}

#[test]
fn an_envelope_has_a_work_of_its_own() {
    let spec = spec("crp-0-snapshot");
    let data = json!({"x": config_map("a"), "y": config_map("b")});
    let objects = [config_map("c"), envelope("e", &data)];
    let plan = plan(&target(&spec, "0"), parts(&[&objects]), &[]).unwrap();
    let [enveloped, plain] = plan.create.as_slice() else { panic!("two works") };
    assert_eq!(plain.spec.workload.manifests, [config_map("c")]);
    assert_eq!(enveloped.spec.workload.manifests, [config_map("b"), config_map("a")]);
    let digest = hash::sha256("ResourceEnvelope/app/e");
    assert_eq!(name_of(enveloped), format!("crp-work-envelope-{}", &digest[..16]));
    let labels = enveloped.metadata.labels.as_ref().unwrap();
    assert_eq!(labels[label::ENVELOPE_TYPE], "ResourceEnvelope");
    assert_eq!(labels[label::ENVELOPE_NAME], "e");
    assert_eq!(labels[label::ENVELOPE_NAMESPACE], "app");
}

#[test]
fn a_work_of_an_envelope_keeps_the_name_it_has() {
    let spec = spec("crp-0-snapshot");
    let objects = [envelope("e", &json!({}))];
    let mut works = plan(&target(&spec, "0"), parts(&[&objects]), &[]).unwrap().create;
    works[0].metadata.name = Some("given-by-an-older-release".into());
    let again = plan(&target(&spec, "0"), parts(&[&objects]), &refs(&works)).unwrap();
    assert!(again.is_empty(), "{again:?}");

    let mut twin = works[0].clone();
    twin.metadata.name = Some("twin".into());
    works.push(twin);
    let error = plan(&target(&spec, "0"), parts(&[&objects]), &refs(&works)).unwrap_err();
    assert_eq!(error, Error::DuplicateEnvelopeWorks("ResourceEnvelope `app/e`".into()));
}

#[test]
fn an_envelope_holds_only_objects_of_its_own_scope() {
    let spec = spec("crp-0-snapshot");
    let mut elsewhere = config_map("a");
    elsewhere["metadata"]["namespace"] = json!("other");
    let role = json!({"apiVersion": "v1", "kind": "ClusterRole", "metadata": {"name": "r"}});
    let mut cluster = envelope("e", &json!({"x": config_map("a")}));
    cluster["kind"] = json!("ClusterResourceEnvelope");
    for bad in [
        envelope("e", &json!({"x": elsewhere})),
        envelope("e", &json!({"x": role})),
        envelope("e", &json!({"x": "text"})),
        cluster,
    ] {
        let plan = plan(&target(&spec, "0"), parts(&[&[bad]]), &[]);
        assert!(plan.unwrap_err().to_string().starts_with("entry `x` of "));
    }
}

proptest! {
    #[test]
    fn planning_again_changes_nothing(
        before in prop::collection::vec(prop::collection::vec("[a-c]", 0..3), 1..4),
        after in prop::collection::vec(prop::collection::vec("[a-c]", 0..3), 1..4),
    ) {
        let make = |groups: &[Vec<String>]| {
            let objects: Vec<Vec<Value>> = groups
                .iter()
                .map(|names| {
                    let distinct: BTreeSet<_> = names.iter().collect();
                    distinct.into_iter().map(|name| config_map(name)).collect()
                })
                .collect();
            let slices: Vec<_> = objects.iter().map(Vec::as_slice).collect();
            parts(&slices)
        };
        let (old, new) = (spec("crp-0-snapshot"), spec("crp-1-snapshot"));
        let mut works = vec![];
        for (spec, index, groups) in [(&old, "0", &before), (&new, "1", &after)] {
            prop_assert!(!is_settled(&target(spec, index), groups.len(), 0, &refs(&works)));
            let first = plan(&target(spec, index), make(groups), &refs(&works)).unwrap();
            apply(&mut works, first);
            works.reverse();
            let again = plan(&target(spec, index), make(groups), &refs(&works)).unwrap();
            prop_assert!(again.is_empty());
            prop_assert!(is_settled(&target(spec, index), groups.len(), 0, &refs(&works)));
            prop_assert!(!is_settled(&target(spec, index), groups.len(), 1, &refs(&works)));
            prop_assert_eq!(works.len(), groups.len());
        }
    }
}

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

const NEW: &str = "web-1-snapshot";
const OLD: &str = "web-0-snapshot";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a timestamp")
}

/// One cluster of the fleet as a rollout changes it.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    spec: ResourceBindingSpec,
    generation: i64,
    deleting: bool,
    conditions: Vec<Condition>,
}

impl Member {
    fn bound(name: &str, snapshot: &str) -> Self {
        let spec = ResourceBindingSpec {
            state: BindingState::Bound,
            resource_snapshot_name: snapshot.to_owned(),
            target_cluster: name.to_owned(),
            apply_strategy: Some(ApplyStrategy::default()),
            ..ResourceBindingSpec::default()
        };
        let name = name.to_owned();
        Self { name, spec, generation: 1, deleting: false, conditions: Vec::new() }
            .available("AllWorkAreAvailable", 0)
    }

    fn scheduled(name: &str) -> Self {
        let mut member = Self::bound(name, "");
        member.spec.state = BindingState::Scheduled;
        member.conditions.clear();
        member
    }

    fn available(mut self, reason: &str, since: i64) -> Self {
        self.conditions = vec![self.condition(condition::AVAILABLE, "True", reason, since)];
        self
    }

    fn failing(mut self) -> Self {
        self.conditions =
            vec![self.condition(condition::APPLIED, "False", "NotAllWorkHaveBeenApplied", 0)];
        self
    }

    fn condition(&self, type_: &str, status: &str, reason: &str, since: i64) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: Time(at(since)),
            observed_generation: Some(self.generation),
        }
    }

    fn view(&self) -> Binding<'_> {
        Binding {
            name: &self.name,
            generation: self.generation,
            deleting: self.deleting,
            spec: &self.spec,
            conditions: &self.conditions,
        }
    }
}

fn limits(max_unavailable: i32, max_surge: i32) -> RollingUpdateConfig {
    RollingUpdateConfig {
        max_unavailable: IntOrString::Int(max_unavailable),
        max_surge: IntOrString::Int(max_surge),
        unavailable_period_seconds: 60,
    }
}

fn plan_for(members: &[Member], limits: &RollingUpdateConfig, now: i64) -> Plan {
    let desired = Desired { resource_snapshot: NEW.to_owned(), ..Desired::default() };
    let bindings: Vec<_> =
        members.iter().map(|member| (member.view(), Some(desired.clone()))).collect();
    let strategy = ApplyStrategy::default();
    let observed = Observed {
        policy: None,
        limits,
        apply_strategy: &strategy,
        bindings: &bindings,
        now: at(now),
    };
    plan(&observed).expect("no cluster has two bindings")
}

fn held(plan: &Plan) -> Vec<&str> {
    plan.hold.iter().map(|hold| hold.binding.as_str()).collect()
}

fn rolled(plan: &Plan) -> Vec<&str> {
    plan.roll.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn only_so_many_are_updated_at_once() {
    let members = ["a", "b", "c"].map(|name| Member::bound(name, OLD));
    let plan = plan_for(&members, &limits(1, 0), 1000);
    assert_eq!(rolled(&plan), ["a"]);
    assert_eq!(held(&plan), ["b", "c"]);
    insta::assert_snapshot!(plan.hold[0].wait, @"The resources wait for other clusters: at most 1 of 3 may be unavailable (maxUnavailable)");
}

#[test]
fn an_update_waits_while_another_cluster_is_not_available() {
    let mut members = ["a", "b", "c"].map(|name| Member::bound(name, OLD));
    members[0].spec.resource_snapshot_name = NEW.to_owned();
    members[0].conditions.clear();
    let plan = plan_for(&members, &limits(1, 0), 1000);
    assert!(rolled(&plan).is_empty());
    assert_eq!(plan.started, ["a"]);
}

#[test]
fn with_nothing_unavailable_allowed_no_update_in_place_happens() {
    let members = ["a", "b"].map(|name| Member::bound(name, OLD));
    assert!(rolled(&plan_for(&members, &limits(0, 1), 1000)).is_empty());
}

#[test]
fn what_has_failed_may_always_be_updated() {
    let members = [Member::bound("a", OLD), Member::bound("b", OLD).failing()];
    assert_eq!(rolled(&plan_for(&members, &limits(0, 0), 1000)), ["b"]);
}

#[test]
fn new_clusters_come_within_the_surge() {
    let members = [Member::scheduled("a"), Member::scheduled("b"), Member::bound("c", NEW)];
    assert_eq!(rolled(&plan_for(&members, &limits(0, 0), 1000)), ["a", "b"]);
}

#[test]
fn an_unscheduled_cluster_keeps_its_resources_until_others_serve() {
    let mut gone = Member::bound("a", NEW);
    gone.spec.state = BindingState::Unscheduled;
    let fresh = Member::scheduled("b");
    let plan = plan_for(&[gone.clone(), fresh], &limits(0, 1), 1000);
    assert!(plan.remove.is_empty());
    assert_eq!(rolled(&plan), ["b"]);
    let plan = plan_for(&[gone, Member::bound("b", NEW)], &limits(0, 1), 1000);
    assert_eq!(plan.remove, ["a"]);
}

#[test]
fn what_cannot_be_tracked_counts_as_ready_after_the_period() {
    let waiting = Member::bound("a", NEW).available("NotAllWorkAreAvailabilityTrackable", 1000);
    let members = [waiting, Member::bound("b", OLD)];
    let early = plan_for(&members, &limits(1, 0), 1059);
    assert!(rolled(&early).is_empty());
    assert_eq!(early.wake_at, Some(at(1060)));
    assert_eq!(rolled(&plan_for(&members, &limits(1, 0), 1060)), ["b"]);
}

#[test]
fn a_changed_apply_strategy_goes_first_and_alone() {
    let mut members = ["a", "b"].map(|name| Member::bound(name, OLD));
    members[0].spec.apply_strategy = None;
    let plan = plan_for(&members, &limits(1, 1), 1000);
    assert_eq!(plan, Plan { apply_strategy: vec!["a".to_owned()], ..Plan::default() });
}

#[test]
fn two_bindings_of_one_cluster_stop_the_rollout() {
    let mut members = [Member::bound("a", OLD), Member::bound("b", OLD)];
    members[1].spec.target_cluster = "a".to_owned();
    let bindings: Vec<_> = members.iter().map(|member| (member.view(), None)).collect();
    let observed = Observed {
        policy: None,
        limits: &limits(1, 1),
        apply_strategy: &ApplyStrategy::default(),
        bindings: &bindings,
        now: at(0),
    };
    assert!(matches!(plan(&observed), Err(Error::TwoBindings { .. })));
}

#[test]
fn a_cluster_waits_for_its_earlier_binding_and_keeps_nobody_else_waiting() {
    let mut leaving = Member::bound("a", OLD);
    leaving.name = "a-earlier".to_owned();
    leaving.deleting = true;
    let members = [leaving, Member::scheduled("a"), Member::scheduled("b")];
    let plan = plan_for(&members, &limits(1, 1), 1000);
    assert_eq!(rolled(&plan), ["b"]);
    assert_eq!(held(&plan), ["a"]);
    insta::assert_snapshot!(plan.hold[0].wait, @"The resources wait until the earlier binding `a-earlier` of the cluster is gone");
    let plan = plan_for(&members[1..], &limits(1, 1), 1000);
    assert_eq!(rolled(&plan), ["a", "b"]);
}

#[test]
fn the_surge_is_told_to_those_that_wait_for_it() {
    let unscheduled = ["a", "b"].map(|name| {
        let mut gone = Member::bound(name, NEW);
        gone.spec.state = BindingState::Unscheduled;
        gone
    });
    let fresh = ["c", "d"].map(Member::scheduled);
    let members = [unscheduled, fresh].concat();
    let plan = plan_for(&members, &limits(0, 1), 1000);
    assert_eq!(rolled(&plan), ["c"]);
    insta::assert_snapshot!(plan.hold[0].wait, @"The resources wait for other clusters: at most 1 beyond the 2 that are wanted may have them (maxSurge)");
    assert_eq!(plan.keep.len(), 2, "they serve until others do");
}

#[test]
fn members_that_still_apply_have_not_failed() {
    let mut members = ["a", "b", "c"].map(|name| Member::bound(name, OLD));
    for member in &mut members {
        member.conditions =
            vec![member.condition(condition::APPLIED, "False", reason::APPLY_IN_PROGRESS, 0)];
    }
    assert!(rolled(&plan_for(&members, &limits(1, 0), 1000)).is_empty());
}

#[test]
fn limits_are_rounded_up() {
    let table = [
        (IntOrString::Int(3), 10, 3),
        (IntOrString::Int(-1), 10, 0),
        (IntOrString::String("25%".to_owned()), 3, 1),
        (IntOrString::String("25%".to_owned()), 4, 1),
        (IntOrString::String("25%".to_owned()), 5, 2),
        (IntOrString::String("0%".to_owned()), 5, 0),
        (IntOrString::String("100%".to_owned()), 5, 5),
        (IntOrString::String("50%".to_owned()), 0, 0),
    ];
    for (value, of, want) in table {
        assert_eq!(resolve(&value, of), want, "{value:?} of {of}");
    }
}

//! What is read by itself before anything is withdrawn, because it seems not to be there or not as it was.

use super::super::doubt::{Doubt, Proof, Subject};
use super::*;

/// Returns what would be asked before the item of the placement is planned.
fn asked(hub: &Hub, item: impl Fn(Key) -> Item) -> Vec<Subject> {
    let doubts = hub.world.doubts(&item(Key::cluster("crp")));
    doubts.into_iter().map(|doubt| doubt.subject().clone()).collect()
}

fn prove(hub: &mut Hub, item: fn(Key) -> Item, subject: &Subject) {
    let proof = Proof { item: item(Key::cluster("crp")), subject: subject.clone() };
    let woken = hub.world.learn(Change::Applied(Seen::Proof(proof)));
    assert_eq!(woken, [item(Key::cluster("crp"))]);
}

#[test]
fn an_object_that_a_list_does_not_show_is_asked_for_before_it_is_withdrawn() {
    let mut hub = hub_with_a_namespace();
    assert_eq!(asked(&hub, Item::Select), []);
    hub.hear(Fed::Listed(namespaces(), [].into()));
    let subject = Subject::Source(namespaces(), Key::cluster("app"));
    assert_eq!(asked(&hub, Item::Select), std::slice::from_ref(&subject));
    prove(&mut hub, Item::Select, &subject);
    assert_eq!(asked(&hub, Item::Select), []);
    // Whatever is heard of it later is another story.
    hub.hear(Fed::Listed(namespaces(), [].into()));
    assert_eq!(asked(&hub, Item::Select), std::slice::from_ref(&subject));
    // It is there after all.
    hub.hear(Fed::Applied(namespaces(), namespace("app")));
    assert_eq!(asked(&hub, Item::Select), []);
    // So it is with one that a watch says is gone, and with a kind that is.
    hub.hear(Fed::Deleted(namespaces(), namespace("app")));
    assert_eq!(asked(&hub, Item::Select), [subject]);
}

#[test]
fn a_member_that_a_list_does_not_show_is_asked_for_before_its_bindings_go() {
    let mut hub = hub_with_a_namespace();
    hub.world.learn(Change::Listed { kind: "MemberCluster", keys: [].into() });
    let subjects = ["a", "b"].map(|name| Subject::Member(name.to_owned()));
    assert_eq!(asked(&hub, Item::Schedule), subjects);
    prove(&mut hub, Item::Schedule, &subjects[0]);
    assert_eq!(asked(&hub, Item::Schedule), subjects[1..]);
    hub.member("b");
    assert_eq!(asked(&hub, Item::Schedule), []);
}

#[test]
fn a_snapshot_that_a_list_does_not_show_is_read_again_before_an_older_one_is_rolled_out() {
    let mut hub = Hub::placed();
    let first = hub.snapshots()[0].clone();
    let mut second = first.clone();
    second.metadata.name = Some("crp-1-snapshot".to_owned());
    let labels = second.metadata.labels.as_mut().unwrap();
    labels.insert("kubernetes-fleet.io/resource-index".into(), "1".into());
    hub.put(second);
    let mut binding = hub.bindings()[0].clone();
    binding.spec.resource_snapshot_name = "crp-1-snapshot".to_owned();
    hub.put(binding);
    let known = |hub: &Hub| {
        let mut all = hub.snapshots().into_iter();
        all.find(|snapshot| snapshot.metadata.name.as_deref() == Some("crp-1-snapshot"))
    };
    let second = known(&hub).unwrap();

    let keys = [Key::of(&first.metadata)].into();
    hub.world.learn(Change::Listed { kind: "ClusterResourceSnapshot", keys });
    assert!(known(&hub).is_none());
    let subject = Subject::Snapshot(Key::cluster("crp-1-snapshot"));
    assert_eq!(asked(&hub, Item::Rollout), [subject]);
    // What is read is the very state that the list made the hub forget.
    hub.world.learn(Change::Applied(Seen::Object(second.clone().into())));
    assert_eq!(known(&hub), Some(second));
    assert_eq!(asked(&hub, Item::Rollout), []);
}

#[test]
fn a_placement_older_than_what_was_decided_for_it_is_read_again() {
    let mut hub = hub_with_a_namespace();
    let mut newer = hub.placement();
    newer.metadata.generation = Some(5);
    hub.put(newer.clone());
    hub.settle();
    let mut restarted = hub_with_a_namespace();
    for policy in hub.policies() {
        restarted.put(policy);
    }
    let subject = Subject::Placement(Key::cluster("crp"));
    for item in [Item::Select, Item::Schedule, Item::Rollout] {
        assert_eq!(asked(&restarted, item), std::slice::from_ref(&subject));
    }
    restarted.put(newer);
    assert_eq!(asked(&restarted, Item::Select), []);
}

#[test]
fn a_binding_that_seems_to_have_no_works_is_asked_about_before_it_is_let_go() {
    let mut hub = hub_with_a_namespace();
    for binding in hub.bindings() {
        hub.put(deleting(binding));
    }
    let key = Key::of(&hub.bindings()[0].metadata);
    let generate = Item::Generate(key.clone());
    assert!(hub.world.doubts(&generate).is_empty(), "its Works are known and go first");
    hub.world.learn(Change::Listed { kind: "Work", keys: [].into() });
    let doubts = hub.world.doubts(&generate);
    let subject = Subject::Works(key, "fleet-member-a".to_owned());
    assert_eq!(doubts.iter().map(Doubt::subject).collect::<Vec<_>>(), [&subject]);
    hub.world.learn(Change::Applied(Seen::Proof(Proof { item: generate.clone(), subject })));
    assert!(hub.world.doubts(&generate).is_empty());
}

#[test]
fn a_binding_older_than_what_its_works_were_made_for_is_read_again() {
    let mut hub = hub_with_a_namespace();
    let mut newer = hub.bindings()[0].clone();
    newer.metadata.generation = Some(5);
    hub.put(newer.clone());
    let mut work = hub.works()[0].clone();
    let note = (annotation::BINDING_GENERATION.to_owned(), "5".to_owned());
    work.metadata.annotations.get_or_insert_default().extend([note]);
    hub.put(work);
    let key = Key::of(&newer.metadata);
    assert_eq!(asked(&hub, |_| Item::Generate(key.clone())), []);

    let mut older = newer.clone();
    older.metadata.generation = Some(4);
    hub.put(older);
    let subject = Subject::Binding(key.clone());
    assert_eq!(asked(&hub, |_| Item::Generate(key.clone())), [subject]);
    hub.put(newer);
    assert_eq!(asked(&hub, |_| Item::Generate(key.clone())), []);
}

#[test]
fn a_binding_that_only_a_list_shows_is_read_before_works_are_made_for_it() {
    let mut hub = hub_with_a_namespace();
    let bindings = hub.bindings();
    let key = Key::of(&bindings[0].metadata);
    let generate = |_| Item::Generate(key.clone());
    let list = |hub: &mut Hub| {
        let keys = bindings.iter().map(|binding| Key::of(&binding.metadata)).collect();
        hub.world.learn(Change::Listed { kind: "ClusterResourceBinding", keys });
    };
    list(&mut hub);
    assert_eq!(asked(&hub, generate), [], "it has its Works");
    for work in hub.works() {
        hub.remove(work);
    }
    let subject = Subject::Binding(key.clone());
    assert_eq!(asked(&hub, generate), std::slice::from_ref(&subject));
    let proof = Proof { item: generate(key.clone()), subject: subject.clone() };
    hub.world.learn(Change::Applied(Seen::Proof(proof)));
    assert_eq!(asked(&hub, generate), [], "it is there");
    list(&mut hub);
    assert_eq!(asked(&hub, generate), [subject], "another list may show what has gone since");
    // What is written later is no doing of the list.
    hub.put(bindings[0].clone());
    assert_eq!(asked(&hub, generate), []);
}

#[test]
fn a_placement_that_seems_to_have_no_live_bindings_is_asked_about_before_it_is_let_go() {
    let mut hub = hub_with_a_namespace();
    let placement = hub.placement();
    hub.put(deleting(placement));
    assert_eq!(asked(&hub, Item::Schedule), [], "its bindings are known and go first");
    let bindings = hub.bindings();
    hub.world.learn(Change::Listed { kind: "ClusterResourceBinding", keys: [].into() });
    let subject = Subject::Bindings(Key::cluster("crp"));
    assert_eq!(asked(&hub, Item::Schedule), std::slice::from_ref(&subject));
    hub.put(deleting(bindings[0].clone()));
    assert_eq!(asked(&hub, Item::Schedule), std::slice::from_ref(&subject), "others may live");
    for binding in bindings {
        hub.put(binding);
    }
    prove(&mut hub, Item::Schedule, &subject);
    assert_eq!(asked(&hub, Item::Schedule), []);
    assert!(!hub.deletions().is_empty(), "what was found goes first");
}

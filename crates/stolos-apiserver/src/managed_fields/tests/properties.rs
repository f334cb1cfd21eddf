use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::managed_fields::checks;
use crate::managed_fields::claim::{applied, written};
use crate::managed_fields::diff::Diff;
use crate::managed_fields::view::View;

const NOTHING: ResetFields = ResetFields::none();

/// Any spec of the kind, without nulls, from few names and values so that managers meet.
fn specs() -> impl Strategy<Value = Value> {
    let texts = || btree_map("[ab]", "[01]", 0..3).prop_map(|map| json!(map));
    let ports = btree_map(1..3u8, option::of("[01]"), 0..3).prop_map(|ports| -> Value {
        let port =
            |(port, name): (u8, Option<String>)| present(json!({ "port": port, "name": name }));
        ports.into_iter().map(port).collect()
    });
    let container = (option::of("[01]"), option::of(texts()), option::of(ports));
    let containers = btree_map("[abc]", container, 0..4).prop_map(|containers| -> Value {
        let container = |(name, (image, limits, ports))| {
            present(json!({ "name": name, "image": image, "limits": limits, "ports": ports }))
        };
        containers.into_iter().map(container).collect()
    });
    let strategy = (option::of("[01]"), option::of(0..2u8));
    let strategy = strategy.prop_map(|(type_, max)| present(json!({ "type": type_, "max": max })));
    let free =
        prop_oneof![texts(), Just(json!([1])), Just(json!(2)), Just(json!({ "a": { "b": 1 } }))];
    let scalars = (option::of(0..2u8), option::of(strategy), option::of(free));
    let lists = (option::of(btree_set("[abc]", 0..3)), option::of(vec("[ab]", 0..2)));
    let maps =
        (option::of(texts()), option::of(texts()), option::of(btree_map("[xy]", texts(), 0..3)));
    (scalars, lists, maps, option::of(containers)).prop_map(|(scalars, lists, maps, containers)| {
        present(json!({
            "replicas": scalars.0, "strategy": scalars.1, "free": scalars.2, "set": lists.0, "args": lists.1,
            "labels": maps.0, "selector": maps.1, "maps": maps.2, "containers": containers,
        }))
    })
}

/// Leaves out the fields that are null.
fn present(mut object: Value) -> Value {
    object.as_object_mut().expect("built as an object").retain(|_, value| !value.is_null());
    object
}

#[derive(Clone, Debug)]
enum Step {
    Apply(String, Value),
    Force(String, Value),
    Update(String, Value),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let manager = || "[mno]";
    let step = prop_oneof![
        (manager(), specs()).prop_map(|(manager, spec)| Step::Apply(manager, spec)),
        (manager(), specs()).prop_map(|(manager, spec)| Step::Force(manager, spec)),
        (manager(), specs()).prop_map(|(manager, spec)| Step::Update(manager, spec)),
    ];
    vec(step, 1..6)
}

fn take(world: &mut World, step: &Step) {
    match step {
        // A conflict changes nothing, which is fine here.
        Step::Apply(manager, spec) => {
            let _ = world.try_apply(manager, spec, false);
        }
        Step::Force(manager, spec) => {
            world.force(manager, spec);
        }
        Step::Update(manager, spec) => {
            world.update(manager, spec);
        }
    }
}

fn take_all(world: &mut World, steps: &[Step]) {
    for step in steps {
        take(world, step);
    }
}

fn fields_of(entry: &Value) -> FieldSet {
    FieldSet::from_json(entry["fieldsV1"].clone()).expect("a field set")
}

/// Sorts items, whose order depends on who came first.
fn unordered(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => {
            *items = std::mem::take(items).into_iter().map(unordered).collect();
            items.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(key, value)| (key, unordered(value)))
                .collect();
        }
        _ => {}
    }
    value
}

/// Leaves out lists and maps without content: emptied ones need no owner.
fn without_empty(value: Value) -> Value {
    let is_empty = |value: &Value| *value == json!({}) || *value == json!([]);
    match value {
        Value::Array(items) => {
            items.into_iter().map(without_empty).filter(|item| !is_empty(item)).collect()
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, without_empty(value)));
            fields.filter(|(_, value)| !is_empty(value)).collect()
        }
        scalar => scalar,
    }
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(steps in steps(), spec in specs()) {
        let mut world = World::new();
        take_all(&mut world, &steps);
        world.force("m", &spec);
        prop_assert_eq!(world.try_apply("m", &spec, false), Ok(false));
    }

    #[test]
    fn applied_values_are_in_the_object(steps in steps(), spec in specs()) {
        let mut world = World::new();
        take_all(&mut world, &steps);
        world.force("m", &spec);
        let config = world.with_spec(&spec);
        let view = View::Object(&world.schema, &NOTHING);
        let diff = Diff::between(view, Some(&config), Some(world.live()));
        prop_assert!(diff.modified.is_empty(), "{:?}", diff);
        prop_assert!(diff.removed.is_empty(), "{:?}", diff);
    }

    #[test]
    fn nobody_owns_what_is_not_there(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            take(&mut world, step);
            let absent = checks::absent_claims(&world.schema, world.live());
            prop_assert!(absent.is_empty(), "{absent:?}");
        }
    }

    #[test]
    fn every_field_that_was_written_has_an_owner(steps in steps()) {
        let mut world = World::new();
        for (index, step) in steps.iter().enumerate() {
            // An object that has lost its last owner stays untracked until somebody applies, as in Kubernetes.
            if index > 0 && world.entries().is_empty() {
                return Ok(());
            }
            take(&mut world, step);
            let live = without_empty(world.live().clone());
            let mut orphans = applied(View::Object(&world.schema, &NOTHING), &live);
            world.entries().iter().for_each(|entry| orphans.subtract(&fields_of(entry)));
            let orphans: Vec<String> = orphans.paths();
            prop_assert!(orphans.is_empty(), "{orphans:?} after {step:?}");
        }
    }

    #[test]
    fn appliers_who_agree_come_in_any_order(one in specs(), two in specs()) {
        // Replacing a map by something else asks nobody who owned its fields, as in Kubernetes.
        let free = one.get("free").zip(two.get("free"));
        prop_assume!(free.is_none_or(|(one, two)| one.is_object() == two.is_object()));
        let play = |first: (&str, &Value), second: (&str, &Value)| {
            let mut world = World::new();
            world.apply(first.0, first.1);
            let agreed = world.try_apply(second.0, second.1, false).is_ok();
            agreed.then(|| (unordered(world.spec().clone()), world.owned()))
        };
        let (forth, back) = (play(("one", &one), ("two", &two)), play(("two", &two), ("one", &one)));
        prop_assert_eq!(forth, back);
    }

    #[test]
    fn an_update_conflicts_with_the_applier_in_what_it_changed(applied_spec in specs(), updated in specs()) {
        let mut world = World::new();
        world.apply("applier", &applied_spec);
        let before = world.live().clone();
        world.update("updater", &updated);
        let view = View::Object(&world.schema, &NOTHING);
        let changed = Diff::between(view, Some(&before), Some(world.live())).modified;
        let want = written(view, &before).intersection(&changed).paths();
        match world.try_apply("applier", &applied_spec, false) {
            Ok(_) => prop_assert!(want.is_empty(), "{want:?}"),
            Err(ApplyError::Conflicts(causes)) => {
                let fields: Vec<String> = causes.into_iter().map(|cause| cause.field).collect();
                prop_assert_eq!(fields, want);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn giving_up_everything_leaves_nothing(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            let (Step::Apply(manager, spec) | Step::Force(manager, spec) | Step::Update(manager, spec)) = step;
            world.force(manager, spec);
        }
        for manager in ["m", "n", "o"] {
            let config = json!({ "apiVersion": "v1", "kind": "App", "metadata": { "name": "a" } });
            world.try_apply_object(manager, &config, true).expect("forced");
        }
        prop_assert_eq!(world.live(), &json!({ "apiVersion": "v1", "kind": "App", "metadata": { "name": "a" } }));
    }
}

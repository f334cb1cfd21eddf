//! Server-side apply.

use serde_json::Value;

use super::claim::{applied, written};
use super::conformity;
use super::diff::Diff;
use super::entry::{self, Entry, Operation};
use super::merge::{covers, merge};
use super::prune::prune;
use super::reshape::reshape;
use super::set::FieldSet;
use super::view::View;
use super::{
    ApplyError, Manager, ResetFields, last_applied, managed_fields_of, take_managed_fields,
};
use crate::schema::SchemaRef;
use crate::status::Cause;

/// Owner of everything in an object that had no owners when something was first applied to it.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Returns the object after `manager` has applied `config`, with its `managedFields`; `None` when nothing changes.
/// Without a live object the result is the object to create.
///
/// Fields that the manager applied before and does not apply any more are removed, unless others own them too.
///
/// # Errors
/// [`ApplyError::Conflicts`] when others own fields that would change, unless `force` takes them;
/// [`ApplyError::Malformed`] when the configuration names `managedFields`, [`ApplyError::Untyped`] when it names an item of
/// a list twice or a field that the schema does not know.
pub fn apply(
    schema: &SchemaRef,
    live: Option<&Value>,
    config: &Value,
    manager: &Manager,
    force: bool,
    reset: &ResetFields,
) -> Result<Option<Value>, ApplyError> {
    let view = View::Object(schema, reset);
    let given = managed_fields_of(config).and_then(Value::as_array);
    if given.is_some_and(|entries| !entries.is_empty()) {
        return Err(ApplyError::Malformed("metadata.managedFields must be nil".to_owned()));
    }
    let errors = conformity::errors(view, config);
    if !errors.is_empty() {
        return Err(ApplyError::Untyped { object: described(config), errors });
    }
    let fields = applied(view, config);
    match live {
        None => Ok(Some(create(config, fields, manager))),
        Some(live) if is_settled(view, live, config, &fields, manager) => Ok(None),
        Some(live) => change(view, live, config, fields, manager, force),
    }
}

fn create(config: &Value, fields: FieldSet, manager: &Manager) -> Value {
    let mut object = config.clone();
    take_managed_fields(&mut object);
    entry::write(&mut object, vec![Entry::new(manager, Operation::Apply, fields)]);
    object
}

/// Returns whether the object has everything that is applied, by this manager: the common case, decided without a copy
/// of the object.
fn is_settled(
    view: View<'_>,
    live: &Value,
    config: &Value,
    fields: &FieldSet,
    manager: &Manager,
) -> bool {
    let recorded = managed_fields_of(live).and_then(Value::as_array).into_iter().flatten();
    let mut own = recorded.filter(|entry| {
        entry["operation"] == "Apply"
            && entry["manager"] == manager.name.as_str()
            && entry["apiVersion"] == manager.api_version.as_str()
    });
    covers(view, live, config)
        && !last_applied::refreshes(live, manager)
        && own.any(|entry| {
            let entry = Entry::from_json(entry.clone());
            entry.is_some_and(|entry| entry.is_applied_by(manager) && entry.fields == *fields)
        })
}

fn change(
    view: View<'_>,
    live: &Value,
    config: &Value,
    fields: FieldSet,
    manager: &Manager,
    force: bool,
) -> Result<Option<Value>, ApplyError> {
    let mut object = live.clone();
    let recorded = take_managed_fields(&mut object).and_then(entry::read).unwrap_or_default();
    let mut others = owners(view, live, recorded, manager);
    let own =
        others.iter().position(|entry| entry.is_applied_by(manager)).map(|own| others.remove(own));

    object = merge(view, object, config);
    if let Some(own) = &own {
        remove_forgotten(view, &mut object, own, &fields, &others);
    }
    let diff = Diff::between(view, Some(live), Some(&object));
    let touched = diff.added.union(diff.modified);
    if !force {
        settle_conflicts(conflicts(&others, &touched), || {
            last_applied::fields_to_take(view, live, manager)
        })?;
    }
    for entry in &mut others {
        entry.fields.subtract(&touched);
        entry.fields.subtract(&diff.removed);
    }
    last_applied::refresh(&mut object, config, manager);
    let same_object = touched.is_empty() && diff.removed.is_empty();
    others.push(match own {
        Some(own)
            if same_object && own.fields == fields && own.api_version == manager.api_version =>
        {
            own
        }
        own => {
            let mut entry = Entry::new(manager, Operation::Apply, fields);
            if same_object {
                // Upstream notes the time of a change to the object, not of a change of owners alone.
                entry.time = own.map(|own| own.time).unwrap_or_default();
            }
            entry
        }
    });
    entry::write(&mut object, others);
    Ok((object != *live).then_some(object))
}

/// Returns the entries of an object, all of whose fields have an owner.
fn owners(view: View<'_>, live: &Value, mut recorded: Vec<Entry>, manager: &Manager) -> Vec<Entry> {
    if recorded.is_empty() {
        let owner = BEFORE_FIRST_APPLY.to_owned();
        let owner = Manager { name: owner, subresource: String::new(), ..manager.clone() };
        return vec![Entry::new(&owner, Operation::Update, written(view, live))];
    }
    reshape(view, live, &mut recorded);
    recorded
}

/// Removes what the manager applied last time and does not apply now.
fn remove_forgotten(
    view: View<'_>,
    object: &mut Value,
    own: &Entry,
    fields: &FieldSet,
    others: &[Entry],
) {
    let mut forgotten = own.fields.clone();
    forgotten.subtract(fields);
    if !forgotten.is_empty() {
        let kept: Vec<&FieldSet> =
            others.iter().map(|entry| &entry.fields).chain([fields]).collect();
        prune(view, object, &own.fields, &kept);
    }
}

/// Fields that would change, with the entry of their owner.
pub(super) type Conflict<'a> = (&'a Entry, FieldSet);

pub(super) fn conflicts<'a>(others: &'a [Entry], touched: &FieldSet) -> Vec<Conflict<'a>> {
    let common = others.iter().map(|entry| (entry, entry.fields.intersection(touched)));
    common.filter(|(_, fields)| !fields.is_empty()).collect()
}

/// Fails with the conflicts that remain after taking what may be taken.
pub(super) fn settle_conflicts(
    mut conflicts: Vec<Conflict<'_>>,
    may_take: impl FnOnce() -> Option<FieldSet>,
) -> Result<(), ApplyError> {
    if conflicts.is_empty() {
        return Ok(());
    }
    if let Some(may_take) = may_take() {
        for (_, fields) in &mut conflicts {
            fields.subtract(&may_take);
        }
    }
    let causes: Vec<Cause> = conflicts
        .iter()
        .flat_map(|(entry, fields)| {
            let message = format!("conflict with {entry}");
            fields.paths().into_iter().map(move |field| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: message.clone(),
                field,
            })
        })
        .collect();
    if causes.is_empty() { Ok(()) } else { Err(ApplyError::Conflicts(causes)) }
}

/// Names an object as upstream does in errors: `default/web; apps/v1, Kind=Deployment`.
fn described(config: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &config["metadata"];
    let api_version = text(&config["apiVersion"]);
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!(
        "{}/{}; {slash}{api_version}, Kind={}",
        text(&metadata["namespace"]),
        text(&metadata["name"]),
        text(&config["kind"])
    )
}

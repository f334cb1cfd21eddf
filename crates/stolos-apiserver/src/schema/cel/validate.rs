//! Holds values against the rules of their schema.

use serde_json::Value;

use super::error::ErrorKind;
use super::eval::Variables;
use super::program::Program;
use super::rules::{Reason, Rule, type_text};
use super::value::Value as Cel;
use super::{PER_CALL_LIMIT, RUNTIME_BUDGET};
use crate::schema::Schema;
use crate::schema::causes::{duplicate, forbidden, invalid, required};
use crate::schema::parse::{field_path, index_path};
use crate::schema::validate::counterpart;
use crate::status::Cause;

/// Most bytes of a computed message.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// Checks all rules of an object and of what it contains. `old` is the state that an update replaces. What breaks a rule
/// but was so before goes to `kept`.
pub(in crate::schema) fn validate(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
    kept: &mut Vec<Cause>,
) {
    let mut run = Run { budget: RUNTIME_BUDGET, causes, kept };
    let root = Place { is_resource: true, old, kept: old, parent: None };
    // A run that is out of budget has said so.
    let _ = run.walk(schema, "", value, root);
}

/// What an update replaces, for a value.
#[derive(Clone, Copy)]
struct Place<'a> {
    is_resource: bool,
    /// Old value as rules see it; none where it cannot be told which it is.
    old: Option<&'a Value>,
    /// Old value that the value may keep being as wrong as.
    kept: Option<&'a Value>,
    /// Nearest value around that has an old one, and that one.
    parent: Option<(&'a Value, &'a Value)>,
}

impl<'a> Place<'a> {
    fn is_unchanged(&self, value: &Value) -> bool {
        match self.kept {
            Some(kept) => kept == value,
            None => self.parent.is_some_and(|(value, old)| value == old),
        }
    }

    fn below(&self, value: &'a Value, old: Option<&'a Value>, kept: Option<&'a Value>) -> Self {
        let parent = self.kept.map(|kept| (value, kept)).or(self.parent);
        Self {
            is_resource: false,
            old,
            kept: if self.kept.is_some() { kept } else { None },
            parent,
        }
    }
}

/// No rule is evaluated any more.
struct OutOfBudget;

struct Run<'r> {
    budget: u64,
    causes: &'r mut Vec<Cause>,
    kept: &'r mut Vec<Cause>,
}

impl Run<'_> {
    fn walk<'a>(
        &mut self,
        schema: &'a Schema,
        path: &str,
        value: &'a Value,
        place: Place<'a>,
    ) -> Result<(), OutOfBudget> {
        if !schema.has_rules || value.is_null() {
            return Ok(());
        }
        for rule in &*schema.rules {
            self.check(rule, schema, path, value, place)?;
        }
        match value {
            Value::Object(fields) => {
                for (name, child) in fields {
                    let old = place.old.filter(|_| !schema.atomic).and_then(|old| old.get(name));
                    let kept = place.kept.and_then(|kept| kept.get(name));
                    let below = place.below(value, old, kept);
                    if let Some(property) = schema.properties.get(name) {
                        let below = Place { is_resource: property.embedded_resource, ..below };
                        self.walk(property, &field_path(path, name), child, below)?;
                    } else if let Some(values) = &schema.additional_properties {
                        let below = Place { is_resource: values.embedded_resource, ..below };
                        self.walk(values, &format!("{path}[{name}]"), child, below)?;
                    }
                }
            }
            Value::Array(items) => {
                let Some(element) = &schema.items else { return Ok(()) };
                for (index, item) in items.iter().enumerate() {
                    let same = |list: Option<&'a Value>| {
                        counterpart(&schema.list_type, item, list?.as_array()?)
                    };
                    let below = place.below(value, same(place.old), same(place.kept));
                    let below = Place { is_resource: element.embedded_resource, ..below };
                    self.walk(element, &index_path(path, index), item, below)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check<'a>(
        &mut self,
        rule: &Rule,
        schema: &'a Schema,
        path: &str,
        value: &'a Value,
        place: Place<'a>,
    ) -> Result<(), OutOfBudget> {
        let is_transition = rule.is_transition();
        if is_transition && place.old.is_none() && !rule.optional_old_self {
            return Ok(());
        }
        let variables = Selves { schema, value, place, optional: rule.optional_old_self };
        let kind = type_text(schema).into();
        let at = if path.is_empty() { "<nil>" } else { path };
        let Some(answer) = self.evaluate(&rule.program, &variables) else {
            let why = "validation failed due to running out of cost budget, no further validation rules will be run";
            self.causes.push(invalid(at, &kind, why));
            return Err(OutOfBudget);
        };
        let error = match answer {
            Ok(Cel::Bool(true)) => return Ok(()),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            let name = rule.name();
            let why = match error.kind() {
                ErrorKind::NoSuchOverload => format!(
                    "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                ),
                ErrorKind::OverBudget => format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
                ),
                ErrorKind::Failed => format!("{error} evaluating rule: {name}"),
            };
            self.causes.push(invalid(at, &kind, &why));
            return if error.kind() == ErrorKind::OverBudget { Err(OutOfBudget) } else { Ok(()) };
        }
        let field = format!("{path}{}", rule.field_path);
        let field = match field.strip_prefix('.').unwrap_or(&field) {
            "" => "<nil>",
            field => field,
        };
        let may_stay = !is_transition && place.is_unchanged(value);
        let (cause, outcome) = match self.message(rule, &variables) {
            Ok(message) => {
                let cause = match rule.reason {
                    Reason::Invalid => invalid(field, &kind, &message),
                    Reason::Forbidden => forbidden(field, &message),
                    Reason::Required => required(field, &message),
                    Reason::Duplicate => duplicate(field, &kind),
                };
                (cause, Ok(()))
            }
            Err(why) => (invalid(field, &kind, &why), Err(OutOfBudget)),
        };
        if may_stay {
            self.kept.push(cause);
        } else {
            self.causes.push(cause);
        }
        outcome
    }

    /// Evaluates an expression; none if the budget does not suffice.
    fn evaluate<'a>(
        &mut self,
        program: &Program,
        variables: &dyn Variables<'a>,
    ) -> Option<Result<Cel<'a>, super::Error>> {
        if self.budget == 0 {
            return None;
        }
        let (answer, cost) = program.evaluate(variables, PER_CALL_LIMIT);
        self.budget = self.budget.checked_sub(cost)?;
        Some(answer)
    }

    /// Returns the message for people: computed, fixed, or the rule itself. Fails when the budget is used up.
    fn message(&mut self, rule: &Rule, variables: &dyn Variables<'_>) -> Result<String, String> {
        let fixed =
            || rule.message.clone().unwrap_or_else(|| format!("failed rule: {}", rule.source()));
        let Some(program) = &rule.message_expression else { return Ok(fixed()) };
        let Some(answer) = self.evaluate(program, variables) else {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further \
                        validation rules will be run"
                .to_owned());
        };
        match answer {
            Ok(Cel::String(text)) => {
                let text = text.as_str().trim();
                let is_fit =
                    !text.is_empty() && !text.contains('\n') && text.len() <= MAX_MESSAGE_BYTES;
                Ok(if is_fit { text.to_owned() } else { fixed() })
            }
            Err(error) if error.kind() == ErrorKind::OverBudget => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                program.source()
            )),
            _ => Ok(fixed()),
        }
    }
}

/// `self` and `oldSelf` of a rule.
struct Selves<'a> {
    schema: &'a Schema,
    value: &'a Value,
    place: Place<'a>,
    optional: bool,
}

impl<'a> Selves<'a> {
    fn look(&self, value: &'a Value) -> Cel<'a> {
        if self.place.is_resource {
            Cel::of_resource(self.schema, value)
        } else {
            Cel::of_node(self.schema, value)
        }
    }
}

impl<'a> Variables<'a> for Selves<'a> {
    fn variable(&self, name: &str) -> Result<Cel<'a>, super::Error> {
        match (name, self.place.old) {
            ("self", _) => Ok(self.look(self.value)),
            (_, Some(old)) if self.optional => Ok(Cel::some(self.look(old))),
            (_, None) if self.optional => Ok(Cel::Optional(None)),
            (_, Some(old)) => Ok(self.look(old)),
            (name, None) => Err(super::Error::new(format!("no such attribute(s): {name}"))),
        }
    }
}

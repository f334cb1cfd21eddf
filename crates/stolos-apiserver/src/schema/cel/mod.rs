//! Rules of custom resources (`x-kubernetes-validations`) in the Common Expression Language.
//!
//! A rule that does not compile, or names a function or field that does not exist, fails the CustomResourceDefinition.
//! Time and duration functions are absent; a rule that uses them is refused in the same way.

mod check;
mod library;
mod values;

use std::collections::BTreeSet;
use std::fmt;

use ::cel::common::types::CelOptional;
use ::cel::common::value::Val;
use ::cel::{Context, Program};
use serde_json::Value;

use self::check::{Kind, Uses};
use super::causes::{duplicate_because, forbidden, invalid, required, type_name};
use super::parse::{field_path, index_path};
use super::validate::counterpart;
use super::{Schema, SchemaRef};
use crate::status::Cause;

pub(super) use self::check::most_occurrences;

/// Most steps that the largest values of a rule may take. kube-apiserver allows 10 million, but does not count constants
/// and the steps of loops themselves; what it takes must not fail here.
const MAX_STEPS: u64 = 30_000_000;

/// One compiled rule.
pub struct Rule {
    source: String,
    program: Program,
    uses: Uses,
    message: Option<String>,
    message_expression: Option<(Program, Uses)>,
    reason: Reason,
    field_path: String,
    optional_old_self: bool,
}

#[derive(Clone, Copy, Debug)]
enum Reason {
    Invalid,
    Forbidden,
    Required,
    Duplicate,
}

/// What is wrong with the definition of a rule.
#[derive(Debug)]
pub(super) struct Problem {
    /// Field of the rule.
    pub(super) field: &'static str,
    /// Value of the field; absent if the field is.
    pub(super) value: Option<Value>,
    pub(super) why: String,
}

impl Rule {
    /// Compiles a rule for values of a schema, which occur so many times at most in one object.
    pub(super) fn compile(
        rule: &Value,
        schema: &SchemaRef,
        occurrences: u64,
    ) -> Result<Self, Problem> {
        let source = rule["rule"].as_str().unwrap_or_default().trim();
        if source.is_empty() {
            return Err(Problem {
                field: "rule",
                value: None,
                why: "rule is not specified".into(),
            });
        }
        let optional_old_self = rule["optionalOldSelf"] == true;
        let text = |field: &str| rule[field].as_str().map(str::trim);
        let problem = |field, value: &str, why| Problem { field, value: Some(value.into()), why };
        let (program, uses) = compile(source, schema, optional_old_self, &Kind::Bool)
            .map_err(|why| problem("rule", source, why))?;
        let steps = uses.steps.saturating_mul(occurrences.max(1));
        if steps > MAX_STEPS {
            let factor = steps / MAX_STEPS;
            let why = format!(
                "estimated rule cost exceeds budget by factor of more than {factor}x (try simplifying the rule, or \
                 adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are used)"
            );
            return Err(problem("rule", source, why));
        }
        let message_expression = match text("messageExpression") {
            None => None,
            Some(text) => Some(
                compile(text, schema, optional_old_self, &Kind::String)
                    .map_err(|why| problem("messageExpression", text, why))?,
            ),
        };
        if optional_old_self && !uses.old_self {
            let why = "may not be set if oldSelf is not used in rule".to_owned();
            return Err(Problem { field: "optionalOldSelf", value: Some(true.into()), why });
        }
        if let Some(message) = text("message")
            && (message.is_empty() || message.contains('\n'))
        {
            let why = "message must be non-empty and must not contain line breaks".to_owned();
            return Err(problem("message", message, why));
        }
        let reason = text("reason").unwrap_or("FieldValueInvalid");
        let field_path = text("fieldPath").unwrap_or_default();
        Ok(Self {
            source: source.to_owned(),
            program,
            uses,
            message: text("message").map(str::to_owned),
            message_expression,
            reason: Reason::parse(reason).ok_or_else(|| {
                let why = "supported values: \"FieldValueInvalid\", \"FieldValueForbidden\", \
                           \"FieldValueRequired\", \"FieldValueDuplicate\"";
                problem("reason", reason, why.to_owned())
            })?,
            field_path: resolve_field_path(field_path, schema)
                .map_err(|why| problem("fieldPath", field_path, why))?,
            optional_old_self,
        })
    }

    /// The expression as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The rule compares with the old value, so it holds for creations.
    #[must_use]
    pub fn is_transition(&self) -> bool {
        self.uses.old_self
    }

    fn check(
        &self,
        schema: &Schema,
        path: &str,
        value: &Value,
        old: Option<&Value>,
    ) -> Option<Cause> {
        if self.uses.old_self && old.is_none() && !self.optional_old_self {
            return None;
        }
        let why = match self.evaluate(&self.program, &self.uses, schema, value, old) {
            Ok(::cel::Value::Bool(true)) => return None,
            Ok(::cel::Value::Bool(false)) => self.text(schema, value, old),
            Ok(other) => format!("rule evaluated to {other:?}, not to a bool: {}", self.source),
            Err(error) => format!("{error} evaluating rule: {}", self.text(schema, value, old)),
        };
        let field = format!("{path}{}", self.field_path);
        let field = field.strip_prefix('.').unwrap_or(&field);
        let kind = type_name(value).into();
        Some(match self.reason {
            Reason::Invalid => invalid(field, &kind, &why),
            Reason::Forbidden => forbidden(field, &why),
            Reason::Required => required(field, &why),
            Reason::Duplicate => duplicate_because(field, &kind, &why),
        })
    }

    /// Returns the message for people: computed, fixed, or the rule itself.
    fn text(&self, schema: &Schema, value: &Value, old: Option<&Value>) -> String {
        let fixed =
            || self.message.clone().unwrap_or_else(|| format!("failed rule: {}", self.source));
        let Some((program, uses)) = &self.message_expression else { return fixed() };
        match self.evaluate(program, uses, schema, value, old) {
            Ok(::cel::Value::String(text)) if !text.trim().is_empty() && !text.contains('\n') => {
                text.trim().to_owned()
            }
            _ => fixed(),
        }
    }

    fn evaluate(
        &self,
        program: &Program,
        uses: &Uses,
        schema: &Schema,
        value: &Value,
        old: Option<&Value>,
    ) -> Result<::cel::Value, String> {
        let mut context = Context::with_env(library::environment());
        context
            .add_variable_from_value("self", values::convert(schema, value, uses.fields.as_ref()));
        if uses.old_self {
            let old = old.map(|old| values::convert(schema, old, uses.fields.as_ref()));
            match (old, self.optional_old_self) {
                (Some(old), false) => context.add_variable_from_value("oldSelf", old),
                (old, _) => {
                    let old: Option<Box<dyn Val>> = old
                        .map(TryInto::try_into)
                        .transpose()
                        .map_err(|error| format!("{error}"))?;
                    context.add_variable_as_val("oldSelf", Box::new(CelOptional::from(old)));
                }
            }
        }
        program.execute(&context).map_err(|error| match error {
            ::cel::ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
            other => other.to_string(),
        })
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.source).finish()
    }
}

impl Reason {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "FieldValueInvalid" => Some(Self::Invalid),
            "FieldValueForbidden" => Some(Self::Forbidden),
            "FieldValueRequired" => Some(Self::Required),
            "FieldValueDuplicate" => Some(Self::Duplicate),
            _ => None,
        }
    }
}

fn compile(
    source: &str,
    schema: &SchemaRef,
    optional_old_self: bool,
    want: &Kind,
) -> Result<(Program, Uses), String> {
    let environment = library::environment();
    let program = environment
        .compile(source)
        .map_err(|errors| format!("compilation failed: Syntax error: {errors}"))?;
    let (kind, uses) = check::check(program.expression(), schema, optional_old_self)
        .map_err(|why| format!("compilation failed: ERROR: {why}"))?;
    if kind != *want && kind != Kind::Dyn {
        return Err(format!("cel expression must evaluate to a {want}"));
    }
    Ok((program, uses))
}

/// Turns `.a['b.c']` into the suffix of a path, if the schema has such a field.
fn resolve_field_path(text: &str, schema: &SchemaRef) -> Result<String, String> {
    let mut rest = text;
    let mut node = schema.clone();
    let mut path = String::new();
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) = rest.strip_prefix("['") {
            quoted.split_once("']").ok_or("expected `']`")?
        } else {
            let plain = rest.strip_prefix('.').ok_or("expected a path such as .spec.field")?;
            plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len()))
        };
        let (child, step) = if let Some(child) = node.properties.get(name) {
            (child.clone(), format!(".{name}"))
        } else if let Some(child) = &node.additional_properties {
            (child.clone(), format!("[{name}]"))
        } else {
            return Err(format!("does not refer to a valid field: `{name}` is unknown"));
        };
        path.push_str(&step);
        node = child;
        rest = after;
    }
    Ok(path)
}

/// Checks all rules of a value and of what it contains.
pub(super) fn validate(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    walk(schema, "", value, old, causes);
}

fn walk(schema: &Schema, path: &str, value: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if !schema.has_rules || (value.is_null() && schema.nullable) {
        return;
    }
    // An unchanged part may stay as it is; comparing it with itself is still asked for.
    let unchanged = old == Some(value);
    for rule in schema.rules.iter().filter(|rule| !unchanged || rule.is_transition()) {
        causes.extend(rule.check(schema, path, value, old));
    }
    match value {
        Value::Object(fields) => {
            for (name, child) in fields {
                let old = old.and_then(|old| old.get(name));
                if let Some(property) = schema.properties.get(name) {
                    walk(property, &field_path(path, name), child, old, causes);
                } else if let Some(values) = &schema.additional_properties {
                    walk(values, &format!("{path}[{name}]"), child, old, causes);
                }
            }
        }
        Value::Array(items) => {
            let Some(element) = &schema.items else { return };
            let old = old.and_then(Value::as_array);
            for (index, item) in items.iter().enumerate() {
                let same = old.and_then(|old| counterpart(&schema.list_type, item, old));
                walk(element, &index_path(path, index), item, same, causes);
            }
        }
        _ => {}
    }
}

/// Names of fields in escaped form; none means the whole value.
type Fields = Option<BTreeSet<String>>;

#[cfg(test)]
mod tests;

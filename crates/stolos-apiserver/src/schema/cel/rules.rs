//! Rules of custom resources (`x-kubernetes-validations`).
//!
//! A rule that does not compile, names a function or field that does not exist, or could cost too much fails the
//! CustomResourceDefinition.

use std::fmt;

use serde_json::Value;

use super::estimate::estimate;
use super::field_path;
use super::program::{Environment, Program};
use super::types::Type;
use crate::schema::{Schema, SchemaRef, Type as Shape};

/// One compiled rule.
pub struct Rule {
    pub(super) program: Program,
    pub(super) message: Option<String>,
    pub(super) message_expression: Option<Program>,
    pub(super) reason: Reason,
    /// Suffix of the path of the value that the rule blames.
    pub(super) field_path: String,
    pub(super) optional_old_self: bool,
    /// What one evaluation can cost at most.
    cost: u64,
    message_cost: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Reason {
    Invalid,
    Forbidden,
    Required,
    Duplicate,
}

/// What is wrong with the definition of a rule.
#[derive(Debug)]
pub(in crate::schema) enum Problem {
    /// A field is missing.
    Required { field: &'static str, why: &'static str },
    /// A field has a value that it cannot have.
    Invalid { field: &'static str, value: Value, why: String },
    /// An expression is wrong; errors show the whole rule.
    Expression { field: &'static str, rule: String, why: String },
    /// A field has a value that is not among those that are given.
    NotSupported { field: &'static str, value: String, supported: &'static [&'static str] },
}

const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

impl Rule {
    /// Checks everything but the expressions.
    pub(in crate::schema) fn check_texts(rule: &Value, schema: &SchemaRef) -> Vec<Problem> {
        let mut problems = Vec::new();
        let text = |field: &str| rule[field].as_str().unwrap_or_default();
        let mut invalid = |field: &'static str, why: &str| {
            let value = rule[field].clone();
            problems.push(Problem::Invalid { field, value, why: why.to_owned() });
        };
        let (source, message) = (text("rule").trim(), text("message").trim());
        let mut missing = Vec::new();
        if source.is_empty() {
            missing.push(Problem::Required { field: "rule", why: "rule is not specified" });
        } else if !text("message").is_empty() && message.is_empty() {
            invalid("message", "must be non-empty if specified");
        } else if has_line_breaks(message) {
            invalid("message", "must not contain line breaks");
        } else if has_line_breaks(source) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            missing.push(Problem::Required { field: "message", why });
        }
        let path = text("fieldPath");
        if !path.is_empty() && path.trim().is_empty() {
            invalid("fieldPath", "must be non-empty if specified");
        }
        if has_line_breaks(path) {
            invalid("fieldPath", "must not contain line breaks");
        }
        if !path.is_empty() && field_path::resolve(path, schema).is_err() {
            invalid("fieldPath", "must be a valid path");
        }
        if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            missing.push(Problem::Required { field: "messageExpression", why });
        }
        if Reason::parse(rule["reason"].as_str()).is_none() {
            let value = text("reason").to_owned();
            missing.push(Problem::NotSupported { field: "reason", value, supported: REASONS });
        }
        problems.extend(missing);
        problems
    }

    /// Compiles a rule for values of a schema; `is_resource` says that it describes whole objects.
    pub(in crate::schema) fn compile(
        rule: &Value,
        schema: &SchemaRef,
        is_resource: bool,
    ) -> Result<Self, Vec<Problem>> {
        let text = |field: &str| rule[field].as_str().unwrap_or_default();
        let mut problems = Vec::new();
        let optional_old_self = rule["optionalOldSelf"] == true;
        let environment = environment(schema, is_resource, optional_old_self);
        let invalid = |field, why| Problem::Expression { field, rule: written(rule), why };
        let program = match compile(&environment, text("rule")) {
            Ok(program) => program,
            Err(why) => return Err(vec![invalid("rule", why)]),
        };
        let message_expression = match text("messageExpression") {
            "" => None,
            source => match compile_message(&environment, source) {
                Ok(program) => Some(program),
                Err(why) => {
                    problems.push(invalid("messageExpression", why));
                    None
                }
            },
        };
        if rule["optionalOldSelf"].is_boolean() && !program.uses("oldSelf") {
            let why = "may not be set if oldSelf is not used in rule".to_owned();
            let value = rule["optionalOldSelf"].clone();
            problems.push(Problem::Invalid { field: "optionalOldSelf", value, why });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let cost = estimate(&program.root, schema);
        let message_cost = message_expression
            .as_ref()
            .map_or(0, |program: &Program| estimate(&program.root, schema));
        Ok(Self {
            program,
            message: Some(text("message").trim().to_owned()).filter(|text| !text.is_empty()),
            message_expression,
            reason: Reason::parse(rule["reason"].as_str()).unwrap_or(Reason::Invalid),
            // The path was found to be valid.
            field_path: field_path::resolve(text("fieldPath"), schema).unwrap_or_default(),
            optional_old_self,
            cost,
            message_cost,
        })
    }

    /// The expression as written.
    #[must_use]
    pub fn source(&self) -> &str {
        self.program.source().trim()
    }

    /// The rule compares with the old value, so it holds for creations.
    #[must_use]
    pub fn is_transition(&self) -> bool {
        self.program.uses("oldSelf")
    }

    /// Returns what one evaluation of the rule can cost at most, and of its message.
    pub(in crate::schema) fn costs(&self) -> (u64, u64) {
        (self.cost, self.message_cost)
    }

    /// Returns what errors call the rule.
    pub(super) fn name(&self) -> &str {
        self.message.as_deref().unwrap_or_else(|| self.source())
    }
}

fn has_line_breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// Writes a rule as errors show it: all fields, with the names and escapes of Go's JSON.
fn written(rule: &Value) -> String {
    let text = |field: &str| rule[field].as_str().unwrap_or_default();
    let quoted = |text: &str| {
        let json = Value::from(text).to_string();
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    };
    let reason = rule["reason"].as_str().map_or_else(|| "null".to_owned(), quoted);
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        quoted(text("rule")),
        quoted(text("message")),
        quoted(text("messageExpression")),
        quoted(text("fieldPath")),
        rule["optionalOldSelf"],
    )
}

fn environment(schema: &SchemaRef, is_resource: bool, optional_old_self: bool) -> Environment {
    let this = if is_resource {
        Type::resource("selfType", schema)
    } else {
        Type::named("selfType", schema).unwrap_or(Type::Dyn)
    };
    let old = if optional_old_self { Type::optional(this.clone()) } else { this.clone() };
    Environment::new().with("self", this).with("oldSelf", old)
}

fn compile(environment: &Environment, source: &str) -> Result<Program, String> {
    let program =
        environment.compile(source).map_err(|why| format!("compilation failed: {why}"))?;
    if *program.result_type() != Type::Bool {
        return Err("cel expression must evaluate to a bool".to_owned());
    }
    program.instantiate().map_err(|why| format!("program instantiation failed: {why}"))?;
    Ok(program)
}

fn compile_message(environment: &Environment, source: &str) -> Result<Program, String> {
    let program = environment
        .compile(source)
        .map_err(|why| format!("messageExpression compilation failed: {why}"))?;
    if *program.result_type() != Type::String {
        return Err("messageExpression must evaluate to a string".to_owned());
    }
    program
        .instantiate()
        .map_err(|why| format!("messageExpression instantiation failed: {why}"))?;
    Ok(program)
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.source()).finish()
    }
}

impl Reason {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("FieldValueInvalid") => Some(Self::Invalid),
            Some("FieldValueForbidden") => Some(Self::Forbidden),
            Some("FieldValueRequired") => Some(Self::Required),
            Some("FieldValueDuplicate") => Some(Self::Duplicate),
            Some(_) => None,
        }
    }
}

/// Names the type of a schema as it is written there.
pub(super) fn type_text(schema: &Schema) -> &'static str {
    match schema.type_ {
        Shape::Object => "object",
        Shape::Array => "array",
        Shape::String => "string",
        Shape::Integer => "integer",
        Shape::Number => "number",
        Shape::Boolean => "boolean",
        Shape::IntOrString | Shape::Any => "",
    }
}

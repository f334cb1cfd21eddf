//! Policies and bindings, compiled.

use serde_json::Value;

use crate::names::GroupVersion;
use crate::rest::admission::expression::{Conditions, Declared, Expression, Returns};
use crate::rest::admission::matching::Criteria;
use crate::selector::LabelSelector;

/// A policy.
#[derive(Debug)]
pub(in crate::rest::admission) struct Policy {
    pub(in crate::rest::admission) name: String,
    pub(super) criteria: Criteria,
    /// Expressions without a value let the write pass.
    pub(super) fails_open: bool,
    pub(super) param_kind: Option<ParamKind>,
    pub(super) conditions: Conditions,
    pub(super) variables: Vec<(String, Expression)>,
    pub(super) validations: Vec<Validation>,
    /// Values of annotations for an audit log, which may fail like validations.
    pub(super) annotations: Vec<Expression>,
}

/// The kind of a policy's parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ParamKind {
    pub(super) group_version: GroupVersion,
    pub(super) kind: String,
}

/// One rule of a policy.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    pub(super) reason: String,
}

impl Policy {
    /// Compiles a policy that has passed validation.
    pub(in crate::rest::admission) fn parse(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = &spec["paramKind"];
        let param_kind = kind.is_object().then(|| ParamKind {
            group_version: GroupVersion::parse(kind["apiVersion"].as_str().unwrap_or_default()),
            kind: text(&kind["kind"]),
        });
        let mut declared = Declared {
            params: param_kind.is_some(),
            authorizer: true,
            variables: Some(Vec::new()),
            ..Declared::default()
        };
        let variables = compose(&mut declared, &spec["variables"]);
        // Messages are not to depend on rights.
        let for_messages = Declared { authorizer: false, ..declared.clone() };
        let validations = spec["validations"].as_array().into_iter().flatten();
        let validations = validations.map(|validation| Validation {
            expression: Expression::new(&declared, &text(&validation["expression"]), Returns::Bool),
            message: text(&validation["message"]),
            message_expression: validation["messageExpression"]
                .as_str()
                .filter(|source| !source.is_empty())
                .map(|source| Expression::new(&for_messages, source, Returns::Text)),
            reason: text(&validation["reason"]),
        });
        let annotations = spec["auditAnnotations"].as_array().into_iter().flatten();
        let annotations = annotations.map(|annotation| {
            let source = text(&annotation["valueExpression"]);
            Expression::new(&declared, source.trim(), Returns::TextOrNull)
        });
        Self {
            name: text(&policy["metadata"]["name"]),
            criteria: Criteria::of_resources(&spec["matchConstraints"]),
            fails_open: spec["failurePolicy"] == "Ignore",
            conditions: Conditions::parse(&declared, &spec["matchConditions"]),
            validations: validations.collect(),
            annotations: annotations.collect(),
            variables,
            param_kind,
        }
    }
}

/// Compiles composed variables in order; each sees those before it.
pub(in crate::rest::admission) fn compose(
    declared: &mut Declared,
    variables: &Value,
) -> Vec<(String, Expression)> {
    let mut composed = Vec::new();
    for variable in variables.as_array().into_iter().flatten() {
        let text = |field: &str| variable[field].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        let expression = Expression::new(declared, &text("expression"), Returns::Anything);
        let known = declared.variables.get_or_insert_default();
        known.push((name.clone(), expression.result_type()));
        composed.push((name, expression));
    }
    composed
}

/// A binding.
#[derive(Debug)]
pub(in crate::rest::admission) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) criteria: Criteria,
    pub(super) params: Option<ParamRef>,
    pub(super) denies: bool,
    pub(super) warns: bool,
}

/// Which parameters a binding uses.
#[derive(Debug)]
pub(super) struct ParamRef {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) selector: Result<Option<LabelSelector>, String>,
    /// Without any parameters the write is refused.
    pub(super) needed: bool,
}

impl Binding {
    /// Reads a binding that has passed validation.
    pub(in crate::rest::admission) fn parse(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let acts = |action: &str| {
            let mut actions = spec["validationActions"].as_array().into_iter().flatten();
            actions.any(|own| own == action)
        };
        let given = |value: &Value| Some(text(value)).filter(|text| !text.is_empty());
        let params = &spec["paramRef"];
        let params = params.is_object().then(|| ParamRef {
            name: given(&params["name"]),
            namespace: given(&params["namespace"]),
            selector: LabelSelector::from_object(&params["selector"])
                .map_err(|error| error.to_string()),
            needed: params["parameterNotFoundAction"] == "Deny",
        });
        Self {
            name: text(&binding["metadata"]["name"]),
            policy: text(&spec["policyName"]),
            criteria: Criteria::of_resources(&spec["matchResources"]),
            params,
            denies: acts("Deny"),
            warns: acts("Warn"),
        }
    }
}

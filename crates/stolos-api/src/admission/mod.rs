//! Rules that a CustomResourceDefinition cannot hold, as ValidatingAdmissionPolicies of the hub.
//!
//! They say what KubeFleet's validating webhooks say, but no program of ours has to answer before the hub
//! takes a write. A write that leaves the spec as it is, and one to an object that is being deleted, is never
//! refused: an object that was there before the rules can still be labelled, finalised and removed.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ParamKind, ParamRef,
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec, Validation, Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::placement;

mod cluster;
mod deletion;
mod disruption;
mod exports;
mod overrides;
mod placements;
mod strategies;

/// Label on every policy and binding: what keeps them. Those that the hub no longer knows are removed by it.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "stolos-hub");

/// Reason of a refusal, as that of a webhook is: clients see code 403 and kubectl prints the message as it is.
const REFUSAL: &str = "Forbidden";

/// A policy, and the binding that puts it into force.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The rules.
    pub policy: ValidatingAdmissionPolicy,
    /// Their binding; its name is that of the policy and `-binding`.
    pub binding: ValidatingAdmissionPolicyBinding,
}

/// Returns the policies of the hub; `with_services`: that it lets members export services.
pub fn policies(with_services: bool) -> Vec<Policy> {
    let rules = [placements::rules(), overrides::rules(), cluster::rules(), disruption::rules()];
    let of_rules = rules.into_iter().flatten().map(Rules::into_policy);
    let deletions = [Some(strategies::rule()), with_services.then(exports::rule)];
    let deletions = deletions.into_iter().flatten().map(deletion::Rule::into_policy);
    of_rules.chain(deletions).collect()
}

/// What is checked when objects of one kind are written.
struct Rules {
    name: &'static str,
    group: &'static str,
    /// Plural of the kind in lower case.
    resource: &'static str,
    operations: &'static [&'static str],
    /// Kind of the objects that each write is held against, one after the other.
    against: Option<&'static str>,
    /// Names for parts of the expressions.
    variables: Vec<(&'static str, String)>,
    checks: Vec<Check>,
}

/// An expression that must be true.
struct Check {
    rule: String,
    /// What is wrong otherwise, and what would be right.
    message: String,
    /// The same with details, as an expression.
    details: Option<String>,
}

impl Check {
    fn new(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule: rule.into(), message: message.into(), details: None }
    }

    /// Computes the message, which names what is wrong.
    fn saying(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }
}

impl Rules {
    fn into_policy(self) -> Policy {
        let metadata = |name: &str| ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let policy = ValidatingAdmissionPolicy {
            metadata: metadata(self.name),
            spec: Some(ValidatingAdmissionPolicySpec {
                failure_policy: Some("Fail".to_owned()),
                match_conditions: Some(vec![MatchCondition {
                    name: "spec-is-new-and-object-stays".to_owned(),
                    expression: "!has(object.metadata.deletionTimestamp) && (oldObject == null || object.spec != oldObject.spec)".to_owned(),
                }]),
                match_constraints: Some(self.constraints()),
                param_kind: self.against.map(|kind| ParamKind {
                    api_version: Some(format!("{}/v1beta1", placement::GROUP)),
                    kind: Some(kind.to_owned()),
                }),
                validations: Some(self.checks.into_iter().map(validation).collect()),
                variables: Some(self.variables.into_iter().map(variable).collect()),
                ..ValidatingAdmissionPolicySpec::default()
            }),
            status: None,
        };
        let binding = ValidatingAdmissionPolicyBinding {
            metadata: metadata(&format!("{}-binding", self.name)),
            spec: Some(ValidatingAdmissionPolicyBindingSpec {
                policy_name: Some(self.name.to_owned()),
                validation_actions: Some(vec!["Deny".to_owned()]),
                param_ref: self.against.map(|_| ParamRef {
                    selector: Some(LabelSelector::default()),
                    parameter_not_found_action: Some("Allow".to_owned()),
                    ..ParamRef::default()
                }),
                ..ValidatingAdmissionPolicyBindingSpec::default()
            }),
        };
        Policy { policy, binding }
    }

    /// Requests of other served versions are matched too, which is the default.
    fn constraints(&self) -> MatchResources {
        let owned = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect());
        MatchResources {
            resource_rules: Some(vec![NamedRuleWithOperations {
                api_groups: owned(&[self.group]),
                api_versions: owned(&["v1beta1"]),
                operations: owned(self.operations),
                resources: owned(&[self.resource]),
                ..NamedRuleWithOperations::default()
            }]),
            ..MatchResources::default()
        }
    }
}

fn validation(check: Check) -> Validation {
    Validation {
        expression: check.rule,
        message: Some(check.message),
        message_expression: check.details,
        reason: Some(REFUSAL.to_owned()),
    }
}

fn variable((name, expression): (&'static str, String)) -> Variable {
    Variable { name: name.to_owned(), expression }
}

const WRITES: &[&str] = &["CREATE", "UPDATE"];

/// One part of a DNS subdomain.
const DNS_PART: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
/// A name part, as in `stolos_api::validation::is_name_part`.
const NAME_PART: &str = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";

/// Returns an expression for "`text` is a DNS subdomain", at most so long.
fn is_subdomain(text: &str, max_length: u32) -> String {
    format!(r"size({text}) <= {max_length} && {text}.matches(r'^{DNS_PART}(\.{DNS_PART})*$')")
}

/// Returns an expression for "`text` is a qualified name".
fn is_qualified_name(text: &str) -> String {
    format!(r"{text}.matches(r'^({DNS_PART}(\.{DNS_PART})*/)?{NAME_PART}$')")
}

/// Returns an expression for "`text` is a label value".
fn is_label_value(text: &str) -> String {
    format!("{text}.matches(r'^({NAME_PART})?$')")
}

/// Returns an expression for "`selector` is a label selector that can be used".
fn is_label_selector(selector: &str) -> String {
    let (key, value) = (is_qualified_name("key"), is_label_value("labels[key]"));
    let labels = format!(
        "[{selector}.?matchLabels.orValue({{}})].all(labels, labels.all(key, {key} && {value}))"
    );
    let (key, value) = (is_qualified_name("e.key"), is_label_value("v"));
    let values = "e.?values.orValue([])";
    let expressions = format!(
        "{selector}.?matchExpressions.orValue([]).all(e, {key} && (e.operator in ['In', 'NotIn'] ? size({values}) > 0 : (e.operator in ['Exists', 'DoesNotExist'] && size({values}) == 0)) && {values}.all(v, {value}))"
    );
    format!("{labels} && {expressions}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_bound_and_explains_itself() {
        for Policy { policy, binding } in policies(true) {
            let (name, spec) = (policy.metadata.name.unwrap(), policy.spec.unwrap());
            assert_eq!(binding.metadata.name.unwrap(), format!("{name}-binding"));
            assert_eq!(binding.spec.unwrap().policy_name.as_ref(), Some(&name));
            for check in spec.validations.unwrap() {
                assert!(!check.message.unwrap().is_empty(), "{name}: {}", check.expression);
            }
        }
    }
}

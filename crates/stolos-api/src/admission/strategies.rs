//! Update strategies that auto-upgrade profiles name cannot be deleted.
//!
//! A policy cannot look up profiles; the hub marks a strategy with a finalizer as long as one names it. The finalizer alone
//! would let the deletion begin and never end, so the request is refused.

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{MANAGED_BY, Policy, REFUSAL};
use crate::cluster::fleet::GROUP;
use crate::update::NAMED_BY_PROFILE_FINALIZER;

const NAME: &str = "fleet-stolos-dev-strategies-in-use";

/// Returns the policy. What is being deleted already may be deleted again.
pub(super) fn policy() -> Policy {
    let metadata = |name: String| ObjectMeta {
        name: Some(name),
        labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
        ..ObjectMeta::default()
    };
    let owned = |text: &str| Some(vec![text.to_owned()]);
    let is_free = format!(
        "has(oldObject.metadata.deletionTimestamp) || !has(oldObject.metadata.finalizers) || !('{NAMED_BY_PROFILE_FINALIZER}' in oldObject.metadata.finalizers)"
    );
    let message = "an AutoUpgradeProfile names this UpdateStrategy: delete the profile, or let it name another strategy, first";
    Policy {
        policy: ValidatingAdmissionPolicy {
            metadata: metadata(NAME.to_owned()),
            spec: Some(ValidatingAdmissionPolicySpec {
                failure_policy: Some("Fail".to_owned()),
                match_constraints: Some(MatchResources {
                    resource_rules: Some(vec![NamedRuleWithOperations {
                        api_groups: owned(GROUP),
                        api_versions: owned("v1alpha1"),
                        operations: owned("DELETE"),
                        resources: owned("updatestrategies"),
                        ..NamedRuleWithOperations::default()
                    }]),
                    ..MatchResources::default()
                }),
                validations: Some(vec![Validation {
                    expression: is_free,
                    message: Some(message.to_owned()),
                    message_expression: None,
                    reason: Some(REFUSAL.to_owned()),
                }]),
                ..ValidatingAdmissionPolicySpec::default()
            }),
            status: None,
        },
        binding: ValidatingAdmissionPolicyBinding {
            metadata: metadata(format!("{NAME}-binding")),
            spec: Some(ValidatingAdmissionPolicyBindingSpec {
                policy_name: Some(NAME.to_owned()),
                validation_actions: owned("Deny"),
                ..ValidatingAdmissionPolicyBindingSpec::default()
            }),
        },
    }
}

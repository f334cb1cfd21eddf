//! Deletions that are refused for what the hub has noted at the object: a policy cannot look up other objects.

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{MANAGED_BY, Policy, REFUSAL};

/// When objects of one kind may be deleted.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    /// Plural of the kind in lower case.
    pub(super) resource: &'static str,
    /// An expression that is true of `oldObject` when it may go. What is being deleted already may be deleted again.
    pub(super) is_free: String,
    /// What is wrong otherwise, and what would help.
    pub(super) message: &'static str,
    /// The same with details, as an expression.
    pub(super) details: Option<String>,
}

impl Rule {
    pub(super) fn into_policy(self) -> Policy {
        let metadata = |name: String| ObjectMeta {
            name: Some(name),
            labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let owned = |text: &str| Some(vec![text.to_owned()]);
        Policy {
            policy: ValidatingAdmissionPolicy {
                metadata: metadata(self.name.to_owned()),
                spec: Some(ValidatingAdmissionPolicySpec {
                    failure_policy: Some("Fail".to_owned()),
                    match_constraints: Some(MatchResources {
                        resource_rules: Some(vec![NamedRuleWithOperations {
                            api_groups: owned(self.group),
                            api_versions: owned(self.version),
                            operations: owned("DELETE"),
                            resources: owned(self.resource),
                            ..NamedRuleWithOperations::default()
                        }]),
                        ..MatchResources::default()
                    }),
                    validations: Some(vec![Validation {
                        expression: format!(
                            "has(oldObject.metadata.deletionTimestamp) || {}",
                            self.is_free
                        ),
                        message: Some(self.message.to_owned()),
                        message_expression: self.details,
                        reason: Some(REFUSAL.to_owned()),
                    }]),
                    ..ValidatingAdmissionPolicySpec::default()
                }),
                status: None,
            },
            binding: ValidatingAdmissionPolicyBinding {
                metadata: metadata(format!("{}-binding", self.name)),
                spec: Some(ValidatingAdmissionPolicyBindingSpec {
                    policy_name: Some(self.name.to_owned()),
                    validation_actions: owned("Deny"),
                    ..ValidatingAdmissionPolicyBindingSpec::default()
                }),
            },
        }
    }
}

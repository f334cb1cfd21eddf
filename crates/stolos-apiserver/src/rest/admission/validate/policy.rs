//! ValidatingAdmissionPolicy and its bindings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::parts::{conditions, expression, items, named_rule, one_of, text};
use super::webhooks::is_label_1035;
use crate::name_rules::{path_segment_problems, qualified_problems, subdomain_problems};
use crate::rest::admission::expression::{Declared, Returns};
use crate::schema::builtin::selector;
use crate::schema::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::schema::cel::{self, Type};
use crate::status::Cause;

const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                          alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
                          'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
/// Most audit annotations, as upstream.
const MAX_ANNOTATIONS: usize = 20;
/// Most bytes of the expression of an annotation, as upstream.
const MAX_ANNOTATION_BYTES: usize = 5 * 1024;

/// Returns what is wrong with a policy.
pub(super) fn check(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let spec = &new["spec"];
    let mut causes = Vec::new();
    needed_one_of("spec.failurePolicy", &spec["failurePolicy"], &FAILURE_POLICIES, &mut causes);
    let has_params = spec["paramKind"].is_object();
    if has_params {
        check_param_kind(&spec["paramKind"], &mut causes);
    }
    let constraints = &spec["matchConstraints"];
    if constraints.is_object() {
        match_resources("spec.matchConstraints", constraints, &mut causes);
        if items(constraints, "resourceRules").next().is_none() {
            causes.push(required("spec.matchConstraints.resourceRules", ""));
        }
    } else {
        causes.push(required("spec.matchConstraints", ""));
    }
    let mut declared = Declared { params: has_params, authorizer: true, ..Declared::default() };
    let same_conditions = old.is_some_and(|old| {
        ["paramKind", "matchConditions"].iter().all(|field| old["spec"][field] == spec[field])
    });
    if !same_conditions {
        conditions("spec.matchConditions", &spec["matchConditions"], &declared, &mut causes);
    }
    check_variables(spec, &mut declared, &mut causes);
    let empty = |field: &str| items(spec, field).next().is_none();
    if empty("validations") && empty("auditAnnotations") {
        let why = "validations or auditAnnotations must contain at least one item";
        causes.push(required("spec.validations", why));
        causes.push(required("spec.auditAnnotations", why));
        return causes;
    }
    for (n, validation) in items(spec, "validations").enumerate() {
        check_validation(&format!("spec.validations[{n}]"), validation, &declared, &mut causes);
    }
    check_annotations(text(&new["metadata"], "name"), spec, &declared, &mut causes);
    causes
}

fn needed_one_of(at: &str, value: &Value, allowed: &[&str], causes: &mut Vec<Cause>) {
    if value.is_null() {
        causes.push(required(at, ""));
    } else {
        one_of(at, value, allowed, causes);
    }
}

fn check_param_kind(kind: &Value, causes: &mut Vec<Cause>) {
    let api_version = text(kind, "apiVersion");
    let at = "spec.paramKind.apiVersion";
    match api_version.split('/').collect::<Vec<_>>().as_slice() {
        [""] => causes.push(required(at, "")),
        [version] => check_label_1035(at, version, "", causes),
        [group, version] => {
            let problems = if group.is_empty() { Vec::new() } else { subdomain_problems(group) };
            if !problems.is_empty() {
                causes.push(invalid(at, &(*group).into(), &problems.join(",")));
            }
            if version.is_empty() {
                causes.push(invalid(at, &api_version.into(), "version must be specified"));
            } else {
                check_label_1035(at, version, "", causes);
            }
        }
        _ => {
            let why = format!("unexpected GroupVersion string: {api_version}");
            causes.push(invalid(at, &api_version.into(), &why));
        }
    }
    let (at, name) = ("spec.paramKind.kind", text(kind, "kind"));
    if name.is_empty() {
        causes.push(required(at, ""));
    } else if !is_label_1035(&name.to_lowercase()) {
        let why = format!("may have mixed case, but should otherwise match: {LABEL_1035}");
        causes.push(invalid(at, &name.into(), &why));
    }
}

fn check_label_1035(at: &str, label: &str, prefix: &str, causes: &mut Vec<Cause>) {
    if !is_label_1035(label) {
        causes.push(invalid(at, &label.into(), &format!("{prefix}{LABEL_1035}")));
    }
}

fn match_resources(at: &str, resources: &Value, causes: &mut Vec<Cause>) {
    needed_one_of(&format!("{at}.matchPolicy"), &resources["matchPolicy"], &MATCH_POLICIES, causes);
    for field in ["namespaceSelector", "objectSelector"] {
        let at = format!("{at}.{field}");
        if resources[field].is_null() {
            causes.push(required(&at, ""));
        } else {
            selector(&at, &resources[field], causes);
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (n, rule) in items(resources, field).enumerate() {
            named_rule(&format!("{at}.{field}[{n}]"), rule, causes);
        }
    }
}

/// Checks composed variables; each may use those before it.
fn check_variables(spec: &Value, declared: &mut Declared, causes: &mut Vec<Cause>) {
    if items(spec, "variables").next().is_none() {
        return;
    }
    declared.variables = Some(Vec::new());
    for (n, variable) in items(spec, "variables").enumerate() {
        let at = format!("spec.variables[{n}]");
        let name = text(variable, "name");
        if name.trim().is_empty() {
            causes.push(required(&format!("{at}.name"), "name is not specified"));
        } else if !is_identifier(name) {
            let why = "must be a valid CEL identifier";
            causes.push(invalid(&format!("{at}.name"), &name.into(), why));
        }
        let source = text(variable, "expression");
        let at = format!("{at}.expression");
        let type_ = if source.trim().is_empty() {
            causes.push(required(&at, "expression is not specified"));
            Type::Dyn
        } else {
            match declared.compile(source, Returns::Anything) {
                Ok(program) => program.result_type().clone(),
                Err(why) => {
                    causes.push(invalid(&at, &source.into(), &why));
                    Type::Dyn
                }
            }
        };
        declared.variables.get_or_insert_default().push((name.to_owned(), type_));
    }
}

fn is_identifier(name: &str) -> bool {
    let first = name.as_bytes().first();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !cel::is_reserved(name)
}

fn check_validation(at: &str, validation: &Value, declared: &Declared, causes: &mut Vec<Cause>) {
    let source = text(validation, "expression");
    let missing = "expression is not specified";
    expression(&format!("{at}.expression"), source, missing, declared, Returns::Bool, causes);
    let source = text(validation, "messageExpression");
    let field = format!("{at}.messageExpression");
    if !source.is_empty() && source.trim().is_empty() {
        causes.push(invalid(&field, &source.into(), "must be non-empty if specified"));
    } else if !source.is_empty() {
        let declared = Declared { authorizer: false, ..declared.clone() };
        expression(&field, source, "", &declared, Returns::Text, causes);
    }
    let message = text(validation, "message");
    let field = format!("{at}.message");
    if !message.is_empty() && message.trim().is_empty() {
        causes.push(invalid(&field, &message.into(), "must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        causes.push(invalid(&field, &message.into(), "must not contain line breaks"));
    }
    one_of(&format!("{at}.reason"), &validation["reason"], &REASONS, causes);
}

fn check_annotations(policy: &str, spec: &Value, declared: &Declared, causes: &mut Vec<Cause>) {
    let at = "spec.auditAnnotations";
    if items(spec, "auditAnnotations").count() > MAX_ANNOTATIONS {
        let why = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        causes.push(invalid(at, &spec["auditAnnotations"], &why));
    }
    let mut seen = BTreeSet::new();
    for (n, annotation) in items(spec, "auditAnnotations").enumerate() {
        let (at, key) = (format!("{at}[{n}]"), text(annotation, "key"));
        let field = format!("{at}.key");
        let full = format!("{policy}/{key}");
        let problems = qualified_problems(&full);
        causes.extend(problems.iter().map(|why| invalid(&field, &full.as_str().into(), why)));
        let source = text(annotation, "valueExpression").trim();
        let value = format!("{at}.valueExpression");
        if source.len() > MAX_ANNOTATION_BYTES {
            let why = format!("must not exceed {MAX_ANNOTATION_BYTES} bytes in length");
            causes.push(required(&value, &why));
        } else {
            let missing = "valueExpression is not specified";
            expression(&value, source, missing, declared, Returns::TextOrNull, causes);
        }
        if !seen.insert(key) {
            causes.push(duplicate(&field, &key.into()));
        }
    }
}

/// Returns what is wrong with a binding.
pub(super) fn check_binding(binding: &Value) -> Vec<Cause> {
    let spec = &binding["spec"];
    let mut causes = Vec::new();
    let policy = text(spec, "policyName");
    if policy.is_empty() {
        causes.push(required("spec.policyName", ""));
    }
    let problems = if policy.is_empty() { Vec::new() } else { subdomain_problems(policy) };
    causes.extend(problems.iter().map(|why| invalid("spec.policyName", &policy.into(), why)));
    if spec["paramRef"].is_object() {
        check_param_ref(&spec["paramRef"], &mut causes);
    }
    if spec["matchResources"].is_object() {
        match_resources("spec.matchResources", &spec["matchResources"], &mut causes);
    }
    check_actions(&spec["validationActions"], &mut causes);
    causes
}

fn check_param_ref(params: &Value, causes: &mut Vec<Cause>) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let at = "spec.paramRef";
    let (name, has_selector) = (text(params, "name"), params["selector"].is_object());
    if !name.is_empty() {
        let field = format!("{at}.name");
        let problems = path_segment_problems(name);
        causes.extend(problems.iter().map(|why| invalid(&field, &name.into(), why)));
        if has_selector {
            causes.push(forbidden(&field, EXCLUSIVE));
        }
    }
    if has_selector {
        selector(&format!("{at}.selector"), &params["selector"], causes);
        if !name.is_empty() {
            causes.push(forbidden(&format!("{at}.selector"), EXCLUSIVE));
        }
    }
    if name.is_empty() && !has_selector {
        causes.push(required(at, "one of name or selector must be specified"));
    }
    let field = format!("{at}.parameterNotFoundAction");
    match text(params, "parameterNotFoundAction") {
        "" => causes.push(required(&field, "")),
        "Allow" | "Deny" => {}
        _ => {
            let allowed = [Value::from("Deny"), Value::from("Allow")];
            causes.push(not_supported(&field, &params["parameterNotFoundAction"], &allowed));
        }
    }
}

fn check_actions(actions: &Value, causes: &mut Vec<Cause>) {
    let at = "spec.validationActions";
    let mut seen = BTreeSet::new();
    for (n, action) in actions.as_array().into_iter().flatten().enumerate() {
        let at = format!("{at}[{n}]");
        one_of(&at, action, &ACTIONS, causes);
        if !seen.insert(action.as_str().unwrap_or_default()) {
            causes.push(duplicate(&at, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        causes.push(invalid(at, actions, why));
    }
    if seen.is_empty() {
        causes.push(required(at, "at least one validation action is required"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy() -> Value {
        json!({"metadata": {"name": "p"}, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "resourceRules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                }],
            },
            "validations": [{"expression": "object.metadata.name != 'x'"}],
        }})
    }

    fn texts(causes: Vec<Cause>) -> Vec<String> {
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    fn problems(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut policy = policy();
        change(&mut policy["spec"]);
        texts(check(&policy, None))
    }

    #[test]
    fn a_sound_policy_is_accepted() {
        assert_eq!(problems(|_| {}), [] as [&str; 0]);
        let variables = problems(|spec| {
            spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
            spec["variables"] = json!([
                {"name": "a", "expression": "params.data.x"}, {"name": "b", "expression": "variables.a == 'y'"},
            ]);
            spec["validations"] = json!([{
                "expression": "variables.b && authorizer.requestResource.check('get').allowed()",
                "messageExpression": "'no ' + string(variables.b)", "reason": "Forbidden",
            }]);
            spec["auditAnnotations"] =
                json!([{"key": "k", "valueExpression": "request.operation"}]);
        });
        assert_eq!(variables, [] as [&str; 0]);
    }

    #[test]
    fn what_is_needed_is_asked_for() {
        for field in ["failurePolicy", "matchConstraints"] {
            let found = problems(|spec| spec[field] = Value::Null);
            assert_eq!(found, [format!("spec.{field}: Required value")]);
        }
        let why = "Required value: validations or auditAnnotations must contain at least one item";
        assert_eq!(
            problems(|spec| spec["validations"] = json!([])),
            [format!("spec.validations: {why}"), format!("spec.auditAnnotations: {why}")]
        );
    }

    #[test]
    fn expressions_use_only_what_there_is() {
        let at = "spec.validations[0].expression: Invalid value: ";
        let found = problems(|spec| spec["validations"][0]["expression"] = json!("params.x == 1"));
        assert!(found[0].starts_with(&format!("{at}\"params.x == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'")), "{found:?}");
        let found = problems(|spec| spec["validations"][0]["expression"] = json!("'text'"));
        assert_eq!(found, [format!("{at}\"'text'\": must evaluate to bool but got string")]);
        let found = problems(|spec| {
            spec["validations"][0]["messageExpression"] =
                json!("authorizer.path('/').check('get').reason()");
        });
        assert!(found[0].contains("undeclared reference to 'authorizer'"), "{found:?}");
        let found = problems(|spec| {
            spec["variables"] = json!([{"name": "in", "expression": "1"}, {"name": "b", "expression": "variables.c"}]);
        });
        assert_eq!(
            found[0],
            "spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier"
        );
        assert!(found[1].contains("undefined field 'c'"), "{found:?}");
    }

    #[test]
    fn texts_and_reasons_are_checked() {
        let found = problems(|spec| {
            spec["validations"][0]["message"] = json!("a\nb");
            spec["validations"][0]["reason"] = json!("Whatever");
            spec["paramKind"] = json!({"apiVersion": "a/b/c", "kind": "9"});
        });
        assert_eq!(
            found[0],
            "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"
        );
        assert!(found[1].starts_with("spec.paramKind.kind: Invalid value: \"9\": may have mixed case, but should otherwise match: "));
        assert_eq!(
            found[2..],
            [
                "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks",
                "spec.validations[0].reason: Unsupported value: \"Whatever\": supported values: \"Forbidden\", \
                 \"Invalid\", \"RequestEntityTooLarge\"",
            ]
        );
    }

    #[test]
    fn bindings_are_checked() {
        let binding = |spec: Value| texts(check_binding(&json!({"spec": spec})));
        assert_eq!(
            binding(json!({"policyName": "p", "validationActions": ["Deny"]})),
            [] as [&str; 0]
        );
        assert_eq!(
            binding(json!({})),
            [
                "spec.policyName: Required value",
                "spec.validationActions: Required value: at least one validation action is required",
            ]
        );
        let found = binding(json!({
            "policyName": "p", "validationActions": ["Deny", "Warn"],
            "paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Maybe"},
        }));
        assert_eq!(
            found[..3],
            [
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Maybe\": supported values: \"Deny\", \
                 \"Allow\"",
            ]
        );
        assert!(found[3].contains("must not contain both Deny and Warn"));
    }
}

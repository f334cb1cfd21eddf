//! Checks the expressions of a policy against the types of the objects that it will see.
//!
//! Expressions that do not fit are no reason to refuse a policy: schemas come and go. They become warnings in its status.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::names::GroupVersion;
use crate::registry::{Registry, Resource};
use crate::rest::admission::expression::{Declared, Returns};
use crate::schema::cel::Type;

/// Most types that one policy is checked against, as upstream.
const MAX_TYPES: usize = 10;

/// Returns the warnings about a policy, as its status lists them.
pub(crate) fn type_check(registry: &Registry, policy: &Value) -> Vec<Value> {
    let spec = &policy["spec"];
    let types = types(registry, &spec["matchConstraints"]);
    let params = params_type(registry, &spec["paramKind"]);
    let mut warnings = Vec::new();
    for (n, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = validation[field].as_str().unwrap_or_default();
            if source.is_empty() {
                continue;
            }
            let problems: Vec<String> = types
                .iter()
                .filter_map(|(name, object)| {
                    let declared = declared(object, params.as_ref(), &spec["variables"]);
                    let why = declared.compile(source, Returns::Anything).err()?;
                    let why = why.strip_prefix("compilation failed: ").unwrap_or(&why);
                    Some(format!("{name}: {why}\n"))
                })
                .collect();
            if !problems.is_empty() {
                warnings.push(json!({
                    "fieldRef": format!("spec.validations[{n}].{field}"), "warning": problems.join("\n"),
                }));
            }
        }
    }
    warnings
}

fn declared(object: &Type, params: Option<&Type>, variables: &Value) -> Declared {
    let mut declared = Declared {
        params: params.is_some(),
        authorizer: true,
        variables: Some(Vec::new()),
        object: Some(object.clone()),
        params_type: params.cloned(),
    };
    super::definition::compose(&mut declared, variables);
    declared
}

/// Returns the types of the resources that rules name outright, in order.
fn types(registry: &Registry, constraints: &Value) -> Vec<(String, Type)> {
    let mut kinds = BTreeSet::new();
    for rule in constraints["resourceRules"].as_array().into_iter().flatten() {
        let texts = |field: &str| -> Vec<&str> {
            rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups.iter().chain(&versions).any(|text| text.contains('*')) {
            continue;
        }
        let plain = |resource: &&str| !resource.contains(['*', '/']);
        for resource in texts("resources").into_iter().filter(plain) {
            for group in &groups {
                for version in &versions {
                    if let Some(found) = registry.resource(group, version, resource) {
                        kinds.insert((found.group_version.clone(), found.kind.clone()));
                    }
                }
            }
        }
    }
    let found = kinds.into_iter().take(MAX_TYPES).filter_map(|(group_version, kind)| {
        let GroupVersion { group, version } = &group_version;
        let resource = registry.kind(group, version, &kind)?;
        Some((format!("{group}/{version}, Kind={kind}"), type_of(&resource)?))
    });
    found.collect()
}

fn params_type(registry: &Registry, kind: &Value) -> Option<Type> {
    let group_version = GroupVersion::parse(kind["apiVersion"].as_str()?);
    let kind = kind["kind"].as_str()?;
    type_of(&*registry.kind(&group_version.group, &group_version.version, kind)?)
}

fn type_of(resource: &Resource) -> Option<Type> {
    if resource.custom {
        return Some(Type::resource(&resource.kind, &resource.schema));
    }
    Type::named(&resource.kind, &resource.schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_do_not_exist_are_warned_about() {
        let policy = json!({"spec": {
            "matchConstraints": {"resourceRules": [{
                "operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"],
                "resources": ["deployments", "deployments/status", "unknown"],
            }]},
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "object.spec.replicas > 1 && variables.n > 1 && object.metadata.labels.size() > 0"},
                {"expression": "object.spec.replics > 1", "messageExpression": "'x' + object.nothing"},
            ],
        }});
        let warnings = type_check(&Registry::builtin(), &policy);
        let refs: Vec<_> = warnings.iter().map(|warning| warning["fieldRef"].clone()).collect();
        assert_eq!(
            refs,
            ["spec.validations[1].expression", "spec.validations[1].messageExpression"]
        );
        let text = warnings[0]["warning"].as_str().unwrap();
        assert!(
            text.starts_with(
                "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replics'"
            ),
            "{text}"
        );
    }

    #[test]
    fn wildcards_are_not_checked() {
        let policy = json!({"spec": {
            "matchConstraints": {"resourceRules": [{
                "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["pods"],
            }]},
            "validations": [{"expression": "object.nothing"}],
        }});
        assert_eq!(type_check(&Registry::builtin(), &policy), [] as [Value; 0]);
    }
}

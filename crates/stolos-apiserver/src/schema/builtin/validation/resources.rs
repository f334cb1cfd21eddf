//! Names of resources such as `cpu`, `requests.storage` or `example.com/gpu`, and amounts of them.

use serde_json::Value;

use crate::name_rules::qualified_problems;
use crate::schema::causes::invalid;
use crate::schema::quantity::Quantity;
use crate::status::Cause;

/// What containers can ask for.
const OF_CONTAINERS: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];

/// What quotas count without a fraction.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// What quotas measure.
const MEASURED: [&str; 10] = [
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
];

const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";

/// Reads an amount; nothing that is there is none.
pub(super) fn amount(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}

/// Checks the name of a resource.
pub(super) fn name(name: &str, path: &str, causes: &mut Vec<Cause>) {
    let problems = qualified_problems(name);
    let standard = is_in_quotas(name) || name == "storage";
    if problems.is_empty() && !name.contains('/') && !standard {
        let why = "must be a standard resource type or fully qualified";
        causes.push(invalid(path, &name.into(), why));
    }
    causes.extend(problems.iter().map(|why| invalid(path, &name.into(), why)));
}

/// Checks the name of a resource that containers ask for.
pub(super) fn container_name(resource: &str, path: &str, causes: &mut Vec<Cause>) {
    name(resource, path, causes);
    let why = if resource.contains('/') {
        let follows = is_native(resource) || is_extended(resource);
        (!follows).then_some("doesn't follow extended resource name standard")
    } else {
        let standard = OF_CONTAINERS.contains(&resource) || resource.starts_with(HUGE_PAGES);
        (!standard).then_some("must be a standard resource for containers")
    };
    causes.extend(why.map(|why| invalid(path, &resource.into(), why)));
}

/// Checks the name and the amount of something that a quota counts.
pub(super) fn quota(resource: &str, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    name(resource, path, causes);
    if !resource.contains('/') && !is_in_quotas(resource) {
        causes.push(invalid(path, &resource.into(), "must be a standard resource for quota"));
    }
    let Some(amount) = amount(value) else { return };
    check_not_negative(amount, path, causes);
    let counted = COUNTED.contains(&resource) || is_extended(resource);
    if counted && amount.as_integer().is_none() {
        causes.push(invalid(path, &amount.to_string().into(), "must be an integer"));
    }
}

pub(super) fn check_not_negative(amount: Quantity, path: &str, causes: &mut Vec<Cause>) {
    if amount.sign() < 0 {
        let why = "must be greater than or equal to 0";
        causes.push(invalid(path, &amount.to_string().into(), why));
    }
}

/// Tells whether quotas know a resource by this name.
pub(super) fn is_in_quotas(name: &str) -> bool {
    let huge = name.strip_prefix(REQUESTS).unwrap_or(name).starts_with(HUGE_PAGES);
    huge || COUNTED.contains(&name) || MEASURED.contains(&name)
}

/// Tells whether more can be promised than there is.
pub(super) fn can_be_overcommitted(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

/// Names without a domain belong to Kubernetes too.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Tells whether a name is that of a resource that nodes advertise on their own.
fn is_extended(name: &str) -> bool {
    let as_request = || qualified_problems(&format!("{REQUESTS}{name}"));
    !is_native(name) && !name.starts_with(REQUESTS) && as_request().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(check: impl Fn(&mut Vec<Cause>)) -> Vec<String> {
        let mut causes = Vec::new();
        check(&mut causes);
        causes.into_iter().map(|cause| cause.message).collect()
    }

    #[test]
    fn containers_ask_for_less_than_quotas_count() {
        for good in ["cpu", "hugepages-2Mi", "example.com/gpu", "kubernetes.io/x"] {
            assert_eq!(problems(|causes| container_name(good, "f", causes)), [""; 0], "{good}");
        }
        let storage = problems(|causes| container_name("storage", "f", causes));
        assert_eq!(
            storage,
            ["Invalid value: \"storage\": must be a standard resource for containers"]
        );
        for good in ["pods", "requests.hugepages-1Gi", "count/jobs.batch"] {
            assert_eq!(problems(|causes| quota(good, &"1".into(), "f", causes)), [""; 0], "{good}");
        }
        let storage = problems(|causes| quota("storage", &"1".into(), "f", causes));
        assert_eq!(storage, ["Invalid value: \"storage\": must be a standard resource for quota"]);
    }

    #[test]
    fn what_is_counted_is_whole() {
        let fraction = |name: &str| problems(|causes| quota(name, &"1500m".into(), "f", causes));
        assert_eq!(fraction("cpu"), [""; 0]);
        for counted in ["pods", "example.com/gpu"] {
            assert_eq!(fraction(counted), ["Invalid value: \"1500m\": must be an integer"]);
        }
    }
}

//! Priority classes: the system has some names and values to itself.

use serde_json::Value;

use crate::schema::causes::forbidden;
use crate::status::Cause;

/// Highest priority that users give.
const MAX_OF_USERS: i64 = 1_000_000_000;

/// The classes of the system with their values.
const OF_THE_SYSTEM: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(super) fn check(class: &Value, causes: &mut Vec<Cause>) {
    let name = class["metadata"]["name"].as_str().unwrap_or_default();
    let value = class["value"].as_i64().unwrap_or(0);
    if name.starts_with("system-") {
        if let Some(why) = system_problem(name, value, class) {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
            );
            causes.push(forbidden("metadata.name", &why));
        }
    } else if value > MAX_OF_USERS {
        let why = format!("maximum allowed value of a user defined priority is {MAX_OF_USERS}");
        causes.push(forbidden("value", &why));
    }
    super::check_choice(class, "preemptionPolicy", "", &["PreemptLowerPriority", "Never"], causes);
}

fn system_problem(name: &str, value: i64, class: &Value) -> Option<String> {
    let Some((_, fixed)) = OF_THE_SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *fixed {
        return Some(format!("value of {name} PriorityClass must be {fixed}"));
    }
    let is_default = class["globalDefault"] == true;
    is_default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_system_has_names_and_values_to_itself() {
        let problem = |name: &str, value: i64| {
            let mut causes = Vec::new();
            let class = json!({
                "metadata": {"name": name}, "value": value, "preemptionPolicy": "Never",
            });
            check(&class, &mut causes);
            causes.first().map(|cause| cause.message.clone()).unwrap_or_default()
        };
        assert_eq!(problem("mine", 1_000_000_000), "");
        assert_eq!(problem("system-node-critical", 2_000_001_000), "");
        assert!(problem("mine", 1_000_000_001).ends_with("priority is 1000000000"));
        assert!(problem("system-mine", 1).ends_with("is not a known system priority class"));
        assert!(problem("system-node-critical", 1).ends_with("PriorityClass must be 2000001000"));
    }
}

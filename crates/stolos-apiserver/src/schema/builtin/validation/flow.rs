//! Flow schemas and priority levels.

use serde_json::{Value, json};

use super::list;
use crate::name_rules::{label_problems, subdomain_problems};
use crate::schema::builtin::flows;
use crate::schema::causes::{forbidden, invalid, not_supported, required};
use crate::status::Cause;

/// Least urgent of all schemas.
const MAX_PRECEDENCE: i64 = 10_000;
/// Most queues of a level.
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of a hash from which a hand of queues is dealt.
const MAX_HASH_BITS: f64 = 60.0;

const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// Kinds of subjects, and the field that names each.
const SUBJECTS: [(&str, &str); 3] =
    [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

pub(super) fn check_schema(schema: &Value, causes: &mut Vec<Cause>) {
    let spec = &schema["spec"];
    let precedence = spec["matchingPrecedence"].as_i64().unwrap_or(0);
    let mut refuse = |why: &str| {
        causes.push(invalid("spec.matchingPrecedence", &precedence.into(), why));
    };
    if precedence <= 0 {
        refuse("must be a positive value");
    }
    if precedence > MAX_PRECEDENCE {
        refuse(&format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if precedence == 1 && schema["metadata"]["name"] != "exempt" {
        refuse("only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = &spec["distinguisherMethod"];
    if method.is_object() && method["type"] != "ByNamespace" && method["type"] != "ByUser" {
        let known = ["ByNamespace", "ByUser"].map(Value::from);
        let method = json!({ "Type": method["type"] });
        causes.push(not_supported("spec.distinguisherMethod.type", &method, &known));
    }
    let level = &spec["priorityLevelConfiguration"]["name"];
    let path = "spec.priorityLevelConfiguration.name";
    match level.as_str().unwrap_or_default() {
        "" => causes.push(required(path, "must reference a priority level")),
        name => {
            causes.extend(subdomain_problems(name).iter().map(|why| invalid(path, level, why)));
        }
    }
    for (index, rule) in list(spec, "rules").enumerate() {
        check_rule(rule, &format!("spec.rules[{index}]"), causes);
    }
    let name = schema["metadata"]["name"].as_str().unwrap_or_default();
    if flows::mandatory_schema(name).is_some_and(|fixed| fixed != *spec) {
        causes.push(invalid("spec", spec, &format!("spec of '{name}' must equal the fixed value")));
    }
}

fn check_rule(rule: &Value, path: &str, causes: &mut Vec<Cause>) {
    if list(rule, "subjects").next().is_none() {
        let why = "subjects must contain at least one value";
        causes.push(required(&format!("{path}.subjects"), why));
    }
    for (index, subject) in list(rule, "subjects").enumerate() {
        check_subject(subject, &format!("{path}.subjects[{index}]"), causes);
    }
    let (of_resources, of_paths) = ("resourceRules", "nonResourceRules");
    if list(rule, of_resources).chain(list(rule, of_paths)).next().is_none() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        causes.push(required(path, why));
    }
    for (index, rule) in list(rule, of_resources).enumerate() {
        check_resource_rule(rule, &format!("{path}.{of_resources}[{index}]"), causes);
    }
    for (index, rule) in list(rule, of_paths).enumerate() {
        let path = format!("{path}.{of_paths}[{index}]");
        check_verbs(rule, &path, causes);
        check_urls(rule, &format!("{path}.nonResourceURLs"), causes);
    }
}

fn check_subject(subject: &Value, path: &str, causes: &mut Vec<Cause>) {
    let kind = subject["kind"].as_str().unwrap_or_default();
    let Some((_, own)) = SUBJECTS.iter().find(|(name, _)| *name == kind) else {
        let kinds = SUBJECTS.map(|(name, _)| Value::from(name));
        causes.push(not_supported(&format!("{path}.kind"), &kind.into(), &kinds));
        return;
    };
    let named = &subject[own];
    let path_of = |field: &str| format!("{path}.{field}");
    if named.is_object() {
        check_named(own, named, &path_of(own), causes);
    } else {
        let why = format!("{own} is required when subject kind is '{kind}'");
        causes.push(required(&path_of(own), &why));
    }
    // Upstream looks for the others in this order.
    for (kind, field) in ["serviceAccount", "user", "group"]
        .iter()
        .filter_map(|field| SUBJECTS.iter().find(|(_, other)| other == field))
    {
        if field != own && subject[field].is_object() {
            let why = format!("{field} is forbidden when subject kind is not '{kind}'");
            causes.push(forbidden(&path_of(field), &why));
        }
    }
}

fn check_named(field: &str, named: &Value, path: &str, causes: &mut Vec<Cause>) {
    let name = named["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(required(&format!("{path}.name"), ""));
    }
    if field != "serviceAccount" {
        return;
    }
    if !name.is_empty() && name != "*" {
        let path = format!("{path}.name");
        let problems = subdomain_problems(name);
        causes.extend(problems.iter().map(|why| invalid(&path, &name.into(), why)));
    }
    let path = format!("{path}.namespace");
    match named["namespace"].as_str().unwrap_or_default() {
        "" => causes.push(required(&path, "must specify namespace for service account")),
        namespace => {
            let problems = label_problems(namespace);
            causes.extend(problems.iter().map(|why| invalid(&path, &namespace.into(), why)));
        }
    }
}

fn texts<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    list(object, field).filter_map(Value::as_str).collect()
}

fn check_verbs(rule: &Value, path: &str, causes: &mut Vec<Cause>) {
    let verbs = texts(rule, "verbs");
    let path = format!("{path}.verbs");
    if verbs.is_empty() {
        causes.push(required(&path, "verbs must contain at least one value"));
    } else if !is_alone(&verbs) {
        let why = "if '*' is present, must not specify other verbs";
        causes.push(invalid(&path, &rule["verbs"], why));
    } else if verbs != ["*"] && !verbs.iter().all(|verb| VERBS.contains(verb)) {
        let known = VERBS.map(Value::from);
        causes.push(not_supported(&path, &rule["verbs"], &known));
    }
}

/// Tells that everything, where it is meant, is all that is said.
fn is_alone(texts: &[&str]) -> bool {
    texts.len() < 2 || !texts.contains(&"*")
}

fn check_resource_rule(rule: &Value, path: &str, causes: &mut Vec<Cause>) {
    check_verbs(rule, path, causes);
    for (field, one, others) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let found = texts(rule, field);
        let path = format!("{path}.{field}");
        if found.is_empty() {
            let why = format!("resource rules must supply at least one {one}");
            causes.push(required(&path, &why));
        } else if !is_alone(&found) {
            let why = format!("if '*' is present, must not specify other {others}");
            causes.push(invalid(&path, &rule[field], &why));
        }
    }
    let namespaces = texts(rule, "namespaces");
    let path = format!("{path}.namespaces");
    if namespaces.is_empty() && rule["clusterScope"] != true {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        causes.push(required(&path, why));
    } else if !is_alone(&namespaces) {
        let why = "if '*' is present, must not specify other namespaces";
        causes.push(invalid(&path, &rule["namespaces"], why));
    } else if namespaces != ["*"] {
        for (index, namespace) in namespaces.iter().enumerate() {
            for problem in label_problems(namespace) {
                let why =
                    format!("each member of this list must be '*' or a DNS-1123 label; {problem}");
                causes.push(invalid(&format!("{path}[{index}]"), &(*namespace).into(), &why));
            }
        }
    }
}

fn check_urls(rule: &Value, path: &str, causes: &mut Vec<Cause>) {
    let urls = texts(rule, "nonResourceURLs");
    if urls.is_empty() {
        causes.push(required(path, "nonResourceURLs must contain at least one value"));
    } else if !is_alone(&urls) {
        let why = "if '*' is present, must not specify other non-resource URLs";
        causes.push(invalid(path, &rule["nonResourceURLs"], why));
    } else if urls != ["*"] {
        for (index, url) in urls.iter().enumerate() {
            let problem = url_problem(url);
            let path = format!("{path}[{index}]");
            causes.extend(problem.map(|why| invalid(&path, &(*url).into(), why)));
        }
    }
}

fn url_problem(url: &str) -> Option<&'static str> {
    if url.is_empty() {
        return Some("must not be empty");
    }
    if !url.starts_with('/') {
        return Some("must start with slash");
    }
    if url.contains(' ') {
        return Some("must not contain white-space");
    }
    if url.contains("//") {
        return Some("must not contain double slash");
    }
    let ends = url.strip_suffix("/*").unwrap_or(url);
    ends.contains('*').then_some("wildcard can only do suffix matching")
}

pub(super) fn check_level(level: &Value, causes: &mut Vec<Cause>) {
    let spec = &level["spec"];
    let kind = spec["type"].as_str().unwrap_or_default();
    if (kind == "Exempt") != (level["metadata"]["name"] == "exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        causes.push(invalid("spec.type", &kind.into(), why));
    }
    let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
    match kind {
        "Exempt" => {
            if limited.is_object() {
                let why = "must be nil if the type is not Limited";
                causes.push(forbidden("spec.limited", why));
            }
            check_number(exempt, "spec.exempt", "nominalConcurrencyShares", causes);
            check_percent(exempt, "spec.exempt", causes);
        }
        "Limited" => {
            if exempt.is_object() {
                causes.push(forbidden("spec.exempt", "must be nil if the type is Limited"));
            }
            if limited.is_object() {
                check_limited(limited, causes);
            } else {
                causes.push(required("spec.limited", "must not be empty when type is Limited"));
            }
        }
        _ => {
            let known = ["Exempt", "Limited"].map(Value::from);
            causes.push(not_supported("spec.type", &kind.into(), &known));
        }
    }
    check_mandatory_level(level, causes);
}

/// The level of last resort is fixed; the exempt one may say how much it lends.
fn check_mandatory_level(level: &Value, causes: &mut Vec<Cause>) {
    let name = level["metadata"]["name"].as_str().unwrap_or_default();
    let Some(mut fixed) = flows::mandatory_level(name) else { return };
    let mut spec = level["spec"].clone();
    let mut except = "";
    if name == "exempt" {
        except = " except the 'spec.exempt' field";
        for spec in [&mut fixed, &mut spec] {
            spec.as_object_mut().and_then(|spec| spec.remove("exempt"));
        }
    }
    if spec != fixed {
        let why = format!("spec of '{name}'{except} must equal the fixed value");
        causes.push(invalid("spec", &level["spec"], &why));
    }
}

fn check_number(part: &Value, path: &str, field: &str, causes: &mut Vec<Cause>) {
    if part[field].as_i64().is_some_and(|number| number < 0) {
        let why = if field == "borrowingLimitPercent" {
            "if specified, must be a non-negative integer"
        } else {
            "must be a non-negative integer"
        };
        causes.push(invalid(&format!("{path}.{field}"), &part[field], why));
    }
}

fn check_percent(part: &Value, path: &str, causes: &mut Vec<Cause>) {
    let percent = &part["lendablePercent"];
    if percent.as_i64().is_some_and(|percent| !(0..=100).contains(&percent)) {
        let why = "must be between 0 and 100, inclusive";
        causes.push(invalid(&format!("{path}.lendablePercent"), percent, why));
    }
}

fn check_limited(limited: &Value, causes: &mut Vec<Cause>) {
    const PATH: &str = "spec.limited";
    check_number(limited, PATH, "nominalConcurrencyShares", causes);
    let response = &limited["limitResponse"];
    let queuing = &response["queuing"];
    let path = "spec.limited.limitResponse.queuing";
    match response["type"].as_str().unwrap_or_default() {
        "Reject" if queuing.is_object() => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            causes.push(forbidden(path, why));
        }
        "Reject" => {}
        "Queue" if queuing.is_object() => check_queuing(queuing, path, causes),
        "Queue" => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            causes.push(required(path, why));
        }
        other => {
            let known = ["Queue", "Reject"].map(Value::from);
            let path = "spec.limited.limitResponse.type";
            causes.push(not_supported(path, &other.into(), &known));
        }
    }
    check_percent(limited, PATH, causes);
    check_number(limited, PATH, "borrowingLimitPercent", causes);
}

fn check_queuing(queuing: &Value, path: &str, causes: &mut Vec<Cause>) {
    let number = |field: &str| queuing[field].as_i64().unwrap_or(0);
    let mut refuse = |field: &str, why: &str| {
        causes.push(invalid(&format!("{path}.{field}"), &number(field).into(), why));
    };
    let (queues, hand) = (number("queues"), number("handSize"));
    if number("queueLengthLimit") <= 0 {
        refuse("queueLengthLimit", "must be positive");
    }
    if queues <= 0 {
        refuse("queues", "must be positive");
    } else if queues > MAX_QUEUES {
        refuse("queues", &format!("must not be greater than {MAX_QUEUES}"));
    }
    if hand <= 0 {
        refuse("handSize", "must be positive");
    } else if hand > queues {
        refuse("handSize", &format!("should not be greater than queues ({queues})"));
    } else if hash_bits(queues, hand) > MAX_HASH_BITS {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        refuse("handSize", &why);
    }
}

/// Returns how many bits decide which queues a flow is dealt.
fn hash_bits(queues: i64, hand: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "both are small")]
    ((queues as f64).log2() * hand as f64).ceil()
}

//! The rules of Kubernetes for names and labels, and the shape of an error about a field.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A value that breaks a rule that the schema cannot express.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldError {
    /// The field, such as `spec.policy.tolerations[0].key`.
    pub path: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl FieldError {
    /// Returns an error about a field.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Returns whether this is a name part: at most 63 letters, digits, `-`, `_` and `.`, with a letter
/// or digit at both ends.
pub fn is_name_part(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(inner)
        && is_end(text.chars().next())
        && is_end(text.chars().last())
}

/// Returns whether this is a qualified name, the form of label and taint keys: a name part,
/// optionally after a DNS subdomain and a slash.
pub fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        None => is_name_part(text),
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
    }
}

/// Returns whether this is a label value: empty or a name part.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

/// Returns whether this is a DNS subdomain, the form of most object names: at most 253 lower-case
/// letters, digits, `-` and `.`, where every part between dots begins and ends with a letter or
/// digit.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

fn is_dns_part(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
}

/// Returns what is wrong with a label selector.
pub fn label_selector_errors(path: &str, selector: &LabelSelector) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        if !is_qualified_name(key) {
            errors.push(key_error(format!("{path}.matchLabels"), key));
        }
        if !is_label_value(value) {
            errors.push(value_error(format!("{path}.matchLabels[{key}]"), value));
        }
    }
    for (i, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        if !is_qualified_name(&requirement.key) {
            errors.push(key_error(format!("{path}.key"), &requirement.key));
        }
        let values = requirement.values.as_deref().unwrap_or_default();
        match requirement.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::new(
                format!("{path}.values"),
                "must not be empty for In and NotIn",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::new(
                format!("{path}.values"),
                "must be empty for Exists and DoesNotExist",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::new(
                format!("{path}.operator"),
                format!("`{other}` is not one of In, NotIn, Exists and DoesNotExist"),
            )),
        }
        errors.extend(
            values
                .iter()
                .filter(|value| !is_label_value(value))
                .map(|value| value_error(format!("{path}.values"), value)),
        );
    }
    errors
}

fn key_error(path: String, key: &str) -> FieldError {
    FieldError::new(path, format!("`{key}` is not a qualified name such as `example.com/name`"))
}

fn value_error(path: String, value: &str) -> FieldError {
    FieldError::new(path, format!("`{value}` is not a label value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_kubernetes() {
        for good in ["a", "A-b_c.9", "example.com/Name"] {
            assert!(is_qualified_name(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", "a/b/c", "/a", "Ex.com/a", "a b", long.as_str()] {
            assert!(!is_qualified_name(bad), "{bad}");
        }
        assert!(is_label_value("") && is_label_value("v1.2") && !is_label_value("v 1"));
        assert!(is_dns_subdomain("a.b-c.d") && !is_dns_subdomain("a..b"));
    }
}

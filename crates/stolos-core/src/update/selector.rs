//! Label selectors as `kubectl` takes them: `env=prod,tier in (web,api),!legacy`.

use std::collections::BTreeMap;

/// A parsed label selector: a member must meet every requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

/// Text is not a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a label selector requirement such as `env=prod`, `env in (prod,test)` or `!env`"
)]
pub struct ParseError(pub String);

impl Selector {
    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        })
    }
}

impl std::str::FromStr for Selector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        split_outside_parentheses(text).map(parse_requirement).collect::<Result<_, _>>().map(Self)
    }
}

fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn parse_requirement(text: &str) -> Result<Requirement, ParseError> {
    let text = text.trim();
    let error = || ParseError(text.into());
    if let Some(list) = text.strip_suffix(')') {
        let (head, values) = list.split_once('(').ok_or_else(error)?;
        let (name, operator) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(error)?;
        let values: Vec<String> =
            values.split(',').map(|v| value(v).ok_or_else(error)).collect::<Result<_, _>>()?;
        let key = key(name).ok_or_else(error)?;
        return match operator {
            "in" => Ok(Requirement::In(key, values)),
            "notin" => Ok(Requirement::NotIn(key, values)),
            _ => Err(error()),
        };
    }
    if let Some((name, wanted)) = text.split_once("!=") {
        let values = vec![value(wanted).ok_or_else(error)?];
        return Ok(Requirement::NotIn(key(name).ok_or_else(error)?, values));
    }
    if let Some((name, wanted)) = text.split_once("==").or_else(|| text.split_once('=')) {
        let values = vec![value(wanted).ok_or_else(error)?];
        return Ok(Requirement::In(key(name).ok_or_else(error)?, values));
    }
    match text.strip_prefix('!') {
        Some(name) => key(name).map(Requirement::Missing).ok_or_else(error),
        None => key(text).map(Requirement::Exists).ok_or_else(error),
    }
}

/// A label key: an optional DNS prefix and a name of at most 63 characters.
fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let (prefix, name) = text.split_once('/').map_or((None, text), |(p, n)| (Some(p), n));
    let prefix_ok = prefix.is_none_or(|p| {
        !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
    });
    (prefix_ok && !name.is_empty() && is_label_text(name)).then(|| text.to_owned())
}

/// A label value: empty, or at most 63 letters, digits, dashes, underscores and dots.
fn value(text: &str) -> Option<String> {
    let text = text.trim();
    is_label_text(text).then(|| text.to_owned())
}

fn is_label_text(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_must_be_met() {
        let labels: BTreeMap<String, String> =
            [("env", "prod"), ("fleet.azure.com/location", "eu")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into();
        for (selector, want) in [
            ("env=prod", true),
            ("env==prod, fleet.azure.com/location=eu", true),
            ("env != prod", false),
            ("env in (test, prod)", true),
            ("env notin (test,prod)", false),
            ("tier notin (web)", true),
            ("tier!=web", true),
            ("env", true),
            ("!env", false),
            ("!tier,env in (prod)", true),
            ("tier", false),
        ] {
            assert_eq!(selector.parse::<Selector>().unwrap().matches(&labels), want, "{selector}");
        }
    }

    #[test]
    fn what_is_not_a_selector_is_refused() {
        for wrong in ["", "a=b,", "=b", "a in b", "a in (b", "a like (b)", "a b", "-a", "a=b c"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }
}

//! Query parameters of requests, read once into typed options.

use std::num::NonZeroUsize;

use serde_json::Value;

use super::path::percent_decode;
use crate::status::{ApiError, Cause};

/// The decoded pairs of a query string, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    #[must_use]
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (form_decode(key), form_decode(value))
                })
                .collect(),
        )
    }

    /// Returns the first value of a parameter; an empty value counts as absent.
    #[must_use]
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Returns all values of a repeated parameter.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Reads a boolean as upstream does: present and neither `false` nor `0` is true.
    #[must_use]
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        let value = self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())?;
        Some(!matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// Reads a whole number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, ApiError> {
        self.get(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "query parameter `{key}` must be a whole number, not `{text}`"
                    ))
                })
            })
            .transpose()
    }
}

fn form_decode(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Exact,
    NotOlderThan,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) label_selector: Option<String>,
    pub(crate) field_selector: Option<String>,
    pub(crate) watch: bool,
    pub(crate) allow_bookmarks: bool,
    pub(crate) resource_version: Option<u64>,
    pub(crate) version_match: Option<Match>,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) limit: Option<NonZeroUsize>,
    pub(crate) continue_token: Option<String>,
}

impl ListOptions {
    /// Reads and checks the options; contradictory ones are 422.
    pub(crate) fn parse(query: &Query, legacy_watch: bool) -> Result<Self, ApiError> {
        let options = Self {
            label_selector: query.get("labelSelector").map(str::to_owned),
            field_selector: query.get("fieldSelector").map(str::to_owned),
            watch: legacy_watch || query.flag("watch").unwrap_or(false),
            allow_bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            resource_version: query.get("resourceVersion").map(resource_version).transpose()?,
            version_match: query.get("resourceVersionMatch").map(version_match).transpose()?,
            send_initial_events: query.flag("sendInitialEvents"),
            timeout_seconds: query
                .number("timeoutSeconds")?
                .and_then(|seconds| u64::try_from(seconds).ok()),
            limit: query
                .number("limit")?
                .and_then(|limit| NonZeroUsize::new(usize::try_from(limit).ok()?)),
            continue_token: query.get("continue").map(str::to_owned),
        };
        let causes = if options.watch {
            options.watch_contradictions()
        } else {
            options.list_contradictions()
        };
        if causes.is_empty() {
            Ok(options)
        } else {
            Err(invalid_options("meta.k8s.io", "ListOptions", causes))
        }
    }

    fn list_contradictions(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        if self.send_initial_events.is_some() {
            causes.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        let Some(version_match) = self.version_match else { return causes };
        if self.resource_version.is_none() {
            causes.push(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if self.continue_token.is_some() {
            causes.push(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if version_match == Match::Exact && self.resource_version == Some(0) {
            causes.push(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        causes
    }

    fn watch_contradictions(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        if self.send_initial_events.is_some() && self.version_match != Some(Match::NotOlderThan) {
            causes.push(forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if self.send_initial_events.is_none() && self.version_match.is_some() {
            causes.push(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if self.continue_token.is_some() {
            causes.push(forbidden("continue", "continue is forbidden for watch"));
        }
        causes
    }
}

/// How unknown and duplicate fields are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of create, update, patch and apply.
#[derive(Clone, Debug)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_manager: Option<String>,
    pub(crate) field_validation: FieldValidation,
    pub(crate) force: bool,
}

impl WriteOptions {
    /// Reads the options of a write.
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        let field_validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let detail = r#"supported values: "", "Ignore", "Strict", "Warn""#;
                return Err(invalid_options(
                    "meta.k8s.io",
                    "CreateOptions",
                    vec![not_supported("fieldValidation", other, detail)],
                ));
            }
        };
        let field_manager = query.get("fieldManager").map(str::to_owned);
        if let Some(manager) =
            field_manager.as_deref().filter(|manager| manager.len() > MAX_MANAGER_LENGTH)
        {
            let message = format!(
                "Too long: may not be more than {MAX_MANAGER_LENGTH} bytes, got {}",
                manager.len()
            );
            let cause =
                Cause { reason: "FieldValueTooLong".into(), message, field: "fieldManager".into() };
            return Err(invalid_options("meta.k8s.io", "CreateOptions", vec![cause]));
        }
        Ok(Self {
            dry_run: dry_run(query.all("dryRun"))?,
            field_manager,
            field_validation,
            force: query.flag("force").unwrap_or(false),
        })
    }
}

/// Longest name of a field manager, as upstream.
const MAX_MANAGER_LENGTH: usize = 128;

/// `propagationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// Options of delete, from the body or, when there is none, from the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    /// The legacy form; only it makes a pending deletion answer 202.
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

impl DeleteOptions {
    /// Reads the options of a deletion.
    pub(crate) fn parse(query: &Query, body: Option<&Value>) -> Result<Self, ApiError> {
        let options = match body.filter(|body| !body.is_null()) {
            Some(body) => Self::from_body(query, body)?,
            None => Self {
                dry_run: dry_run(query.all("dryRun"))?,
                grace_period_seconds: query.number("gracePeriodSeconds")?,
                propagation: query.get("propagationPolicy").map(propagation).transpose()?,
                orphan_dependents: query.flag("orphanDependents"),
                uid: None,
                resource_version: None,
            },
        };
        if options.propagation.is_some() && options.orphan_dependents.is_some() {
            let text = "Invalid value: \"object\": orphanDependents and deletionPropagation cannot be both set";
            let cause = Cause {
                reason: "FieldValueInvalid".into(),
                message: text.into(),
                field: "propagationPolicy".into(),
            };
            return Err(invalid_options("meta.k8s.io", "DeleteOptions", vec![cause]));
        }
        Ok(options)
    }

    fn from_body(query: &Query, body: &Value) -> Result<Self, ApiError> {
        let dry_runs = body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(Self {
            dry_run: dry_run(dry_runs.chain(query.all("dryRun")))?,
            grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
            propagation: body["propagationPolicy"].as_str().map(propagation).transpose()?,
            orphan_dependents: body["orphanDependents"].as_bool(),
            uid: body["preconditions"]["uid"].as_str().map(str::to_owned),
            resource_version: body["preconditions"]["resourceVersion"].as_str().map(str::to_owned),
        })
    }
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, ApiError> {
    let mut dry = false;
    for value in values.filter(|value| !value.is_empty()) {
        if value != "All" {
            let detail = r#"supported values: "All""#;
            return Err(invalid_options(
                "meta.k8s.io",
                "CreateOptions",
                vec![not_supported("dryRun", value, detail)],
            ));
        }
        dry = true;
    }
    Ok(dry)
}

fn propagation(text: &str) -> Result<Propagation, ApiError> {
    match text {
        "Orphan" => Ok(Propagation::Orphan),
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        other => {
            let detail = r#"supported values: "Background", "Foreground", "Orphan""#;
            let cause = not_supported("propagationPolicy", other, detail);
            Err(invalid_options("meta.k8s.io", "DeleteOptions", vec![cause]))
        }
    }
}

/// Reads a resource version: a decimal number that fits u64.
pub(crate) fn resource_version(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        let message = format!("Invalid value: \"{text}\": must be a decimal resource version");
        let cause =
            Cause { reason: "FieldValueInvalid".into(), message, field: "resourceVersion".into() };
        invalid_options("meta.k8s.io", "ListOptions", vec![cause])
    })
}

fn version_match(text: &str) -> Result<Match, ApiError> {
    match text {
        "Exact" => Ok(Match::Exact),
        "NotOlderThan" => Ok(Match::NotOlderThan),
        other => {
            let detail = r#"supported values: "Exact", "NotOlderThan""#;
            let cause = not_supported("resourceVersionMatch", other, detail);
            Err(invalid_options("meta.k8s.io", "ListOptions", vec![cause]))
        }
    }
}

fn forbidden(field: &str, why: &str) -> Cause {
    Cause {
        reason: "FieldValueForbidden".into(),
        message: format!("Forbidden: {why}"),
        field: field.into(),
    }
}

fn not_supported(field: &str, value: &str, detail: &str) -> Cause {
    let message = format!("Unsupported value: \"{value}\": {detail}");
    Cause { reason: "FieldValueNotSupported".into(), message, field: field.into() }
}

fn invalid_options(group: &str, kind: &str, causes: Vec<Cause>) -> ApiError {
    ApiError::invalid(group, kind, "", causes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(query: &str) -> Result<ListOptions, ApiError> {
        ListOptions::parse(&Query::parse(Some(query)), false)
    }

    #[test]
    fn escaped_selectors_are_decoded() {
        let options = list("labelSelector=app%3Dweb%2Ctier+in+(a)&limit=5").unwrap();
        assert_eq!(options.label_selector.as_deref(), Some("app=web,tier in (a)"));
        assert_eq!(options.limit.map(NonZeroUsize::get), Some(5));
    }

    #[test]
    fn contradictory_list_options_are_refused() {
        for query in [
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=Exact&resourceVersion=0",
            "resourceVersionMatch=NotOlderThan&resourceVersion=5&continue=abc",
            "resourceVersionMatch=Sometimes&resourceVersion=5",
            "sendInitialEvents=true",
            "watch=1&sendInitialEvents=true",
            "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=4",
            "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=4",
            "resourceVersion=abc",
        ] {
            assert_eq!(list(query).unwrap_err().reason, "Invalid", "{query}");
        }
    }

    #[test]
    fn an_empty_resource_version_differs_from_zero() {
        assert_eq!(list("resourceVersion=").unwrap().resource_version, None);
        assert_eq!(list("resourceVersion=0").unwrap().resource_version, Some(0));
    }

    #[test]
    fn delete_options_of_the_body_win_over_the_query() {
        let body = json!({"kind": "DeleteOptions", "propagationPolicy": "Foreground", "preconditions": {"uid": "u"}});
        let query = Query::parse(Some("propagationPolicy=Orphan"));
        let options = DeleteOptions::parse(&query, Some(&body)).unwrap();
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert_eq!(options.uid.as_deref(), Some("u"));
        assert_eq!(
            DeleteOptions::parse(&query, None).unwrap().propagation,
            Some(Propagation::Orphan)
        );
    }

    #[test]
    fn both_ways_to_say_orphan_at_once_are_refused() {
        let body = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
        assert_eq!(
            DeleteOptions::parse(&Query::default(), Some(&body)).unwrap_err().reason,
            "Invalid"
        );
    }

    #[test]
    fn unknown_dry_run_values_are_refused() {
        assert!(WriteOptions::parse(&Query::parse(Some("dryRun=All"))).unwrap().dry_run);
        assert!(WriteOptions::parse(&Query::parse(Some("dryRun=Some"))).is_err());
    }
}

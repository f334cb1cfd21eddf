//! Query parameters of requests, read once into typed options.

use std::num::{IntErrorKind, NonZeroUsize, ParseIntError};

use serde_json::Value;

use super::path::percent_decode;
use crate::schema::causes::{forbidden, invalid, not_supported, too_long};
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
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: ParseIntError| {
            let why = go_parse_error(&error);
            ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
        })
    }
}

/// What upstream's language says about a text that is no number.
fn go_parse_error(error: &ParseIntError) -> &'static str {
    match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
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
            resource_version: None,
            version_match: query.get("resourceVersionMatch").and_then(version_match),
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
            options.watch_contradictions(query)
        } else {
            options.list_contradictions(query)
        };
        if !causes.is_empty() {
            return Err(invalid_options("ListOptions", causes));
        }
        let read = if options.watch { resource_version } else { listed_version };
        let version = query.get("resourceVersion").map(read).transpose()?;
        Ok(Self { resource_version: version, ..options })
    }

    fn list_contradictions(&self, query: &Query) -> Vec<Cause> {
        let mut causes = Vec::new();
        let field = "resourceVersionMatch";
        if let Some(wanted) = query.get(field) {
            if query.get("resourceVersion").is_none() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                causes.push(forbidden(field, why));
            }
            if self.continue_token.is_some() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                causes.push(forbidden(field, why));
            }
            if self.version_match.is_none() {
                let supported = ["Exact", "NotOlderThan", ""].map(Value::from);
                causes.push(not_supported(field, &wanted.into(), &supported));
            }
            if self.version_match == Some(Match::Exact) && query.get("resourceVersion") == Some("0")
            {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                causes.push(forbidden(field, why));
            }
        }
        if self.send_initial_events.is_some() {
            causes.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        causes
    }

    fn watch_contradictions(&self, query: &Query) -> Vec<Cause> {
        let mut causes = Vec::new();
        let field = "resourceVersionMatch";
        let fits = self.version_match == Some(Match::NotOlderThan);
        if self.send_initial_events.is_some() && !fits {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            causes.push(forbidden(field, why));
        }
        let continues = self.continue_token.is_some();
        let Some(wanted) = query.get(field) else {
            // A watch from any version asks for initial events, which needs a match.
            if continues && matches!(query.get("resourceVersion"), None | Some("0")) {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                causes.push(forbidden(field, why));
            }
            return causes;
        };
        if self.send_initial_events.is_none() {
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(forbidden(field, why));
        }
        if !fits {
            causes.push(not_supported(field, &wanted.into(), &["NotOlderThan".into()]));
        }
        if continues {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(forbidden(field, why));
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
    /// Reads the options of a write; `kind` is what errors call them, such as `PatchOptions`.
    pub(crate) fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
        let field_manager = query.get("fieldManager").map(str::to_owned);
        let dry_run = dry_run(query.all("dryRun"));
        let mut causes: Vec<Cause> = dry_run.as_ref().err().into_iter().cloned().collect();
        if field_manager.as_ref().is_some_and(|manager| manager.len() > MAX_MANAGER_LENGTH) {
            causes.push(too_long("fieldManager", MAX_MANAGER_LENGTH as u64));
        }
        let field_validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["", "Ignore", "Strict", "Warn"].map(Value::from);
                causes.push(not_supported("fieldValidation", &other.into(), &supported));
                FieldValidation::Warn
            }
        };
        if !causes.is_empty() {
            return Err(invalid_options(kind, causes));
        }
        Ok(Self {
            dry_run: dry_run.unwrap_or_default(),
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
        let body = body.filter(|body| !body.is_null());
        let policy = match body {
            Some(body) => body["propagationPolicy"].as_str(),
            None => query.get("propagationPolicy"),
        };
        let orphan_dependents = match body {
            Some(body) => body["orphanDependents"].as_bool(),
            None => query.flag("orphanDependents"),
        };
        let in_body = body.and_then(|body| body["dryRun"].as_array()).into_iter().flatten();
        let dry_run = dry_run(in_body.filter_map(Value::as_str).chain(query.all("dryRun")));
        let mut causes = Vec::new();
        if let (Some(policy), Some(_)) = (policy, orphan_dependents) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(invalid("propagationPolicy", &policy.into(), why));
        }
        if policy.is_some_and(|policy| propagation(policy).is_none()) {
            let supported = ["Foreground", "Background", "Orphan", "nil"].map(Value::from);
            causes.push(not_supported("propagationPolicy", &policy.into(), &supported));
        }
        causes.extend(dry_run.as_ref().err().cloned());
        if !causes.is_empty() {
            return Err(invalid_options("DeleteOptions", causes));
        }
        let precondition =
            |field: &str| Some(body?["preconditions"].get(field)?.as_str()?.to_owned());
        Ok(Self {
            dry_run: dry_run.unwrap_or_default(),
            grace_period_seconds: match body {
                Some(body) => body["gracePeriodSeconds"].as_i64(),
                None => query.number("gracePeriodSeconds")?,
            },
            propagation: policy.and_then(propagation),
            orphan_dependents,
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
        })
    }
}

/// Tells whether nothing is to be stored; `All` is the only value there is.
fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, Cause> {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    if values.iter().any(|value| *value != "All") {
        return Err(not_supported("dryRun", &values.into(), &["All".into()]));
    }
    Ok(!values.is_empty())
}

fn propagation(text: &str) -> Option<Propagation> {
    match text {
        "Orphan" => Some(Propagation::Orphan),
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        _ => None,
    }
}

/// Reads a resource version: a decimal number that fits u64.
pub(crate) fn resource_version(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::unclassified(no_version(text)))
}

/// As [`resource_version`], for lists, where upstream says whose mistake it is.
fn listed_version(text: &str) -> Result<u64, ApiError> {
    let refuse =
        |_| ApiError::bad_request(format!("invalid resource version: {}", no_version(text)));
    text.parse().map_err(refuse)
}

fn no_version(text: &str) -> String {
    format!("resourceVersion: Invalid value: {text:?}: {}", unreadable_number(text))
}

/// Says why a text is no decimal number that fits u64.
pub(crate) fn unreadable_number(text: &str) -> String {
    let why = text.parse::<u64>().err().map_or("invalid syntax", |error| go_parse_error(&error));
    format!("strconv.ParseUint: parsing {text:?}: {why}")
}

fn version_match(text: &str) -> Option<Match> {
    match text {
        "Exact" => Some(Match::Exact),
        "NotOlderThan" => Some(Match::NotOlderThan),
        _ => None,
    }
}

/// 422: options that contradict each other or do not exist.
pub(crate) fn invalid_options(kind: &str, causes: Vec<Cause>) -> ApiError {
    ApiError::invalid("meta.k8s.io", kind, "", causes)
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
        ] {
            assert_eq!(list(query).unwrap_err().reason, "Invalid", "{query}");
        }
        for query in ["resourceVersion=abc", "limit=many", "limit=99999999999999999999"] {
            assert_eq!(list(query).unwrap_err().reason, "BadRequest", "{query}");
        }
    }

    /// Pitfall: no version asks for the latest state, zero for any.
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
        assert!(
            WriteOptions::parse(&Query::parse(Some("dryRun=All")), "CreateOptions")
                .unwrap()
                .dry_run
        );
        assert!(WriteOptions::parse(&Query::parse(Some("dryRun=Some")), "CreateOptions").is_err());
    }
}

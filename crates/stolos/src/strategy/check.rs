//! Everything that is wrong with a strategy: what the engine finds, what the hub's schema finds, and unknown fields.

use std::collections::BTreeSet;

use kube::Client;
use kube::api::{PostParams, Request};
use kube::core::Status;
use serde_json::Value;
use stolos_api::update::{UpdateRunStrategy, UpdateStrategy};
use stolos_core::update::{StrategyLimits, validate};

use crate::fleet::hub::post;

/// Returns what the engine would refuse, one line for each field. What cannot be read is left to the schema.
pub(super) fn by_the_engine(strategy: &Value) -> Vec<String> {
    let Ok(strategy) = serde_json::from_value::<UpdateRunStrategy>(strategy.clone()) else {
        return Vec::new();
    };
    let problems = validate::strategy(&strategy, StrategyLimits::default());
    problems.iter().map(|problem| format!("spec.{}: {}", problem.field, problem.message)).collect()
}

/// Leaves out what is said of fields that something was said of already.
pub(super) fn of_other_fields(known: &[String], more: Vec<String>) -> Vec<String> {
    let field = |line: &str| line.split_once(": ").map_or(line, |(field, _)| field).to_owned();
    let known: BTreeSet<String> = known.iter().map(|line| field(line)).collect();
    more.into_iter().filter(|line| !known.contains(&field(line))).collect()
}

/// How an object is written.
#[derive(Clone, Copy)]
pub(super) enum Verb<'a> {
    Create,
    /// Replaces the object of this name.
    Replace(&'a str),
}

/// A write as JSON, with fields that the types do not know.
pub(super) struct Draft<'a> {
    pub(super) url: &'a str,
    pub(super) verb: Verb<'a>,
    pub(super) object: &'a Value,
}

impl Draft<'_> {
    /// Writes the object. Unknown fields are refused.
    pub(super) async fn write(&self, client: &Client) -> Result<UpdateStrategy, kube::Error> {
        self.send(client, false, "Strict").await
    }

    /// Returns what the hub would refuse, one line for each field. An error that is not about fields is returned as such.
    pub(super) async fn by_the_hub(&self, client: &Client) -> Result<Vec<String>, kube::Error> {
        let mut lines = Vec::new();
        // Strict decoding ends a request before the schema has its say, so both are asked.
        for validation in ["Strict", "Ignore"] {
            match self.send(client, true, validation).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) => match of_fields(&status) {
                    Some(more) => lines.extend(more),
                    None => return Err(kube::Error::Api(status)),
                },
                Err(error) => return Err(error),
            }
        }
        lines.sort();
        lines.dedup();
        Ok(lines)
    }

    async fn send(
        &self,
        client: &Client,
        dry_run: bool,
        validation: &str,
    ) -> Result<UpdateStrategy, kube::Error> {
        let request = Request::new(self.url);
        let params = PostParams { dry_run, ..post() };
        let body = serde_json::to_vec(self.object).map_err(kube::Error::SerdeError)?;
        let request = match self.verb {
            Verb::Create => request.create(&params, body),
            Verb::Replace(name) => request.replace(name, &params, body),
        };
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        // The client library has no such parameter; the field manager has begun the query.
        let uri = format!("{}&fieldValidation={validation}", request.uri());
        *request.uri_mut() = uri.parse().expect("an address with one more parameter is one");
        client.request(request).await
    }
}

/// Returns a line for every field that a refusal is about; `None` when it is about something else.
fn of_fields(status: &Status) -> Option<Vec<String>> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice());
    let causes = causes.unwrap_or_default();
    if status.is_invalid() && !causes.is_empty() {
        return Some(
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect(),
        );
    }
    let (_, unknown) = status.message.split_once("strict decoding error: ")?;
    let line = |text: &str| match text.strip_prefix("unknown field ") {
        Some(field) => format!("{}: there is no such field", field.trim_matches('"')),
        None => text.to_owned(),
    };
    Some(unknown.split(", ").map(line).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_engine_names_every_field() {
        let strategy = json!({ "stages": [
            { "name": "a", "groups": [{ "name": "x" }] },
            { "name": "a", "groups": [{ "name": "x" }] },
            { "name": "b" },
        ]});
        insta::assert_snapshot!(by_the_engine(&strategy).join("\n"), @"
        spec.strategy.stages[1].name: `a` names a second stage
        spec.strategy.stages[1].groups[0].name: `x` names a second group
        spec.strategy.stages[2]: needs groups, a memberSelector, or both
        ");
        assert!(by_the_engine(&json!({ "stages": "many" })).is_empty());
    }

    #[test]
    fn a_field_is_named_once() {
        let known = ["spec.a: is `x`, but must be y".to_owned()];
        let more = vec!["spec.a: Invalid value".to_owned(), "spec.a.b: no such field".to_owned()];
        assert_eq!(of_other_fields(&known, more), ["spec.a.b: no such field"]);
    }

    #[test]
    fn refusals_of_the_hub_are_told_field_by_field() {
        let status = |value| serde_json::from_value::<Status>(value).unwrap();
        let strict = status(json!({
            "code": 400, "reason": "BadRequest",
            "message": "UpdateStrategy in version \"v1alpha1\" cannot be handled as a UpdateStrategy: strict decoding error: unknown field \"spec.strategy.stages[0].waits\", unknown field \"spec.x\"",
        }));
        assert_eq!(
            of_fields(&strict).unwrap(),
            [
                "spec.strategy.stages[0].waits: there is no such field",
                "spec.x: there is no such field"
            ]
        );
        let invalid = status(json!({
            "code": 422, "reason": "Invalid", "message": "no",
            "details": { "causes": [{ "field": "spec.a", "reason": "x", "message": "wrong" }] },
        }));
        assert_eq!(of_fields(&invalid).unwrap(), ["spec.a: wrong"]);
        let forbidden = status(json!({ "code": 403, "reason": "Forbidden", "message": "no" }));
        assert_eq!(of_fields(&forbidden), None);
    }
}

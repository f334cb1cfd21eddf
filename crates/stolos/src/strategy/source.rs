//! A sequence as the user gives it: stages in short on the command line, or a file.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::exit::Hinted;
use crate::input;
use crate::stages::{self, Limits};

/// What a file may hold, for the hint.
const FORMS: &str = "it may hold `stages: [...]` as `az fleet updatestrategy create --stages` takes it, or an UpdateStrategy";

/// Whether the text of `--stages` names a file rather than being the stages themselves.
fn names_a_file(text: &str) -> bool {
    let extension = Path::new(text).extension().and_then(|extension| extension.to_str());
    text == "-" || extension.is_some_and(|found| ["json", "yaml", "yml"].contains(&found))
}

/// Returns the strategy that the argument of `--stages` gives, unchecked.
pub(super) fn from_stages(text: &str) -> anyhow::Result<Value> {
    if names_a_file(text) {
        return from_file(Path::new(text));
    }
    let stages = stages::parse(text).map_err(|error| {
        Hinted::error(
            format!("--stages: {error}"),
            "a file needs a name that ends in .json, .yaml or .yml, or -f before it",
        )
    })?;
    serde_json::to_value(stages.strategy(&Limits::default()))
        .context("failed to write the stages as JSON")
}

/// Returns the strategy that a file holds, unchecked.
pub(super) fn from_file(path: &Path) -> anyhow::Result<Value> {
    let doing = || format!("failed to read stages from `{}`", path.display());
    let text = input::text_of(path)?;
    let value: Value =
        serde_saphyr::from_str(&text).context("it is neither YAML nor JSON").with_context(doing)?;
    strategy_in(value).map_err(|wrong| Hinted::error(format!("{}: {wrong}", doing()), FORMS))
}

/// Finds the strategy in an object of ours, a resource of Azure's, or bare.
fn strategy_in(value: Value) -> Result<Value, String> {
    let kind = value["kind"].as_str().unwrap_or("UpdateStrategy");
    if kind != "UpdateStrategy" {
        return Err(format!("it is a {kind}, not an UpdateStrategy"));
    }
    let places = ["/spec/strategy", "/properties/strategy", "/strategy"];
    if let Some(found) = places.iter().find_map(|place| value.pointer(place)) {
        return Ok(found.clone());
    }
    match value {
        Value::Array(stages) => Ok(json!({ "stages": stages })),
        Value::Object(map) if map.contains_key("stages") => Ok(Value::Object(map)),
        _ => Err("there are no stages in it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_found_in_every_form() {
        let bare = json!({ "stages": [{ "name": "a" }] });
        for form in [
            bare.clone(),
            json!([{ "name": "a" }]),
            json!({ "strategy": bare }),
            json!({ "properties": { "strategy": bare } }),
            json!({ "kind": "UpdateStrategy", "spec": { "fleetName": "x", "strategy": bare } }),
        ] {
            assert_eq!(strategy_in(form.clone()).as_ref(), Ok(&bare), "{form}");
        }
        let wrong = [json!({ "kind": "UpdateRun" }), json!({ "name": "a" }), json!("text")];
        let wrong = wrong.map(|form| strategy_in(form).unwrap_err());
        assert_eq!(
            wrong,
            [
                "it is a UpdateRun, not an UpdateStrategy",
                "there are no stages in it",
                "there are no stages in it"
            ]
        );
    }

    #[test]
    fn a_file_is_told_from_stages_by_its_name() {
        for file in ["rings.json", "a/b.yaml", "x.yml", "-"] {
            assert!(names_a_file(file), "{file}");
        }
        for stages in ["canary", "canary:canary@30s;prod:europe,world", ""] {
            assert!(!names_a_file(stages), "{stages}");
        }
    }

    #[test]
    fn short_stages_become_a_strategy() {
        let strategy = from_stages("canary@30s;prod:europe,world").unwrap();
        assert_eq!(strategy["stages"][0]["afterStageWaitInSeconds"], 30);
        assert_eq!(strategy["stages"][1]["groups"][1]["name"], "world");
        let error = from_stages("a;;b").unwrap_err().to_string();
        assert!(error.starts_with("--stages: stage 2 is empty"), "{error}");
    }
}

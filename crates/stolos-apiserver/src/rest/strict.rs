//! Strict decoding: what becomes of a request with unknown or repeated fields.

use std::fmt::Write as _;

use serde_json::Value;

use super::query::FieldValidation;
use crate::registry::Resource;
use crate::schema::parse::Problem;
use crate::status::{ApiError, Cause};

/// Where the fields stood; upstream words refusals accordingly.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// The body of a POST or PUT, of a kind in a version.
    Body {
        /// Kind of the body.
        kind: &'a str,
        /// Version alone, without the group.
        version: &'a str,
    },
    /// A patch or what it made of the object, as text.
    Patch(&'a str),
    /// What was applied.
    Apply,
}

impl<'a> Origin<'a> {
    /// Returns the body of a request about a resource.
    pub(crate) fn body_of(resource: &'a Resource) -> Self {
        Self::Body { kind: &resource.kind, version: &resource.group_version.version }
    }
}

/// Treats unknown and repeated fields as the request wishes: refuses them, returns warnings, or says nothing.
pub(crate) fn judge(
    mode: FieldValidation,
    origin: Origin<'_>,
    problems: &[Problem],
) -> Result<Vec<String>, ApiError> {
    if problems.is_empty() || mode == FieldValidation::Ignore {
        return Ok(Vec::new());
    }
    if mode == FieldValidation::Warn {
        return Ok(problems.iter().map(ToString::to_string).collect());
    }
    let listed = listed(problems);
    let text = format!("strict decoding error: {listed}");
    Err(match origin {
        Origin::Body { kind, version } => ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {text}"
        )),
        Origin::Patch(value) => {
            let message = format!("Invalid value: {value:?}: {text}");
            let field = "patch".to_owned();
            let cause = Cause { reason: "FieldValueInvalid".into(), message, field };
            ApiError::invalid("", "", "", vec![cause])
        }
        Origin::Apply => ApiError::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: {listed}"
        )),
    })
}

/// Lists problems; those that a YAML reader found stand together.
fn listed(problems: &[Problem]) -> String {
    let mut parts = Vec::new();
    let mut in_yaml = String::new();
    for problem in problems {
        match problem {
            Problem::DuplicateKey { .. } => {
                let _ = write!(in_yaml, "\n  {problem}");
            }
            Problem::Duplicate(_) | Problem::Unknown(_) | Problem::InJsonPatch(_) => {
                parts.push(problem.to_string())
            }
        }
    }
    if !in_yaml.is_empty() {
        parts.insert(0, format!("yaml: unmarshal errors:{in_yaml}"));
    }
    parts.join(", ")
}

/// Writes a value as Go prints maps, which is how the value of a refused strategic merge patch is shown.
pub(crate) fn as_go_prints(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", join(items.iter().map(as_go_prints).collect())),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key}:{}", as_go_prints(value)));
            format!("map[{}]", join(fields.collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems() -> [Problem; 2] {
        [Problem::Duplicate("spec.a".to_owned()), Problem::Unknown("spec.x".to_owned())]
    }

    fn refused(origin: Origin<'_>, problems: &[Problem]) -> ApiError {
        judge(FieldValidation::Strict, origin, problems).unwrap_err()
    }

    #[test]
    fn strict_decoding_names_every_field_in_the_known_words() {
        let body = Origin::Body { kind: "Deployment", version: "v1" };
        let want = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
                    duplicate field \"spec.a\", unknown field \"spec.x\"";
        assert_eq!(refused(body, &problems()).message, want);
        assert_eq!(judge(FieldValidation::Ignore, body, &problems()).unwrap(), [] as [&str; 0]);
        let warnings = judge(FieldValidation::Warn, body, &problems()).unwrap();
        assert_eq!(warnings, ["duplicate field \"spec.a\"", "unknown field \"spec.x\""]);
    }

    #[test]
    fn patches_are_refused_as_invalid_and_show_their_value() {
        let shown = as_go_prints(&json!({"spec": {"x": 1, "l": ["a", null]}}));
        assert_eq!(shown, "map[spec:map[l:[a <nil>] x:1]]");
        let error = refused(Origin::Patch(&shown), &problems()[1..]);
        assert_eq!((error.code.as_u16(), error.reason), (422, "Invalid"));
        let want = " \"\" is invalid: patch: Invalid value: \"map[spec:map[l:[a <nil>] x:1]]\": strict decoding error: \
                    unknown field \"spec.x\"";
        assert_eq!(error.message, want);
    }

    #[test]
    fn what_yaml_repeats_is_named_by_line() {
        let key = |line| Problem::DuplicateKey { line, key: "a".to_owned() };
        let found = [key(3), key(5), Problem::Unknown("x".to_owned())];
        let body = Origin::Body { kind: "A", version: "v1" };
        let want = "strict decoding error: yaml: unmarshal errors:\n  line 3: key \"a\" already set in map\n  \
                    line 5: key \"a\" already set in map, unknown field \"x\"";
        assert!(refused(body, &found).message.ends_with(want));
        let want = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  \
                    line 3: key \"a\" already set in map";
        assert_eq!(refused(Origin::Apply, &found[..1]).message, want);
    }
}

//! Which representation a client wants, and which one it sends.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use crate::status::ApiError;

/// Serialisation of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
}

/// What of the objects a client wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Whole objects.
    Object,
    /// Only apiVersion, kind and metadata.
    Metadata,
    /// `meta.k8s.io` Table in the given version.
    Table { version: String },
}

/// The negotiated response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) shape: Shape,
}

impl Output {
    /// Plain JSON objects: what errors and unnegotiated answers use.
    pub(crate) const JSON: Self = Self { format: Format::Json, shape: Shape::Object };
}

/// Takes the first clause of `Accept` that we can serve. `shapes` tells whether the endpoint returns objects that can
/// become tables or metadata; elsewhere such clauses do not match.
pub(crate) fn output(headers: &HeaderMap, shapes: bool) -> Result<Output, ApiError> {
    let mut asked = false;
    for value in headers.get_all(ACCEPT) {
        for clause in value
            .to_str()
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|clause| !clause.is_empty())
        {
            asked = true;
            if let Some(output) =
                clause_output(clause).filter(|output| shapes || output.shape == Shape::Object)
            {
                return Ok(output);
            }
        }
    }
    if asked { Err(not_acceptable()) } else { Ok(Output::JSON) }
}

fn clause_output(clause: &str) -> Option<Output> {
    let mut parts = clause.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let parameter =
        |key: &str| parameters.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let shape = match (parameter("as"), parameter("g"), parameter("v")) {
        (None, _, _) => Shape::Object,
        (Some("Table"), Some("meta.k8s.io"), Some(version @ ("v1" | "v1beta1"))) => {
            Shape::Table { version: version.to_owned() }
        }
        (
            Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
            Some("meta.k8s.io"),
            Some("v1" | "v1beta1"),
        ) => Shape::Metadata,
        _ => return None,
    };
    Some(Output { format, shape })
}

fn not_acceptable() -> ApiError {
    let text = "only the following media types are accepted: application/json, application/yaml";
    ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", text)
}

/// How a request body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Json,
    Yaml,
    Protobuf,
}

/// Reads `Content-Type`; JSON when absent.
pub(crate) fn input(headers: &HeaderMap) -> Result<Input, ApiError> {
    match media_type(headers) {
        "" | "application/json" | "*/*" => Ok(Input::Json),
        "application/yaml" => Ok(Input::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Input::Protobuf),
        _ => Err(unsupported(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ])),
    }
}

/// What a PATCH body means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// Reads the `Content-Type` of a PATCH. Custom resources have no strategic merge.
pub(crate) fn patch_type(headers: &HeaderMap, custom: bool) -> Result<PatchType, ApiError> {
    const ALL: [&str; 4] = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
        "application/strategic-merge-patch+json",
    ];
    match media_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        "application/strategic-merge-patch+json" if !custom => Ok(PatchType::Strategic),
        _ => Err(unsupported(if custom { &ALL[..3] } else { &ALL })),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn unsupported(accepted: &[&str]) -> ApiError {
    let text = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    );
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str, shapes: bool) -> Result<Output, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        output(&headers, shapes)
    }

    fn content(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, text.parse().unwrap());
        headers
    }

    #[test]
    fn the_first_clause_we_can_serve_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(accept(table, true).unwrap().shape, Shape::Table { version: "v1".into() });
        assert_eq!(accept(table, false).unwrap(), Output::JSON);
        let typed = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(accept(typed, true).unwrap(), Output::JSON);
        assert_eq!(accept("application/vnd.kubernetes.protobuf, */*", true).unwrap(), Output::JSON);
    }

    #[test]
    fn only_tables_where_there_are_none_is_not_acceptable() {
        let only = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(accept(only, false).unwrap_err().reason, "NotAcceptable");
        assert_eq!(accept("text/html", true).unwrap_err().code, StatusCode::NOT_ACCEPTABLE);
    }

    #[test]
    fn metadata_lists_are_understood_as_kube_asks_for_them() {
        let text = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(accept(text, true).unwrap().shape, Shape::Metadata);
    }

    #[test]
    fn unknown_bodies_are_unsupported_and_absence_means_json() {
        assert_eq!(input(&HeaderMap::new()).unwrap(), Input::Json);
        assert_eq!(input(&content("application/json; charset=utf-8")).unwrap(), Input::Json);
        assert_eq!(input(&content("application/cbor")).unwrap_err().reason, "UnsupportedMediaType");
    }

    #[test]
    fn custom_resources_refuse_strategic_merge() {
        let strategic = content("application/strategic-merge-patch+json");
        assert_eq!(patch_type(&strategic, false).unwrap(), PatchType::Strategic);
        assert_eq!(patch_type(&strategic, true).unwrap_err().reason, "UnsupportedMediaType");
        assert_eq!(
            patch_type(&content("application/json"), false).unwrap_err().reason,
            "UnsupportedMediaType"
        );
    }
}

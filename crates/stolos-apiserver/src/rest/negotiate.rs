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

/// What an endpoint returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    /// An object that can become a table or metadata.
    Object,
    /// A list of such objects.
    List,
    /// Events with such objects.
    Events,
    /// An object that has no other form.
    Plain,
}

impl Returns {
    fn has_shapes(self) -> bool {
        self != Self::Plain
    }

    /// The media types that an endpoint names when a client takes none of them.
    fn media_types(self) -> &'static str {
        match self {
            Self::Object | Self::Plain => "application/json, application/yaml",
            Self::List => "application/json, application/yaml, application/json;stream=watch",
            Self::Events => "application/json;stream=watch",
        }
    }
}

/// Takes the best clause of `Accept` that we can serve. `kind` names what is returned to a client that takes metadata
/// only of something else.
pub(crate) fn output(
    headers: &HeaderMap,
    returns: Returns,
    kind: impl Fn() -> String,
) -> Result<Output, ApiError> {
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return Ok(Output::JSON);
    }
    let found = clauses.iter().find_map(|clause| clause.output(returns));
    let Some(output) = found else { return Err(not_acceptable(&clauses, returns)) };
    let list = output.metadata_of_list;
    let wrong = match (returns, &output.output.shape) {
        (Returns::List, Shape::Metadata) if !list => Some(format!(
            "you requested PartialObjectMetadata, but the requested object is a list ({}List)",
            kind()
        )),
        (Returns::Object, Shape::Metadata) if list => Some(format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
            kind()
        )),
        _ => None,
    };
    match wrong {
        Some(text) => Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", text)),
        None => Ok(output.output),
    }
}

/// Returns how a client wants errors to be written; JSON when it takes nothing that we have.
pub(crate) fn error_format(headers: &HeaderMap) -> Format {
    let clauses = clauses(headers);
    let found = clauses.iter().find_map(|clause| clause.output(Returns::Plain));
    found.map_or(Format::Json, |found| found.output.format)
}

/// One alternative of an `Accept` header.
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    weight: u32,
}

struct Found {
    output: Output,
    /// The client said that it expects the metadata of a list.
    metadata_of_list: bool,
}

/// Returns the clauses, the ones that the client prefers first; equal ones stay in order, wildcards come last.
fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let texts = values.flat_map(|value| value.split(',')).map(str::trim);
    let mut clauses: Vec<Clause<'_>> =
        texts.filter(|text| !text.is_empty()).map(Clause::parse).collect();
    clauses.sort_by_key(|clause| {
        (std::cmp::Reverse(clause.weight), clause.media_type.matches('*').count())
    });
    clauses
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let weight = parameters.iter().find(|(name, _)| *name == "q");
        let weight = weight.and_then(|(_, value)| thousandths(value)).unwrap_or(1000);
        Self { media_type, parameters, weight }
    }

    fn output(&self, returns: Returns) -> Option<Found> {
        let format = match self.media_type {
            "application/json" | "*/*" | "application/*" => Format::Json,
            "application/yaml" if returns != Returns::Events => Format::Yaml,
            _ => return None,
        };
        let parameter = |key: &str| {
            self.parameters.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
        };
        let (group, version) = (parameter("g"), parameter("v"));
        let of_meta = group == Some("meta.k8s.io") && matches!(version, Some("v1" | "v1beta1"));
        let wanted = parameter("as");
        let shape = match wanted {
            None => Shape::Object,
            Some(_) if !of_meta || !returns.has_shapes() => return None,
            Some("Table") => Shape::Table { version: version.unwrap_or_default().to_owned() },
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Shape::Metadata,
            Some(_) => return None,
        };
        let metadata_of_list = wanted == Some("PartialObjectMetadataList");
        Some(Found { output: Output { format, shape }, metadata_of_list })
    }
}

/// Reads a weight such as `0.85`.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(whole.parse::<u32>().ok()? * 1000 + fraction.parse::<u32>().ok()?)
}

/// 406. Upstream words it differently when not even the media type, without its parameters, is one of ours.
fn not_acceptable(clauses: &[Clause<'_>], returns: Returns) -> ApiError {
    let types = returns.media_types();
    let is_known = |clause: &Clause<'_>| {
        matches!(clause.media_type, "application/json" | "application/yaml" | "*/*")
    };
    if clauses.iter().any(is_known) {
        let text = format!("only the following media types are accepted: {types}");
        return ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", text);
    }
    let text = format!("406: Not Acceptable\n\nAvailable representations: {types}");
    ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", text).with_details()
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
    const ACCEPTED_BY_CUSTOM: [&str; 3] = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
    ];
    match media_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        "application/strategic-merge-patch+json" if !custom => Ok(PatchType::Strategic),
        _ if custom => Err(unsupported(&ACCEPTED_BY_CUSTOM)),
        _ => {
            let text = "415: Unsupported Media Type";
            let error =
                ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", text);
            Err(error.with_details())
        }
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

    fn accept(text: &str, returns: Returns) -> Result<Output, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        output(&headers, returns, || "*core.Pod".to_owned())
    }

    fn content(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, text.parse().unwrap());
        headers
    }

    #[test]
    fn the_first_clause_we_can_serve_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        let shape = Shape::Table { version: "v1".into() };
        assert_eq!(accept(table, Returns::List).unwrap().shape, shape);
        assert_eq!(accept(table, Returns::Plain).unwrap(), Output::JSON);
        for typed in ["application/vnd.kubernetes.protobuf,application/json", "text/html, */*"] {
            assert_eq!(accept(typed, Returns::Object).unwrap(), Output::JSON);
        }
    }

    #[test]
    fn weights_come_before_order() {
        let text = "application/json;q=0.1, application/yaml;q=0.95";
        assert_eq!(accept(text, Returns::Object).unwrap().format, Format::Yaml);
        assert_eq!(thousandths("0.95"), Some(950));
        assert_eq!(thousandths("1"), Some(1000));
    }

    #[test]
    fn only_tables_where_there_are_none_is_not_acceptable() {
        let only = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(accept(only, Returns::Plain).unwrap_err().reason, "NotAcceptable");
        assert_eq!(accept("text/html", Returns::Object).unwrap_err().code, 406);
        assert_eq!(accept("application/yaml", Returns::Events).unwrap_err().code, 406);
    }

    #[test]
    fn metadata_of_lists_and_objects_is_not_confused() {
        let (one, list) = ("PartialObjectMetadata", "PartialObjectMetadataList");
        let ask = |what: &str, returns| {
            accept(&format!("application/json;as={what};g=meta.k8s.io;v=v1"), returns)
        };
        for (what, returns) in
            [(list, Returns::List), (one, Returns::Object), (one, Returns::Events)]
        {
            assert_eq!(ask(what, returns).unwrap().shape, Shape::Metadata);
        }
        for (what, returns) in [(one, Returns::List), (list, Returns::Object)] {
            assert_eq!(ask(what, returns).unwrap_err().code, 406);
        }
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

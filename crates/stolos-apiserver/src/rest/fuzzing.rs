//! What fuzzing reaches of the request parsers: each reads anything without a panic, and some keep a law.

use http::HeaderMap;

use super::continue_token::ContinueToken;
use super::negotiate::{self, Returns};
use super::path;
use super::query::{DeleteOptions, ListOptions, Query, WriteOptions, resource_version};

/// Reads a path, and a query as the options of every verb.
pub(crate) fn path_and_query(path: &str, query: &str) {
    if let Some(resource) = path::parse(path) {
        assert!(!resource.plural.is_empty(), "{path}");
    }
    let query = Query::parse(Some(query));
    for legacy in [false, true] {
        if let Ok(options) = ListOptions::parse(&query, legacy) {
            assert!(!legacy || options.watch);
        }
    }
    let _ = WriteOptions::parse(&query, "CreateOptions");
    let _ = DeleteOptions::parse(&query, None);
    let _ = query.get("resourceVersion").map(resource_version);
}

/// Negotiates content types.
pub(crate) fn negotiation(headers: &HeaderMap) {
    for returns in [Returns::Object, Returns::List, Returns::Events, Returns::Plain] {
        let _ = negotiate::output(headers, returns, String::new);
    }
    let _ = negotiate::error_format(headers);
    let _ = negotiate::input(headers);
    let _ = negotiate::patch_type(headers, true);
}

/// Reads a continue token; one that was accepted is accepted again when written, for its own list and no other.
pub(crate) fn continue_token(text: &str) {
    let of = "pods/a";
    if let Ok(token) = ContinueToken::decode(text, of) {
        let written = token.encode(of);
        assert_eq!(ContinueToken::decode(&written, of).ok(), Some(token));
        assert!(ContinueToken::decode(&written, "pods/b").is_err());
    }
}

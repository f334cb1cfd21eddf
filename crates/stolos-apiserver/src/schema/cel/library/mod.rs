//! The functions that expressions may call: those of the language with its extensions, and Kubernetes' own.

mod authorizer;
mod declarations;
mod format;
mod lists;
mod net;
pub(super) mod opaque;
mod optional;
mod quantity;
mod regex;
mod semver;
pub(super) mod standard;
mod strings;
pub(super) mod template;
pub(super) mod time;
mod url;

pub use authorizer::{Authorization, Authorize, Check, Verdict};
pub(super) use declarations::{Function, function, named_type};
pub(super) use regex::compile as compile_regex;

use super::error::Error;
use super::value::Value;

/// What computes a function.
pub(super) type Body = for<'a, 'b> fn(&'b [Value<'a>]) -> Answer<'a>;

/// Result of a function.
pub(super) type Answer<'a> = Result<Value<'a>, Error>;

/// Finds what computes a function.
fn body(name: &str) -> Option<Body> {
    [
        standard::body,
        strings::body,
        lists::body,
        regex::body,
        time::body,
        optional::body,
        url::body,
        quantity::body,
        net::body,
        format::body,
        semver::body,
        authorizer::body,
    ]
    .into_iter()
    .find_map(|find| find(name))
}

/// Arguments that no overload takes.
fn no_overload<'a>() -> Answer<'a> {
    Err(Error::no_such_overload())
}

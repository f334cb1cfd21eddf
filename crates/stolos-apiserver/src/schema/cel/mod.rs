//! The Common Expression Language, with the functions, costs and error texts of kube-apiserver.
//!
//! The `cel` crate parses; types, evaluation and costs are ours, because kube-apiserver checks types before it takes an
//! expression, counts what evaluation costs, and words its errors in its own way. Values of objects are read in place.
//!
//! [`Environment`] says which variables there are, [`Program`] is a compiled expression, [`Rule`] is one of the
//! `x-kubernetes-validations` of a schema.

mod check;
mod cost;
mod error;
mod estimate;
mod eval;
mod field_path;
mod infer;
mod library;
mod list;
mod literals;
mod macros;
mod map;
mod names;
mod node;
mod program;
mod rules;
mod source;
mod types;
mod validate;
mod value;

pub use error::{Error, ErrorKind};
pub(super) use estimate::most_occurrences;
pub use eval::Variables;
pub use library::opaque::Opaque;
pub use library::{Authorization, Authorize, Check, Verdict};
pub use list::List;
pub use map::{LazyFields, Map};
pub(crate) use names::is_reserved;
pub use program::{Environment, Program};
pub(super) use rules::Problem;
pub use rules::Rule;
pub use types::{ObjectType, Type};
pub(super) use validate::validate;
pub use value::{MapKey, Text, Value};

/// Most that one evaluation may cost, as upstream.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// Most that all rules of one object may cost in one request, as upstream.
pub const RUNTIME_BUDGET: u64 = 10_000_000;

#[cfg(test)]
mod tests;

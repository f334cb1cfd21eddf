//! What goes wrong when an expression is evaluated.

use std::fmt;
use std::sync::Arc;

/// Why an expression has no value. The text is the one that kube-apiserver reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    text: Arc<str>,
    kind: ErrorKind,
}

/// What sort of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No function of the name takes values of these types.
    NoSuchOverload,
    /// The evaluation took more steps than it may.
    OverBudget,
    /// Anything else: a key that is absent, a division by zero, a text that cannot be parsed.
    Failed,
}

impl Error {
    /// Returns an error with a text.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self { text: text.as_ref().into(), kind: ErrorKind::Failed }
    }

    pub(super) fn no_such_overload() -> Self {
        Self { text: "no such overload".into(), kind: ErrorKind::NoSuchOverload }
    }

    pub(super) fn no_overload_of(name: &str) -> Self {
        let text = format!("no such overload: {name}");
        Self { text: text.into(), kind: ErrorKind::NoSuchOverload }
    }

    pub(super) fn no_overload_for(name: &str, types: &[&str]) -> Self {
        let text = format!("no such overload: {name}({})", types.join(", "));
        Self { text: text.into(), kind: ErrorKind::NoSuchOverload }
    }

    pub(super) fn no_such_key(key: &str) -> Self {
        Self::new(format!("no such key: {key}"))
    }

    pub(super) fn over_budget() -> Self {
        let text = "operation cancelled: actual cost limit exceeded";
        Self { text: text.into(), kind: ErrorKind::OverBudget }
    }

    /// Returns what sort of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

//! What a decision wants people to be told.

/// Something that happened and that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether a person should act.
    pub severity: Severity,
    /// `CamelCase`.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

impl Event {
    /// Returns an event of something that went as planned.
    #[must_use]
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Normal, reason, message: message.into() }
    }

    /// Returns an event that a person should look at.
    #[must_use]
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, reason, message: message.into() }
    }
}

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As planned.
    Normal,
    /// A person should look.
    Warning,
}

impl Severity {
    /// Returns the type of a Kubernetes Event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

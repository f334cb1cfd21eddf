//! Label and field selectors: parsing, checking and matching.
//!
//! Error texts are those of Kubernetes, because people and tests search for them.

mod fields;
mod labels;
mod names;

pub use fields::FieldSelector;
pub use labels::{LabelSelector, Operator, Requirement};

use crate::store::{Attributes, Key};

/// Says why a selector was refused, in the words of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

/// What a list or watch asks for: both selectors must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// `labelSelector` of the request.
    pub labels: LabelSelector,
    /// `fieldSelector` of the request.
    pub fields: FieldSelector,
}

impl Selectors {
    /// Parses both query parameters; an absent one selects everything.
    ///
    /// # Errors
    /// The first parameter that does not parse, or a field that is not `selectable`.
    pub fn parse(
        labels: Option<&str>,
        fields: Option<&str>,
        selectable: impl Fn(&str) -> bool,
    ) -> Result<Self, ParseError> {
        let labels = LabelSelector::parse(labels.unwrap_or_default())?;
        let fields = FieldSelector::parse(fields.unwrap_or_default())?;
        fields.check(selectable)?;
        Ok(Self { labels, fields })
    }

    /// Returns whether the object is selected.
    #[must_use]
    pub fn matches(&self, key: &Key, attributes: &Attributes) -> bool {
        self.labels.matches(&attributes.labels) && self.fields.matches(key, attributes)
    }

    /// Returns whether every object is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }
}

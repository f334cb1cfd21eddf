//! Field selectors: `path=value` and `path!=value`, joined by commas.

use std::fmt;

use super::ParseError;
use crate::store::{Attributes, Key};

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

/// Conditions on fields, all of which must hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    path: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Parses the text form; the empty text selects everything. In values `\`, `,` and `=` are escaped by `\`.
    ///
    /// # Errors
    /// Names the part without operator, or the wrong escape.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut terms = Vec::new();
        for part in split_terms(text).into_iter().filter(|part| !part.is_empty()) {
            let Some((path, equal, value)) = split_term(part) else {
                let why = format!("invalid selector: '{text}'; can't understand '{part}'");
                return Err(ParseError(why));
            };
            terms.push(Term { path: path.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self { terms })
    }

    /// Checks that a resource can be selected by each path.
    ///
    /// # Errors
    /// `field label not supported: …`
    pub fn check(&self, selectable: impl Fn(&str) -> bool) -> Result<(), ParseError> {
        match self.terms.iter().find(|term| !selectable(&term.path)) {
            Some(term) => Err(ParseError(format!("field label not supported: {}", term.path))),
            None => Ok(()),
        }
    }

    /// Returns whether the object satisfies every term; a field it does not have is the empty text.
    #[must_use]
    pub fn matches(&self, key: &Key, attributes: &Attributes) -> bool {
        self.terms.iter().all(|term| {
            let value = match term.path.as_str() {
                NAME => &key.name,
                NAMESPACE => &key.namespace,
                path => attributes.fields.get(path).unwrap_or_default(),
            };
            (value == term.value) == term.equal
        })
    }

    /// Returns whether there is no term.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Returns the one name that `metadata.name=…` asks for, to look up a single object.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.exact(NAME)
    }

    /// Returns the one namespace that `metadata.namespace=…` asks for.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.exact(NAMESPACE)
    }

    fn exact(&self, path: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.equal && term.path == path)?;
        Some(&term.value)
    }
}

/// Writes the text form, which parses to the same selector.
impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            f.write_str(&term.path)?;
            f.write_str(if term.equal { "=" } else { "!=" })?;
            for c in term.value.chars() {
                f.write_str(if matches!(c, '\\' | ',' | '=') { "\\" } else { "" })?;
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Splits at the first operator into path, equality and raw value.
fn split_term(part: &str) -> Option<(&str, bool, &str)> {
    let at = part.find('=')?;
    let (path, equal) = match part[..at].strip_suffix('!') {
        Some(path) => (path, false),
        None => (&part[..at], true),
    };
    let value = &part[at + 1..];
    let value = if equal { value.strip_prefix('=').unwrap_or(value) } else { value };
    Some((path, equal, value))
}

fn unescape(raw: &str) -> Result<String, ParseError> {
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => value.push(c),
                next => {
                    let sequence: String = Some('\\').into_iter().chain(next).collect();
                    let why =
                        format!("invalid field selector: invalid escape sequence: {sequence}");
                    return Err(ParseError(why));
                }
            },
            ',' | '=' => {
                let why = format!("invalid field selector: unescaped character in value: {c}");
                return Err(ParseError(why));
            }
            c => value.push(c),
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> (Key, Attributes) {
        let key = Key { namespace: "prod".to_owned(), name: "web".to_owned() };
        let fields = [("spec.nodeName", "a,b=c")].into_iter().collect();
        (key, Attributes { fields, ..Attributes::default() })
    }

    #[test]
    fn terms_select_by_name_namespace_and_listed_fields() {
        let (key, attributes) = object();
        for (text, want) in [
            ("", true),
            ("metadata.name=web", true),
            ("metadata.name==web,metadata.namespace!=dev", true),
            ("metadata.name!=web", false),
            (r"spec.nodeName=a\,b\=c", true),
            ("spec.other=", true),
            ("spec.other!=x", true),
        ] {
            let selector = FieldSelector::parse(text).expect(text);
            assert_eq!(selector.matches(&key, &attributes), want, "{text}");
            assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector), "{text}");
        }
        assert_eq!(FieldSelector::parse("metadata.name=web").expect("valid").name(), Some("web"));
        assert_eq!(FieldSelector::parse("metadata.name!=web").expect("valid").name(), None);
    }

    #[test]
    fn refusals_read_like_those_of_kubernetes() {
        for (text, want) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            ("a=b=c", "invalid field selector: unescaped character in value: ="),
        ] {
            assert_eq!(FieldSelector::parse(text).expect_err(text).to_string(), want);
        }
        let selector = FieldSelector::parse("spec.x=1").expect("valid");
        let error = selector.check(|path| path == "spec.y").expect_err("not listed");
        assert_eq!(error.to_string(), "field label not supported: spec.x");
        assert_eq!(selector.check(|path| path == "spec.x"), Ok(()));
    }
}

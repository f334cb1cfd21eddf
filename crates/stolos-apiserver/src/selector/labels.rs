//! Label selectors, as text (`a=b,c in (d)`) and as `LabelSelector` objects.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::ParseError;
use super::names::{check_key, check_value};
use crate::store::Pairs;

/// Conditions on labels, all of which must hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// What must hold for its value.
    pub operator: Operator,
}

/// What must hold for the value of a label. Values are sorted and unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Has exactly this value.
    Equals(String),
    /// Has another value or is missing.
    NotEquals(String),
    /// Has one of these values.
    In(Vec<String>),
    /// Has none of these values or is missing.
    NotIn(Vec<String>),
    /// Is there.
    Exists,
    /// Is missing.
    DoesNotExist,
    /// Is a greater whole number.
    GreaterThan(i64),
    /// Is a smaller whole number.
    LessThan(i64),
}

impl LabelSelector {
    /// Parses the text form; the empty text selects everything.
    ///
    /// # Errors
    /// Says what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let tokens = tokenize(text);
        let mut requirements = Parser { tokens: &tokens, at: 0 }.selector().map_err(ParseError)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Reads a `LabelSelector` object with `matchLabels` and `matchExpressions`. Null selects nothing, so it is `None`.
    ///
    /// # Errors
    /// Names the operator, key or value that is not allowed.
    pub fn from_object(selector: &Value) -> Result<Option<Self>, ParseError> {
        if selector.is_null() {
            return Ok(None);
        }
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            requirements.push(requirement(key, "=", vec![text_of(value)]).map_err(ParseError)?);
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = text_of(&expression["key"]);
            let operator = match text_of(&expression["operator"]).as_str() {
                "In" => "in",
                "NotIn" => "notin",
                "Exists" => "exists",
                "DoesNotExist" => "!",
                other => {
                    return Err(ParseError(format!(
                        "\"{other}\" is not a valid label selector operator"
                    )));
                }
            };
            let values =
                expression["values"].as_array().into_iter().flatten().map(text_of).collect();
            requirements.push(requirement(&key, operator, values).map_err(ParseError)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Some(Self { requirements }))
    }

    /// Returns the selector of a map of exact labels, such as a Service's.
    #[must_use]
    pub fn from_map(labels: &BTreeMap<String, String>) -> Self {
        let requirements = labels
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals(value.clone()),
            })
            .collect();
        Self { requirements }
    }

    /// Returns whether labels satisfy every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Pairs) -> bool {
        self.requirements.iter().all(|r| r.operator.accepts(labels.get(&r.key)))
    }

    /// Returns whether there is no requirement.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Returns the requirements, ordered by key.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl Operator {
    fn accepts(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Equals(wanted) => value == Some(wanted),
            Self::NotEquals(unwanted) => value != Some(unwanted),
            Self::In(wanted) => value.is_some_and(|value| wanted.iter().any(|w| w == value)),
            Self::NotIn(unwanted) => value.is_none_or(|value| unwanted.iter().all(|u| u != value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Self::LessThan(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// Writes the text form, which parses to the same selector.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::Equals(value) => write!(f, "{key}={value}"),
            Operator::NotEquals(value) => write!(f, "{key}!={value}"),
            Operator::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan(bound) => write!(f, "{key}>{bound}"),
            Operator::LessThan(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Splits text into words and symbols. Words keep their spelling: `in` is an operator only where one is expected.
fn tokenize(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let length = if rest.starts_with("==") || rest.starts_with("!=") {
            2
        } else if rest.starts_with(is_symbol) {
            1
        } else {
            rest.find(|c| is_symbol(c) || is_space(c)).unwrap_or(rest.len())
        };
        let (token, tail) = rest.split_at(length);
        tokens.push(token);
        rest = tail.trim_start_matches(is_space);
    }
    tokens
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c| !is_symbol(c))
}

/// Reads tokens; the empty token stands for the end.
struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).copied().unwrap_or_default()
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                "" => return Ok(requirements),
                token if token == "!" || is_word(token) => {
                    let one = self.requirement();
                    requirements
                        .push(one.map_err(|why| format!("unable to parse requirement: {why}"))?);
                }
                token => {
                    return Err(format!(
                        "found '{token}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            match self.next() {
                "" => return Ok(requirements),
                "," if self.peek() == "!" || is_word(self.peek()) => {}
                "," => {
                    return Err(format!("found '{}', expected: identifier after ','", self.peek()));
                }
                token => return Err(format!("found '{token}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek() == "!";
        if negated {
            self.next();
        }
        let key = self.next();
        if !is_word(key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        if let Some(problem) = check_key(key).first() {
            return Err(format!("<nil>: Invalid value: {key:?}: {problem}"));
        }
        if matches!(self.peek(), "" | ",") {
            return requirement(key, if negated { "!" } else { "exists" }, Vec::new());
        }
        let operator = self.next();
        let values = match operator {
            "in" | "notin" => self.values()?,
            "=" | "==" | "!=" | ">" | "<" => vec![self.exact_value()?],
            found => {
                return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        requirement(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, String> {
        match self.peek() {
            "" | "," => Ok(String::new()),
            token if is_word(token) => Ok(self.next().to_owned()),
            token => Err(format!("found '{token}', expected: identifier")),
        }
    }

    /// Reads `(a,b)`; an empty place between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            "(" => {}
            token => return Err(format!("found '{token}' expected: '('")),
        }
        // `()` holds one value, the empty one, as in kube-apiserver.
        let mut values = Vec::new();
        loop {
            let token = self.peek();
            if is_word(token) {
                values.push(self.next().to_owned());
            } else if matches!(token, "," | ")") {
                values.push(String::new());
            } else {
                return Err(format!("found '{token}', expected: ',', ')' or identifier"));
            }
            match self.next() {
                "," => {}
                ")" => return Ok(values),
                token => return Err(format!("found '{token}', expected: ',' or ')'")),
            }
        }
    }
}

/// Checks key and values against the operator and builds the requirement.
fn requirement(key: &str, operator: &str, mut values: Vec<String>) -> Result<Requirement, String> {
    if let Some(problem) = check_key(key).first() {
        return Err(format!("key: Invalid value: {key:?}: {problem}"));
    }
    for (i, value) in values.iter().enumerate() {
        if let Some(problem) = check_value(value).first() {
            return Err(format!("values[{i}][{key}]: Invalid value: {value:?}: {problem}"));
        }
    }
    values.sort_unstable();
    values.dedup();
    let wrong = |problem: &str| Err(format!("values: Invalid value: {values:?}: {problem}"));
    let operator = match (operator, values.as_slice()) {
        ("in" | "notin", []) => {
            return Err(
                "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                    .to_owned(),
            );
        }
        ("in", _) => Operator::In(values),
        ("notin", _) => Operator::NotIn(values),
        ("exists", []) => Operator::Exists,
        ("!", []) => Operator::DoesNotExist,
        ("exists" | "!", _) => {
            return wrong("values set must be empty for exists and does not exist");
        }
        (">" | "<", [value]) => match value.parse() {
            Ok(bound) if operator == ">" => Operator::GreaterThan(bound),
            Ok(bound) => Operator::LessThan(bound),
            Err(_) => {
                return Err(format!(
                    "values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                ));
            }
        },
        ("!=", [value]) => Operator::NotEquals(value.clone()),
        (_, [value]) => Operator::Equals(value.clone()),
        (_, _) => return wrong("exact-match compatibility requires one single value"),
    };
    Ok(Requirement { key: key.to_owned(), operator })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().copied().collect()
    }

    /// Pitfall: an absent label matches `notin` and `!=`.
    #[test]
    fn every_operator_selects_what_it_says() {
        let object = labels(&[("app", "web"), ("tier", "front"), ("n", "7"), ("none", "")]);
        for (text, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=db", false),
            ("app!=db", true),
            ("missing!=db", true),
            ("app in (db, web)", true),
            ("missing in (db)", false),
            ("app notin (db,web)", false),
            ("missing notin (db)", true),
            ("app", true),
            ("!app", false),
            ("! missing", true),
            ("none=", true),
            ("app=,tier", false),
            ("none in (,a)", true),
            ("n>6,n<8", true),
            ("n>7", false),
            ("in in (in)", false),
            ("app notin(db)", true),
        ] {
            let selector = LabelSelector::parse(text).expect(text);
            assert_eq!(selector.matches(&object), want, "{text}");
        }
    }

    #[test]
    fn refusals_read_like_those_of_kubernetes() {
        for (text, want) in [
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a=(", "unable to parse requirement: found '(', expected: identifier"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ] {
            assert_eq!(LabelSelector::parse(text).expect_err(text).to_string(), want);
        }
        let wrong =
            LabelSelector::parse("a=-b").expect_err("the value begins with a dash").to_string();
        assert!(wrong.starts_with(
            "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label"
        ));
        let empty = LabelSelector::parse("a in ()").unwrap();
        assert_eq!(
            LabelSelector::parse("a in (,)"),
            Ok(empty.clone()),
            "both hold the empty value"
        );
        assert!(empty.matches(&labels(&[("a", "")])));
        assert!(!empty.matches(&Pairs::default()));
        assert!(LabelSelector::parse("x/y/z=1").is_err());
    }

    #[test]
    fn selector_objects_combine_labels_and_expressions() {
        let object = json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [
                { "key": "tier", "operator": "NotIn", "values": ["back"] },
                { "key": "old", "operator": "DoesNotExist" },
            ],
        });
        let selector = LabelSelector::from_object(&object).expect("valid").expect("not null");
        assert!(selector.matches(&labels(&[("app", "web")])));
        assert!(!selector.matches(&labels(&[("app", "web"), ("old", "1")])));
        assert_eq!(selector.to_string(), "app=web,!old,tier notin (back)");
        assert_eq!(LabelSelector::from_object(&Value::Null), Ok(None));
        let wrong = json!({ "matchExpressions": [{ "key": "a", "operator": "Gt" }] });
        let error = LabelSelector::from_object(&wrong).expect_err("Gt is no operator of objects");
        assert_eq!(error.to_string(), "\"Gt\" is not a valid label selector operator");
    }

    #[test]
    fn text_form_parses_to_the_same_selector() {
        let text = "a=1,b!=2,c in (x,y),d notin (z),e,!f,g>3,h<4";
        let selector = LabelSelector::parse(text).expect("valid");
        assert_eq!(selector.to_string(), text);
    }
}

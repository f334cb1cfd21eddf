//! Which functions there are, and what they take and return.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::{Body, body};
use crate::schema::cel::types::Type;

/// A function with everything that it can be applied to.
pub(in crate::schema::cel) struct Function {
    /// Name, with its namespace; operators have names such as `_+_`.
    pub(in crate::schema::cel) name: &'static str,
    /// What it takes and returns.
    pub(in crate::schema::cel) overloads: Vec<Overload>,
    /// Computes it; absent for operators that do not evaluate all their arguments.
    pub(in crate::schema::cel) body: Option<Body>,
}

/// One way to call a function.
#[derive(Debug)]
pub(in crate::schema::cel) struct Overload {
    /// Called on its first argument.
    pub(in crate::schema::cel) is_member: bool,
    /// Types of the arguments; that of the receiver comes first.
    pub(in crate::schema::cel) arguments: Vec<Type>,
    /// Type of the result.
    pub(in crate::schema::cel) result: Type,
    /// Number of types that the call decides.
    pub(in crate::schema::cel) params: usize,
}

const SOURCE: &str = include_str!("declarations.txt");

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Function> = HashMap::new();
    for line in SOURCE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, overload) = parse_line(line);
        let known = functions.entry(name);
        let function =
            known.or_insert_with(|| Function { name, overloads: Vec::new(), body: body(name) });
        function.overloads.push(overload);
    }
    functions
});

/// Finds a function by name.
pub(in crate::schema::cel) fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

/// Finds the type that an identifier names: its name as a value, and the type itself.
pub(in crate::schema::cel) fn named_type(name: &str) -> Option<(&'static str, Type)> {
    let (known, type_) = match name {
        "bool" => ("bool", Type::Bool),
        "bytes" => ("bytes", Type::Bytes),
        "double" => ("double", Type::Double),
        "dyn" => ("dyn", Type::Dyn),
        "int" => ("int", Type::Int),
        "list" => ("list", Type::list(Type::Dyn)),
        "map" => ("map", Type::map(Type::Dyn, Type::Dyn)),
        "null_type" => ("null_type", Type::Null),
        "string" => ("string", Type::String),
        "type" => ("type", Type::TypeOf(Arc::new(Type::Dyn))),
        "uint" => ("uint", Type::Uint),
        "optional_type" => ("optional_type", Type::optional(Type::Dyn)),
        "google.protobuf.Duration" => ("google.protobuf.Duration", Type::Duration),
        "google.protobuf.Timestamp" => ("google.protobuf.Timestamp", Type::Timestamp),
        _ => {
            const OPAQUE: [&str; 4] =
                ["kubernetes.URL", "kubernetes.Quantity", "net.IP", "net.CIDR"];
            let known = OPAQUE.into_iter().find(|known| *known == name)?;
            (known, Type::Opaque(known))
        }
    };
    Some((known, type_))
}

/// The text is ours and fixed: what it holds is proved by a test that reads all of it.
fn parse_line(line: &'static str) -> (&'static str, Overload) {
    let mut params = Vec::new();
    let (receiver, call) = match line.split_once("::") {
        Some((receiver, call)) => (Some(receiver), call),
        None => (None, line),
    };
    let (name, rest) = call.split_once('(').unwrap_or((call, ")"));
    let end = closing(rest);
    let (arguments, result) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let texts = receiver.into_iter().chain(split(arguments));
    let arguments = texts.map(|text| parse_type(text, &mut params)).collect();
    let result = parse_type(result, &mut params);
    (name, Overload { is_member: receiver.is_some(), arguments, result, params: params.len() })
}

/// Returns where the bracket closes that was opened before the text.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return at,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Splits at the commas that stand outside of brackets.
fn split(text: &'static str) -> Vec<&'static str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts
}

fn parse_type(text: &'static str, params: &mut Vec<&'static str>) -> Type {
    let text = text.trim();
    if let Some((outer, inner)) = text.split_once('(') {
        let inner: Vec<Type> = split(&inner[..closing(inner)])
            .into_iter()
            .map(|part| parse_type(part, params))
            .collect();
        return match (outer, inner.as_slice()) {
            ("list", [element]) => Type::list(element.clone()),
            ("map", [key, value]) => Type::map(key.clone(), value.clone()),
            ("optional", [value]) => Type::optional(value.clone()),
            ("type", [type_]) => Type::TypeOf(Arc::new(type_.clone())),
            _ => Type::Error,
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        _ if text.len() == 1 => {
            let known = params.iter().position(|param| *param == text);
            Type::Param(known.unwrap_or_else(|| {
                params.push(text);
                params.len() - 1
            }))
        }
        opaque => Type::Opaque(opaque),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declaration_can_be_read_and_is_computed() {
        /// The evaluator itself decides which of their arguments it evaluates.
        const LAZY: [&str; 5] = ["_&&_", "_||_", "!_", "@not_strictly_false", "_?_:_"];
        let lines = SOURCE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut n_overloads = 0;
        for line in lines {
            let (name, overload) = parse_line(line);
            let types = overload.arguments.iter().chain([&overload.result]);
            for type_ in types {
                let text = format!("{type_:?}");
                assert!(
                    !text.contains("Error") && !text.contains("Opaque(\"\")"),
                    "{line}: {text}"
                );
            }
            assert!(LAZY.contains(&name) || body(name).is_some(), "{line}: nothing computes it");
            n_overloads += 1;
        }
        assert!(n_overloads > 250, "{n_overloads}");
        assert_eq!(function("_+_").map(|function| function.overloads.len()), Some(9));
    }
}

//! Literals that could never be right: lengths of time, moments, patterns and templates are read when an expression is
//! compiled, and conversions of literals are tried.

use super::library::{self, template, time};
use super::node::{Literal, Node, Op};
use super::source::{self, Issue, Parsed};
use super::types::Type;
use super::value::Value;

/// Checks the literal arguments of conversions, matches and templates.
pub(super) fn check(source: &str, parsed: &Parsed, root: &Node) -> Result<(), Vec<Issue>> {
    let mut issues = Vec::new();
    root.walk(&mut |node| {
        let Op::Call { function, args, .. } = &node.op else { return };
        let mut report = |id: u64, text: String| {
            let (line, column) = source::place(source, &parsed.places, id);
            issues.push(Issue { line, column, text });
        };
        match (function.name, args.as_slice()) {
            ("duration" | "timestamp", [argument]) | ("matches", [_, argument]) => {
                if let Op::Constant(literal) = &argument.op
                    && !is_sound(function.name, literal)
                {
                    report(argument.id, format!("invalid {} argument", function.name));
                }
            }
            ("format", [pattern, arguments]) => {
                if let (Op::Constant(Literal::String(pattern)), Op::List(items)) =
                    (&pattern.op, &arguments.op)
                {
                    check_template(pattern, node, items, &mut report);
                }
            }
            _ => {}
        }
    });
    check_mixed(root, &mut |id, text| {
        let (line, column) = source::place(source, &parsed.places, id);
        issues.push(Issue { line, column, text });
    });
    if issues.is_empty() { Ok(()) } else { Err(issues) }
}

/// Elements of a literal have one type, except those that a template is filled with.
fn check_mixed(node: &Node, report: &mut impl FnMut(u64, String)) {
    match &node.op {
        Op::Call { function, .. } if function.name == "format" => return,
        Op::List(items) => {
            report_mixed(items.iter().map(|(item, optional)| (item, *optional)), report)
        }
        Op::Map(entries) => {
            report_mixed(entries.iter().map(|entry| (&entry.key, false)), report);
            report_mixed(entries.iter().map(|entry| (&entry.value, entry.optional)), report);
        }
        _ => {}
    }
    for child in node.children() {
        check_mixed(child, report);
    }
}

fn report_mixed<'n>(
    items: impl Iterator<Item = (&'n Node, bool)>,
    report: &mut impl FnMut(u64, String),
) {
    let held = |node: &'n Node, optional: bool| match &node.type_ {
        Type::Optional(inner) if optional => &**inner,
        other => other,
    };
    let mut first: Option<&Type> = None;
    for (node, optional) in items {
        let type_ = held(node, optional);
        match first {
            None => first = Some(type_),
            Some(known) if known == type_ => {}
            Some(known) => {
                return report(node.id, format!("expected type '{known}' but found '{type_}'"));
            }
        }
    }
}

fn is_sound(function: &str, literal: &Literal) -> bool {
    match (function, literal) {
        ("duration", Literal::String(text)) => time::parse_duration(text).is_some(),
        ("duration", _) => false,
        ("timestamp", Literal::String(text)) => time::parse_timestamp(text).is_some(),
        ("matches", Literal::String(text)) => library::compile_regex(text).is_ok(),
        _ => true,
    }
}

fn check_template(
    pattern: &str,
    call: &Node,
    items: &[(Node, bool)],
    report: &mut impl FnMut(u64, String),
) {
    let parts = match template::parse(pattern) {
        Ok(parts) => parts,
        Err(error) => return report(call.id, error.to_string()),
    };
    let verbs = parts.iter().filter_map(|part| match part {
        template::Part::Verb { verb, .. } => Some(*verb),
        template::Part::Text(_) => None,
    });
    for (index, verb) in verbs.enumerate() {
        let Some((item, _)) = items.get(index) else {
            return report(call.id, format!("index {index} out of range"));
        };
        if !takes(verb, &item.type_) {
            report(item.id, template::unfit(verb, &item.type_.to_string()).to_string());
        }
    }
}

fn takes(verb: char, type_: &Type) -> bool {
    if type_.is_dyn() {
        return true;
    }
    match verb {
        'd' | 'o' => matches!(type_, Type::Int | Type::Uint),
        'f' | 'e' => matches!(type_, Type::Double),
        'b' => matches!(type_, Type::Int | Type::Uint | Type::Bool),
        'x' | 'X' => matches!(type_, Type::Int | Type::Uint | Type::String | Type::Bytes),
        _ => !matches!(type_, Type::Opaque(_) | Type::Optional(_)),
    }
}

/// Functions that convert their argument and know of nothing else.
const CONVERSIONS: [&str; 6] = ["bool", "bytes", "double", "int", "string", "uint"];

/// Tries the conversions of literals, which can be told to fail before anything is evaluated.
pub(super) fn convert(root: &Node) -> Result<(), String> {
    let mut failure = None;
    root.walk(&mut |node| {
        let Op::Call { function, args, is_member: false } = &node.op else { return };
        if !CONVERSIONS.contains(&function.name) {
            return;
        }
        if let ([Node { op: Op::Constant(literal), .. }], Some(body)) =
            (args.as_slice(), function.body)
            && let Err(error) = body(&[literal.value()] as &[Value<'_>])
        {
            failure.get_or_insert_with(|| error.to_string());
        }
    });
    failure.map_or(Ok(()), Err)
}

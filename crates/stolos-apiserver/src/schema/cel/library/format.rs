//! Named formats of texts.

use super::opaque::Opaque;
use super::{Answer, Body, no_overload};
use crate::schema::cel::value::Value;
use crate::schema::pattern;

const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "format.named" => |args| {
            let Value::String(name) = &args[0] else { return no_overload() };
            let known = NAMES.iter().find(|known| **known == name.as_str());
            Ok(known.map_or(Value::Optional(None), |name| Value::some(of(name))))
        },
        "validate" => validate,
        "format.dns1123Label" => |_| Ok(of("dns1123Label")),
        "format.dns1123Subdomain" => |_| Ok(of("dns1123Subdomain")),
        "format.dns1035Label" => |_| Ok(of("dns1035Label")),
        "format.qualifiedName" => |_| Ok(of("qualifiedName")),
        "format.dns1123LabelPrefix" => |_| Ok(of("dns1123LabelPrefix")),
        "format.dns1123SubdomainPrefix" => |_| Ok(of("dns1123SubdomainPrefix")),
        "format.dns1035LabelPrefix" => |_| Ok(of("dns1035LabelPrefix")),
        "format.labelValue" => |_| Ok(of("labelValue")),
        "format.uri" => |_| Ok(of("uri")),
        "format.uuid" => |_| Ok(of("uuid")),
        "format.byte" => |_| Ok(of("byte")),
        "format.date" => |_| Ok(of("date")),
        "format.datetime" => |_| Ok(of("datetime")),
        _ => return None,
    })
}

fn of<'a>(name: &'static str) -> Value<'a> {
    Value::Opaque(Opaque::Format(name))
}

fn validate<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::Opaque(Opaque::Format(name)), Value::String(text)] = args else {
        return no_overload();
    };
    let problems = problems(name, text.as_str());
    Ok(if problems.is_empty() {
        Value::Optional(None)
    } else {
        Value::some(Value::list(problems.into_iter().map(Value::text).collect()))
    })
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
     and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
     an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
     must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
     validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn problems(name: &str, text: &str) -> Vec<String> {
    match name {
        "dns1123Label" => named(text, 63, is_label, LABEL),
        "dns1123LabelPrefix" => named(&unmasked(text), 63, is_label, LABEL),
        "dns1123Subdomain" => named(text, 253, is_subdomain, SUBDOMAIN),
        "dns1123SubdomainPrefix" => named(&unmasked(text), 253, is_subdomain, SUBDOMAIN),
        "dns1035Label" => named(text, 63, is_dns1035, DNS1035),
        "dns1035LabelPrefix" => named(&unmasked(text), 63, is_dns1035, DNS1035),
        "labelValue" => named(text, 63, |text| text.is_empty() || is_name(text), VALUE),
        "qualifiedName" => qualified(text),
        "uri" if pattern::has_format("uri", text) => Vec::new(),
        "uri" => vec![format!("parse {text:?}: invalid URI for request")],
        "uuid" if pattern::has_format("uuid", text) => Vec::new(),
        "uuid" => vec!["does not match the UUID format".to_owned()],
        "byte" if pattern::has_format("byte", text) => Vec::new(),
        "byte" => vec!["invalid base64".to_owned()],
        "date" if pattern::has_format("date", text) => Vec::new(),
        "date" => vec!["invalid date".to_owned()],
        "datetime" if pattern::has_format("date-time", text) => Vec::new(),
        "datetime" => vec!["invalid datetime".to_owned()],
        _ => Vec::new(),
    }
}

fn named(text: &str, most: usize, holds: fn(&str) -> bool, why: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > most {
        problems.push(format!("must be no more than {most} characters"));
    }
    if !holds(text) {
        problems.push(why.to_owned());
    }
    problems
}

/// A prefix may end in a dash, behind which a generated part follows.
fn unmasked(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| is_alphanumeric(*byte))
        && bytes.last().is_some_and(|byte| is_alphanumeric(*byte))
        && bytes.iter().all(|byte| is_alphanumeric(*byte) || *byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_dns1035(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && is_label(text)
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn qualified(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split_once('/') {
        None => (None, text),
        Some((prefix, name)) if !name.contains('/') => (Some(prefix), name),
        Some(_) => {
            let why = QUALIFIED.trim_start_matches("name part must");
            return vec![format!(
                "a qualified name must{why} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    let mut problems = Vec::new();
    match prefix {
        Some("") => problems.push("prefix part must be non-empty".to_owned()),
        Some(prefix) if !is_subdomain(prefix) => problems.push(format!("prefix part {SUBDOMAIN}")),
        _ => {}
    }
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 characters".to_owned());
    }
    if !is_name(name) {
        problems.push(QUALIFIED.to_owned());
    }
    problems
}

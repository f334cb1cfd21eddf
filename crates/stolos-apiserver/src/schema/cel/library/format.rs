//! Named formats of texts.

use super::opaque::Opaque;
use super::{Answer, Body, no_overload};
use crate::name_rules::{
    dns1035_problems, label_problems, label_value_problems, qualified_problems, subdomain_problems,
    without_trailing_dash,
};
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

fn problems(name: &str, text: &str) -> Vec<String> {
    match name {
        "dns1123Label" => label_problems(text),
        "dns1123LabelPrefix" => label_problems(&without_trailing_dash(text)),
        "dns1123Subdomain" => subdomain_problems(text),
        "dns1123SubdomainPrefix" => subdomain_problems(&without_trailing_dash(text)),
        "dns1035Label" => dns1035_problems(text),
        "dns1035LabelPrefix" => dns1035_problems(&without_trailing_dash(text)),
        "labelValue" => label_value_problems(text),
        "qualifiedName" => qualified_problems(text),
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

//! Path elements in the form that `fieldsV1` uses as keys.
//!
//! `f:name` is a field, `k:{"name":"a"}` a list item by its keys, `v:"a"` an item of a set, `i:0` an item by its place.
//! The text is canonical (keys sorted, no spaces), so that elements compare as text.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::schema::ListType;

/// Returns the element of a field or map key.
pub(super) fn of_field(name: &str) -> String {
    let mut element = String::with_capacity(name.len() + 2);
    element.push_str("f:");
    element.push_str(name);
    element
}

/// Returns the field or map key that an element stands for.
pub(super) fn field_name(element: &str) -> Option<&str> {
    element.strip_prefix("f:")
}

/// Returns the elements of the items of a list, in their order.
///
/// # Errors
/// Says which item cannot be identified.
pub(super) fn of_items(list_type: &ListType, items: &[Value]) -> Result<Vec<String>, String> {
    let element = |(i, item)| of_item(list_type, item).map_err(|why| format!("element {i}: {why}"));
    items.iter().enumerate().map(element).collect()
}

fn of_item(list_type: &ListType, item: &Value) -> Result<String, String> {
    match list_type {
        ListType::Map(keys) => of_keys(keys, item),
        ListType::Set | ListType::Atomic => match item {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => Err("not supported: associative list with lists".to_owned()),
            scalar => {
                let mut element = String::from("v:");
                push_scalar(&mut element, scalar);
                Ok(element)
            }
        },
    }
}

fn of_keys(keys: &[(String, Option<Value>)], item: &Value) -> Result<String, String> {
    let Value::Object(fields) = item else {
        return Err("associative list with keys may not have non-map elements".to_owned());
    };
    let mut found: Vec<(&str, &Value)> = keys
        .iter()
        .filter_map(|(key, default)| Some((key.as_str(), fields.get(key).or(default.as_ref())?)))
        .collect();
    if found.is_empty() {
        let keys = keys.iter().map(|(key, _)| format!("{key:?}")).collect::<Vec<_>>().join(" ");
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{keys}] (and doesn't have \
             default values for any key fields)"
        ));
    }
    found.sort_unstable_by_key(|(key, _)| *key);
    let mut element = String::from("k:{");
    for (i, (key, value)) in found.into_iter().enumerate() {
        element.push_str(if i == 0 { "" } else { "," });
        push_text(&mut element, key);
        element.push(':');
        push_scalar(&mut element, value);
    }
    element.push('}');
    Ok(element)
}

fn push_scalar(json: &mut String, value: &Value) {
    match value {
        Value::String(text) => push_text(json, text),
        other => write!(json, "{other}").expect("writing to a string succeeds"),
    }
}

/// Writes a JSON string; most need no escapes, and this runs for every item of every write.
fn push_text(json: &mut String, text: &str) {
    if text.bytes().all(is_plain) {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        write!(json, "{}", Value::from(text)).expect("writing to a string succeeds");
    }
}

/// Returns whether a byte stands for itself in a JSON string.
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// Returns the canonical text of a client's element, or nothing for an unknown kind of element.
pub(super) fn canonical(element: String) -> Option<String> {
    match element.get(..2)? {
        "f:" | "i:" => Some(element),
        "v:" if after_plain_scalar(&element[2..]) == Some("") => Some(element),
        "k:" if are_plain_keys(&element[2..]) => Some(element),
        "v:" => serde_json::from_str::<Value>(&element[2..]).ok().map(|value| format!("v:{value}")),
        "k:" => serde_json::from_str::<Map<String, Value>>(&element[2..])
            .ok()
            .map(|keys| format!("k:{}", Value::Object(keys))),
        _ => None,
    }
}

/// Returns whether keys are canonical without doubt: sorted, without spaces and escapes, as we write nearly all of them.
fn are_plain_keys(text: &str) -> bool {
    let pairs = || {
        let mut rest = text.strip_prefix('{')?;
        let mut last = "";
        loop {
            let after_key = rest.starts_with('"').then(|| after_plain_scalar(rest)).flatten()?;
            let key = &rest[..rest.len() - after_key.len()];
            if key <= last {
                return None;
            }
            last = key;
            rest = after_plain_scalar(after_key.strip_prefix(':')?)?;
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => return Some(rest),
            }
        }
    };
    pairs() == Some("}")
}

/// Skips one scalar that is surely canonical: a string without escapes, a whole number, `true` or `false`.
fn after_plain_scalar(text: &str) -> Option<&str> {
    if let Some(inside) = text.strip_prefix('"') {
        let end = inside.bytes().position(|byte| !is_plain(byte))?;
        return inside[end..].strip_prefix('"');
    }
    let length = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (scalar, rest) = text.split_at(length);
    let whole = !scalar.is_empty() && scalar.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = matches!(scalar, "true" | "false" | "0") || (whole && !scalar.starts_with('0'));
    canonical.then_some(rest)
}

/// Writes an element as conflicts show it: `.name`, `[name="a"]`, `[="a"]`, `[0]`.
pub(super) fn display(element: &str) -> String {
    let (kind, text) = element.split_at(2);
    match kind {
        "f:" => format!(".{text}"),
        "k:" => {
            let keys = serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
            let keys = keys.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
            format!("[{}]", keys.join(","))
        }
        "v:" => format!("[={text}]"),
        _ => format!("[{text}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_known_by_sorted_keys_with_defaults() {
        let ports = ListType::Map(vec![
            ("port".to_owned(), None),
            ("protocol".to_owned(), Some(json!("TCP"))),
            ("app".to_owned(), None),
        ]);
        let items = [json!({"port": 80}), json!({"protocol": "UDP", "port": 53, "app": "a\"b"})];
        let elements = of_items(&ports, &items).expect("both have keys");
        assert_eq!(elements[0], r#"k:{"port":80,"protocol":"TCP"}"#);
        assert_eq!(elements[1], r#"k:{"app":"a\"b","port":53,"protocol":"UDP"}"#);
        assert_eq!(display(&elements[0]), r#"[port=80,protocol="TCP"]"#);

        let named = ListType::Map(vec![("name".to_owned(), None)]);
        let error = of_items(&named, &[json!({"name": "a"}), json!({"x": 1})]).expect_err("no key");
        assert!(error.starts_with(
            "element 1: associative list with keys has an element that omits all key fields"
        ));
    }

    #[test]
    fn elements_of_clients_become_canonical() {
        let canonical = |text: &str| canonical(text.to_owned());
        assert_eq!(
            canonical(r#"k:{ "b": 1, "a": "\u0026" }"#).as_deref(),
            Some(r#"k:{"a":"&","b":1}"#)
        );
        assert_eq!(canonical(r#"v: "x""#).as_deref(), Some(r#"v:"x""#));
        for text in [
            r#"k:{"a":1,"b":"x y"}"#,
            r#"k:{"a":true}"#,
            "v:-1",
            "v:7",
            r#"v:"\"""#,
            "f:a b",
            "i:0",
        ] {
            assert_eq!(canonical(text).as_deref(), Some(text));
        }
        for (text, want) in
            [(r#"k:{"b":1,"a":2}"#, r#"k:{"a":2,"b":1}"#), (r#"k:{"a": 1}"#, r#"k:{"a":1}"#)]
        {
            assert_eq!(canonical(text).as_deref(), Some(want));
        }
        for text in ["k:no", "k:", "k:{", r#"k:{"a":1}}"#, r#"k:{"a"}"#, "v:007", r#"v:"a"#, "v:"] {
            assert_eq!(canonical(text), None, "{text}");
        }
        assert_eq!(canonical("x:1"), None);
    }
}

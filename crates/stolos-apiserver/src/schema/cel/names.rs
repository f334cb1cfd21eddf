//! Field names as expressions write them.

/// Words of the language, which no field can be called by.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a name is a word of the language.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Signs that stand for a character which names in expressions cannot have.
const SIGNS: [(&str, &str); 4] =
    [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];

/// Escapes a field name so that it is an identifier; none if that is impossible.
pub(crate) fn escape(name: &str) -> Option<String> {
    if is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let mut escaped = name.to_owned();
    for (sign, plain) in SIGNS {
        escaped = escaped.replace(plain, sign);
    }
    let mut chars = escaped.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    (starts && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(escaped)
}

/// Returns the field name that an identifier stands for.
pub(super) fn unescape(identifier: &str) -> String {
    if !identifier.contains("__") {
        return identifier.to_owned();
    }
    let word = identifier.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = word.filter(|word| RESERVED.contains(word)) {
        return word.to_owned();
    }
    let mut name = String::with_capacity(identifier.len());
    let mut rest = identifier;
    while let Some(first) = rest.chars().next() {
        if let Some((sign, plain)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            name.push_str(plain);
            rest = &rest[sign.len()..];
        } else {
            name.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_escaped_as_in_kubernetes() {
        for (name, want) in [
            ("plain", Some("plain")),
            ("namespace", Some("__namespace__")),
            ("a-b", Some("a__dash__b")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("1a", None),
            ("a b", None),
        ] {
            assert_eq!(escape(name).as_deref(), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_can_be_escaped_can_be_read_back(name in "[a-z_./-]{1,12}|namespace|in|if") {
            if let Some(escaped) = escape(&name) {
                prop_assert_eq!(unescape(&escaped), name);
            }
        }
    }
}

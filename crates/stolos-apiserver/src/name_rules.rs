//! What names must look like, in the words of upstream: an empty list means that nothing is wrong.

/// Longest name of an object.
const MAX_NAME: usize = 253;
/// Longest DNS label and longest label value.
const MAX_LABEL: usize = 63;

const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
     '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation \
     is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
     must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
     used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and \
     end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Puts a letter in place of a dash at the end and the character before it, because something follows a prefix.
pub(crate) fn without_trailing_dash(prefix: &str) -> String {
    let mut kept = prefix.strip_suffix('-').unwrap_or_default().chars();
    match kept.next_back() {
        Some(last) if last.is_ascii() => format!("{}a", kept.as_str()),
        _ => prefix.to_owned(),
    }
}

/// Checks a part of a path in a URL.
pub(crate) fn path_segment_problems(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| name.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// Checks a DNS label.
pub(crate) fn label_problems(name: &str) -> Vec<String> {
    let mut problems = too_long(name, MAX_LABEL);
    if !is_dns_label(name) {
        problems
            .push(if is_subdomain(name) { "must not contain dots" } else { LABEL_TEXT }.to_owned());
    }
    problems
}

/// Checks a DNS label of the older rule: it begins with a letter.
pub(crate) fn dns1035_problems(name: &str) -> Vec<String> {
    let mut problems = too_long(name, MAX_LABEL);
    if !is_dns_label(name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        problems.push(DNS1035_TEXT.to_owned());
    }
    problems
}

/// Checks DNS labels with dots between them.
pub(crate) fn subdomain_problems(name: &str) -> Vec<String> {
    let mut problems = too_long(name, MAX_NAME);
    if !is_subdomain(name) {
        problems.push(SUBDOMAIN_TEXT.to_owned());
    }
    problems
}

/// Checks the value of a label.
pub(crate) fn label_value_problems(value: &str) -> Vec<String> {
    let mut problems = too_long(value, MAX_LABEL);
    if !value.is_empty() && !is_token(value) {
        problems.push(VALUE_TEXT.to_owned());
    }
    problems
}

/// Checks `prefix/name` with a DNS prefix, or just `name`.
pub(crate) fn qualified_problems(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split_once('/') {
        None => (None, text),
        Some((prefix, name)) if !name.contains('/') => (Some(prefix), name),
        Some(_) => {
            return vec![format!(
                "a qualified name {QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
    };
    let mut problems: Vec<String> = match prefix {
        None => Vec::new(),
        Some("") => vec!["prefix part must be non-empty".to_owned()],
        Some(prefix) => {
            subdomain_problems(prefix).iter().map(|why| format!("prefix part {why}")).collect()
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    }
    problems.extend(too_long(name, MAX_LABEL).iter().map(|why| format!("name part {why}")));
    if !is_token(name) {
        problems.push(format!("name part {QUALIFIED_TEXT}"));
    }
    problems
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| inner(*first))
        && bytes.last().is_some_and(|last| inner(*last))
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}

fn is_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn too_long(text: &str, max: usize) -> Vec<String> {
    if text.len() > max {
        vec![format!("must be no more than {max} characters")]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualified_names_have_at_most_one_prefix() {
        for good in ["a", "MyName", "example.com/my_name.1"] {
            assert_eq!(qualified_problems(good), [] as [&str; 0], "{good}");
        }
        for (bad, want) in [
            ("a/b/c", "a qualified name must consist of"),
            ("/a", "prefix part must be non-empty"),
            ("A.b/a", "prefix part a lowercase RFC 1123 subdomain"),
            ("a/", "name part must be non-empty"),
            ("a b", "name part must consist of"),
        ] {
            assert!(qualified_problems(bad)[0].starts_with(want), "{bad}");
        }
    }

    #[test]
    fn labels_differ_in_dots_and_in_how_they_begin() {
        assert_eq!(label_problems("a.b"), ["must not contain dots"]);
        assert_eq!(label_problems("1a"), [] as [&str; 0]);
        assert_eq!(dns1035_problems("1a"), [DNS1035_TEXT]);
        assert_eq!(subdomain_problems("a..b"), [SUBDOMAIN_TEXT]);
        assert_eq!(label_value_problems(""), [] as [&str; 0]);
    }

    #[test]
    fn what_follows_a_prefix_is_thought_of() {
        for (prefix, want) in [("abc-", "aba"), ("a", "a"), ("-", "-")] {
            assert_eq!(without_trailing_dash(prefix), want);
        }
    }
}

//! Regular expressions and string formats of schemas.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use regex::{Regex, RegexBuilder};

/// Most bytes a compiled expression may take; the patterns of real CRDs stay far below.
const MAX_PROGRAM_BYTES: usize = 4 << 20;

/// Compiles a pattern written for Go's `regexp`, where `\d`, `\s` and `\w` are ASCII and `[` needs no escape in a class.
///
/// # Errors
/// Fails with the compiler's text when the pattern is not a regular expression.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(MAX_PROGRAM_BYTES)
        .build()
        .map_err(|error| in_words_of_go(pattern, &error.to_string()))
}

/// Words the usual mistakes as Go does.
fn in_words_of_go(pattern: &str, error: &str) -> String {
    let why = error.lines().last().unwrap_or_default().trim();
    let why = why.strip_prefix("error: ").unwrap_or(why);
    let from = |mark: &str| pattern.rfind(mark).map_or(pattern, |at| &pattern[at..]);
    let (why, part) = match why {
        "unclosed group" => ("missing closing )", pattern),
        "unopened group" => ("unexpected )", pattern),
        "unclosed character class" => ("missing closing ]", from("[")),
        "repetition operator missing expression" => {
            let at = pattern.find(['*', '+', '?']).unwrap_or(0);
            ("missing argument to repetition operator", pattern.get(at..=at).unwrap_or(pattern))
        }
        _ if why.starts_with("look-around") => {
            let at = ["(?=", "(?!", "(?<"].iter().find_map(|mark| pattern.find(mark)).unwrap_or(0);
            let end =
                pattern[at..].char_indices().nth(3).map_or(pattern.len(), |(end, _)| at + end);
            ("invalid or unsupported Perl syntax", &pattern[at..end])
        }
        other => (other, pattern),
    };
    format!("error parsing regexp: {why}: `{part}`")
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    // In a class: how many characters of it have been read.
    let mut class: Option<usize> = None;
    while let Some(c) = chars.next() {
        let read = class.unwrap_or(0);
        match (c, class) {
            ('\\', _) => {
                let escaped = chars.next().unwrap_or('\\');
                match (escaped, class.is_some()) {
                    ('d', true) => out.push_str("0-9"),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('s', true) => out.push_str("\\t\\n\\x0C\\r "),
                    ('d' | 'w' | 's' | 'D' | 'W' | 'S', false) => {
                        out.push_str(&ascii_class(escaped))
                    }
                    ('<' | '>', _) => out.push(escaped),
                    _ => out.extend(['\\', escaped]),
                }
                class = class.map(|n| n + 1);
            }
            ('[', None) => {
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A `]` that comes first is a plain character.
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
                class = Some(0);
            }
            ('[', Some(_)) if chars.peek() == Some(&':') => {
                out.push('[');
                for inner in chars.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
                class = Some(read + 1);
            }
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('[' | '&' | '~', Some(_)) => {
                out.extend(['\\', c]);
                class = Some(read + 1);
            }
            _ => {
                out.push(c);
                class = class.map(|n| n + 1);
            }
        }
    }
    out
}

fn ascii_class(letter: char) -> String {
    let inner = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => "\\t\\n\\x0C\\r ",
    };
    let not = if letter.is_ascii_uppercase() { "^" } else { "" };
    format!("[{not}{inner}]")
}

/// Reports whether a text has a format. Formats that kube-apiserver does not know either are not checked.
pub(crate) fn has_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => is_date_time(text),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "duration" => is_duration(text),
        "quantity" => super::quantity::Quantity::parse(text).is_some(),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "hostname" => HOSTNAME.is_match(text) && text.len() <= 255,
        "email" => EMAIL.is_match(text),
        "mac" => MAC.is_match(text),
        "uri" => URI.is_match(text),
        _ => true,
    }
}

fn is_date_time(text: &str) -> bool {
    // RFC 3339 asks for a time and an offset, which jiff alone would let be written in other ways.
    DATE_TIME.is_match(text) && text.parse::<jiff::Timestamp>().is_ok()
}

/// Reports whether a text is a Go duration such as `1h30m`.
pub(crate) fn is_duration(text: &str) -> bool {
    text == "0" || DURATION.is_match(text)
}

pub(crate) fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => bits <= 32,
        Ok(std::net::IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

macro_rules! patterns {
    ($($name:ident = $text:literal;)+) => {
        $(static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($text).expect("a fixed pattern compiles"));)+
    };
}

patterns! {
    DATE_TIME = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$";
    DURATION = r"^[+-]?([0-9]+(\.[0-9]*)?(ns|us|µs|μs|ms|s|m|h|d|w))+$";
    EMAIL = r"^[^@\s]+@[^@\s]+$";
    HOSTNAME = r"^[0-9A-Za-z]([0-9A-Za-z-]{0,62}[0-9A-Za-z])?(\.[0-9A-Za-z]([0-9A-Za-z-]{0,62}[0-9A-Za-z])?)*\.?$";
    MAC = r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$";
    URI = r"^([A-Za-z][A-Za-z0-9+.-]*:[^\s]+|/[^\s]*)$";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_patterns_mean_what_they_mean_in_go() {
        for (pattern, text, want) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^[\w.-]+$", "a_b.c-d", true),
            (r"^[[]$", "[", true),
            (r"^[^]]+$", "ab", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^\S+$", "a b", false),
            (r"^(100|[0-9]{1,2})%$", "50%", true),
            (r"^a\/b$", "a/b", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), want, "{pattern} on {text}");
        }
        assert!(compile("(").is_err());
        assert!(compile("(?=x)").is_err());
    }

    #[test]
    fn formats_are_checked() {
        for (format, text, want) in [
            ("date-time", "2026-01-02T03:04:05Z", true),
            ("date-time", "2026-01-02T03:04:05.123456+02:00", true),
            ("date-time", "2026-01-02", false),
            ("date-time", "2026-13-02T03:04:05Z", false),
            ("byte", "aGk=", true),
            ("byte", "?", false),
            ("duration", "1h30m", true),
            ("duration", "1x", false),
            ("ipv4", "10.0.0.1", true),
            ("cidr", "10.0.0.0/33", false),
            ("uuid", "x", false),
            ("something-else", "x", true),
        ] {
            assert_eq!(has_format(format, text), want, "{format} of {text}");
        }
    }
}

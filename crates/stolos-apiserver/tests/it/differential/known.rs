//! The differences that we know and keep, with their reasons: data that the test checks both ways, and a page for users.

use std::fmt::Write;

use serde::Deserialize;

use super::compare::Difference;

/// A difference that is kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// What differs, in a few words.
    pub(crate) title: String,
    /// What the two servers do, and why ours does not do the same.
    pub(crate) reason: String,
    /// `script / step / path` patterns, `*` for any text. Each must match something.
    #[serde(rename = "where")]
    pub(crate) places: Vec<String>,
}

/// Reads the list.
pub(crate) fn parse(text: &str) -> Result<Vec<Known>, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Returns complaints: differences that nothing explains, and explanations of nothing.
pub(crate) fn check(known: &[Known], found: &[Difference]) -> Vec<String> {
    let explained =
        |place: &str| known.iter().flat_map(|known| &known.places).any(|own| matches(own, place));
    let mut complaints: Vec<String> = found
        .iter()
        .filter(|found| !explained(&place(found)))
        .map(|found| format!("not listed: {found}"))
        .collect();
    for known in known {
        for own in &known.places {
            if !found.iter().any(|found| matches(own, &place(found))) {
                complaints.push(format!("listed and gone: {own} (`{}`)", known.title));
            }
        }
    }
    complaints
}

/// Returns the text of the list without what is gone: lines of places that match nothing, and entries without places.
pub(crate) fn pruned(text: &str, found: &[Difference]) -> String {
    let is_gone = |line: &str| {
        let pattern = line.trim().strip_prefix("- ").filter(|_| line.starts_with("    - "));
        let pattern = pattern.and_then(|text| serde_json::from_str::<String>(text).ok());
        pattern.is_some_and(|pattern| !found.iter().any(|found| matches(&pattern, &place(found))))
    };
    let blocks = text
        .split("\n- title:")
        .map(|block| block.lines().filter(|line| !is_gone(line)).collect::<Vec<_>>().join("\n"));
    let kept: Vec<String> = blocks.filter(|block| block.contains("\n    - ")).collect();
    format!("{}\n", kept.join("\n\n- title:"))
}

fn place(found: &Difference) -> String {
    format!("{} / {} / {}", found.script, found.step, found.path)
}

/// Matches a pattern whose `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Writes the page for users.
pub(crate) fn page(known: &[Known], requests: usize, scripts: usize) -> String {
    let mut page = format!(
        "# Differences from kube-apiserver\n\n\
         The embedded API server answers {requests} requests in {scripts} scripts\n\
         (`crates/stolos-apiserver/tests/differential/scripts`) as kube-apiserver 1.34.4 does, status codes, bodies, headers,\n\
         events and error texts included, but for what is listed here. `cargo test` checks the list both ways: a difference\n\
         that is not listed fails, and so does a listed one that is gone.\n\n\
         <!-- Written from crates/stolos-apiserver/tests/differential/differences.yaml by `cargo xtask differential page`. -->\n"
    );
    for Known { title, reason, .. } in known {
        let _ = write!(page, "\n## {title}\n\n{}\n", reason.trim());
    }
    page
}

#[test]
fn patterns_match_whole_places() {
    assert!(matches("a / * / body.x[*].y", "a / step one / body.x[12].y"));
    assert!(matches("a / b / status", "a / b / status"));
    assert!(!matches("a / b / status", "a / b / status.code"));
    assert!(!matches("a / * / body", "a / b / body.x"));
}

#[test]
fn what_is_gone_is_taken_off_the_list() {
    let text = "- title: a\n  reason: r\n  where:\n    - \"a / b / *\"\n    - \"a / c / *\"\n\n\
                - title: b\n  reason: r\n  where:\n    - \"x / *\"\n";
    let [script, step, path] = ["a", "b", "status"].map(str::to_owned);
    let found = Difference { script, step, path, real: None, ours: None };
    let want = "- title: a\n  reason: r\n  where:\n    - \"a / b / *\"\n";
    assert_eq!(pruned(text, &[found]).trim_end(), want.trim_end());
}

#[test]
fn the_list_is_checked_both_ways() {
    let known =
        parse("- title: t\n  reason: r\n  where: ['a / b / status', 'a / c / *']\n").unwrap();
    let found = Difference {
        script: "a".to_owned(),
        step: "b".to_owned(),
        path: "status".to_owned(),
        real: None,
        ours: None,
    };
    let other = Difference { path: "body".to_owned(), ..found.clone() };
    let complaints = check(&known, &[found, other]);
    let [unlisted, gone] = complaints.as_slice() else { panic!("{complaints:?}") };
    assert!(unlisted.starts_with("not listed: a / b / body"), "{unlisted}");
    assert!(gone.starts_with("listed and gone: a / c / *"), "{gone}");
}

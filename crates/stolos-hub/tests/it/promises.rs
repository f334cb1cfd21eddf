//! Keeps the pages true that say which tests show what: the tests that they name exist, and every line of the guide for
//! users of KubeFleet has some.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/reference/compatibility.md";
const RULES: &str = "docs/reference/update-rules.md";
const STANDARD: &str = "docs/reference/mcs-conformance.md";
const GUIDE: &str = "docs/guides/coming-from-kubefleet.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the cells of the rows below each header of tables.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_body = |index: &usize| {
        let next = lines.get(index + 1).copied().unwrap_or_default();
        lines[*index].starts_with("| ") && !next.starts_with("|---")
    };
    let cells = |index: usize| {
        let row = lines[index].trim_start_matches("| ").trim_end_matches(" |");
        row.split(" | ").map(str::to_owned).collect()
    };
    (0..lines.len()).filter(is_body).map(cells).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    for (page, at_least) in [(PAGE, 40), (RULES, 40), (STANDARD, 20)] {
        let rows = rows(&read(page));
        assert!(rows.len() > at_least, "only {} rows of {page} were read", rows.len());
        for row in &rows {
            names_tests_that_exist(row);
        }
    }
}

fn names_tests_that_exist(row: &[String]) {
    let [behaviour, tests] = row else { panic!("{row:?} is not two cells") };
    for of_file in tests.split("; ") {
        let (file, names) = of_file.split_once(": ").unwrap_or_else(|| panic!("{of_file}"));
        let source = read(file.trim_matches('`'));
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            let exists = ["fn ", "async fn "]
                .iter()
                .any(|start| source.contains(&format!("{start}{name}(")));
            assert!(exists, "{file} has no test `{name}`, which is to show that: {behaviour}");
        }
    }
}

#[test]
fn every_line_of_the_guide_has_tests() {
    let firsts = |path| -> BTreeSet<String> {
        rows(&read(path)).into_iter().map(|row| row[0].clone()).collect()
    };
    let page = firsts(PAGE);
    let missing: Vec<_> = firsts(GUIDE).into_iter().filter(|line| !page.contains(line)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

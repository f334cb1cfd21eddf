//! Order of API versions.

use std::cmp::{Ordering, Reverse};

/// Orders versions as clients prefer them: stable before beta before alpha, newer before older, others last by name.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Reads `v<major>[alpha|beta<minor>]` as stability, major and minor; smaller is preferred.
fn rank(version: &str) -> Option<(u8, Reverse<u64>, Reverse<u64>)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let (stability, minor) = if rest.is_empty() {
        (0, 0)
    } else if let Some(minor) = rest.strip_prefix("beta") {
        (1, positive(minor)?)
    } else {
        (2, positive(rest.strip_prefix("alpha")?)?)
    };
    Some((stability, Reverse(positive(major)?), Reverse(minor)))
}

fn positive(text: &str) -> Option<u64> {
    let plain = !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_comes_first_then_beta_then_alpha_then_the_rest() {
        let wanted = [
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v10beta3",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "foo1",
            "foo10",
            "v0",
            "v1beta",
        ];
        let mut sorted = wanted;
        sorted.reverse();
        sorted.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(sorted, wanted);
    }
}

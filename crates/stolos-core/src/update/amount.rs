//! Numbers of members, absolute or in per cent: `"3"`, `"25%"`.

/// Returns how many members may be updated at a time: a percentage is rounded down, and at least one may.
/// `None` when the text is neither a number nor a percentage.
pub(super) fn concurrency(text: &str, members: usize) -> Option<i32> {
    match parse(text)? {
        Amount::Number(number) => Some(number.max(1)),
        Amount::Percent(percent) => Some(to_i32(members * percent / 100).max(1)),
    }
}

/// Returns how many members may fail or must succeed: a percentage is rounded up.
pub(super) fn tolerance(text: &str, members: usize) -> Option<i32> {
    match parse(text)? {
        Amount::Number(number) => Some(number),
        Amount::Percent(percent) => Some(to_i32((members * percent).div_ceil(100))),
    }
}

/// Whether the text says how many members may be updated at a time: at least 1, or from 1% to 100%.
pub(super) fn is_concurrency(text: &str) -> bool {
    match parse(text) {
        Some(Amount::Number(number)) => number > 0,
        Some(Amount::Percent(percent)) => percent > 0,
        None => false,
    }
}

/// Whether the text says how many members may fail or must succeed: a number, or from 0% to 100%.
pub(super) fn is_tolerance(text: &str) -> bool {
    parse(text).is_some()
}

/// Returns the number when the text is one, and not a percentage.
pub(super) fn fixed(text: &str) -> Option<i32> {
    match parse(text)? {
        Amount::Number(number) => Some(number),
        Amount::Percent(_) => None,
    }
}

/// Returns a count as API types hold it.
pub(super) fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

enum Amount {
    Number(i32),
    Percent(usize),
}

fn parse(text: &str) -> Option<Amount> {
    // Rust's numbers may begin with a plus.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|p| *p <= 100).map(Amount::Percent),
        None => text.parse().ok().filter(|n| *n >= 0).map(Amount::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrency_is_rounded_down_and_never_nothing() {
        assert_eq!(concurrency("3", 10), Some(3));
        assert_eq!(concurrency("25%", 7), Some(1));
        assert_eq!(concurrency("25%", 8), Some(2));
        assert_eq!(concurrency("1%", 8), Some(1));
        assert_eq!(concurrency("x", 8), None);
    }

    #[test]
    fn failures_are_rounded_up() {
        assert_eq!(tolerance("25%", 7), Some(2));
        assert_eq!(tolerance("25%", 19), Some(5));
        assert_eq!(tolerance("0%", 19), Some(0));
        assert_eq!(tolerance("0", 19), Some(0));
        assert_eq!(tolerance("101%", 19), None);
    }
}

//! Reads Kubernetes quantities exactly, so that `0.1`, `100m` and `100000u` are equal.

use std::str::FromStr;

/// Digits after the decimal point that are kept; Kubernetes keeps nano as well.
const SCALE: i32 = 9;

/// An amount in billionths. Amounts beyond what 128 bits hold are as large as they can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

/// The text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quantity such as `2`, `500m` or `4Gi`")]
pub struct NotAQuantity(String);

impl Amount {
    /// Returns the amount in billionths.
    pub fn nano(self) -> i128 {
        self.0
    }

    /// Returns the nearest floating point number, for scores.
    #[expect(clippy::cast_precision_loss, reason = "a score needs no more precision")]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl FromStr for Amount {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        parse(text).map(Self).ok_or_else(|| NotAQuantity(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<i128> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let mut amount: i128 = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(i128::MAX) };
    let (exponent, binary) = scale_of(suffix)?;
    for _ in 0..binary {
        amount = amount.saturating_mul(1024);
    }
    let exponent = exponent
        .saturating_add(SCALE)
        .saturating_sub(i32::try_from(fraction.len()).unwrap_or(i32::MAX));
    Some(sign * shift(amount, exponent))
}

/// Returns the power of ten and the power of 1024 that a suffix stands for.
fn scale_of(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 1),
        "Mi" => (0, 2),
        "Gi" => (0, 3),
        "Ti" => (0, 4),
        "Pi" => (0, 5),
        "Ei" => (0, 6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let is_number =
                exponent.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit());
            (exponent.parse().ok().filter(|_| is_number)?, 0)
        }
    })
}

/// Multiplies by a power of ten; what does not fit below is rounded up, away from zero.
fn shift(amount: i128, exponent: i32) -> i128 {
    let mut amount = amount;
    if exponent >= 0 {
        for _ in 0..exponent.min(40) {
            amount = amount.saturating_mul(10);
        }
        return amount;
    }
    let mut rest = false;
    for _ in 0..exponent.unsigned_abs().min(40) {
        rest |= amount % 10 != 0;
        amount /= 10;
    }
    amount + i128::from(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    #[test]
    fn different_spellings_of_an_amount_are_equal() {
        for (left, right) in [
            ("0.1", "100m"),
            ("1", "1000m"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E", "1e18"),
            (".5", "500m"),
            ("5.", "5"),
            ("-1", "-1000m"),
            ("+2", "2"),
            ("0", "-0"),
            ("0.1n", "1n"),
        ] {
            assert_eq!(amount(left), amount(right), "{left} and {right}");
        }
    }

    #[test]
    fn amounts_are_ordered_by_value() {
        let ascending =
            ["-1", "0", "1n", "1u", "1m", "999m", "1", "1k", "1Ki", "1M", "1e20", "1e90"];
        for pair in ascending.windows(2) {
            assert!(amount(pair[0]) < amount(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "-", ".", "1.2.3", "1KiB", "abc", "1e", "1e1.5", "1 Gi", "e3", "١"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }
}

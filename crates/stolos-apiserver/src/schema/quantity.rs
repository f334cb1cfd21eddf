//! Kubernetes quantities: exact decimal numbers with a suffix, such as `500m` or `1.5Gi`.

use std::cmp::Ordering;
use std::fmt;

/// A quantity: `digits × 10^exponent`, and how to write it.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// In units of 10⁻⁹, the finest step that quantities keep.
    nanos: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `k`, `M`, `m`, …
    Decimal,
    /// `Ki`, `Mi`, …
    Binary,
    /// `e3`, …
    Exponent,
}

const NANO: i128 = 1_000_000_000;

/// Suffix, and power of ten or of 1024 that it stands for.
const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[(&str, u32)] = &[("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];

impl Quantity {
    /// Parses a quantity; digits finer than 10⁻⁹ are rounded up, magnitudes are capped at 2^63-1.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, suffix) = rest.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (factor, power, format) = scale(suffix)?;
        let nanos = nanos(whole, fraction, factor, power)?;
        let nanos = nanos.min(i128::from(i64::MAX) * NANO);
        Some(Self { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// Returns a whole number as a quantity.
    #[must_use]
    pub fn from_integer(value: i64) -> Self {
        Self { nanos: i128::from(value) * NANO, format: Format::Decimal }
    }

    /// Returns the value if it is whole and fits.
    #[must_use]
    pub fn as_integer(self) -> Option<i64> {
        if self.nanos % NANO == 0 { i64::try_from(self.nanos / NANO).ok() } else { None }
    }

    /// Returns the value, possibly rounded.
    #[must_use]
    pub fn as_float(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "the caller asks for an approximation")]
        {
            self.nanos as f64 / NANO as f64
        }
    }

    /// Returns -1, 0 or 1.
    #[must_use]
    pub fn sign(self) -> i64 {
        i64::try_from(self.nanos.signum()).unwrap_or_default()
    }

    /// Adds; the result is written like `self`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_add(other.nanos), ..self }
    }

    /// Subtracts; the result is written like `self`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos), ..self }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// Writes the canonical form: the largest suffix that needs no fraction.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Below 1024 and with fractions, binary quantities are written in decimal.
        if self.format == Format::Binary
            && self.nanos % NANO == 0
            && (self.nanos / NANO).abs() >= 1024
        {
            let mut value = self.nanos / NANO;
            let mut suffix = "";
            for (name, _) in BINARY {
                if value % 1024 != 0 {
                    break;
                }
                value /= 1024;
                suffix = name;
            }
            return write!(f, "{value}{suffix}");
        }
        let mut value = self.nanos;
        let mut step = 0;
        while step + 1 < DECIMAL.len() && value % 1000 == 0 {
            value /= 1000;
            step += 1;
        }
        let (suffix, power) = DECIMAL[step];
        match (self.format, power) {
            (_, 0) => write!(f, "{value}"),
            (Format::Exponent, power) => write!(f, "{value}e{power}"),
            (Format::Decimal | Format::Binary, _) => write!(f, "{value}{suffix}"),
        }
    }
}

/// Returns the factor and the power of ten of a suffix.
fn scale(suffix: &str) -> Option<(i128, i32, Format)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((1, *power, Format::Decimal));
    }
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((1024_i128.pow(*power), 0, Format::Binary));
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-18..=18).contains(&power).then_some((1, power, Format::Exponent))
}

fn nanos(whole: &str, fraction: &str, factor: i128, power: i32) -> Option<i128> {
    /// More digits than this exceed every quantity.
    const MAX_DIGITS: usize = 30;
    let whole = whole.trim_start_matches('0');
    if whole.len() > MAX_DIGITS || fraction.len() > MAX_DIGITS {
        return (fraction.len() <= MAX_DIGITS).then_some(i128::from(i64::MAX) * NANO);
    }
    let mut value: i128 = 0;
    let mut remainder = false;
    // Position of the last digit taken, as a power of ten.
    let mut exponent = power;
    let take =
        |value: i128, digit: u8| value.checked_mul(10)?.checked_add(i128::from(digit - b'0'));
    for digit in whole.bytes() {
        value = take(value, digit)?;
    }
    for digit in fraction.bytes() {
        if value.checked_mul(10 * factor).is_none() || exponent <= -9 - 18 {
            remainder |= digit != b'0';
            continue;
        }
        value = take(value, digit)?;
        exponent -= 1;
    }
    let cap = i128::from(i64::MAX) * NANO;
    let mut value = value.checked_mul(factor).unwrap_or(cap);
    let mut shift = exponent + 9;
    while shift > 0 {
        value = value.checked_mul(10).unwrap_or(cap).min(cap);
        shift -= 1;
    }
    while shift < 0 {
        remainder |= value % 10 != 0;
        value /= 10;
        shift += 1;
    }
    Some(value + i128::from(remainder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_in_canonical_form() {
        for (text, want) in [
            ("0", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("1000", "1k"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("100Mi", "100Mi"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("-1.5", "-1500m"),
            ("0.0000000001", "1n"),
            ("1.0", "1"),
            ("128974848", "128974848"),
            ("1e-3", "1e-3"),
            (".5", "500m"),
            ("5.", "5"),
            ("1Ei", "1Ei"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_quantities() {
        for text in ["", "a", "1 Gi", "1GiB", "1.2.3", "--1", "1e", ".", "e3", "1x"] {
            assert!(Quantity::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn quantities_compare_by_value() {
        let q = |text| Quantity::parse(text).unwrap();
        assert_eq!(q("1Ki"), q("1024"));
        assert!(q("1M") < q("1Mi"));
        assert_eq!(q("2k").as_integer(), Some(2000));
        assert_eq!(q("50m").as_integer(), None);
        assert_eq!(q("1").plus(q("500m")).to_string(), "1500m");
    }
}

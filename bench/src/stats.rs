//! Percentiles.

use std::time::Duration;

/// Returns the smallest of the values that at least `percent` of them do not exceed, in milliseconds (the nearest-rank
/// percentile). `None` when there are no values.
pub(crate) fn percentile_ms(values: &mut [Duration], percent: usize) -> Option<f64> {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).map(|value| value.as_secs_f64() * 1000.0)
}

/// Returns the middle value; of an even number the mean of the two in the middle. `None` when there are no values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile_ms(&mut values, 50), Some(100.0));
        assert_eq!(percentile_ms(&mut values, 99), Some(198.0));
        assert_eq!(percentile_ms(&mut values, 100), Some(200.0));
        assert_eq!(percentile_ms(&mut values[..1], 50), Some(1.0));
        assert_eq!(percentile_ms(&mut [], 50), None);
    }

    #[test]
    fn a_median_does_not_depend_on_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}

//! How the weight of a backend is divided among the clusters behind it.

/// Divides the weight of a backend in proportion to the weights of the exports: `ceil(weight × w / sum)`, so that none
/// gets nothing. Exports of weight 0 do; so do all if the backend has weight 0.
#[must_use]
pub fn effective_weights(weight: i64, exports: &[i64]) -> Vec<i64> {
    let clamped = |weight: i64| i128::from(weight.max(0));
    let sum: i128 = exports.iter().map(|one| clamped(*one)).sum();
    if sum == 0 {
        return vec![0; exports.len()];
    }
    let share = |one: &i64| {
        let exact = clamped(weight) * clamped(*one);
        i64::try_from((exact + sum - 1) / sum).unwrap_or(i64::MAX)
    };
    exports.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_of_a_backend_is_divided_by_the_weights_of_exports_and_rounded_up() {
        assert_eq!(effective_weights(500, &[100, 200]), [167, 334]);
        assert_eq!(effective_weights(100, &[1, 1]), [50, 50]);
        assert_eq!(effective_weights(1, &[1000, 1]), [1, 1]);
        assert_eq!(effective_weights(0, &[1, 2]), [0, 0]);
        assert_eq!(effective_weights(7, &[0, 2]), [0, 7]);
        assert_eq!(effective_weights(7, &[0, 0]), [0, 0], "nothing to divide by");
        assert_eq!(effective_weights(7, &[]), Vec::<i64>::new());
    }
}

//! Means, medians and a bootstrap.

/// A fixed seed: the same files give the same interval on every machine.
const SEED: u64 = 250_701_449;
const RESAMPLES: usize = 10_000;

/// The arithmetic mean; `None` without values.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation (with n - 1); `None` for fewer than two values.
pub(super) fn sample_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The median; for an even number of values, the mean of the middle two.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| quantile(&sorted, 0.5))
}

/// The 95 % percentile bootstrap interval of the mean; `None` for fewer than two values.
pub(super) fn mean_interval(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let sum: f64 = (0..values.len())
                .map(|_| values[random.usize(..values.len())])
                .sum();
            sum / values.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Some((quantile(&means, 0.025), quantile(&means, 0.975)))
}

/// The quantile of sorted values, interpolated linearly.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn figures_of_known_values() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        assert_eq!(sample_deviation(&values), Some((32.0_f64 / 7.0).sqrt()));
        assert_eq!(median(&values), Some(4.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(
            (mean(&[]), median(&[]), sample_deviation(&[1.0])),
            (None, None, None)
        );
        assert_eq!(mean_interval(&[1.0]), None);
        assert_eq!(mean_interval(&[1.5; 4]), Some((1.5, 1.5)));
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
    }

    /// The interval of a mean is near the one that the normal distribution gives.
    #[test]
    fn the_interval_is_as_wide_as_theory_says() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i * 37 % 400) / 400.0).collect();
        let (low, high) = mean_interval(&values).unwrap();
        let error = sample_deviation(&values).unwrap() / 20.0;
        let center = mean(&values).unwrap();
        assert!((low - (center - 1.96 * error)).abs() < 0.1 * error, "{low}");
        assert!(
            (high - (center + 1.96 * error)).abs() < 0.1 * error,
            "{high}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_interval_lies_within_the_values(
            values in proptest::collection::vec(-5.0_f64..5.0, 2..20)
        ) {
            let (low, high) = mean_interval(&values).unwrap();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least - 1e-9 <= low && low <= high && high <= most + 1e-9);
            prop_assert_eq!(mean_interval(&values), Some((low, high)));
        }
    }
}

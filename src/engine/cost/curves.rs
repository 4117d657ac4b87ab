//! What is known of passes before the first: measured curves, or guesses.

/// Times of passes at one context length.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Tokens in the cache before the pass.
    pub n_past: usize,
    /// Tokens of the pass and its time, in any unit; by tokens, from 1 on.
    pub times: Vec<(usize, f64)>,
}

impl Curve {
    /// One for all context lengths.
    pub(super) fn anywhere(times: &[(usize, f64)]) -> Self {
        Self {
            n_past: 0,
            times: times.to_vec(),
        }
    }
}

/// Processors, weights of 16 bits or more; times in passes of one token, measured on two cores.
pub(super) const CPU: &[(usize, f64)] = &[
    (1, 1.0),
    (2, 1.28),
    (3, 1.4),
    (4, 1.48),
    (6, 1.7),
    (8, 2.2),
    (12, 2.8),
    (16, 3.5),
    (32, 6.5),
    (64, 12.0),
    (256, 46.0),
];

/// Processors, quantized weights.
pub(super) const CPU_QUANTIZED: &[(usize, f64)] = &[
    (1, 1.0),
    (2, 1.5),
    (3, 1.8),
    (4, 2.0),
    (6, 2.9),
    (8, 3.0),
    (12, 4.0),
    (16, 5.0),
    (32, 9.0),
    (64, 16.0),
    (256, 62.0),
];

/// Graphics processors.
pub(super) const GPU: &[(usize, f64)] = &[
    (1, 1.0),
    (2, 1.04),
    (4, 1.08),
    (8, 1.15),
    (16, 1.25),
    (32, 1.35),
    (64, 1.5),
    (128, 2.1),
    (256, 3.4),
];

/// The time of `tokens` with `n_past` in the cache, between `curves`, which are sorted by their
/// context lengths.
pub(super) fn prior(curves: &[Curve], n_past: usize, tokens: usize) -> f64 {
    let Some(last) = curves.len().checked_sub(1) else {
        return 1.0;
    };
    let long = curves.partition_point(|curve| curve.n_past < n_past);
    let short = long.saturating_sub(1);
    if long == short || long > last {
        return time(curves, short, tokens);
    }
    let [from, to] = [short, long].map(|at| curves[at].n_past as f64);
    let [a, b] = [short, long].map(|at| time(curves, at, tokens));
    a + (n_past as f64 - from) / (to - from) * (b - a)
}

/// The time of `tokens` by the curve `at`. Fewer sizes are measured at long contexts: beyond the
/// largest of them, the curve goes on like that of the next shorter context that has larger ones.
fn time(curves: &[Curve], at: usize, tokens: usize) -> f64 {
    let times = &curves[at].times;
    let (largest, longest) = times[times.len() - 1];
    let further = |curve: &Curve| curve.times.last().is_some_and(|&(n, _)| n > largest);
    match curves[..at].iter().rposition(further) {
        Some(shorter) if tokens > largest => {
            longest * time(curves, shorter, tokens) / time(curves, shorter, largest)
        }
        _ => interpolate(times, tokens),
    }
}

/// The time of `tokens`, between the sizes measured; larger ones go on with the slope of the larger
/// half.
pub(super) fn interpolate(times: &[(usize, f64)], tokens: usize) -> f64 {
    let after = times.partition_point(|&(n, _)| n < tokens);
    match times.get(after) {
        Some(&(n, time)) if n == tokens => time,
        Some(&larger) => {
            let smaller = times[after - 1];
            smaller.1 + slope(smaller, larger) * (tokens - smaller.0) as f64
        }
        None => {
            let last = times[times.len() - 1];
            last.1 + last_slope(times) * (tokens - last.0) as f64
        }
    }
}

/// What a token more takes beyond the sizes measured, of which the first is one token. Kernels that
/// take four or eight tokens at once make the last step alone as likely a fall as a rise, so it is
/// the larger half that tells; if that falls, too, all sizes together. Whatever they say, a token
/// costs something.
fn last_slope(times: &[(usize, f64)]) -> f64 {
    let (first, last) = (times[0], times[times.len() - 1]);
    if times.len() == 1 {
        return first.1;
    }
    let half = times.partition_point(|&(n, _)| 2 * n <= last.0);
    let of_half = slope(times[half - 1], last);
    let rising = if of_half > 0.0 {
        of_half
    } else {
        slope(first, last)
    };
    rising.max(LEAST_SLOPE * first.1)
}

/// In passes of one token; the flattest curve known, of graphics processors up to 64 tokens, rises
/// by 0.0047.
const LEAST_SLOPE: f64 = 0.004;

fn slope(a: (usize, f64), b: (usize, f64)) -> f64 {
    (b.1 - a.1) / (b.0 - a.0) as f64
}

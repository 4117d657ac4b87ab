//! How often does evidence of a kind come true?

/// Acceptance rates, one for each kind of evidence, learned from what was verified.
///
/// A prior, worth [`PRIOR_TRIALS`] trials, always stands behind what was seen, and what was seen is
/// halved once it is more than [`MEMORY`] trials, so the rates follow a text that changes its ways.
///
/// Siblings compete, so what is learned is a *hazard*: the rate at which a candidate comes true
/// given that every better sibling did not. The probabilities of a node's children computed from
/// hazards sum to at most 1, however much their evidence overlaps.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    kinds: Vec<Rate>,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    prior: f32,
    hits: f32,
    trials: f32,
}

/// Enough that rare kinds do not swing, few enough that common ones learn within one answer.
const PRIOR_TRIALS: f32 = 12.0;
const MEMORY: f32 = 256.0;
/// Nothing is certain and nothing impossible.
const LIMITS: (f32, f32) = (0.0005, 0.995);

impl Rates {
    /// Kinds `0..` with the given prior rates.
    pub(super) fn new(priors: impl Iterator<Item = f32>) -> Self {
        let kinds = priors.map(|prior| Rate {
            prior,
            hits: 0.0,
            trials: 0.0,
        });
        Self {
            kinds: kinds.collect(),
        }
    }

    /// The rate of `kind`.
    pub(super) fn of(&self, kind: usize) -> f32 {
        let Rate {
            prior,
            hits,
            trials,
        } = self.kinds[kind];
        ((hits + prior * PRIOR_TRIALS) / (trials + PRIOR_TRIALS)).clamp(LIMITS.0, LIMITS.1)
    }

    /// A candidate of `kind` was tried: it came true or not.
    pub(super) fn learn(&mut self, kind: usize, hit: bool) {
        let rate = &mut self.kinds[kind];
        rate.trials += 1.0;
        rate.hits += f32::from(u8::from(hit));
        if rate.trials > MEMORY {
            rate.trials /= 2.0;
            rate.hits /= 2.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_move_from_the_prior_to_what_is_seen_and_back() {
        let mut rates = Rates::new([0.5, 0.1].into_iter());
        assert_eq!(rates.of(0), 0.5);
        (0..2000).for_each(|i| rates.learn(0, i % 10 == 0));
        assert!((rates.of(0) - 0.1).abs() < 0.05, "{}", rates.of(0));
        (0..2000).for_each(|i| rates.learn(0, i % 10 != 0));
        assert!((rates.of(0) - 0.9).abs() < 0.05, "{}", rates.of(0));
        assert_eq!(rates.of(1), 0.1, "kinds are apart");
    }

    #[test]
    fn nothing_becomes_certain() {
        let mut rates = Rates::new([0.0, 1.0].into_iter());
        (0..5000).for_each(|_| {
            rates.learn(0, false);
            rates.learn(1, true);
        });
        assert!(rates.of(0) > 0.0 && rates.of(1) < 1.0);
    }
}

//! How often does evidence of a kind come true?

/// Acceptance rates, one for each kind of evidence, learned from what was verified.
///
/// Each kind starts from a prior worth [`PRIOR_TRIALS`] trials. Old trials count less and less: once a kind has seen
/// [`MEMORY`] of them, all it knows is halved, so the rates follow a text that changes its ways.
///
/// Siblings compete, so what is learned is a *hazard*: the rate at which a candidate comes true given that
/// every better sibling did not. The probabilities of a node's children computed from hazards sum to at most 1,
/// however much their evidence overlaps.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    kinds: Vec<Rate>,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    hits: f32,
    trials: f32,
}

/// A few answers' worth: rare kinds should not swing, common ones should learn within one answer.
const PRIOR_TRIALS: f32 = 24.0;
const MEMORY: f32 = 512.0;
/// Nothing is certain and nothing impossible.
const LIMITS: (f32, f32) = (0.0005, 0.995);

impl Rates {
    /// Kinds `0..` with the given prior rates.
    pub(super) fn new(priors: impl Iterator<Item = f32>) -> Self {
        let kinds = priors.map(|rate| Rate {
            hits: rate * PRIOR_TRIALS,
            trials: PRIOR_TRIALS,
        });
        Self {
            kinds: kinds.collect(),
        }
    }

    /// The rate of `kind`.
    pub(super) fn of(&self, kind: usize) -> f32 {
        let Rate { hits, trials } = self.kinds[kind];
        (hits / trials).clamp(LIMITS.0, LIMITS.1)
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
        assert!((rates.of(0) - 0.1).abs() < 0.02, "{}", rates.of(0));
        (0..2000).for_each(|i| rates.learn(0, i % 10 != 0));
        assert!((rates.of(0) - 0.9).abs() < 0.02, "{}", rates.of(0));
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

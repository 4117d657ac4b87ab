//! How often tokens are accepted, by the evidence for them.

use super::evidence::EvidenceClass;

/// The acceptance rate of each evidence class, learned from what was verified.
///
/// Each rate starts from a prior that counts as [`PRIOR_TRIALS`] trials. What was seen is halved
/// once it exceeds [`MAX_TRIALS`] trials, so the rates follow a text that changes.
///
/// Siblings compete, so a rate is a *hazard*: the rate at which a candidate is accepted given that
/// no better sibling was. The probabilities of a node's children, computed from hazards, sum to at
/// most 1, however much their evidence overlaps.
#[derive(Clone, Debug)]
pub(super) struct AcceptanceRates {
    classes: Vec<Rate>,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    prior: f32,
    accepted: f32,
    trials: f32,
}

/// Enough that rare classes do not swing, few enough that common ones learn within one answer.
const PRIOR_TRIALS: f32 = 12.0;
const MAX_TRIALS: f32 = 256.0;
/// Nothing is certain and nothing impossible.
const LIMITS: (f32, f32) = (0.0005, 0.995);

impl AcceptanceRates {
    /// Classes `0..` with the given prior rates.
    pub(super) fn new(priors: impl Iterator<Item = f32>) -> Self {
        let classes = priors.map(|prior| Rate {
            prior,
            accepted: 0.0,
            trials: 0.0,
        });
        Self {
            classes: classes.collect(),
        }
    }

    /// The rate of `class`.
    pub(super) fn of(&self, class: EvidenceClass) -> f32 {
        let Rate {
            prior,
            accepted,
            trials,
        } = self.classes[class];
        let rate = (accepted + prior * PRIOR_TRIALS) / (trials + PRIOR_TRIALS);
        rate.clamp(LIMITS.0, LIMITS.1)
    }

    /// A candidate of `class` was verified.
    pub(super) fn learn(&mut self, class: EvidenceClass, accepted: bool) {
        let rate = &mut self.classes[class];
        rate.trials += 1.0;
        rate.accepted += f32::from(u8::from(accepted));
        if rate.trials > MAX_TRIALS {
            rate.trials /= 2.0;
            rate.accepted /= 2.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_move_from_the_prior_to_what_is_seen_and_back() {
        let mut rates = AcceptanceRates::new([0.5, 0.1].into_iter());
        assert_eq!(rates.of(0), 0.5);
        (0..2000).for_each(|i| rates.learn(0, i % 10 == 0));
        assert!((rates.of(0) - 0.1).abs() < 0.05, "{}", rates.of(0));
        (0..2000).for_each(|i| rates.learn(0, i % 10 != 0));
        assert!((rates.of(0) - 0.9).abs() < 0.05, "{}", rates.of(0));
        assert_eq!(rates.of(1), 0.1, "classes are independent");
    }

    #[test]
    fn nothing_becomes_certain() {
        let mut rates = AcceptanceRates::new([0.0, 1.0].into_iter());
        (0..5000).for_each(|_| {
            rates.learn(0, false);
            rates.learn(1, true);
        });
        assert!(rates.of(0) > 0.0 && rates.of(1) < 1.0);
    }
}

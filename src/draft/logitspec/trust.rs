//! Whether guesses bring what they are expected to.

/// What guesses were expected to bring in this conversation, and what they brought.
///
/// Acceptance rates are learned kind by kind from priors, so where a text is unlike those that the priors are of, each kind has to
/// find out by itself, and short answers end before that. All of them together show it sooner.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trust {
    expected: f64,
    accepted: f64,
}

impl Trust {
    /// So many tokens are taken to have been expected, and to have come true, before the first step.
    const PRIOR: f64 = 3.0;
    const LEAST: f64 = 0.3;
    /// Of what was learned, how much a further step leaves.
    const KEPT: f64 = 0.995;

    /// Learns from a step that was expected to bring so many tokens besides the root, and brought so many.
    pub(super) fn learn(&mut self, expected: f64, accepted: f64) {
        self.expected = self.expected * Self::KEPT + expected;
        self.accepted = self.accepted * Self::KEPT + accepted;
    }

    /// The part of what is expected that guesses are taken to bring; never more than all of it.
    pub(super) fn part(&self) -> f64 {
        let part = (self.accepted + Self::PRIOR) / (self.expected + Self::PRIOR);
        part.clamp(Self::LEAST, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: &[(f64, f64)]) -> f64 {
        let mut trust = Trust::default();
        for &(expected, accepted) in steps {
            trust.learn(expected, accepted);
        }
        trust.part()
    }

    #[test]
    fn guesses_are_trusted_until_they_bring_less_than_expected() {
        assert_eq!(after(&[]), 1.0);
        assert_eq!(
            after(&[(0.5, 3.0); 9]),
            1.0,
            "luck is no reason to guess more"
        );
        assert_eq!(after(&[(1.0, 0.0)]), 0.75);
        let half = after(&[(2.0, 1.0); 500]);
        assert!((half - 0.5).abs() < 0.01, "{half}");
        assert_eq!(after(&[(2.0, 0.0); 500]), Trust::LEAST);
    }

    #[test]
    fn what_is_long_ago_counts_little() {
        let mut steps = vec![(1.0, 0.0); 500];
        steps.extend([(1.0, 1.0); 1_000]);
        assert!(after(&steps) > 0.98, "{}", after(&steps));
    }
}

//! The evidence for a token, its classes, and their prior acceptance rates.

use crate::tree::Source;

/// A class of evidence: an index into
/// [`AcceptanceRates`](super::acceptance::AcceptanceRates).
pub(super) type EvidenceClass = usize;

/// Why a token is a candidate below a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Evidence {
    /// It followed such tokens before.
    Retrieved {
        /// Where: [`Source::Text`], [`Source::Prediction`], [`Source::History`] or
        /// [`Source::Corpus`].
        source: Source,
        /// Length of the longest match.
        len: usize,
        /// Its rank among the tokens that the same source proposes for the node, from 0.
        rank: usize,
        /// Matches of the source that it follows.
        count: usize,
        /// Matches of the source that anything follows.
        total: usize,
    },
    /// A runner-up of the last logits. The root itself has rank 0.
    LastLogits {
        /// Its rank, from 1.
        rank: usize,
    },
    /// A candidate of the logits its parent's token had when it was seen last.
    Recycled {
        /// Its rank there, from 0.
        rank: usize,
        /// Its probability there.
        probability: f32,
    },
}

const LENGTHS: usize = 8;
const RANKS: usize = 4;
const SHARES: usize = 4;
const RETRIEVED: usize = LENGTHS * RANKS * SHARES;
/// Kinds of pools: texts of the request (the text so far and a prediction), history, corpus.
const POOLS: usize = 3;
const LOGIT_RANKS: usize = 12;
const RECYCLED_RANKS: usize = 5;
const PROBABILITIES: usize = 5;
const RECYCLED: usize = RECYCLED_RANKS * PROBABILITIES;
const ALONE: usize = POOLS * RETRIEVED + LOGIT_RANKS + RECYCLED;

/// Number of classes. Each comes twice: alone, and corroborated by other evidence for the token.
#[cfg(test)]
pub(super) const CLASSES: usize = 2 * ALONE;

impl Evidence {
    /// Its class. `corroborated` says that some other source proposes the same token.
    pub(super) fn class(self, corroborated: bool) -> EvidenceClass {
        let alone = match self {
            Self::Retrieved {
                source,
                len,
                rank,
                count,
                total,
            } => {
                let from = match source {
                    Source::History => 1,
                    Source::Corpus => 2,
                    _ => 0,
                };
                let share = match (count, total) {
                    (_, ..=1) => 0,
                    (count, total) if count == total => 1,
                    (count, total) if 2 * count >= total => 2,
                    _ => 3,
                };
                let within = (length_class(len) * RANKS + rank.min(RANKS - 1)) * SHARES + share;
                from * RETRIEVED + within
            }
            Self::LastLogits { rank } => POOLS * RETRIEVED + logit_rank_class(rank),
            Self::Recycled { rank, probability } => {
                let rank = match rank {
                    0..=2 => rank,
                    3..=4 => 3,
                    _ => 4,
                };
                let bounds = [0.8, 0.5, 0.2, 0.05];
                let class = bounds.iter().filter(|&&bound| probability < bound).count();
                POOLS * RETRIEVED + LOGIT_RANKS + rank * PROBABILITIES + class
            }
        };
        alone + ALONE * usize::from(corroborated)
    }

    /// The source of a node with this evidence.
    pub(super) fn source(self) -> Source {
        match self {
            Self::Retrieved { source, .. } => source,
            Self::LastLogits { .. } => Source::LastLogits,
            Self::Recycled { .. } => Source::Recycled,
        }
    }
}

/// The classes of what logits propose, alone or corroborated.
pub(super) fn of_logits() -> impl Iterator<Item = EvidenceClass> {
    let alone = POOLS * RETRIEVED..ALONE;
    alone.clone().chain(alone.map(|class| class + ALONE))
}

fn length_class(len: usize) -> usize {
    match len {
        0..=4 => len.max(1) - 1,
        5..=6 => 4,
        7..=9 => 5,
        10..=15 => 6,
        _ => 7,
    }
}

fn logit_rank_class(rank: usize) -> usize {
    let bounds = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48];
    bounds.iter().filter(|&&bound| rank > bound).count()
}

/// The acceptance rate of each class before anything was seen.
///
/// Those of retrieved tokens are read off Vicuna-7B's recorded answers to Spec-Bench, and rounded.
/// Those of logits depend on the model; they are low guesses.
pub(super) fn priors() -> impl Iterator<Item = f32> {
    let retrieved = (0..POOLS * RETRIEVED).map(|class| {
        let share = class % SHARES;
        let rank = class / SHARES % RANKS;
        let length = class / (SHARES * RANKS) % LENGTHS;
        let own = class < RETRIEVED;
        // Columns: one match; all matches agree; at least half agree; fewer do.
        let best = if own {
            [
                [0.36, 0.72, 0.17, 0.09],
                [0.52, 0.86, 0.40, 0.24],
                [0.70, 0.89, 0.62, 0.36],
                [0.76, 0.90, 0.62, 0.40],
                [0.77, 0.90, 0.52, 0.47],
                [0.81, 0.91, 0.55, 0.52],
                [0.84, 0.95, 0.60, 0.52],
                [0.95, 0.98, 0.80, 0.75],
            ]
        } else {
            // Matches in other texts are about as good as matches shorter by two tokens.
            [
                [0.08, 0.16, 0.11, 0.07],
                [0.15, 0.27, 0.23, 0.09],
                [0.26, 0.50, 0.33, 0.14],
                [0.35, 0.70, 0.33, 0.16],
                [0.40, 0.72, 0.36, 0.17],
                [0.55, 0.75, 0.55, 0.20],
                [0.65, 0.85, 0.60, 0.30],
                [0.85, 0.92, 0.70, 0.50],
            ]
        }[length][share];
        let further: f32 = [
            [0.20, 0.09],
            [0.25, 0.17],
            [0.28, 0.18],
            [0.33, 0.16],
            [0.33, 0.20],
            [0.35, 0.20],
            [0.25, 0.20],
            [0.20, 0.20],
        ][length][usize::from(share == 3)];
        let further = if own { further } else { further * 0.5 };
        match rank {
            0 => best,
            1 => further,
            2 => further * 0.8,
            _ => further * 0.4,
        }
    });
    let logits = [
        0.03, 0.022, 0.018, 0.015, 0.012, 0.01, 0.008, 0.006, 0.005, 0.004, 0.003, 0.002f32,
    ];
    let recycled = (0..RECYCLED).map(|class| [0.20, 0.15, 0.11, 0.07, 0.04][class / PROBABILITIES]);
    let alone: Vec<f32> = retrieved.chain(logits).chain(recycled).collect();
    let corroborated: Vec<f32> = alone
        .iter()
        .map(|rate| rate + 0.2 * (1.0 - rate) * rate)
        .collect();
    alone.into_iter().chain(corroborated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// All evidence that logits can give for a token of this rank.
    fn from_logits(rank: usize) -> impl Iterator<Item = Evidence> {
        let recycled =
            [0.01, 0.1, 0.3, 0.6, 0.9].map(|probability| Evidence::Recycled { rank, probability });
        recycled.into_iter().chain([Evidence::LastLogits { rank }])
    }

    #[test]
    fn every_class_has_a_prior_and_every_evidence_a_class() {
        assert_eq!(priors().count(), CLASSES);
        assert!(priors().all(|rate| (0.0..1.0).contains(&rate)));
        let mut seen = HashSet::new();
        for corroborated in [false, true] {
            for rank in 0..70 {
                seen.extend(from_logits(rank).map(|it| it.class(corroborated)));
                for source in Source::ALL {
                    for len in 0..40 {
                        for (count, total) in [(1, 1), (2, 2), (1, 2), (1, 3)] {
                            seen.insert(
                                Evidence::Retrieved {
                                    source,
                                    len,
                                    rank,
                                    count,
                                    total,
                                }
                                .class(corroborated),
                            );
                        }
                    }
                }
            }
        }
        assert_eq!(seen.len(), CLASSES);
        assert_eq!(seen.into_iter().max(), Some(CLASSES - 1));
    }

    #[test]
    fn no_retrieved_token_is_in_a_class_of_logits() {
        let logits: HashSet<EvidenceClass> = of_logits().collect();
        let mut seen = HashSet::new();
        for corroborated in [false, true] {
            for rank in 0..70 {
                seen.extend(from_logits(rank).map(|it| it.class(corroborated)));
            }
        }
        assert_eq!(seen, logits);
        let corpus = Evidence::Retrieved {
            source: Source::Corpus,
            len: 40,
            rank: 9,
            count: 1,
            total: 3,
        };
        assert!(!logits.contains(&corpus.class(false)) && !logits.contains(&corpus.class(true)));
    }

    #[test]
    fn longer_matches_have_higher_priors() {
        let rates: Vec<f32> = priors().collect();
        let rate = |len| {
            rates[Evidence::Retrieved {
                source: Source::Text,
                len,
                rank: 0,
                count: 1,
                total: 1,
            }
            .class(false)]
        };
        assert!([1, 2, 3, 4, 5, 7, 10, 16].map(rate).is_sorted());
    }
}

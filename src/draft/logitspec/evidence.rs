//! Kinds of evidence for a token, and what to think of them before anything was seen.

use crate::tree::Source;

/// A kind of evidence: an index into [`Rates`](super::rates::Rates).
pub(super) type Kind = usize;

/// What speaks for a token as the child of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Evidence {
    /// It followed such tokens before.
    Retrieved {
        /// Where: [`Source::Text`], [`Source::History`] or [`Source::Corpus`].
        source: Source,
        /// Tokens that agree at the best place.
        len: usize,
        /// Its rank among the tokens that the same source proposes for the node, from 0.
        rank: usize,
        /// Places of the source at which it followed.
        count: usize,
        /// Places of the source at which anything followed.
        total: usize,
    },
    /// A runner-up of the last logits, of this rank (the root itself has rank 0).
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
const RETRIEVING: usize = 3;
const LOGIT_RANKS: usize = 12;
const RECYCLED_RANKS: usize = 5;
const PROBABILITIES: usize = 5;
const RECYCLED: usize = RECYCLED_RANKS * PROBABILITIES;
const ALONE: usize = RETRIEVING * RETRIEVED + LOGIT_RANKS + RECYCLED;

/// Number of kinds. Each comes twice: alone, and with other evidence for the same token.
#[cfg(test)]
pub(super) const KINDS: usize = 2 * ALONE;

impl Evidence {
    /// Its kind. `seconded` says that some other source proposes the same token.
    pub(super) fn kind(self, seconded: bool) -> Kind {
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
            Self::LastLogits { rank } => RETRIEVING * RETRIEVED + logit_rank_class(rank),
            Self::Recycled { rank, probability } => {
                let rank = match rank {
                    0..=2 => rank,
                    3..=4 => 3,
                    _ => 4,
                };
                let bounds = [0.8, 0.5, 0.2, 0.05];
                let class = bounds.iter().filter(|&&bound| probability < bound).count();
                RETRIEVING * RETRIEVED + LOGIT_RANKS + rank * PROBABILITIES + class
            }
        };
        alone + ALONE * usize::from(seconded)
    }

    /// Where a node with this evidence is said to come from.
    pub(super) fn source(self) -> Source {
        match self {
            Self::Retrieved { source, .. } => source,
            Self::LastLogits { .. } => Source::LastLogits,
            Self::Recycled { .. } => Source::Recycled,
        }
    }
}

/// The kinds of what logits propose, alone or with others.
pub(super) fn of_logits() -> impl Iterator<Item = Kind> {
    let alone = RETRIEVING * RETRIEVED..ALONE;
    alone.clone().chain(alone.map(|kind| kind + ALONE))
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

/// The rate of each kind before anything was seen.
///
/// Those of retrieved tokens are what Vicuna-7B's recorded answers to Spec-Bench show, rounded;
/// those of logits are guesses on the careful side, since they depend on the model.
pub(super) fn priors() -> impl Iterator<Item = f32> {
    let retrieved = (0..RETRIEVING * RETRIEVED).map(|kind| {
        let share = kind % SHARES;
        let rank = kind / SHARES % RANKS;
        let length = kind / (SHARES * RANKS) % LENGTHS;
        let own = kind < RETRIEVED;
        // Columns: the only place, all places agree, at least half of them do, fewer do.
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
            // Other conversations are worth about a match of two tokens less.
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
    let recycled = (0..RECYCLED).map(|kind| [0.20, 0.15, 0.11, 0.07, 0.04][kind / PROBABILITIES]);
    let alone: Vec<f32> = retrieved.chain(logits).chain(recycled).collect();
    let seconded: Vec<f32> = alone
        .iter()
        .map(|rate| rate + 0.2 * (1.0 - rate) * rate)
        .collect();
    alone.into_iter().chain(seconded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Whatever logits say of a token of this rank.
    fn said_by_logits(rank: usize) -> impl Iterator<Item = Evidence> {
        let recycled =
            [0.01, 0.1, 0.3, 0.6, 0.9].map(|probability| Evidence::Recycled { rank, probability });
        recycled.into_iter().chain([Evidence::LastLogits { rank }])
    }

    #[test]
    fn every_kind_has_a_prior_and_every_evidence_a_kind() {
        assert_eq!(priors().count(), KINDS);
        assert!(priors().all(|rate| (0.0..1.0).contains(&rate)));
        let mut seen = HashSet::new();
        for seconded in [false, true] {
            for rank in 0..70 {
                seen.extend(said_by_logits(rank).map(|it| it.kind(seconded)));
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
                                .kind(seconded),
                            );
                        }
                    }
                }
            }
        }
        assert_eq!(seen.len(), KINDS);
        assert_eq!(seen.into_iter().max(), Some(KINDS - 1));
    }

    #[test]
    fn the_kinds_of_logits_are_those_that_no_text_has() {
        let logits: HashSet<Kind> = of_logits().collect();
        let mut seen = HashSet::new();
        for seconded in [false, true] {
            for rank in 0..70 {
                seen.extend(said_by_logits(rank).map(|it| it.kind(seconded)));
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
        assert!(!logits.contains(&corpus.kind(false)) && !logits.contains(&corpus.kind(true)));
    }

    #[test]
    fn longer_matches_are_believed_more() {
        let rates: Vec<f32> = priors().collect();
        let rate = |len| {
            rates[Evidence::Retrieved {
                source: Source::Text,
                len,
                rank: 0,
                count: 1,
                total: 1,
            }
            .kind(false)]
        };
        assert!([1, 2, 3, 4, 5, 7, 10, 16].map(rate).is_sorted());
    }
}

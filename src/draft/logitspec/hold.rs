//! How long passes keep a size.

use crate::draft::PassCost;

/// The size that passes have for now, and what speaks for others.
///
/// A runtime uses the graph of the pass before if that was as large, so a size is left only for one that has shown to be worth
/// the change. By how much a tree of another size would have been worth more is added up over the steps, until it pays for the
/// way there and back. So a text that begins to repeat itself changes the size at once, a small difference that lasts
/// changes it after a while, and one that comes and goes does not; and what is lost by waiting is never more than the change
/// would have cost (the argument of whoever rents skis until the rent has reached their price).
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    /// Tokens of a pass; none before the first tree.
    tokens: Option<usize>,
    /// By how much each size has led since, in tokens accepted.
    leads: [f64; SIZES],
}

/// Sizes are powers of two, the largest cut to what a pass may have. With all sizes to choose from, some other one
/// always looks a little better.
const SIZES: usize = 10;

impl Hold {
    /// Nodes that a tree has to be grown to, so that there is one of the size held; none if shapes do not matter.
    pub(super) fn nodes(&self, cost: &PassCost) -> usize {
        let tokens = self.tokens.filter(|_| cost.has_shapes());
        tokens.map_or(0, |tokens| tokens.saturating_sub(cost.ahead()))
    }

    /// How many nodes the next tree has, of `capacity` at most: one of `n` nodes is worth `worths[n - 1]`, and `price` is what
    /// a unit of time is worth, in tokens accepted.
    pub(super) fn settle(
        &mut self,
        worths: &[f64],
        capacity: usize,
        price: f64,
        cost: &PassCost,
    ) -> usize {
        let ahead = cost.ahead();
        // There may be too few candidates for the size held.
        let nodes_of = |tokens: usize| tokens.saturating_sub(ahead).clamp(1, worths.len());
        let here = worths[nodes_of(self.tokens.unwrap_or(1)) - 1];
        let mut best = (0.0, None);
        for (power, lead) in self.leads.iter_mut().enumerate() {
            let tokens = (1 << power).min(ahead + capacity);
            let nodes = tokens.checked_sub(ahead);
            let worth = nodes.and_then(|nodes| worths.get(nodes.checked_sub(1)?));
            let Some(worth) = worth else {
                continue;
            };
            *lead = (*lead + worth - here).max(0.0);
            let enough = match self.tokens {
                Some(_) => price * cost.change(tokens),
                None => 0.0,
            };
            if *lead - enough > best.0 {
                best = (*lead - enough, Some(tokens));
            }
        }
        if best.1.is_some() || self.tokens.is_none() {
            let tokens = best.1.unwrap_or(1);
            *self = Self {
                tokens: Some(tokens),
                leads: [0.0; SIZES],
            };
        }
        nodes_of(self.tokens.unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::Shapes;

    /// All sizes take as long; a change of size has to bring `charge` twice.
    fn charging(charge: f64) -> PassCost {
        let mut cost = PassCost::flat();
        cost.set_shapes(Shapes {
            last: None,
            rebuild: charge,
            charge,
            shares: Vec::new(),
        });
        cost
    }

    /// The sizes of trees that are worth so much, one after the other, where a change has to bring two tokens.
    fn sizes<'a>(hold: &mut Hold, worths: impl IntoIterator<Item = &'a [f64]>) -> Vec<usize> {
        let cost = charging(1.0);
        let worths = worths.into_iter();
        worths
            .map(|worths| hold.settle(worths, 64, 1.0, &cost))
            .collect()
    }

    const SMALL: &[f64] = &[1.0, 0.9, 0.8, 0.7];
    const LARGE: &[f64] = &[0.0, 1.0, 2.0, 3.0];
    const A_LITTLE_LARGER: &[f64] = &[0.0, 0.5, 0.25, 0.125];

    #[test]
    fn the_first_tree_is_the_best_and_much_changes_the_size_at_once() {
        let mut hold = Hold::default();
        assert_eq!(sizes(&mut hold, [SMALL]), [1]);
        assert_eq!(sizes(&mut hold, [LARGE, LARGE]), [4, 4]);
        assert_eq!(sizes(&mut Hold::default(), [LARGE]), [4]);
        assert_eq!(sizes(&mut Hold::default(), [A_LITTLE_LARGER]), [2]);
    }

    #[test]
    fn a_little_changes_the_size_when_it_adds_up() {
        let mut hold = Hold::default();
        sizes(&mut hold, [SMALL]);
        // Half a token a step, and more than two are needed.
        assert_eq!(sizes(&mut hold, [A_LITTLE_LARGER; 6]), [1, 1, 1, 1, 2, 2]);
        // What comes and goes does not: the other way counts as well.
        let mut hold = Hold::default();
        sizes(&mut hold, [SMALL]);
        let turns = [A_LITTLE_LARGER, &[0.5, 0.0, 0.0, 0.0]];
        let held = sizes(&mut hold, turns.into_iter().cycle().take(100));
        assert_eq!(held, [1; 100]);
    }

    #[test]
    fn sizes_are_powers_of_two_and_the_capacity_in_tokens_of_the_pass() {
        let rising: Vec<f64> = (0..100).map(f64::from).collect();
        let mut cost = charging(1.0);
        for (capacity, ahead, nodes) in [(64, 0, 64), (48, 0, 48), (3, 0, 3), (30, 2, 30)] {
            cost.set_ahead(ahead);
            let worths = &rising[..capacity];
            let mut hold = Hold::default();
            assert_eq!(hold.settle(worths, capacity, 1.0, &cost), nodes);
            assert_eq!(hold.nodes(&cost), nodes);
        }
        // Best are 20 nodes, and 16 and 32 are to be had; with three tokens ahead 13 and 29.
        let best_at_20: Vec<f64> = (1..=64).map(|n| -f64::abs(f64::from(n) - 20.0)).collect();
        for (ahead, nodes) in [(0, 16), (3, 13)] {
            cost.set_ahead(ahead);
            assert_eq!(Hold::default().settle(&best_at_20, 64, 1.0, &cost), nodes);
        }
    }

    #[test]
    fn a_size_is_kept_through_steps_that_have_too_few_candidates_for_it() {
        let mut hold = Hold::default();
        assert_eq!(sizes(&mut hold, [LARGE]), [4]);
        assert_eq!(
            sizes(&mut hold, [&LARGE[..3], &LARGE[..1], LARGE]),
            [3, 1, 4]
        );
        // As many tokens with some of them ahead are fewer nodes; the root is always left.
        let mut cost = charging(1.0);
        for (ahead, nodes) in [(1, 3), (3, 1), (9, 1)] {
            cost.set_ahead(ahead);
            assert_eq!(hold.settle(&[0.0; 4], 4, 1.0, &cost), nodes);
        }
        assert_eq!(hold.nodes(&PassCost::flat()), 0);
    }
}

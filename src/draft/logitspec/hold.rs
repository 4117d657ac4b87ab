//! How long passes keep a size.

use crate::draft::PassCost;

/// How many nodes a tree may have.
///
/// Where a change of shape costs something, passes have a power of two of tokens, or as many as
/// they may have. With all sizes to choose from, some other one always looks a little better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    all: bool,
    /// Tokens of the pass ahead of the tree.
    ahead: usize,
    /// Most nodes.
    capacity: usize,
}

impl Sizes {
    pub(super) fn of(cost: &PassCost, capacity: usize) -> Self {
        Self {
            all: !cost.has_shapes(),
            ahead: cost.ahead(),
            capacity,
        }
    }

    /// Whether a tree may have so many nodes. It may always be the bare root.
    pub(super) fn contains(self, nodes: usize) -> bool {
        let usual = self.all || (self.ahead + nodes).is_power_of_two();
        nodes == 1 || nodes == self.capacity || usual && nodes < self.capacity
    }

    /// Tokens of a pass by the number of their power of two, or the most there may be. `None`
    /// beyond that.
    fn tokens(self, power: usize) -> Option<usize> {
        let most = self.ahead + self.capacity;
        let smaller = power > 0 && 1 << (power - 1) >= most;
        (!smaller).then(|| most.min(1 << power))
    }
}

/// What a tree would be worth by its size, as far as it was grown.
pub(super) struct Outlook<'a> {
    /// The worth of `1..` nodes, in tokens accepted.
    pub(super) worths: &'a [f64],
    /// Tokens that the largest of them brings, and the most that another node would: nothing, where
    /// no candidate is left. Of the last logits there are only as many as were asked for, so trees
    /// from logits alone grow in a few steps.
    pub(super) expected: f64,
    pub(super) rest: f64,
    /// What a unit of time is worth.
    pub(super) price: f64,
}

impl Outlook<'_> {
    /// By how much a tree of `nodes` nodes is worth more than `here`; of one that was not grown so
    /// far, by how much at best, and that is not taken for a gain.
    fn lead(&self, nodes: usize, here: f64, cost: &PassCost) -> f64 {
        match self.worths.get(nodes - 1) {
            Some(worth) => worth - here,
            None => {
                let more = (nodes - self.worths.len()) as f64 * self.rest;
                (self.expected + more - self.price * cost.of(nodes) - here).min(0.0)
            }
        }
    }
}

/// The size that passes have for now, and what speaks for others.
///
/// A runtime uses the graph of the pass before if that was as large, so a size is left only for one
/// that has shown to be worth the change. By how much a tree of another size would have been worth
/// more is added up over the steps, until it pays for the way there and back. So a text that begins
/// to repeat itself changes the size at once, a small difference that lasts changes it after a
/// while, and one that comes and goes does not; and what is lost by waiting is never more than the
/// change would have cost (the argument of whoever rents skis until the rent has reached their
/// price).
///
/// A conversation begins as if passes had been plain before it: what a tree will bring is least
/// known there, and a size that was guessed too large is paid for until it is left, in a short
/// answer to its end. After a prompt there is no graph to lose, so what pays for the way back alone
/// is enough to leave one token at once.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    /// Tokens of a pass.
    tokens: usize,
    /// By how much each size has led since, in tokens accepted.
    leads: [f64; POWERS],
}

/// Up to the largest capacity that there may be, 1,024 tokens, and what is ahead.
const POWERS: usize = 12;

/// A smaller size has to bring this part of what a change costs. The larger one looks better than
/// it is: passes got that large because a guess was high, and the highest of many guesses mostly
/// err upwards.
const WAY_DOWN: f64 = 0.5;

impl Default for Hold {
    fn default() -> Self {
        Self::at(1)
    }
}

impl Hold {
    fn at(tokens: usize) -> Self {
        Self {
            tokens,
            leads: [0.0; POWERS],
        }
    }

    /// Nodes that a tree has to be grown to, so that there is one of the size held; none if shapes
    /// do not matter.
    pub(super) fn nodes(&self, cost: &PassCost) -> usize {
        if cost.has_shapes() {
            self.tokens.saturating_sub(cost.ahead())
        } else {
            0
        }
    }

    /// How many nodes the next tree has.
    pub(super) fn settle(&mut self, outlook: &Outlook<'_>, sizes: Sizes, cost: &PassCost) -> usize {
        let grown = outlook.worths.len();
        if sizes.capacity == 1 {
            // Nobody asks what would pay, so nothing is learned.
            return 1;
        }
        // There may be too few candidates for the size held.
        let nodes_of = |tokens: usize| tokens.saturating_sub(sizes.ahead).clamp(1, grown);
        let here = outlook.worths[nodes_of(self.tokens) - 1];
        let mut best = (0.0, None);
        for (power, lead) in self.leads.iter_mut().enumerate() {
            let Some(tokens) = sizes.tokens(power) else {
                break;
            };
            // With tokens ahead, which there seldom are, the bare root is no such size and waits
            // until there are none.
            if tokens <= sizes.ahead {
                continue;
            }
            let nodes = tokens - sizes.ahead;
            *lead = (*lead + outlook.lead(nodes, here, cost)).max(0.0);
            let part = if tokens < self.tokens { WAY_DOWN } else { 1.0 };
            let enough = part * outlook.price * cost.change(tokens);
            if nodes <= grown && *lead - enough > best.0 {
                best = (*lead - enough, Some(tokens));
            }
        }
        if let Some(tokens) = best.1 {
            *self = Self::at(tokens);
        }
        nodes_of(self.tokens)
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
            last: Some(1),
            rebuild: charge,
            charge,
            shares: Vec::new(),
        });
        cost
    }

    /// The next size of trees that are worth so much.
    fn settle(hold: &mut Hold, worths: &[f64], capacity: usize, cost: &PassCost) -> usize {
        let outlook = Outlook {
            worths,
            expected: worths.len() as f64,
            // What was not grown is worth nothing.
            rest: -1e3,
            price: 1.0,
        };
        hold.settle(&outlook, Sizes::of(cost, capacity), cost)
    }

    /// The sizes of trees that are worth so much, one after the other, where a change has to bring
    /// two tokens.
    fn sizes<'a>(hold: &mut Hold, worths: impl IntoIterator<Item = &'a [f64]>) -> Vec<usize> {
        let cost = charging(1.0);
        let worths = worths.into_iter();
        worths
            .map(|worths| settle(hold, worths, 64, &cost))
            .collect()
    }

    const SMALL: &[f64] = &[1.0, 0.9, 0.8, 0.7];
    const LARGE: &[f64] = &[0.0, 1.0, 2.0, 3.0];
    const A_LITTLE_LARGER: &[f64] = &[0.0, 0.5, 0.25, 0.125];

    #[test]
    fn passes_begin_plainly_and_much_changes_the_size_at_once() {
        let mut hold = Hold::default();
        assert_eq!(sizes(&mut hold, [SMALL]), [1]);
        assert_eq!(sizes(&mut hold, [LARGE, LARGE]), [4, 4]);
        assert_eq!(sizes(&mut Hold::default(), [LARGE]), [4]);
        assert_eq!(sizes(&mut Hold::default(), [A_LITTLE_LARGER]), [1]);
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
        // A tree is not grown to where nothing pays, and that counts, too.
        let turns = [A_LITTLE_LARGER, &[0.5]];
        let held = sizes(&mut hold, turns.into_iter().cycle().take(100));
        assert_eq!(held, [1; 100]);
    }

    #[test]
    fn a_smaller_size_has_to_lead_by_half_as_much_as_a_larger_one() {
        let mut hold = Hold::default();
        sizes(&mut hold, [LARGE]);
        // 0.3 a step and more than one token, half of the way there and back; up, 0.5 a step and
        // two tokens.
        let mut after_four = charging(1.0);
        after_four.set_last(Some(4));
        let down = [SMALL; 5].map(|worths| settle(&mut hold, worths, 64, &after_four));
        assert_eq!(down, [4, 4, 4, 1, 1]);
        assert_eq!(sizes(&mut hold, [A_LITTLE_LARGER; 5]), [1, 1, 1, 1, 2]);
    }

    #[test]
    fn sizes_are_powers_of_two_and_the_capacity_in_tokens_of_the_pass() {
        let mut cost = charging(0.0);
        let rising: Vec<f64> = (0..1024).map(f64::from).collect();
        for (capacity, ahead, nodes) in [
            (64, 0, 64),
            (48, 0, 48),
            (3, 0, 3),
            (30, 2, 30),
            (1000, 0, 1000),
            (1024, 0, 1024),
            (1024, 2, 1024),
        ] {
            cost.set_ahead(ahead);
            let worths = &rising[..capacity];
            let mut hold = Hold::default();
            assert_eq!(settle(&mut hold, worths, capacity, &cost), nodes);
            assert_eq!(hold.nodes(&cost), nodes);
        }
        // Best are 20 nodes, and 16 and 32 are to be had; with three tokens ahead 13 and 29.
        let best_at_20: Vec<f64> = (1..=64).map(|n| -f64::abs(f64::from(n) - 20.0)).collect();
        for (ahead, nodes) in [(0, 16), (3, 13)] {
            cost.set_ahead(ahead);
            assert_eq!(settle(&mut Hold::default(), &best_at_20, 64, &cost), nodes);
        }
    }

    #[test]
    fn what_was_long_worse_changes_the_size_as_soon_as_it_is_better() {
        let mut hold = Hold::default();
        sizes(&mut hold, [SMALL; 100]);
        assert_eq!(sizes(&mut hold, [LARGE]), [4]);
    }

    #[test]
    fn a_change_has_to_bring_its_price_which_is_less_for_a_usual_size() {
        let outlook = |price| Outlook {
            worths: &[0.0, 1.2, 1.2],
            expected: 3.0,
            rest: 0.0,
            price,
        };
        let steps = |price, shares: Vec<f64>| {
            let mut cost = PassCost::flat();
            cost.set_shapes(Shapes {
                last: Some(1),
                rebuild: 1.0,
                charge: 1.0,
                shares,
            });
            let mut hold = Hold::default();
            settle(&mut hold, SMALL, 3, &cost);
            let sizes = Sizes::of(&cost, 3);
            let all = (0..9).map(|_| hold.settle(&outlook(price), sizes, &cost));
            let all: Vec<_> = all.collect();
            (all.iter().filter(|&&nodes| nodes == 1).count(), all[8])
        };
        assert_eq!(steps(1.0, vec![]), (1, 2));
        assert_eq!(steps(2.0, vec![]), (3, 2));
        assert_eq!(steps(1.0, vec![1.0, 0.0, 1.0]), (0, 3));
        assert_eq!(steps(2.0, vec![1.0, 1.0, 0.0]), (1, 2));
    }

    #[test]
    fn a_step_that_may_not_choose_changes_nothing() {
        let mut cost = PassCost::flat();
        cost.set_shapes(Shapes {
            last: Some(1),
            rebuild: 1.0,
            charge: 1.0,
            shares: vec![1.0],
        });
        let mut hold = Hold::default();
        assert_eq!(settle(&mut hold, LARGE, 8, &cost), 4);
        let larger: Vec<f64> = (0..8).map(|n| if n == 7 { 4.9 } else { 3.0 }).collect();
        assert_eq!(settle(&mut hold, &larger, 8, &cost), 4);
        assert_eq!(settle(&mut hold, &[0.0], 1, &cost), 1);
        assert_eq!(settle(&mut hold, &larger, 8, &cost), 8, "it led twice");
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
            assert_eq!(settle(&mut hold, &[0.0; 4], 4, &cost), nodes);
        }
        assert_eq!(hold.nodes(&PassCost::flat()), 0);
    }
}

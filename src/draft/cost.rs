//! What a pass of the model costs.

/// Time of one pass over `n` tokens, for every `n` up to the largest batch of interest.
///
/// Only ratios matter to drafters: a tree of `n` nodes is worth its pass if it yields more tokens
/// per unit of time than a smaller one.
#[derive(Clone, Debug, PartialEq)]
pub struct PassCost {
    /// `seconds[n - 1]` is the time of `n` tokens.
    seconds: Vec<f64>,
    shapes: Option<Shapes>,
    /// Tokens that the pass has before those of a tree.
    ahead: usize,
}

/// What it costs to change the shape of a pass.
///
/// A runtime that finds a batch shaped like the one before uses its computation graph again;
/// otherwise it builds another. For a small model, or one on a fast GPU, that is a good part of a
/// pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Shapes {
    /// Tokens of the pass before, if its shape is still in place.
    pub last: Option<usize>,
    /// Time to build a graph, in the unit of the passes' times.
    pub rebuild: f64,
    /// What one change of shape has to be worth, in the same unit; there and back are two.
    pub charge: f64,
    /// `shares[n - 1]` is the part of the recent passes that had `n` tokens. All others had a size
    /// not listed.
    pub shares: Vec<f64>,
}

impl PassCost {
    /// Every pass costs the same, whatever its size: trees are as large as they may be.
    pub fn flat() -> Self {
        Self::from_times(vec![1.0])
    }

    /// From times of 1, 2, 3, … tokens, in any unit; larger passes than the last go on with the
    /// mean slope of all.
    ///
    /// # Panics
    /// If there is no time, or one is not positive and finite.
    pub fn from_times(seconds: Vec<f64>) -> Self {
        let mut cost = Self {
            seconds: Vec::new(),
            shapes: None,
            ahead: 0,
        };
        cost.set_times(seconds);
        cost
    }

    /// Other times, as in [`from_times`](Self::from_times), and all else as it was.
    ///
    /// # Panics
    /// If there is no time, or one is not positive and finite.
    pub fn set_times(&mut self, seconds: Vec<f64>) {
        let good = |t: &f64| t.is_finite() && *t > 0.0;
        assert!(!seconds.is_empty() && seconds.iter().all(good));
        self.seconds = seconds;
    }

    /// Tells what changes of shape cost from now on: [`time`](Self::time) and
    /// [`change`](Self::change) say it.
    ///
    /// # Panics
    /// If the time to build a graph, or the charge, is negative or not finite.
    pub fn set_shapes(&mut self, shapes: Shapes) {
        let good = |t: f64| t.is_finite() && t >= 0.0;
        assert!(good(shapes.rebuild) && good(shapes.charge));
        self.shapes = Some(shapes);
    }

    /// The next pass has `tokens` tokens ahead of its tree.
    pub fn set_ahead(&mut self, tokens: usize) {
        self.ahead = tokens;
    }

    /// Tokens that the next pass has ahead of its tree.
    pub fn ahead(&self) -> usize {
        self.ahead
    }

    /// Time of a pass over a tree of `nodes` nodes (at least one) and what is ahead of it, if it
    /// has its graph.
    pub fn of(&self, nodes: usize) -> f64 {
        self.bare(self.ahead + nodes.max(1))
    }

    /// Whether it is known what a change of shape costs.
    pub fn has_shapes(&self) -> bool {
        self.shapes.is_some()
    }

    /// What has to speak for passes of `tokens` tokens (at least one) where they have another size
    /// now: the charge for the way there and for the way back, for that the less the more usual the
    /// size is. Where the graph of the pass before cannot serve in any case it is the way back
    /// alone, and all of it: that is mostly after a prompt, where what was usual says little.
    pub fn change(&self, tokens: usize) -> f64 {
        self.shapes.as_ref().map_or(0.0, |shapes| {
            let Some(last) = shapes.last else {
                return shapes.charge;
            };
            let there = if last == tokens { 0.0 } else { 1.0 };
            let share = shapes.shares.get(tokens.max(1) - 1).copied();
            let back = (1.0 - share.unwrap_or(0.0)).max(0.0);
            shapes.charge * (there + back)
        })
    }

    /// Tells how many tokens a pass has to have to find its graph, if any.
    pub(crate) fn set_last(&mut self, tokens: Option<usize>) {
        if let Some(shapes) = &mut self.shapes {
            shapes.last = tokens;
        }
    }

    /// Time of a pass over a tree of `nodes` nodes (at least one) and what is ahead of it, as
    /// things stand: with a graph to build, unless the pass before was as large.
    pub fn time(&self, nodes: usize) -> f64 {
        let tokens = self.ahead + nodes.max(1);
        let rebuild = self.shapes.as_ref().map_or(0.0, |shapes| {
            if shapes.last == Some(tokens) {
                0.0
            } else {
                shapes.rebuild
            }
        });
        self.bare(tokens) + rebuild
    }

    /// Time of a pass over `tokens` tokens (at least one), with nothing ahead of them, that has its
    /// graph.
    pub fn bare(&self, tokens: usize) -> f64 {
        let known = &self.seconds;
        match known.get(tokens.max(1) - 1) {
            Some(&seconds) => seconds,
            None => {
                let last = known[known.len() - 1];
                let per_token = (last - known[0]) / (known.len() - 1).max(1) as f64;
                last + per_token.max(0.0) * (tokens - known.len()) as f64
            }
        }
    }

    /// Whether all passes cost the same.
    pub fn is_flat(&self) -> bool {
        let same = |&seconds: &f64| seconds == self.seconds[0];
        self.shapes.is_none() && self.seconds.iter().all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_is_built_for_another_size_and_a_change_is_charged_by_how_usual_it_is() {
        let mut cost = PassCost::from_times(vec![1.0, 1.5, 2.0]);
        assert_eq!((cost.change(2), cost.has_shapes()), (0.0, false));
        cost.set_shapes(Shapes {
            last: Some(2),
            rebuild: 0.4,
            charge: 0.5,
            shares: vec![0.75, 0.25],
        });
        assert_eq!([cost.bare(1), cost.bare(2), cost.bare(3)], [1.0, 1.5, 2.0]);
        assert_eq!([cost.of(1), cost.of(2), cost.of(3)], [1.0, 1.5, 2.0]);
        assert_eq!([cost.time(1), cost.time(2), cost.time(3)], [1.4, 1.5, 2.4]);
        let changes = |cost: &PassCost| [1, 2, 3].map(|tokens| cost.change(tokens));
        assert_eq!(changes(&cost), [0.625, 0.375, 1.0]);
        // Where there is a graph to build in any case the way there is free, and the way back is
        // not.
        cost.set_last(None);
        assert_eq!(changes(&cost), [0.5; 3]);
        assert_eq!([cost.time(1), cost.time(2)], [1.4, 1.9]);
        cost.set_last(Some(2));
        // A token ahead of the tree counts in what is of a tree.
        cost.set_ahead(1);
        assert_eq!([cost.bare(1), cost.bare(2)], [1.0, 1.5]);
        assert_eq!([cost.of(1), cost.of(2)], [1.5, 2.0]);
        assert_eq!([cost.time(1), cost.time(2)], [1.5, 2.4]);
        assert_eq!(cost.change(1), 0.625);
    }
}

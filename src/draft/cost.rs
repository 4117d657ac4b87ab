//! What a pass of the model costs.

/// Time of one pass over `n` tokens, for every `n` up to the largest batch of interest.
///
/// Only ratios matter to drafters: a tree of `n` nodes is worth its pass if it yields more tokens
/// per unit of time than a smaller one.
#[derive(Clone, Debug, PartialEq)]
pub struct PassCost {
    /// `seconds[n - 1]` is the time of `n` tokens.
    seconds: Vec<f64>,
    graph: Option<Graph>,
    /// Tokens of the pass that are decoded again, before those of the tree.
    redecode: usize,
    /// Whether accepted tokens off the principal path are decoded again.
    exact: bool,
    /// Tokens that a unit of time brings at least, for all requests together.
    least_throughput: f64,
}

/// The computation graph of the last pass.
///
/// A runtime that finds a pass shaped like the one before reuses its graph. Otherwise it builds
/// another. For a small model, or on a fast GPU, that is a good part of a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Graph {
    /// Tokens of the pass that it was built for; `None` if it cannot be used again.
    pub tokens: Option<usize>,
    /// Time to build one, in the unit of the passes' times.
    pub build: f64,
}

impl PassCost {
    /// Every pass costs the same, whatever its size: trees are as large as they may be.
    pub fn flat() -> Self {
        Self::from_times(vec![1.0])
    }

    /// From the times of 1, 2, 3, … tokens, in any unit. Larger passes than the last one go on with
    /// the mean slope of all.
    ///
    /// # Panics
    /// If there is no time, or one is not positive and finite.
    pub fn from_times(seconds: Vec<f64>) -> Self {
        let mut cost = Self {
            seconds: Vec::new(),
            graph: None,
            redecode: 0,
            exact: false,
            least_throughput: 0.0,
        };
        cost.set_times(seconds);
        cost
    }

    /// Replaces the times, as in [`from_times`](Self::from_times).
    ///
    /// # Panics
    /// If there is no time, or one is not positive and finite.
    pub fn set_times(&mut self, seconds: Vec<f64>) {
        let good = |t: &f64| t.is_finite() && *t > 0.0;
        assert!(!seconds.is_empty() && seconds.iter().all(good));
        self.seconds = seconds;
    }

    /// Says which graph there is, and what another one costs.
    ///
    /// # Panics
    /// If the time to build a graph is negative or not finite.
    pub fn set_graph(&mut self, graph: Graph) {
        assert!(graph.build.is_finite() && graph.build >= 0.0);
        self.graph = Some(graph);
    }

    /// Says that the next pass decodes `tokens` committed tokens again.
    pub fn set_redecode(&mut self, tokens: usize) {
        self.redecode = tokens;
    }

    /// Says whether accepted tokens off the principal path are decoded again.
    pub fn set_exact(&mut self, exact: bool) {
        self.exact = exact;
    }

    /// Says how many tokens a unit of time brings at least. Where a pass serves several requests,
    /// one of them alone cannot know.
    pub fn set_least_throughput(&mut self, tokens: f64) {
        self.least_throughput = tokens;
    }

    /// Tokens that a unit of time brings at least; 0 if that is not known.
    pub fn least_throughput(&self) -> f64 {
        self.least_throughput
    }

    /// Time that it takes later if a token off the principal path is accepted: it is then one more
    /// token of the next pass.
    pub fn off_principal(&self) -> f64 {
        const MANY: usize = 16;
        match self.exact {
            true => ((self.of(MANY) - self.of(1)) / (MANY - 1) as f64).max(0.0),
            false => 0.0,
        }
    }

    /// Time of the next pass with a tree of `nodes` nodes (at least one): with a graph to build,
    /// unless the pass before was as large.
    pub fn of_tree(&self, nodes: usize) -> f64 {
        let tokens = self.redecode + nodes.max(1);
        let build = match self.graph {
            Some(graph) if graph.tokens != Some(tokens) => graph.build,
            _ => 0.0,
        };
        self.of(tokens) + build
    }

    /// Time of a pass over `tokens` tokens (at least one) that has its graph.
    pub fn of(&self, tokens: usize) -> f64 {
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
        self.graph.is_none() && self.seconds.iter().all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_another_size_pays_for_its_graph() {
        let mut cost = PassCost::from_times(vec![1.0, 1.5, 2.0]);
        let of_trees = |cost: &PassCost| [1, 2, 3].map(|nodes| cost.of_tree(nodes));
        assert_eq!(of_trees(&cost), [1.0, 1.5, 2.0]);
        cost.set_graph(Graph {
            tokens: Some(2),
            build: 0.4,
        });
        assert_eq!(of_trees(&cost), [1.4, 1.5, 2.4]);
        // A redecoded token is part of the pass.
        cost.set_redecode(1);
        assert_eq!(cost.of_tree(1), 1.5);
        assert_eq!(cost.of_tree(2), 2.4);
        assert_eq!([1, 2, 3, 5].map(|n| cost.of(n)), [1.0, 1.5, 2.0, 3.0]);
        // Without a graph to reuse, every size pays.
        cost.set_redecode(0);
        cost.set_graph(Graph {
            tokens: None,
            build: 0.4,
        });
        assert_eq!(of_trees(&cost), [1.4, 1.9, 2.4]);
    }
}

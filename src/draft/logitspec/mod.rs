//! LogitSpec as this project runs it.

mod acceptance;
mod builder;
mod evidence;
mod matches;
mod queue;
mod recycled;
mod size;
mod throughput;

use crate::TokenId;
use crate::draft::{DraftInput, Drafter, Memory, PassCost, Verified};
use crate::logits::Candidate;
use crate::pool::{RequestPool, Retrieve};
use crate::tree::{DraftTree, ROOT, Source, SourceSet};
use acceptance::AcceptanceRates;
use builder::{SearchLimits, Sources, TreeBuilder};
use recycled::RecycledRows;
use throughput::Throughput;

/// Look-ups of one tree that search the history and the corpus, too. Each costs microseconds, so
/// they are for the likeliest nodes, which come first.
const MAX_LOOKUPS: usize = 6;

/// After so many steps without a node that came from logits, logits are ranked only every
/// [`RANK_EVERY`] steps.
const PATIENCE: u32 = 32;
const RANK_EVERY: u32 = 8;
/// A step counts as so many of them if no tree of at most [`SMALL`] nodes would pay even if logits
/// gave all its nodes, each as likely as the best class of logits is.
const HOPELESS: u32 = 8;
const SMALL: usize = 16;
/// Passes of [`SMALL`] tokens are cheap if they cost less than so many passes of one.
const CHEAP: f64 = 1.5;

/// Parameters of [`LogitSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogitSpecParams {
    /// Longest match that is told apart from a longer one.
    pub max_match: usize,
    /// Most matches of one look-up.
    pub max_matches: usize,
    /// Most tokens copied from one match.
    pub num_pred_tokens: usize,
    /// Sources that are not used, to measure what each is worth.
    pub leave_out: SourceSet,
}

impl Default for LogitSpecParams {
    fn default() -> Self {
        Self {
            max_match: 32,
            max_matches: 32,
            num_pred_tokens: 48,
            leave_out: SourceSet::default(),
        }
    }
}

/// Method `logitspec`: all evidence for a token, in one tree sized by what a pass costs.
///
/// A node's candidates are the tokens that followed its path earlier in the text (suffix matches,
/// all continuations), the runners-up of the last logits (below the root: the idea of LogitSpec),
/// and the best logits that its token had when it was verified last, accepted or not (the idea of
/// Token Recycling). Each class of evidence has an acceptance rate, learned from what was verified.
/// The tree takes the likeliest known candidate, again and again, as long as that pays.
#[derive(Clone, Debug)]
pub struct LogitSpec {
    params: LogitSpecParams,
    pool: RequestPool,
    /// The text, for the history once the request is over. Like the pool, it still has what was
    /// taken back.
    text: Vec<TokenId>,
    /// Tokens of the pool that were taken back.
    taken_back: usize,
    memory: Memory,
    recycled: RecycledRows,
    rates: AcceptanceRates,
    builder: TreeBuilder,
    throughput: Throughput,
    ranked: Vec<Candidate>,
    /// Tokens whose rows were read in this step.
    read: Vec<TokenId>,
    /// Size of the largest recent tree.
    widest: f64,
    /// Steps since a tree had a node that came from logits.
    without_logits: u32,
}

impl LogitSpec {
    /// Factor by which the size of the largest recent tree shrinks with each step.
    const NARROWING: f64 = 0.95;

    /// A drafter with an empty pool.
    pub fn new(params: LogitSpecParams) -> Self {
        Self {
            params,
            pool: RequestPool::default(),
            text: Vec::new(),
            taken_back: 0,
            memory: Memory::none(),
            recycled: RecycledRows::default(),
            rates: AcceptanceRates::new(evidence::priors()),
            builder: TreeBuilder::default(),
            throughput: Throughput::default(),
            ranked: Vec::new(),
            read: Vec::new(),
            widest: 1.0,
            without_logits: 0,
        }
    }

    /// Also copies from `memory`, and adds every finished request to its history.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Whether no small tree would pay, even if logits gave all its nodes.
    fn is_hopeless(&self, lambda: f64, cost: &PassCost) -> bool {
        let best = evidence::of_logits().map(|class| self.rates.of(class));
        let best = f64::from(best.fold(0.0, f32::max));
        let pays =
            |nodes: usize| (nodes - 1) as f64 * best > lambda * (cost.of(nodes) - cost.of(1));
        !(2..=SMALL).any(pays)
    }

    /// Counts the steps in which logits gave nothing.
    fn count_logits(&mut self, tree: &DraftTree, lambda: f64, cost: &PassCost) {
        let of_logits = |node| matches!(tree.source(node), Source::LastLogits | Source::Recycled);
        if (ROOT + 1..tree.len()).any(of_logits) {
            self.without_logits = 0;
        } else if tree.limits().capacity > 1 {
            let hopeless = self.without_logits <= PATIENCE && self.is_hopeless(lambda, cost);
            let steps = if hopeless { HOPELESS } else { 1 };
            self.without_logits = self.without_logits.saturating_add(steps);
        }
    }
}

impl Drafter for LogitSpec {
    fn name(&self) -> &'static str {
        "logitspec"
    }

    fn candidates(&self, capacity: usize, cost: &PassCost) -> usize {
        // Ranking 32,000 logits takes most of a draft's time. While trees are small, few are
        // enough. Where logits gave nothing for long, they are ranked only now and then.
        if self.without_logits > PATIENCE && !self.without_logits.is_multiple_of(RANK_EVERY) {
            return 0;
        }
        let left_out = self.params.leave_out;
        if left_out.has(Source::LastLogits) && left_out.has(Source::Recycled) {
            return 0;
        }
        // Where wide trees cost little, they are wide from the first step on.
        let cheap = cost.of(SMALL) < CHEAP * cost.of(1);
        let likely = if cheap { SMALL as f64 } else { 1.0 };
        let useful = 2.0 * (self.widest.max(likely) - 1.0);
        capacity
            .min(useful.ceil() as usize + recycled::KEPT)
            .max(recycled::KEPT)
    }

    fn begin(&mut self, text: &[TokenId]) {
        self.extend(text, text.len() + self.taken_back - self.pool.len());
    }

    fn extend(&mut self, text: &[TokenId], fresh: usize) {
        self.pool.append(&text[text.len() - fresh..]);
        self.text.extend_from_slice(&text[text.len() - fresh..]);
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        // A single candidate is only the root, not a row.
        if let (Some(&last), [_, _, ..]) = (input.text.last(), input.ranked) {
            self.recycled.keep(last, input.ranked);
        }
        let left_out = self.params.leave_out;
        let mut pools: Vec<(Source, &dyn Retrieve)> = vec![(Source::Text, &self.pool)];
        if let Some(history) = &self.memory.history {
            pools.push((Source::History, history));
        }
        if let Some(corpus) = &self.memory.corpus {
            pools.push((Source::Corpus, corpus.as_ref()));
        }
        if let Some(prediction) = &self.memory.prediction {
            pools.push((Source::Prediction, prediction.as_ref()));
        }
        pools.retain(|&(source, _)| !left_out.has(source));
        let sources = Sources {
            pools: &pools,
            recycled: Some(&self.recycled).filter(|_| !left_out.has(Source::Recycled)),
            runners_up: !left_out.has(Source::LastLogits),
            rates: &self.rates,
        };
        let limits = SearchLimits {
            max_match: self.params.max_match,
            max_matches: self.params.max_matches,
            num_pred_tokens: self.params.num_pred_tokens,
            max_lookups: MAX_LOOKUPS,
        };
        let lambda = self.throughput.lambda(input.cost);
        self.builder.build(&sources, &limits, lambda, input, tree);
        self.throughput
            .add_pass(input.cost.of_tree(tree.len()), input.cost.of(1));
        self.count_logits(tree, lambda, input.cost);
        self.widest = (tree.len() as f64).max(self.widest * Self::NARROWING);
    }

    fn observe(&mut self, verified: &Verified<'_>) {
        let Verified {
            tree,
            path,
            next,
            rows,
        } = *verified;
        let tokens = path.iter().map(|&node| tree.token(node)).chain(next);
        let nodes = std::iter::once(ROOT).chain(path.iter().copied());
        self.builder.learn(&mut self.rates, nodes.zip(tokens));
        self.throughput.add_tokens(1 + path.len());
        if self.without_logits > PATIENCE || self.params.leave_out.has(Source::Recycled) {
            return;
        }
        // The latest row of a token counts. Of the rows of one pass, the accepted ones come before
        // rejected guesses, the last accepted one first. (The row of the last accepted node comes
        // with the next step.) Reading a row is slow, so each token's row is read once.
        let accepted = path.split_last().into_iter();
        let accepted = accepted.flat_map(|(_, before)| before.iter().rev().copied().chain([ROOT]));
        let guesses = (ROOT + 1..tree.len()).filter(|node| !path.contains(node));
        self.read.clear();
        for node in accepted.chain(guesses) {
            let token = tree.token(node);
            if !self.read.contains(&token) && rows.top_k(node, recycled::KEPT, &mut self.ranked) {
                self.recycled.keep(token, &self.ranked);
                self.read.push(token);
            }
        }
    }

    fn next_request(&mut self) {
        if let Some(history) = &self.memory.history {
            history.insert_new(&self.text);
        }
        self.rewind();
    }

    fn rewind(&mut self) {
        // Rows are kept from request to request if the text is.
        let remembers = self.memory.history.is_some();
        let recycled = std::mem::take(&mut self.recycled);
        self.reset();
        if remembers {
            self.recycled = recycled;
        }
    }

    fn revise(&mut self, text: &[TokenId], keep: usize) {
        let before = self.pool.len() - self.taken_back;
        self.taken_back += before.saturating_sub(keep);
        self.begin(text);
    }

    fn reset(&mut self) {
        self.pool.clear();
        self.text.clear();
        self.taken_back = 0;
        self.recycled.clear();
        // Acceptance is a property of the text: rates learned on one conversation mislead on the
        // next.
        self.rates = AcceptanceRates::new(evidence::priors());
        self.throughput = Throughput::default();
        self.widest = 1.0;
        self.without_logits = 0;
    }
}

#[cfg(test)]
mod tests;

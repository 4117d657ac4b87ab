//! LogitSpec as this project runs it.

mod evidence;
mod grow;
mod hold;
mod income;
mod places;
mod queue;
mod rates;
mod recycle;
mod worth;

use crate::TokenId;
use crate::draft::{DraftInput, Drafter, Memory, PassCost, Verified};
use crate::logits::Candidate;
use crate::pool::{RequestPool, Retrieve};
use crate::tree::{DraftTree, ROOT, Source, SourceSet};
use grow::{Growth, Reach, Sources};
use hold::Hold;
use income::Income;
use rates::Rates;
use recycle::Recycled;

/// Look-ups that search earlier requests and the corpus, too: the first ones of a tree, which are
/// for its likeliest nodes, since each costs microseconds.
const LOOK_UPS: usize = 6;

/// After so many steps without a node that came from logits, they are ranked only every so many
/// steps.
const PATIENCE: u32 = 32;
const LOOK_EVERY: u32 = 8;
/// A step counts for so many of them if no tree of at most [`SMALL`] nodes would pay although
/// logits gave all of them, each as likely as their best kind is.
const HOPELESS: u32 = 8;
const SMALL: usize = 16;
/// Passes of [`SMALL`] tokens are cheap if they cost less than so many of one.
const CHEAP: f64 = 1.5;

/// Parameters of [`LogitSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogitSpecParams {
    /// Longest match that is told apart from a longer one.
    pub max_match: usize,
    /// Most earlier places that one look-up takes into account.
    pub places: usize,
    /// Most tokens copied from one place.
    pub num_pred_tokens: usize,
    /// Sources that are not drawn upon, to see what each is worth.
    pub leave_out: SourceSet,
}

impl Default for LogitSpecParams {
    fn default() -> Self {
        Self {
            max_match: 32,
            places: 32,
            num_pred_tokens: 48,
            leave_out: SourceSet::default(),
        }
    }
}

/// Method `logitspec`: all that speaks for a token, in one tree sized by what a pass costs.
///
/// A node's candidates are what followed the path down to it earlier in the text (suffix matches,
/// all continuations), the runners-up of the last logits (below the root: the idea of LogitSpec),
/// and the best logits that its token had when it was verified last, accepted or not (the idea of
/// Token Recycling). Each kind of evidence has an acceptance rate, learned from what was verified;
/// the tree takes the likeliest candidate known, again and again, as long as that pays, or to the
/// size that passes have for now.
#[derive(Clone, Debug)]
pub struct LogitSpec {
    params: LogitSpecParams,
    pool: RequestPool,
    /// The text, to be remembered once the request is over.
    text: Vec<TokenId>,
    memory: Memory,
    recycled: Recycled,
    rates: Rates,
    growth: Growth,
    income: Income,
    hold: Hold,
    ranked: Vec<Candidate>,
    /// Tokens whose rows a pass has given already.
    read: Vec<TokenId>,
    /// Size of the largest of the recent trees.
    widest: f64,
    /// Steps since a node of a tree came from logits.
    useless: u32,
}

impl LogitSpec {
    /// Of the size of the largest recent tree, how much a further step leaves.
    const NARROWING: f64 = 0.95;

    /// A drafter with an empty pool.
    pub fn new(params: LogitSpecParams) -> Self {
        Self {
            params,
            pool: RequestPool::default(),
            text: Vec::new(),
            memory: Memory::none(),
            recycled: Recycled::default(),
            rates: Rates::new(evidence::priors()),
            growth: Growth::default(),
            income: Income::default(),
            hold: Hold::default(),
            ranked: Vec::new(),
            read: Vec::new(),
            widest: 1.0,
            useless: 0,
        }
    }

    /// Copies from `memory`, too, and adds every finished request to its history.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Whether what logits propose cannot pay for any small tree, for all that is known.
    fn is_hopeless(&self, price: f64, cost: &PassCost) -> bool {
        let best = evidence::of_logits().map(|kind| self.rates.of(kind));
        let best = f64::from(best.fold(0.0, f32::max));
        let pays =
            |nodes: usize| (nodes - 1) as f64 * best > price * (cost.bare(nodes) - cost.bare(1));
        !(2..=SMALL).any(pays)
    }
}

impl Drafter for LogitSpec {
    fn name(&self) -> &'static str {
        "logitspec"
    }

    fn candidates(&self, capacity: usize, cost: &PassCost) -> usize {
        // Ranking 32,000 logits is most of a draft's time, but for as many as some runtimes pick in
        // any case (those of x86 Linux do, on the processor). Where trees stay small, those are
        // enough; where none of them was of use for long, a look now and then is.
        if self.useless > PATIENCE && !self.useless.is_multiple_of(LOOK_EVERY) {
            return 0;
        }
        let left_out = self.params.leave_out;
        if left_out.has(Source::LastLogits) && left_out.has(Source::Recycled) {
            return 0;
        }
        // Who can have wide trees for little will, from the first on.
        let cheap = cost.bare(SMALL) < CHEAP * cost.bare(1);
        let likely = if cheap { SMALL as f64 } else { 1.0 };
        let useful = 2.0 * (self.widest.max(likely) - 1.0);
        capacity
            .min(useful.ceil() as usize + recycle::KEPT)
            .max(recycle::KEPT)
    }

    fn begin(&mut self, text: &[TokenId]) {
        self.extend(text, text.len() - self.pool.len());
    }

    fn extend(&mut self, text: &[TokenId], fresh: usize) {
        self.pool.append(&text[text.len() - fresh..]);
        self.text.extend_from_slice(&text[text.len() - fresh..]);
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        // A single candidate is the root that everyone knows, not a row.
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
        pools.retain(|&(source, _)| !left_out.has(source));
        let sources = Sources {
            pools: &pools,
            recycled: Some(&self.recycled).filter(|_| !left_out.has(Source::Recycled)),
            runners_up: !left_out.has(Source::LastLogits),
            rates: &self.rates,
        };
        let reach = Reach {
            max_match: self.params.max_match,
            places: self.params.places,
            num_pred_tokens: self.params.num_pred_tokens,
            look_ups: LOOK_UPS,
            price: self.income.price(input.cost),
        };
        self.growth
            .grow(&sources, &reach, input, &mut self.hold, tree);
        self.income
            .spend(input.cost.time(tree.len()), input.cost.bare(1));
        let of_logits = |node| matches!(tree.source(node), Source::LastLogits | Source::Recycled);
        if (ROOT + 1..tree.len()).any(of_logits) {
            self.useless = 0;
        } else if tree.limits().capacity > 1 {
            let hopeless = self.useless <= PATIENCE && self.is_hopeless(reach.price, input.cost);
            let steps = if hopeless { HOPELESS } else { 1 };
            self.useless = self.useless.saturating_add(steps);
        }
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
        self.growth.learn(&mut self.rates, nodes.zip(tokens));
        self.income.earn(1 + path.len());
        if self.useless > PATIENCE || self.params.leave_out.has(Source::Recycled) {
            return;
        }
        // The latest row of a token counts, of those of one pass the likeliest: what was accepted,
        // from the last on, before guesses that were not. The row of the last accepted one comes
        // with the next step. Reading a row may mean fetching it from memory, so no token's is read
        // twice.
        let accepted = path.split_last().into_iter();
        let accepted = accepted.flat_map(|(_, before)| before.iter().rev().copied().chain([ROOT]));
        let guesses = (ROOT + 1..tree.len()).filter(|node| !path.contains(node));
        self.read.clear();
        for node in accepted.chain(guesses) {
            let token = tree.token(node);
            if !self.read.contains(&token) && rows.top_k(node, recycle::KEPT, &mut self.ranked) {
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
        // What the model thought after a token is remembered as the text is.
        let remembers = self.memory.history.is_some();
        let recycled = std::mem::take(&mut self.recycled);
        self.reset();
        if remembers {
            self.recycled = recycled;
        }
    }

    fn reset(&mut self) {
        self.pool.clear();
        self.text.clear();
        self.recycled.clear();
        // Acceptance is a property of the text: rates learned on one conversation mislead on the
        // next.
        self.rates = Rates::new(evidence::priors());
        self.income = Income::default();
        self.hold = Hold::default();
        self.widest = 1.0;
        self.useless = 0;
    }
}

#[cfg(test)]
mod tests;

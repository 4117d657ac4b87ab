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
use crate::draft::{
    DraftInput, DraftTree, Drafter, Memory, PassCost, ROOT, Source, SourceSet, Verified,
};
use crate::pool::{RequestPool, Retrieve};
use crate::verify::Candidate;
use grow::{Growth, Reach, Sources};
use hold::Hold;
use income::Income;
use rates::Rates;
use recycle::Recycled;

/// Look-ups that search earlier requests and the corpus, too: the first ones of a tree, which are for its likeliest
/// nodes, since each costs microseconds.
const LOOK_UPS: usize = 6;

/// After so many steps without a node that came from logits, they are ranked only every so many steps.
const PATIENCE: u32 = 32;
const LOOK_EVERY: u32 = 8;
/// A step counts for so many of them if no tree of at most [`SMALL`] nodes would pay although logits gave all of them, each
/// as likely as their best kind is.
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
/// A node's candidates are what followed the path down to it earlier in the text (suffix matches, all
/// continuations), the runners-up of the last logits (below the root: the idea of LogitSpec), and the best logits that
/// its token had when it was verified last, accepted or not (the idea of Token Recycling). Each kind of evidence has an
/// acceptance rate, learned from what was verified; the tree takes the likeliest candidate known, again and again, as
/// long as that pays, or to the size that passes have for now.
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
        // Ranking 32,000 logits is most of a draft's time, but for as many as some runtimes pick in any case (those of x86 Linux do,
        // on the processor). Where trees stay small, those are enough; where none of them was of use for long, a look now and then is.
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
        // The latest row of a token counts, of those of one pass the likeliest: what was accepted, from the last on,
        // before guesses that were not. The row of the last accepted one comes with the next step. Reading a row
        // may mean fetching it from memory, so no token's is read twice.
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
        // Acceptance is a property of the text: rates learned on one conversation mislead on the next.
        self.rates = Rates::new(evidence::priors());
        self.income = Income::default();
        self.hold = Hold::default();
        self.widest = 1.0;
        self.useless = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::{NodeId, NodeRows, PerSource, Shapes, TreeLimits};
    use crate::verify::Row;

    /// The tree of at most `capacity` nodes that is drafted after `text` and `root`. Nothing below the root is accepted.
    fn plain_step(
        drafter: &mut LogitSpec,
        text: &mut Vec<TokenId>,
        root: TokenId,
        ranked: &[Candidate],
        cost: &PassCost,
        capacity: usize,
    ) -> DraftTree {
        let mut tree = DraftTree::new(root, TreeLimits::nodes(capacity));
        let input = DraftInput {
            text,
            root,
            ranked,
            cost,
        };
        drafter.draft(&input, &mut tree);
        text.push(root);
        drafter.extend(text, 1);
        tree
    }

    /// The sources of a tree after a text that repeats itself, a root whose logits were seen, and runners-up.
    fn sources(leave_out: SourceSet) -> PerSource {
        let mut drafter = LogitSpec::new(LogitSpecParams {
            leave_out,
            ..LogitSpecParams::default()
        });
        let candidates = |tokens: [TokenId; 3]| {
            let logits = [3.0, 2.0, 1.0].into_iter().zip(tokens);
            logits.map(|(logit, token)| Candidate { token, logit })
        };
        let cost = PassCost::flat();
        let mut text = vec![1, 2, 3, 4, 1, 2];
        drafter.begin(&text);
        let mut found = PerSource::default();
        for (root, ranked) in [(3, candidates([3, 30, 31])), (2, candidates([2, 40, 41]))] {
            let ranked: Vec<_> = ranked.collect();
            let tree = plain_step(&mut drafter, &mut text, root, &ranked, &cost, 40);
            (ROOT + 1..tree.len()).for_each(|node| found.add(tree.source(node)));
        }
        found
    }

    #[test]
    fn sources_left_out_are_not_drawn_upon() {
        let here = [Source::Text, Source::LastLogits, Source::Recycled];
        let all = sources(SourceSet::default());
        for source in here {
            assert!(all.of(source) > 0, "{source:?}: {all:?}");
            let without = sources([source].into_iter().collect());
            assert_eq!(without.of(source), 0, "{source:?}: {without:?}");
            assert!(without.iter().count() >= 1);
        }
        assert_eq!(sources(here.into_iter().collect()), PerSource::default());
    }

    /// The sizes of trees of at most 16 nodes over a text that repeats itself and goes on with `roots`, where a change of size has to
    /// bring `charge`, the time of a pass of one token being one.
    fn sizes_of<const N: usize>(
        drafter: &mut LogitSpec,
        charge: f64,
        roots: [TokenId; N],
    ) -> [usize; N] {
        let mut cost = PassCost::from_times((0..16).map(|n| 1.0 + 0.1 * f64::from(n)).collect());
        cost.set_shapes(Shapes {
            last: None,
            rebuild: charge,
            charge,
            shares: Vec::new(),
        });
        let mut text: Vec<TokenId> = (0..20).cycle().take(50).collect();
        drafter.begin(&text);
        roots.map(|root| {
            let ranked: Vec<_> = (0..40)
                .map(|rank: u16| Candidate {
                    token: if rank == 0 {
                        root
                    } else {
                        (1000 + rank).into()
                    },
                    logit: -f32::from(rank),
                })
                .collect();
            plain_step(drafter, &mut text, root, &ranked, &cost, 16).len()
        })
    }

    #[test]
    fn a_new_conversation_begins_plainly_again() {
        type End = fn(&mut LogitSpec);
        let ends: [End; 3] = [LogitSpec::reset, LogitSpec::next_request, LogitSpec::rewind];
        for end in ends {
            let mut drafter = LogitSpec::new(LogitSpecParams::default());
            let [large] = sizes_of(&mut drafter, 7.0, [10]);
            assert!(large > 1);
            end(&mut drafter);
            // Too dear to be left, whatever it is.
            assert_eq!(sizes_of(&mut drafter, 100.0, [10, 900]), [1; 2]);
        }
    }

    #[test]
    fn few_logits_are_ranked_until_a_tree_was_larger_and_many_where_large_passes_are_cheap() {
        let dear = PassCost::from_times((0..16).map(|n| 1.0 + 0.1 * f64::from(n)).collect());
        let mut drafter = LogitSpec::new(LogitSpecParams::default());
        assert_eq!(drafter.candidates(64, &dear), recycle::KEPT);
        assert_eq!(
            drafter.candidates(64, &PassCost::flat()),
            2 * 15 + recycle::KEPT
        );
        let [size] = sizes_of(&mut drafter, 0.0, [10]);
        assert!(size > 1);
        let more = 2 * (size - 1) + recycle::KEPT;
        assert_eq!(drafter.candidates(64, &dear), more);
        assert_eq!(drafter.candidates(more - 1, &dear), more - 1);
        drafter.reset();
        assert_eq!(drafter.candidates(64, &dear), recycle::KEPT);
    }

    #[test]
    fn trees_keep_their_size_for_as_long_as_a_change_would_cost_more() {
        // What was never there follows what was.
        let roots = [10, 900, 901, 902, 903];
        let draft = |charge| {
            let mut drafter = LogitSpec::new(LogitSpecParams::default());
            sizes_of(&mut drafter, charge, roots)
        };
        let sizes = draft(0.0);
        assert!(sizes[0] >= 8 && sizes[4] <= 4, "{sizes:?}");
        // It goes down again as soon as half of what a change costs is lost.
        assert_eq!(draft(7.0), [sizes[0], sizes[0], sizes[0], 1, 1]);
        assert_eq!(draft(100.0), [1; 5]);
    }

    /// The best token after each node.
    struct Says(Vec<(NodeId, TokenId)>);

    impl NodeRows for Says {
        fn top_k(&self, node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
            found.clear();
            let said = self.0.iter().find(|said| said.0 == node);
            let said = said.map(|&(_, token)| Candidate { token, logit: 1.0 });
            found.extend(said.into_iter().take(k));
            !found.is_empty()
        }
    }

    #[test]
    fn rows_of_guesses_are_recycled_and_those_of_accepted_tokens_before_them() {
        let mut drafter = LogitSpec::new(LogitSpecParams::default());
        let cost = PassCost::flat();
        let mut tree = DraftTree::new(5, TreeLimits::nodes(8));
        let [a, b] = [6, 7].map(|token| tree.grow(ROOT, token).unwrap());
        let below = tree.grow(b, 6).unwrap();
        // 6 stands in the tree twice: accepted below the root, and as a guess below 7.
        let rows = Says(vec![(ROOT, 50), (a, 60), (b, 70), (below, 61)]);
        drafter.observe(&Verified {
            tree: &tree,
            path: &[a],
            next: Some(60),
            rows: &rows,
        });
        let children = |drafter: &mut LogitSpec, root| {
            let mut tree = DraftTree::new(root, TreeLimits::nodes(8));
            let input = DraftInput {
                text: &[],
                root,
                ranked: &[],
                cost: &cost,
            };
            drafter.draft(&input, &mut tree);
            let children: Vec<_> = tree.children(ROOT).map(|id| tree.token(id)).collect();
            children
        };
        assert_eq!(children(&mut drafter, 7), [70], "a guess that was wrong");
        assert_eq!(children(&mut drafter, 5), [50], "the root");
        // The row after the last accepted token is handed over with the next step, so here its guess stands.
        assert_eq!(children(&mut drafter, 6), [61]);
        // Further down the path, what was accepted counts.
        let c = tree.grow(a, 8).unwrap();
        drafter.observe(&Verified {
            tree: &tree,
            path: &[a, c],
            next: None,
            rows: &rows,
        });
        assert_eq!(children(&mut drafter, 6), [60]);
    }

    #[test]
    fn no_token_has_two_rows_read() {
        let mut drafter = LogitSpec::new(LogitSpecParams::default());
        let mut tree = DraftTree::new(5, TreeLimits::nodes(8));
        let [a, b] = [6, 7].map(|token| tree.grow(ROOT, token).unwrap());
        tree.grow(b, 6).unwrap();
        tree.grow(a, 5).unwrap();
        let asked = std::cell::RefCell::new(Vec::new());
        let row = [0.0f32; 9];
        let rows = |node: NodeId| {
            asked.borrow_mut().push(node);
            Row::from(&row)
        };
        drafter.observe(&Verified {
            tree: &tree,
            path: &[],
            next: Some(1),
            rows: &rows,
        });
        // The root's row comes with the next step, so the guess of the same token is read.
        assert_eq!(*asked.borrow(), [a, b, a + 3]);
    }

    #[test]
    fn rows_are_remembered_from_request_to_request_if_the_text_is() {
        for remembers in [false, true] {
            let memory = match remembers {
                true => Memory::of_history(std::sync::Arc::new(crate::pool::SharedPool::new(9))),
                false => Memory::none(),
            };
            let mut drafter = LogitSpec::new(LogitSpecParams::default()).with_memory(memory);
            let mut tree = DraftTree::new(5, TreeLimits::nodes(8));
            let guess = tree.grow(ROOT, 7).unwrap();
            drafter.observe(&Verified {
                tree: &tree,
                path: &[],
                next: None,
                rows: &Says(vec![(guess, 70)]),
            });
            let knows = |drafter: &LogitSpec| drafter.recycled.after(7).is_some();
            assert!(knows(&drafter));
            drafter.next_request();
            assert_eq!(knows(&drafter), remembers);
            drafter.reset();
            assert!(!knows(&drafter));
        }
    }

    #[test]
    fn logits_that_no_tree_can_use_are_ranked_now_and_then_only() {
        let mut drafter = LogitSpec::new(LogitSpecParams::default());
        let step = |drafter: &mut LogitSpec, cost: &PassCost| {
            let wanted = drafter.candidates(64, cost);
            let ranked: Vec<_> = (0..wanted)
                .map(|rank| Candidate {
                    token: rank as TokenId,
                    logit: -(rank as f32),
                })
                .collect();
            let mut tree = DraftTree::new(0, TreeLimits::nodes(64));
            let input = DraftInput {
                text: &[9],
                root: 0,
                ranked: &ranked,
                cost,
            };
            drafter.draft(&input, &mut tree);
            wanted
        };
        let looks = |wanted: &[usize]| wanted.iter().filter(|&&wanted| wanted > 0).count();
        // Logits might pay, but do not; and cannot pay, which is soon clear.
        for (second, patience) in [(1.1, PATIENCE as usize), (100.0, 5)] {
            drafter.reset();
            let steep = PassCost::from_times(vec![1.0, second, 200.0]);
            let wanted: Vec<_> = (0..200).map(|_| step(&mut drafter, &steep)).collect();
            assert_eq!(looks(&wanted[..patience]), patience, "{wanted:?}");
            assert!(looks(&wanted[..patience + 32]) < patience + 8, "{wanted:?}");
            let late = &wanted[100..];
            assert!((10..20).contains(&looks(late)), "{late:?}");
        }
        // As soon as a larger tree pays, they are all asked for again.
        let flat = PassCost::flat();
        let wanted: Vec<_> = (0..20).map(|_| step(&mut drafter, &flat)).collect();
        assert_eq!(wanted.last(), Some(&64), "{wanted:?}");
    }
}

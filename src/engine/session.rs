//! One conversation with a model.

mod room;

use std::ops::ControlFlow;
use std::time::Duration;

use crate::TokenId;
use crate::draft::{DraftInput, Drafter, Memory, Verified};
use crate::engine::answer::{FinishReason, Generation, Step, StepSources, StepView, Stepped};
use crate::engine::error::GenerateError;
use crate::engine::options::SessionOptions;
use crate::engine::stats::{StepTimes, Stopwatch};
use crate::engine::{CostModel, Pass};
use crate::runtime::{DecodeError, TargetModel};
use crate::tree::{DraftTree, NodeId, ROOT};
use crate::verify::{Accepted, Greedy, Sampler, Select, walk};

/// A model, the conversation so far, and what is needed to go on.
pub struct Session<M> {
    model: M,
    options: SessionOptions,
    drafter: Box<dyn Drafter>,
    cost: CostModel,
    selector: Box<dyn Select>,
    /// The committed text. The model's cache holds all of it but, at times, the last tokens: a step
    /// whose outcome is known needs no pass, and what it committed is decoded with the next prompt;
    /// and where that is cheaper than moving cells, an accepted path is decoded again with the next
    /// tree.
    text: Vec<TokenId>,
    /// The node of the last decode whose row follows the last committed token, if there is one.
    last_row: Option<NodeId>,
    /// The next root, when a walk has already selected it.
    next: Option<TokenId>,
    /// Time the last prompt took, until an answer reports it.
    prefill_time: Duration,
}

impl<M: TargetModel> Session<M> {
    /// A session with no text.
    pub fn new(model: M, options: SessionOptions) -> Self {
        let sampling = options.sampling;
        let greedy = sampling.temperature <= 0.0 && sampling.repeat_penalty == 1.0;
        Self {
            model,
            options,
            drafter: options.method.drafter(options.method_params),
            cost: CostModel::flat(),
            selector: if greedy {
                Box::new(Greedy)
            } else {
                Box::new(Sampler::new(sampling))
            },
            text: Vec::new(),
            last_row: None,
            next: None,
            prefill_time: Duration::ZERO,
        }
    }

    /// Replaces the drafter; for drafters that are no [`Method`](crate::engine::Method).
    pub fn with_drafter(mut self, drafter: Box<dyn Drafter>) -> Self {
        self.drafter = drafter;
        self
    }

    /// Ends the request, and hands over the drafter with what it remembers, for the next session.
    pub fn into_drafter(mut self) -> Box<dyn Drafter> {
        self.drafter.next_request();
        self.drafter
    }

    /// Lets the drafter copy from `memory`, too; to be told before the first prompt.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        let SessionOptions {
            method,
            method_params,
            ..
        } = self.options;
        self.drafter = method.drafter_with(method_params, memory);
        self
    }

    /// Ends the request: the conversation is forgotten, but for what the drafter's memory keeps of
    /// it.
    pub fn end_request(&mut self) {
        self.drafter.next_request();
        self.cut(0);
    }

    /// Tells what a pass of the model costs, so that trees are no larger than pays. Without, they
    /// grow as large as they may, and so they do where the options say that nothing depends on it.
    /// With the options' [`free_shapes`](SessionOptions::free_shapes) its shapes are
    /// [free](CostModel::with_free_shapes).
    pub fn with_cost(mut self, cost: CostModel) -> Self {
        if self.options.weighs_cost() {
            self.cost = match self.options.free_shapes {
                true => cost.with_free_shapes(),
                false => cost,
            };
        }
        self
    }

    /// What a pass of the model costs, as far as is known.
    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// The committed text: prompts and answers.
    pub fn text(&self) -> &[TokenId] {
        &self.text
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The logits of the last committed token, if they are at hand: after a prompt, and after a
    /// step that needed a pass.
    pub fn last_logits(&self) -> Option<&[f32]> {
        self.last_row.map(|node| self.model.row(node).logits())
    }

    /// Forgets the conversation, and all that the drafter itself remembers of earlier ones.
    pub fn reset(&mut self) {
        self.cut(0);
        self.drafter.reset();
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        if len < self.text.len() {
            self.cut(len);
            self.drafter.rewind();
            if len > 0 {
                // One may go on without a new prompt.
                self.drafter.begin(&self.text);
            }
        }
    }

    /// Text and cache without what follows the first `len` tokens.
    fn cut(&mut self, len: usize) {
        self.text.truncate(len);
        if self.model.n_past() > len {
            self.model.truncate(len);
        }
        self.last_row = None;
        self.next = None;
    }

    /// Adds a prompt to the conversation and decodes it in pieces ([`TargetModel::prompt_piece`]).
    ///
    /// `progress` is told how many tokens of how many are done and may call it off.
    ///
    /// # Errors
    /// If the prompt is empty, unknown to the model or too long, if `progress` breaks, or if the
    /// model fails. The conversation is then as before.
    pub fn prefill(
        &mut self,
        prompt: &[TokenId],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(), GenerateError> {
        let n_vocab = self.model.n_vocab();
        if let Some(&token) = prompt.iter().find(|&&token| token as usize >= n_vocab) {
            return Err(GenerateError::UnknownToken { token, n_vocab });
        }
        let tokens = self.text.len() + prompt.len();
        let n_ctx = self.model.n_ctx();
        if tokens > n_ctx {
            return Err(GenerateError::PromptTooLong { tokens, n_ctx });
        }
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let mut watch = Stopwatch::start();
        let before = self.text.len();
        self.text.extend_from_slice(prompt);
        if let Err(error) = self.catch_up(progress) {
            self.text.truncate(before);
            return Err(error);
        }
        self.next = None;
        self.drafter.begin(&self.text);
        self.prefill_time = watch.lap();
        Ok(())
    }

    /// Decodes what of the text the cache lacks and returns the row of the last token. If that
    /// fails, the cache holds no more than before.
    fn catch_up(
        &mut self,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<NodeId, GenerateError> {
        if self.model.n_past() >= self.text.len() {
            // A failed decode took the last row; the last token gives it again.
            self.model.truncate(self.text.len() - 1);
        }
        self.cost.interrupted();
        let start = self.model.n_past();
        let missing = &self.text[start..];
        let mut done = 0;
        for piece in missing.chunks(self.model.prompt_piece().max(1)) {
            let decoded = match progress(done, missing.len()) {
                ControlFlow::Continue(()) => self.model.append(piece).map_err(Into::into),
                ControlFlow::Break(()) => Err(GenerateError::Cancelled),
            };
            if let Err(error) = decoded {
                // The rows of earlier decodes are gone.
                self.last_row = None;
                if self.model.n_past() > start {
                    self.model.truncate(start);
                }
                return Err(error);
            }
            done += piece.len();
        }
        let _ = progress(done, done);
        self.last_row = Some(ROOT);
        Ok(ROOT)
    }

    /// Answers: decode steps until the model ends, `max_new_tokens` are reached, the context is
    /// full, or `on_step` breaks. `on_step` sees every step right after it was committed. If the
    /// model fails half-way, the answer so far is returned, with [`FinishReason::Failed`].
    ///
    /// # Errors
    /// If there is no prompt yet.
    pub fn generate(
        &mut self,
        max_new_tokens: usize,
        on_step: &mut dyn FnMut(&StepView<'_>) -> ControlFlow<()>,
    ) -> Result<Generation, GenerateError> {
        if self.text.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let reused_before = self.model.graphs_reused();
        let mut answer = Generation::empty(FinishReason::Length);
        answer.timings.prefill = std::mem::take(&mut self.prefill_time).as_secs_f64();
        while answer.tokens.len() < max_new_tokens {
            let n_past = self.text.len();
            let left = max_new_tokens - answer.tokens.len();
            let mut watch = Stopwatch::start();
            let Stepped {
                step,
                tree,
                path,
                ranked,
            } = match self.step(left) {
                Ok(Some(stepped)) => stepped,
                Ok(None) => break, // the context is full
                Err(GenerateError::Decode(error)) => {
                    answer.finish = FinishReason::Failed(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            // What the caller does with the step is not counted.
            answer.timings.total += watch.lap().as_secs_f64();
            answer.tokens.extend_from_slice(&step.accepted);
            answer.accept_lengths.push(step.accepted.len());
            answer.drafted += step.drafted;
            answer.decoded_again += step.decoded_again;
            answer.sources.drafted.add_all(&step.sources.drafted);
            answer.sources.accepted.add_all(&step.sources.accepted);
            answer.timings.add(&step.times);
            answer.step_times.push(step.times);
            let view = StepView {
                index: answer.accept_lengths.len() - 1,
                n_past,
                ranked: &ranked,
                tree: &tree,
                path: &path,
                step: &step,
            };
            let flow = on_step(&view);
            if step.accepted.last().is_some_and(|&t| self.model.is_end(t)) {
                answer.finish = FinishReason::Stop;
                break;
            }
            if flow.is_break() {
                answer.finish = FinishReason::Cancelled;
                break;
            }
        }
        answer.timings.total += answer.timings.prefill;
        let reused = self.model.graphs_reused().zip(reused_before);
        answer.graphs_reused = reused.map(|(after, before)| after.saturating_sub(before));
        Ok(answer)
    }

    /// One decode step, committing 1 to `left` tokens: the heart of it all. `None` if the context
    /// is full.
    ///
    /// A step whose outcome is known beforehand (`left` is 1, or the model ends here) needs no pass
    /// of the model; what it committed is decoded with the next prompt, and until then there are no
    /// [last logits](Self::last_logits).
    ///
    /// # Errors
    /// If there is no prompt yet, or if the model fails; the conversation is then as before, and
    /// one may go on.
    ///
    /// # Panics
    /// If `left` is 0.
    pub fn step(&mut self, left: usize) -> Result<Option<Stepped>, GenerateError> {
        assert!(left > 0, "a step commits at least one token");
        if self.text.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if self.text.len() > self.model.n_ctx() {
            return Ok(None);
        }
        let row = match self.last_row {
            Some(row) => row,
            // An answer that ended before is taken up again.
            None => self.catch_up(&mut |_, _| ControlFlow::Continue(()))?,
        };
        let mut watch = Stopwatch::start();
        let kv_before = self.model.kv_time();
        let mut times = StepTimes::default();

        // The root is what the last logits say. An earlier walk may have selected it already.
        let root = match self.next.take() {
            Some(root) => root,
            None => self.selector.select(self.model.row(row), &self.text, &[]),
        };
        let limits = self.limits(left);
        let mut tree = DraftTree::new(root, limits);
        let missing = self.missing();
        let room = self.model.n_ctx() - self.text.len();
        let known = left == 1 || room == 0 || self.model.is_end(root);
        let skip = known && (room == 0 || !self.options.method.verifies_last_step());
        if !skip {
            self.cost.expect(self.model.n_past(), missing);
        }
        let wanted = if skip || limits.capacity == 1 {
            0
        } else {
            self.drafter.candidates(limits.capacity, self.cost.cost())
        };
        let mut ranked = Vec::new();
        let looked_at = wanted.max(self.options.ranked);
        self.model.row(row).top_k_into(looked_at, &mut ranked);
        if !skip {
            let input = DraftInput {
                text: &self.text,
                root,
                // Whoever looks on changes nothing.
                ranked: &ranked[..wanted.min(ranked.len())],
                cost: self.cost.cost(),
            };
            self.drafter.draft(&input, &mut tree);
            debug_assert_eq!((tree.token(ROOT), tree.limits()), (root, limits));
            // What drafts are copied from may be of another vocabulary. The model would refuse the
            // whole pass.
            let n_vocab = self.model.n_vocab();
            let unknown = |&node: &NodeId| tree.token(node) as usize >= n_vocab;
            if let Some(node) = (ROOT + 1..tree.len()).find(unknown) {
                tree.truncate(node);
            }
        }
        times.draft = watch.lap();

        let mut accepted = Accepted::default();
        let decoded = tree.len();
        if skip {
            self.last_row = None;
        } else {
            if let Err(error) = self.decode(&mut tree) {
                self.last_row = None;
                self.next = Some(root);
                return Err(error);
            }
            let moving = self.model.kv_time().saturating_sub(kv_before);
            times.decode = watch.lap().saturating_sub(moving);
            times.commit = moving;

            accepted = walk(
                &tree,
                |node, path| self.selector.select(self.model.row(node), &self.text, path),
                // The published tree looks further than the answer may go.
                |tokens| {
                    tokens.len() == left || tokens.last().is_some_and(|&t| self.model.is_end(t))
                },
            );
            times.verify = watch.lap();

            // First the cache, which a model may see to beside what follows. Its rows stay.
            let kept = if self.had_better_be_decoded_again(&tree, &accepted, missing) {
                &[]
            } else {
                accepted.path.as_slice()
            };
            self.model.commit(&tree, kept);
            let model = &self.model;
            self.drafter.observe(&Verified {
                tree: &tree,
                path: &accepted.path,
                next: accepted.next,
                rows: &|node: NodeId| model.row(node),
            });
            self.last_row = Some(accepted.last());
        }
        self.next = accepted.next;
        let committed: Vec<TokenId> = std::iter::once(ROOT)
            .chain(accepted.path.iter().copied())
            .map(|node| tree.token(node))
            .collect();
        self.text.extend_from_slice(&committed);
        self.drafter.extend(&self.text, committed.len());
        times.commit += watch.lap();
        if tree.len() < decoded {
            // The time of a failed pass is in it.
            self.cost.interrupted();
        } else if !skip {
            // All that a tree of this size costs, not only its pass: beside a small model that is
            // much.
            let n_past = self.text.len() - committed.len();
            let seconds = (times.draft + times.decode + times.verify + times.commit).as_secs_f64();
            let pass = Pass {
                tokens: missing + tree.len(),
                sequences: self.model.sequences(),
                n_past: n_past - missing,
                chosen: self.could_be_larger(limits, missing),
            };
            self.cost.observe(pass, seconds);
        }
        times.commit += watch.lap();
        times.kv = self.model.kv_time().saturating_sub(kv_before);

        let mut sources = StepSources::default();
        (ROOT + 1..tree.len()).for_each(|node| sources.drafted.add(tree.source(node)));
        let path = accepted.path.iter();
        path.for_each(|&node| sources.accepted.add(tree.source(node)));
        let step = Step {
            accepted: committed,
            drafted: tree.drafted(),
            decoded_again: if skip { 0 } else { missing },
            sources,
            times,
        };
        Ok(Some(Stepped {
            step,
            tree,
            path: accepted.path,
            ranked,
        }))
    }

    /// Decodes the tree; if the cache has no room for it (fragmented, or smaller than it says), the
    /// bare root.
    fn decode(&mut self, tree: &mut DraftTree) -> Result<(), GenerateError> {
        let missing = &self.text[self.model.n_past()..];
        match self.model.decode_tree(missing, tree) {
            Err(DecodeError::NoRoom { .. }) if tree.drafted() > 0 => {
                tree.truncate(1);
                Ok(self.model.decode_tree(missing, tree)?)
            }
            done => Ok(done?),
        }
    }
}

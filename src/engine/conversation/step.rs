//! The decode step of one conversation: plan, verify, commit.

use std::time::Duration;

use super::{Conversation, Room};
use crate::TokenId;
use crate::draft::{Drafter, NodeRows, PassCost, Verified};
use crate::engine::answer::{Step, StepSources, Stepped};
use crate::engine::drafting::{Draft, DraftStep};
use crate::engine::error::GenerateError;
use crate::engine::stats::{StepTimes, Stopwatch};
use crate::engine::stops::StopHit;
use crate::engine::{CostModel, Method};
use crate::logits::{Candidate, Row, top_k};
use crate::runtime::{DecodeError, SlotPart, TargetModel};
use crate::tree::{DraftTree, NodeId, ROOT, Source};
use crate::verify::{Accepted, Constraint, walk};

/// The rows of a drafted tree, of which not all nodes were verified.
struct Known<F>(F);

impl<'m, F: Fn(NodeId) -> Option<Row<'m>>> NodeRows for Known<F> {
    fn top_k(&self, node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
        found.clear();
        (self.0)(node).is_some_and(|row| {
            row.top_k_into(k, found);
            true
        })
    }
}

/// What a step is about to do.
pub(in crate::engine) struct Plan {
    draft: Draft,
    /// What the request's grammar made of the tree, if there is one.
    constraint: Option<Constraint>,
    /// Whether the model must be asked. It need not be where the outcome is known.
    needs_pass: bool,
    /// Most tokens that the step may commit.
    left: usize,
    time: Duration,
}

/// What a step has to know of its pass.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct PassInfo {
    /// How long it took.
    pub decode: Duration,
    /// How much of that went into moving cells of the cache.
    pub moving: Duration,
    /// Whether it had more than one token.
    pub several_tokens: bool,
}

/// Whether the best two logits are closer than `noise`.
fn is_near_tie(row: Row<'_>, noise: f32) -> bool {
    noise > 0.0
        && matches!(top_k(row.logits(), 2)[..], [best, next] if best.logit - next.logit < noise)
}

impl Plan {
    /// Tokens of its tree that a pass decodes.
    pub(in crate::engine) fn tokens(&self) -> usize {
        if self.needs_pass {
            self.draft.tree.len()
        } else {
            0
        }
    }

    /// Time it took to plan.
    pub(in crate::engine) fn time(&self) -> Duration {
        self.time
    }

    /// Drops what was drafted. `false` if nothing was.
    pub(in crate::engine) fn drop_draft(&mut self) -> bool {
        let drafted = self.draft.tree.drafted() > 0;
        self.draft.tree.truncate(1);
        drafted
    }
}

impl Conversation {
    /// Selects the root and drafts a tree below it. The row of the last token is at hand.
    pub(in crate::engine) fn plan<M: TargetModel>(
        &mut self,
        model: &M,
        cost: &mut CostModel,
        room: Room,
        left: usize,
    ) -> Result<Plan, GenerateError> {
        let mut watch = Stopwatch::start();
        let last = self.last_row.expect("the last token was decoded");
        let last = model.row(self.slot, last);
        self.near_tie = false;
        let root = match self.next.take() {
            Some(root) => root,
            None => {
                let selected = self.selector.select(last, &self.text, &[]);
                selected.ok_or_else(|| self.nothing_selected())?
            }
        };
        let needs_pass = self.needs_pass(model, root, left);
        let limits = self.limits(model, cost, room, left);
        if needs_pass {
            cost.prepare(model.n_past(self.slot), room.beside);
        }
        let flat;
        let cost = match self.options.weighs_cost() {
            true => cost.cost(),
            false => {
                flat = PassCost::flat();
                &flat
            }
        };
        let step = DraftStep {
            text: &self.text,
            root,
            limits,
            cost,
            ranked: self.options.ranked,
        };
        let drafter = needs_pass.then_some(&mut *self.drafter as &mut dyn Drafter);
        let mut draft = step.draft(drafter, |k, ranked| last.top_k_into(k, ranked));
        // A corpus may be of another vocabulary. The model would refuse the whole pass.
        let n_vocab = model.n_vocab();
        let tree = &mut draft.tree;
        let unknown = |&node: &NodeId| tree.token(node) as usize >= n_vocab;
        if let Some(node) = (ROOT + 1..tree.len()).find(unknown) {
            tree.truncate(node);
        }
        let constraint = needs_pass.then(|| self.constrain(&mut draft)).flatten();
        Ok(Plan {
            draft,
            constraint,
            needs_pass,
            left,
            time: watch.lap(),
        })
    }

    /// Selects the next root from the row of a pass that had only the last token.
    pub(in crate::engine) fn decide<M: TargetModel>(&mut self, model: &M) {
        let row = model.row(self.slot, ROOT);
        self.next = self.selector.select(row, &self.text, &[]);
        self.near_tie = false;
    }

    /// Takes out of the tree what the request's grammar forbids, and puts in what it forces.
    fn constrain(&mut self, draft: &mut Draft) -> Option<Constraint> {
        let options = &self.options;
        let forces = options.method != Method::Baseline
            && !options.method_params.leave_out.has(Source::Grammar);
        let constraint = self.selector.constrain(&self.text, &draft.tree, forces)?;
        draft.tree.clone_from(&constraint.tree);
        Some(constraint)
    }

    /// Why nothing could be selected.
    fn nothing_selected(&self) -> DecodeError {
        match self.selector.failure() {
            Some(reason) => DecodeError::Grammar(reason),
            None => DecodeError::NoFiniteLogit,
        }
    }

    /// Whether the model must be asked what follows `root`.
    fn needs_pass<M: TargetModel>(&self, model: &M, root: TokenId, left: usize) -> bool {
        let full = self.text.len() == model.n_ctx();
        let stops = &self.request.stops;
        let ends = model.is_end(root) || stops.ends_in(&self.stop_state, &[root]);
        let known = left == 1 || full || ends;
        !known || (!full && self.options.method.verifies_last_step())
    }

    /// What a pass decodes for this conversation, if anything.
    pub(in crate::engine) fn part<'a, M: TargetModel>(
        &'a self,
        model: &M,
        plan: &'a Plan,
    ) -> Option<SlotPart<'a>> {
        plan.needs_pass.then(|| SlotPart {
            slot: self.slot,
            tokens: self.redecode(model),
            tree: Some(&plan.draft.tree),
        })
    }

    /// The pass failed: the step is taken back.
    pub(in crate::engine) fn take_back(&mut self, plan: &Plan) {
        self.last_row = None;
        self.next = Some(plan.draft.tree.token(ROOT));
    }

    /// Walks the tree, keeps what the model itself would say, and learns from it.
    pub(in crate::engine) fn finish<M: TargetModel>(
        &mut self,
        model: &mut M,
        plan: Plan,
        pass: PassInfo,
    ) -> Stepped {
        let mut watch = Stopwatch::start();
        let accepted = self.verify(model, &plan, pass.several_tokens);
        let mut times = StepTimes {
            draft: plan.time,
            verify: watch.lap(),
            ..StepTimes::default()
        };
        let kv_before = model.kv_time();
        let redecoded = self.redecode(model).len();
        let Plan {
            draft: Draft { tree, ranked },
            constraint,
            needs_pass,
            ..
        } = plan;
        if needs_pass {
            model.commit(self.slot, &tree, self.kept(&tree, &accepted.path));
            self.tell_drafter(model, &tree, constraint.as_ref(), &accepted);
            times.decode = pass.decode.saturating_sub(pass.moving);
        }
        self.last_row = (needs_pass && !self.near_tie).then(|| accepted.last());
        self.next = accepted.next;
        let (committed, stop) = self.say(&tree, &accepted.path);
        let moving = if needs_pass {
            pass.moving
        } else {
            Duration::ZERO
        };
        times.commit = watch.lap() + moving;
        times.kv = model.kv_time().saturating_sub(kv_before) + moving;
        Stepped {
            step: Step {
                accepted: committed,
                drafted: tree.drafted(),
                redecoded: if needs_pass { redecoded } else { 0 },
                near_tie: self.near_tie,
                sources: StepSources::of(&tree, &accepted.path),
                logprobs: self.selector.take_logprobs(1 + accepted.path.len()),
                stop,
                times,
            },
            tree,
            path: accepted.path,
            ranked,
        }
    }

    /// Walks the tree by the model's rows. Ends at a near tie, if the pass had `several` tokens.
    fn verify<M: TargetModel>(&mut self, model: &M, plan: &Plan, several: bool) -> Accepted {
        if !plan.needs_pass {
            return Accepted::default();
        }
        let noise = match several && self.request.sampling.is_greedy() {
            true => model.rounding_noise(),
            false => 0.0,
        };
        let text = &self.text;
        // Stop at `left` tokens: `logitspec-reference` drafts deeper than the answer may go.
        let stops = |tokens: &[TokenId]| {
            tokens.len() == plan.left
                || tokens.last().is_some_and(|&token| model.is_end(token))
                || self.request.stops.ends_in(&self.stop_state, tokens)
        };
        walk(
            &plan.draft.tree,
            |node, path| {
                let row = model.row(self.slot, node);
                self.near_tie = is_near_tie(row, noise);
                match self.near_tie {
                    true => None,
                    false => self.selector.select(row, text, path),
                }
            },
            stops,
        )
    }

    /// Adds the root and `path` to the text. Returns them, and the stop that they complete.
    fn say(&mut self, tree: &DraftTree, path: &[NodeId]) -> (Vec<TokenId>, Option<StopHit>) {
        let nodes = std::iter::once(&ROOT).chain(path);
        let said: Vec<TokenId> = nodes.map(|&node| tree.token(node)).collect();
        let stops = &self.request.stops;
        let mut hits = said.iter();
        let stop = hits.find_map(|&token| stops.push(&mut self.stop_state, token));
        self.text.extend_from_slice(&said);
        self.drafter.extend(&self.text, said.len());
        (said, stop)
    }

    /// Tells the drafter what came of its tree.
    fn tell_drafter<M: TargetModel>(
        &mut self,
        model: &M,
        tree: &DraftTree,
        constraint: Option<&Constraint>,
        accepted: &Accepted,
    ) {
        let row = |node: NodeId| model.row(self.slot, node);
        let Some(constraint) = constraint else {
            return self.drafter.observe(&Verified {
                tree,
                path: &accepted.path,
                next: accepted.next,
                rows: &row,
            });
        };
        let path = constraint.drafted_path(&accepted.path);
        let next = accepted.path.get(path.len()).map(|&node| tree.token(node));
        // After a failed pass, only the root was verified.
        let known = |node| {
            let verified = constraint.verified(node);
            verified.filter(|&it| it < tree.len()).map(row)
        };
        self.drafter.observe(&Verified {
            tree: &constraint.drafted,
            path: &path,
            next: next.or(accepted.next),
            rows: &Known(known),
        });
    }
}

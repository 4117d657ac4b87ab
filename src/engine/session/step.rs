//! The decode step: plan, verify, commit.

use std::ops::ControlFlow;
use std::time::Duration;

use super::Session;
use crate::TokenId;
use crate::draft::{Drafter, NodeRows, Verified};
use crate::engine::answer::{Step, StepSources, Stepped};
use crate::engine::drafting::{Draft, DraftStep};
use crate::engine::error::GenerateError;
use crate::engine::stats::{StepTimes, Stopwatch};
use crate::engine::{Method, Pass};
use crate::logits::{Candidate, Row};
use crate::runtime::{DecodeError, TargetModel};
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

/// What a step is about to do, and later what it took.
struct Plan {
    draft: Draft,
    /// What the request's grammar made of the tree, if there is one.
    constraint: Option<Constraint>,
    /// Whether the model must be asked. It need not be where the outcome is known.
    needs_pass: bool,
    /// Committed tokens that the pass decodes again, ahead of the tree.
    redecoded: usize,
    /// Whether the pass failed for want of room and was done with the bare root instead.
    retried: bool,
    times: StepTimes,
    watch: Stopwatch,
    kv_before: Duration,
}

impl<M: TargetModel> Session<M> {
    /// One decode step, which commits 1 to `left` tokens. `None` if the context is full.
    ///
    /// A step whose outcome is known beforehand (`left` is 1, or the model ends here) needs no pass
    /// of the model. What it commits is decoded with the next prompt, and until then there are no
    /// [last logits](Self::last_logits).
    ///
    /// # Errors
    /// If there is no prompt yet, or if the model fails. The conversation is then as before, and
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
        let mut plan = self.plan(left)?;
        let accepted = self.verify(&mut plan, left)?;
        Ok(Some(self.commit(plan, accepted)))
    }

    /// Selects the root and drafts a tree below it.
    fn plan(&mut self, left: usize) -> Result<Plan, GenerateError> {
        let last = match self.last_row {
            Some(last) => last,
            // The last step needed no pass, or failed: the cache lacks tokens.
            None => self.catch_up(&mut |_, _| ControlFlow::Continue(()))?,
        };
        let mut watch = Stopwatch::start();
        let kv_before = self.model.kv_time();
        let root = match self.next.take() {
            Some(root) => root,
            None => {
                let selected = self.selector.select(self.model.row(last), &self.text, &[]);
                selected.ok_or_else(|| self.nothing_selected())?
            }
        };
        let redecoded = self.redecode().len();
        let needs_pass = self.needs_pass(root, left);
        let limits = self.limits(left);
        if needs_pass {
            self.cost.prepare(self.model.n_past(), redecoded);
        }
        let step = DraftStep {
            text: &self.text,
            root,
            limits,
            cost: self.cost.cost(),
            ranked: self.options.ranked,
        };
        let row = self.model.row(last);
        let drafter = needs_pass.then_some(&mut *self.drafter as &mut dyn Drafter);
        let mut draft = step.draft(drafter, |k, ranked| row.top_k_into(k, ranked));
        // A corpus may be of another vocabulary. The model would refuse the whole pass.
        let n_vocab = self.model.n_vocab();
        let tree = &mut draft.tree;
        let unknown = |&node: &NodeId| tree.token(node) as usize >= n_vocab;
        if let Some(node) = (ROOT + 1..tree.len()).find(unknown) {
            tree.truncate(node);
        }
        let constraint = needs_pass.then(|| self.constrain(&mut draft)).flatten();
        let times = StepTimes {
            draft: watch.lap(),
            ..StepTimes::default()
        };
        Ok(Plan {
            draft,
            constraint,
            needs_pass,
            redecoded,
            retried: false,
            times,
            watch,
            kv_before,
        })
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
    fn needs_pass(&self, root: TokenId, left: usize) -> bool {
        let full = self.text.len() == self.model.n_ctx();
        let stops = &self.request.stops;
        let ends = self.model.is_end(root) || stops.ends_in(&self.stop_state, &[root]);
        let known = left == 1 || full || ends;
        !known || (!full && self.options.method.verifies_last_step())
    }

    /// Decodes the tree and walks it. What the model itself would say is accepted.
    fn verify(&mut self, plan: &mut Plan, left: usize) -> Result<Accepted, GenerateError> {
        if !plan.needs_pass {
            self.last_row = None;
            return Ok(Accepted::default());
        }
        if let Err(error) = self.decode(plan) {
            self.last_row = None;
            self.next = Some(plan.draft.tree.token(ROOT));
            return Err(error);
        }
        let moving = self.model.kv_time().saturating_sub(plan.kv_before);
        plan.times.decode = plan.watch.lap().saturating_sub(moving);
        plan.times.commit = moving;

        let (model, text) = (&self.model, &self.text);
        // Stop at `left` tokens: `logitspec-reference` drafts deeper than the answer may go.
        let stops = |tokens: &[TokenId]| {
            tokens.len() == left
                || tokens.last().is_some_and(|&token| model.is_end(token))
                || self.request.stops.ends_in(&self.stop_state, tokens)
        };
        let accepted = walk(
            &plan.draft.tree,
            |node, path| self.selector.select(model.row(node), text, path),
            stops,
        );
        plan.times.verify = plan.watch.lap();
        Ok(accepted)
    }

    /// Decodes the tree. If the cache has no room for it, only the bare root.
    fn decode(&mut self, plan: &mut Plan) -> Result<(), GenerateError> {
        let tree = &mut plan.draft.tree;
        let redecode = &self.text[self.model.n_past()..];
        match self.model.decode_tree(redecode, tree) {
            Err(DecodeError::NoRoom { .. }) if tree.drafted() > 0 => {
                tree.truncate(1);
                plan.retried = true;
                Ok(self.model.decode_tree(redecode, tree)?)
            }
            done => Ok(done?),
        }
    }

    /// Keeps what was accepted, in the cache and in the text, and learns from it.
    fn commit(&mut self, plan: Plan, accepted: Accepted) -> Stepped {
        let Plan {
            draft: Draft { tree, ranked },
            mut times,
            mut watch,
            ..
        } = plan;
        let n_past = self.model.n_past();
        if plan.needs_pass {
            self.model.commit(&tree, self.kept(&tree, &accepted.path));
            self.tell_drafter(&tree, plan.constraint.as_ref(), &accepted);
            self.last_row = Some(accepted.last());
        }
        self.next = accepted.next;
        let path = std::iter::once(&ROOT).chain(&accepted.path);
        let committed: Vec<TokenId> = path.map(|&node| tree.token(node)).collect();
        let stops = &self.request.stops;
        let mut hits = committed.iter();
        let stop = hits.find_map(|&token| stops.push(&mut self.stop_state, token));
        self.text.extend_from_slice(&committed);
        self.drafter.extend(&self.text, committed.len());
        times.commit += watch.lap();
        times.kv = self.model.kv_time().saturating_sub(plan.kv_before);
        if plan.retried {
            // The time of the failed pass is part of the step's.
            self.cost.forget_graph();
        } else if plan.needs_pass {
            // Charge the whole step, not only the pass: with a small model, drafting and verifying
            // are a large share.
            let seconds = (times.draft + times.decode + times.verify + times.commit).as_secs_f64();
            let pass = Pass {
                tokens: plan.redecoded + tree.len(),
                sequences: self.model.sequences(),
                n_past,
            };
            self.cost.observe(pass, seconds);
        }
        Stepped {
            step: Step {
                accepted: committed,
                drafted: tree.drafted(),
                redecoded: if plan.needs_pass { plan.redecoded } else { 0 },
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

    /// Tells the drafter what came of its tree.
    fn tell_drafter(
        &mut self,
        tree: &DraftTree,
        constraint: Option<&Constraint>,
        accepted: &Accepted,
    ) {
        let model = &self.model;
        let Some(constraint) = constraint else {
            return self.drafter.observe(&Verified {
                tree,
                path: &accepted.path,
                next: accepted.next,
                rows: &|node: NodeId| model.row(node),
            });
        };
        let path = constraint.drafted_path(&accepted.path);
        let next = accepted.path.get(path.len()).map(|&node| tree.token(node));
        // After a failed pass, only the root was verified.
        let row = |node| {
            let verified = constraint.verified(node).filter(|&it| it < tree.len());
            verified.map(|node| model.row(node))
        };
        self.drafter.observe(&Verified {
            tree: &constraint.drafted,
            path: &path,
            next: next.or(accepted.next),
            rows: &Known(row),
        });
    }
}

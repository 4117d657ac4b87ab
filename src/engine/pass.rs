//! One pass of the model for many conversations: plan, decode, verify, commit.

use crate::TokenId;
use crate::engine::answer::Stepped;
use crate::engine::conversation::{Conversation, PassInfo, Plan, Room};
use crate::engine::error::GenerateError;
use crate::engine::stats::Stopwatch;
use crate::engine::{CostModel, Pass};
use crate::runtime::{DecodeError, SlotId, SlotPart, TargetModel};

/// A conversation that takes a step.
pub(super) struct Turn<'a> {
    /// Its last token was decoded.
    pub conversation: &'a mut Conversation,
    /// Most tokens that the step may commit; at least one.
    pub left: usize,
}

/// A piece of a prompt.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub slot: SlotId,
    /// The text with the piece at its end. The cache lacks at least one token of it, maybe more
    /// than when the piece was cut: a pass that finds no room may take some out.
    pub text: &'a [TokenId],
}

impl<'a> Piece<'a> {
    fn part<M: TargetModel>(&self, model: &M) -> SlotPart<'a> {
        SlotPart {
            slot: self.slot,
            tokens: &self.text[model.n_past(self.slot)..],
            tree: None,
        }
    }
}

/// What came of a turn.
pub(super) type TurnResult = Result<Stepped, GenerateError>;

/// Takes one step with every conversation, in one pass, and decodes `pieces` of prompts with it.
///
/// # Errors
/// If the pass fails. All steps are then taken back, and the pieces are not decoded. What concerns
/// one conversation alone is in its own result.
pub(super) fn run<M: TargetModel>(
    model: &mut M,
    cost: &mut CostModel,
    turns: &mut [Turn<'_>],
    pieces: &[Piece<'_>],
) -> Result<Vec<TurnResult>, DecodeError> {
    let mut plans = plan(model, cost, turns, pieces);
    let before = (model.kv_time(), n_past(model, turns));
    let mut watch = Stopwatch::start();
    let retried = decode(model, turns, &mut plans, pieces)?;
    let tokens = tokens(model, turns, &plans);
    let info = PassInfo {
        decode: watch.lap(),
        moving: model.kv_time().saturating_sub(before.0),
        several_tokens: tokens > 1 || !pieces.is_empty(),
    };
    let planning = plans
        .iter()
        .flatten()
        .map(Plan::time)
        .sum::<std::time::Duration>();
    let pass = Pass {
        tokens,
        sequences: model.sequences(),
        n_past: before.1,
    };
    let steps = turns.iter_mut().zip(plans).map(|(turn, plan)| {
        let plan = plan?;
        Ok(turn.conversation.finish(model, plan, info))
    });
    let steps = steps.collect();
    if retried || !pieces.is_empty() {
        // Its time is not that of a pass of so many tokens.
        cost.forget_graph();
    } else if pass.tokens > 0 {
        // Charge the whole step, not only the pass: with a small model, drafting and verifying
        // are a large share.
        let seconds = planning + info.decode + watch.lap();
        cost.observe(pass, seconds.as_secs_f64());
    }
    Ok(steps)
}

/// Drafts a tree for each conversation. The first ones have the first choice.
fn plan<M: TargetModel>(
    model: &M,
    cost: &mut CostModel,
    turns: &mut [Turn<'_>],
    pieces: &[Piece<'_>],
) -> Vec<Result<Plan, GenerateError>> {
    let of_pieces = pieces.iter().map(|piece| piece.part(model).len());
    let redecode = turns.iter().map(|it| it.conversation.redecode(model).len());
    let certain = of_pieces.sum::<usize>() + redecode.sum::<usize>();
    let alone = turns.len() == 1 && pieces.is_empty();
    let mut roots = turns.len();
    let mut drafted = 0;
    let mut plans = Vec::with_capacity(turns.len());
    for turn in turns {
        roots -= 1;
        // Each conversation behind this one needs room for its root.
        let beside = certain + drafted + roots;
        let room = Room {
            batch: model.n_batch().saturating_sub(beside),
            cells: model.free().saturating_sub(beside),
            beside,
            alone,
        };
        let plan = turn.conversation.plan(model, cost, room, turn.left);
        drafted += plan.as_ref().map_or(0, Plan::tokens);
        plans.push(plan);
    }
    plans
}

/// Decodes all trees and pieces. If the cache has no room for the trees, only their bare roots, and
/// says so.
fn decode<M: TargetModel>(
    model: &mut M,
    turns: &mut [Turn<'_>],
    plans: &mut [Result<Plan, GenerateError>],
    pieces: &[Piece<'_>],
) -> Result<bool, DecodeError> {
    let mut decoded = try_decode(model, turns, plans, pieces);
    let mut retried = false;
    if let Err(DecodeError::NoRoom { .. }) = decoded {
        for plan in plans.iter_mut().flatten() {
            retried |= plan.drop_draft();
        }
        if retried {
            decoded = try_decode(model, turns, plans, pieces);
        }
    }
    if decoded.is_err() {
        for (turn, plan) in turns.iter_mut().zip(plans) {
            if let Ok(plan) = plan {
                turn.conversation.take_back(plan);
            }
        }
    }
    decoded.map(|()| retried)
}

fn try_decode<M: TargetModel>(
    model: &mut M,
    turns: &[Turn<'_>],
    plans: &[Result<Plan, GenerateError>],
    pieces: &[Piece<'_>],
) -> Result<(), DecodeError> {
    let parts = parts(model, turns, plans);
    let pieces = pieces.iter().map(|piece| piece.part(model));
    let parts: Vec<_> = pieces.chain(parts).collect();
    match parts.is_empty() {
        true => Ok(()),
        false => model.decode(&parts),
    }
}

/// Tokens of the pass, without pieces of prompts.
fn tokens<M: TargetModel>(
    model: &M,
    turns: &[Turn<'_>],
    plans: &[Result<Plan, GenerateError>],
) -> usize {
    parts(model, turns, plans).iter().map(SlotPart::len).sum()
}

/// What the pass decodes for the turns.
fn parts<'a, M: TargetModel>(
    model: &M,
    turns: &'a [Turn<'_>],
    plans: &'a [Result<Plan, GenerateError>],
) -> Vec<SlotPart<'a>> {
    let part = |(turn, plan): (&'a Turn<'_>, &'a Result<Plan, _>)| {
        let plan = plan.as_ref().ok()?;
        turn.conversation.part(model, plan)
    };
    turns.iter().zip(plans).filter_map(part).collect()
}

/// Tokens in the cache of a conversation, on average.
fn n_past<M: TargetModel>(model: &M, turns: &[Turn<'_>]) -> usize {
    let held = turns.iter().map(|it| model.n_past(it.conversation.slot));
    held.sum::<usize>() / turns.len().max(1)
}

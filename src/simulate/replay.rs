//! One request, step by step.

use std::time::{Duration, Instant};

use crate::TokenId;
use crate::draft::{Drafter, NodeRows, PassCost, Verified};
use crate::engine::{Draft, DraftStep, Method, StepSources};
use crate::logits::Candidate;
use crate::tree::{DraftTree, NodeId, PerSource, ROOT, TreeLimits};
use crate::verify::walk;

/// One turn of a recorded conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// How many tokens of what was said before stay: all of them, unless the chat template writes
    /// earlier turns differently now. More than there are means all.
    pub keep: usize,
    /// The tokens that lead from what was said before to the answer.
    pub prompt: Vec<TokenId>,
    /// The answer; a token that ended it, if any, is the last.
    pub answer: Vec<TokenId>,
    /// Whether the model ended it with that token. If not, the answer reached its limit.
    pub ended: bool,
    /// What is known of the logits before each token of the answer: `ranked[i]` are candidates for
    /// `answer[i]`, best first, or none. Empty if nothing is known at all.
    pub ranked: Vec<Vec<Candidate>>,
}

/// A recorded conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The row of the figures that it counts in.
    pub category: String,
    /// Its turns.
    pub turns: Vec<Turn>,
}

impl Request {
    /// Whether logits were recorded with it.
    pub fn has_logits(&self) -> bool {
        self.turns.iter().any(|turn| !turn.ranked.is_empty())
    }
}

/// How a replay drafts; the session that it stands for has the same.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most tokens in one verification pass, the root counted.
    pub draft_tree_capacity: usize,
    /// Most tokens of an answer that the model did not end.
    pub max_new_tokens: usize,
    /// The method of the drafter.
    pub method: Method,
    /// What a pass costs.
    pub cost: PassCost,
}

impl Settings {
    /// Settings for `method` with trees of at most `draft_tree_capacity` nodes.
    pub fn new(method: Method, draft_tree_capacity: usize) -> Self {
        Self {
            draft_tree_capacity: draft_tree_capacity.max(1),
            max_new_tokens: usize::MAX,
            method,
            cost: PassCost::flat(),
        }
    }
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Tokens committed, the root counted.
    pub accepted: usize,
    /// Nodes drafted, the root not counted.
    pub drafted: usize,
    /// Whether a pass of the model was needed.
    pub verified: bool,
    /// Where the drafted nodes came from.
    pub drafted_from: PerSource,
    /// Where the accepted ones came from.
    pub accepted_from: PerSource,
    /// Time the drafter took for the tree.
    pub draft: Duration,
}

/// A replayed request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Its steps, over all turns.
    pub steps: Vec<Record>,
    /// Number of its answers.
    pub answers: usize,
}

/// Replays `request` with `drafter`, whose text must be empty.
///
/// Costs what the drafter costs, and a step through the tree for every token.
pub fn replay(request: &Request, drafter: &mut dyn Drafter, settings: &Settings) -> Replay {
    let mut replay = Replay::default();
    let mut text = Vec::new();
    for turn in &request.turns {
        let is_revised = turn.keep < text.len();
        text.truncate(turn.keep);
        text.extend_from_slice(&turn.prompt);
        match is_revised {
            true => drafter.revise(&text, turn.keep),
            false => drafter.begin(&text),
        }
        replay.answers += 1;
        let mut done = 0;
        while done < turn.answer.len() {
            let record = step(turn, done, &text, drafter, settings);
            let end = done + record.accepted;
            text.extend_from_slice(&turn.answer[done..end]);
            drafter.extend(&text, record.accepted);
            done = end;
            replay.steps.push(record);
        }
    }
    replay
}

/// One decode step of `turn`, of whose answer `done` tokens are committed, as a session takes it.
fn step(
    turn: &Turn,
    done: usize,
    text: &[TokenId],
    drafter: &mut dyn Drafter,
    settings: &Settings,
) -> Record {
    let rest = &turn.answer[done..];
    // An answer that the model did not end was as long as it might be.
    let left = if turn.ended {
        settings.max_new_tokens.saturating_sub(done).max(rest.len())
    } else {
        rest.len()
    };
    let is_last = |count: usize| count == rest.len();
    let needs_pass = !is_last(1) || settings.method.verifies_last_step();
    let step = DraftStep {
        text,
        root: rest[0],
        limits: TreeLimits {
            capacity: settings.draft_tree_capacity,
            leaves: settings.draft_tree_capacity,
            depth: settings.method.max_depth(left),
        },
        cost: &settings.cost,
        ranked: 0,
    };
    let start = Instant::now();
    let Draft { tree, .. } = step.draft(needs_pass.then_some(&mut *drafter), |k, found| {
        recorded(turn, done, k, found);
    });
    let draft = start.elapsed();
    let mut path = Vec::new();
    if needs_pass {
        let next = |_: NodeId, tokens: &[TokenId]| rest.get(tokens.len()).copied();
        path = walk(&tree, next, |tokens| is_last(tokens.len())).path;
        drafter.observe(&Verified {
            tree: &tree,
            path: &path,
            next: rest.get(1 + path.len()).copied(),
            rows: &RecordedRows {
                turn,
                done,
                tree: &tree,
                path: &path,
            },
        });
    }
    let sources = StepSources::of(&tree, &path);
    Record {
        accepted: 1 + path.len(),
        drafted: tree.drafted(),
        verified: needs_pass,
        drafted_from: sources.drafted,
        accepted_from: sources.accepted,
        draft,
    }
}

/// Puts the first `k` recorded candidates for the answer's token `index` into `found`. Whether any
/// were recorded: if not, only the token itself is known.
fn recorded(turn: &Turn, index: usize, k: usize, found: &mut Vec<Candidate>) -> bool {
    found.clear();
    match turn.ranked.get(index) {
        Some(ranked) if !ranked.is_empty() => {
            found.extend(ranked.iter().take(k));
            true
        }
        _ => {
            let said = turn.answer.get(index);
            let said = said.map(|&token| Candidate { token, logit: 0.0 });
            found.extend(said.into_iter().take(k));
            false
        }
    }
}

/// The logits that a record has of a step.
#[derive(Clone, Copy)]
struct RecordedRows<'a> {
    turn: &'a Turn,
    done: usize,
    tree: &'a DraftTree,
    path: &'a [NodeId],
}

impl NodeRows for RecordedRows<'_> {
    fn top_k(&self, node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
        let depth = self.tree.depth(node);
        // Only what was said has logits on record.
        let said = node == ROOT || self.path.get(depth - 1) == Some(&node);
        let known = said && recorded(self.turn, self.done + depth + 1, k, found);
        if !known {
            found.clear();
        }
        known
    }
}

//! The reference drafter against a direct implementation of the published algorithm.

use std::ops::ControlFlow;

use logitspec::TokenId;
use logitspec::engine::{Method, MethodParams, Session, SessionOptions};
use logitspec::runtime::ScriptedModel;
use logitspec::tree::NodeId;

use super::drafters::naive_argmax;
use super::ngram::Dictionary;
use super::tree;

/// The published parameters.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    pub max_ngram_size: usize,
    pub num_pred_tokens: usize,
    pub draft_tree_capacity: usize,
}

/// All tokens by falling logit. Among equals, the lower token comes first.
fn ranked(logits: &[f32]) -> Vec<TokenId> {
    let mut ranked: Vec<TokenId> = (0..).take(logits.len()).collect();
    ranked.sort_by(|&a, &b| {
        logits[b as usize]
            .total_cmp(&logits[a as usize])
            .then(a.cmp(&b))
    });
    ranked
}

/// The chains of one step, unmerged. The root is the first of `ranked`.
fn chains(
    capacity: usize,
    pool: &Dictionary,
    text: &[TokenId],
    ranked: &[TokenId],
) -> Vec<Vec<TokenId>> {
    let ranked = &ranked[..ranked.len().min(capacity)];
    let with_root = [text, &ranked[..1]].concat();
    let mut chains = Vec::new();
    if let Some(continuation) = pool.lookup(&with_root) {
        chains.push(continuation.to_vec());
    }
    for (rank, &token) in ranked.iter().enumerate().skip(1) {
        let mut chain = vec![token];
        chain.extend(
            pool.lookup(&[&with_root[..], &[token]].concat())
                .unwrap_or_default(),
        );
        chain.truncate(if rank <= 8 {
            4
        } else if rank <= 32 {
            3
        } else {
            1
        });
        chains.push(chain);
    }

    let mut left = capacity.max(1) - 1;
    for chain in &mut chains {
        chain.truncate(left);
        left -= chain.len();
    }
    chains.retain(|chain| !chain.is_empty());
    chains
}

/// The root and the chains, as tokens with parents.
fn nodes(root: TokenId, chains: &[Vec<TokenId>]) -> Vec<(TokenId, Option<NodeId>)> {
    let mut nodes = vec![(root, None)];
    for chain in chains {
        let mut parent = 0;
        for &token in chain {
            nodes.push((token, Some(parent)));
            parent = nodes.len() - 1;
        }
    }
    nodes
}

/// The root and the accepted prefix of the best chain. Among equals, the first chain wins.
fn accepted(
    model: &ScriptedModel,
    text: &[TokenId],
    root: TokenId,
    chains: &[Vec<TokenId>],
) -> Vec<TokenId> {
    let with_root = [text, &[root]].concat();
    let mut best: &[TokenId] = &[];
    for chain in chains {
        let greedy =
            |at: usize| naive_argmax(&model.logits_after(&[&with_root, &chain[..at]].concat()));
        let accepted_len = (0..chain.len())
            .take_while(|&at| chain[at] == greedy(at))
            .count();
        if accepted_len > best.len() {
            best = &chain[..accepted_len];
        }
    }
    [&[root], best].concat()
}

/// Answers `prompts` one after another, with up to `max_new_tokens` each, and checks every step.
pub fn check(
    model: &ScriptedModel,
    published: Published,
    end: Option<TokenId>,
    prompts: &[Vec<TokenId>],
    max_new_tokens: usize,
) {
    let Published {
        max_ngram_size,
        num_pred_tokens,
        draft_tree_capacity: capacity,
    } = published;
    let options = SessionOptions {
        method: Method::LogitspecReference,
        method_params: MethodParams {
            max_ngram_size: Some(max_ngram_size),
            num_pred_tokens: Some(num_pred_tokens),
            ..MethodParams::default()
        },
        draft_tree_capacity: capacity,
        ..SessionOptions::default()
    };
    let mut with_end = model.clone();
    if let Some(end) = end {
        with_end = with_end.with_end(end);
    }
    let mut session = Session::new(with_end, options);
    let mut text = Vec::new();
    for prompt in prompts {
        session
            .prefill(prompt, &mut |_, _| ControlFlow::Continue(()))
            .unwrap();
        text.extend_from_slice(prompt);
        let mut pool = Dictionary::new(max_ngram_size, num_pred_tokens);
        pool.build(&text);
        let turn = text.len();
        let answer = session.generate(max_new_tokens, &mut |view| {
            let logits = model.logits_after(&text);
            let root = naive_argmax(&logits);
            let chains = chains(capacity, &pool, &text, &ranked(&logits));
            assert_eq!(
                tree::nodes(view.tree),
                nodes(root, &chains),
                "after {text:?}"
            );
            let mut committed = accepted(model, &text, root, &chains);
            committed.truncate(max_new_tokens - (text.len() - turn));
            if let Some(at) = committed.iter().position(|&token| Some(token) == end) {
                committed.truncate(at + 1);
            }
            assert_eq!(view.step.accepted, committed, "after {text:?}");
            text.extend_from_slice(&committed);
            pool.update(&committed);
            ControlFlow::Continue(())
        });
        assert_eq!(answer.unwrap().tokens, text[turn..]);
        assert_eq!(session.text(), text);
    }
}

/// A step of a trace.
#[derive(Clone, Debug)]
pub struct TracedStep {
    pub n_past: usize,
    pub root: TokenId,
    pub ranked: Vec<TokenId>,
    /// Tokens below the root.
    pub nodes: Vec<TokenId>,
    /// Index of each parent in `nodes`; -1 for the root.
    pub parents: Vec<i64>,
    pub accepted: Vec<TokenId>,
}

/// Checks every step of a traced answer, with the published parameters except for the capacity. The
/// accepted chain must be the first with the longest prefix of the rest of the answer.
pub fn check_trace(prompt: &[TokenId], capacity: usize, steps: &[TracedStep]) {
    let answer: Vec<TokenId> = steps.iter().flat_map(|it| it.accepted.clone()).collect();
    let mut pool = Dictionary::new(3, 20);
    pool.build(prompt);
    let mut text = prompt.to_vec();
    for (index, step) in steps.iter().enumerate() {
        let answered = text.len() - prompt.len();
        assert_eq!(step.n_past, text.len(), "step {index}");
        assert_eq!(step.root, step.ranked[0], "step {index}");
        let chains = chains(capacity, &pool, &text, &step.ranked);
        let mut drafted = vec![(step.root, None)];
        drafted.extend(
            step.nodes
                .iter()
                .zip(&step.parents)
                .map(|(&token, parent)| (token, Some(NodeId::try_from(parent + 1).unwrap()))),
        );
        assert_eq!(drafted, nodes(step.root, &chains), "step {index}");

        let ahead = &answer[answered + 1..];
        let mut best: &[TokenId] = &[];
        for chain in &chains {
            let accepted_len = chain.iter().zip(ahead).take_while(|(a, b)| a == b).count();
            if accepted_len > best.len() {
                best = &chain[..accepted_len];
            }
        }
        assert_eq!(step.accepted, [&[step.root], best].concat(), "step {index}");
        text.extend_from_slice(&step.accepted);
        pool.update(&step.accepted);
    }
}

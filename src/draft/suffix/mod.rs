//! SuffixDecoding.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::TokenId;
use crate::draft::{DraftInput, Drafter};
use crate::pool::{START, StateId, SuffixAutomaton};
use crate::tree::{DraftTree, NodeId, ROOT, Source};

/// Parameters of [`SuffixDecoding`]. The defaults are those of the authors' implementation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuffixParams {
    /// Longest string that is counted: most tokens of a match and its draft together.
    pub max_depth: usize,
    /// Most tokens drafted.
    pub max_spec_tokens: usize,
    /// Most tokens drafted for each token of the match.
    pub max_spec_factor: f32,
    /// Added to the product of match length and `max_spec_factor`.
    pub max_spec_offset: f32,
    /// Least probability of a drafted token.
    pub min_token_prob: f32,
    /// Draft a tree of the most probable tokens instead of one chain.
    pub tree: bool,
    /// Most tokens of answers that are cached. Beyond that, the oldest half is evicted. 0 caches
    /// none.
    pub max_cached_tokens: usize,
}

impl Default for SuffixParams {
    fn default() -> Self {
        Self {
            max_depth: 64,
            max_spec_tokens: 64,
            max_spec_factor: 1.0,
            max_spec_offset: 0.0,
            min_token_prob: 0.1,
            tree: false,
            max_cached_tokens: 1_000_000,
        }
    }
}

/// Method `suffix`: SuffixDecoding (arXiv 2411.04975), as implemented in Arctic Inference.
///
/// It counts what followed each suffix of the text, in this request (the local tree) and in all
/// answers so far (the global tree). A draft is the chain of the most frequent next tokens, or the
/// tree of all frequent ones. Its length is limited by the length of the match. Of the drafts of
/// all
/// matches, the one with the largest sum of probabilities is used.
///
/// A step costs a few hash look-ups for each distinct match and each drafted token, whatever the
/// length of the text.
#[derive(Clone, Debug)]
pub struct SuffixDecoding {
    params: SuffixParams,
    /// This request.
    local: SuffixAutomaton,
    /// All answers, including the current one.
    global: SuffixAutomaton,
    /// The answers in `global`, oldest first, for eviction.
    answers: VecDeque<Vec<TokenId>>,
    /// State and length of the longest suffix of the text that occurs in `global`.
    global_match: (StateId, usize),
    /// Whether `global` has answers of earlier requests.
    has_history: bool,
    /// The root of the last draft. Both automata have it already.
    pending: Option<TokenId>,
    best: Draft,
    draft: Draft,
    queue: BinaryHeap<Item>,
}

/// A draft: tokens with the indices of their parents (`None` below the root).
#[derive(Clone, Debug, Default)]
struct Draft {
    nodes: Vec<(TokenId, Option<usize>)>,
    score: f32,
}

/// A candidate for a draft tree.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    prob: f32,
    /// The order among equally probable candidates: by parent, then oldest first.
    order: (usize, Reverse<usize>),
    token: TokenId,
    to: StateId,
    parent: Option<usize>,
}

impl SuffixParams {
    /// Most tokens that may follow a match of `len` tokens.
    fn allowed(&self, len: usize) -> usize {
        let tokens = len as f32 * self.max_spec_factor + self.max_spec_offset + 1e-6;
        (tokens.max(0.0) as usize).min(self.max_depth - len)
    }
}

impl Eq for Item {}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_prob = self.prob.total_cmp(&other.prob);
        by_prob.then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl SuffixDecoding {
    /// A drafter without any text.
    pub fn new(params: SuffixParams) -> Self {
        Self {
            params,
            local: SuffixAutomaton::with_max_depth(params.max_depth),
            global: SuffixAutomaton::with_max_depth(params.max_depth),
            answers: VecDeque::new(),
            global_match: (START, 0),
            has_history: false,
            pending: None,
            best: Draft::default(),
            draft: Draft::default(),
            queue: BinaryHeap::new(),
        }
    }

    /// Appends a token of the answer.
    fn push(&mut self, token: TokenId) {
        self.local.append(&[token]);
        if self.params.max_cached_tokens > 0 {
            self.global.append(&[token]);
            if let Some(answer) = self.answers.back_mut() {
                answer.push(token);
            }
            self.global_match = self.global.advance(self.global_match, token);
        }
    }

    /// Starts over with `text` as the text of this request.
    fn rebuild(&mut self, text: &[TokenId]) {
        self.local.clear();
        self.local.append(text);
        self.pending = None;
        self.begin_answer(text);
    }

    fn begin_answer(&mut self, text: &[TokenId]) {
        if self.params.max_cached_tokens == 0 {
            return;
        }
        self.evict();
        self.global.begin_text();
        self.answers.push_back(Vec::new());
        let tail = &text[text.len().saturating_sub(self.params.max_depth)..];
        let start = (START, 0);
        self.global_match = tail
            .iter()
            .fold(start, |at, &token| self.global.advance(at, token));
    }

    /// Evicts the oldest answers if there are too many.
    fn evict(&mut self) {
        if self.global.len() <= self.params.max_cached_tokens {
            return;
        }
        let mut tokens = self.global.len();
        while tokens > self.params.max_cached_tokens / 2
            && let Some(oldest) = self.answers.pop_front()
        {
            tokens -= oldest.len();
        }
        self.global.clear();
        for answer in &self.answers {
            self.global.begin_text();
            self.global.append(answer);
        }
    }

    /// Puts the draft of the best match into `best`. Returns whether the match is in `global`.
    fn speculate(&mut self, most: usize) -> bool {
        self.best.nodes.clear();
        self.best.score = 0.0;
        let global_match = self.global.suffix(self.global_match);
        self.speculate_in(Source::Text, (self.local.last(), usize::MAX), most);
        let local_score = self.best.score;
        if self.params.max_cached_tokens > 0 {
            self.speculate_in(Source::History, global_match, most);
        }
        self.best.score > local_score
    }

    /// Replaces `best` by the best draft of a match in `local` or `global`, if that is better.
    fn speculate_in(&mut self, source: Source, (mut state, len): (StateId, usize), most: usize) {
        let params = self.params;
        let texts = match source {
            Source::Text => &self.local,
            _ => &self.global,
        };
        // A match must be shorter than the context, which has at most `max_depth` tokens.
        let context = params.max_depth.min(self.local.len());
        let longest = len.min(context.saturating_sub(1));
        while state != START && texts.max_len(texts.link(state)) >= longest {
            state = texts.link(state);
        }
        while state != START {
            // The matches of a state have the same draft. The longest draft allowed counts.
            let shortest = texts.max_len(texts.link(state)) + 1;
            let lens = shortest..=texts.max_len(state).min(longest);
            let allowed = lens.map(|len| params.allowed(len)).max().unwrap_or(0);
            let most = allowed.min(most);
            self.draft.nodes.clear();
            self.draft.score = 0.0;
            if params.tree {
                self.draft.most_probable(
                    texts,
                    state,
                    most,
                    params.min_token_prob,
                    &mut self.queue,
                );
            } else {
                self.draft
                    .most_frequent(texts, state, most, params.min_token_prob);
            }
            if self.draft.score > self.best.score {
                std::mem::swap(&mut self.draft, &mut self.best);
            }
            state = texts.link(state);
        }
    }
}

impl Draft {
    /// Drafts the chain of the most frequent next tokens.
    fn most_frequent(&mut self, texts: &SuffixAutomaton, state: StateId, most: usize, least: f32) {
        let (mut state, mut prob) = (state, 1.0);
        while self.nodes.len() < most
            && let Some((token, next)) = texts.most_frequent(state)
        {
            prob *= texts.count(next) as f32 / texts.count(state) as f32;
            if prob < least {
                return;
            }
            self.nodes.push((token, self.nodes.len().checked_sub(1)));
            self.score += prob;
            state = next;
        }
    }

    /// Drafts the tree of the most probable next tokens.
    fn most_probable(
        &mut self,
        texts: &SuffixAutomaton,
        state: StateId,
        most: usize,
        least: f32,
        queue: &mut BinaryHeap<Item>,
    ) {
        queue.clear();
        let find = |queue: &mut BinaryHeap<Item>, state, prob: f32, parent: Option<usize>| {
            for (age, (token, to)) in texts.followers(state).enumerate() {
                let prob = prob * texts.count(to) as f32 / texts.count(state) as f32;
                if prob >= least {
                    queue.push(Item {
                        prob,
                        order: (parent.map_or(0, |parent| parent + 1), Reverse(age)),
                        token,
                        to,
                        parent,
                    });
                }
            }
        };
        find(queue, state, 1.0, None);
        while self.nodes.len() < most
            && let Some(item) = queue.pop()
        {
            self.nodes.push((item.token, item.parent));
            self.score += item.prob;
            find(queue, item.to, item.prob, Some(self.nodes.len() - 1));
        }
    }
}

impl Drafter for SuffixDecoding {
    fn name(&self) -> &'static str {
        "suffix"
    }

    fn begin(&mut self, text: &[TokenId]) {
        if self.pending.is_some() {
            return self.rebuild(text);
        }
        self.local.append(&text[self.local.len()..]);
        self.begin_answer(text);
    }

    fn extend(&mut self, text: &[TokenId], fresh: usize) {
        let fresh = &text[text.len() - fresh..];
        let done = match self.pending.take() {
            None => 0,
            Some(root) if fresh.first() == Some(&root) => 1,
            // The root of the draft was not committed.
            Some(_) => return self.rebuild(text),
        };
        fresh[done..].iter().for_each(|&token| self.push(token));
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        match self.pending {
            None => {
                // Matches end with the root.
                self.push(input.root);
                self.pending = Some(input.root);
            }
            Some(root) if root == input.root => {}
            Some(_) => {
                self.rebuild(input.text);
                self.push(input.root);
                self.pending = Some(input.root);
            }
        }
        let limits = tree.limits();
        let most = self.params.max_spec_tokens.min(limits.capacity - 1);
        let source = match self.speculate(most) {
            true if self.has_history => Source::History,
            _ => Source::Text,
        };
        let mut ids: Vec<Option<NodeId>> = Vec::with_capacity(self.best.nodes.len());
        for &(token, parent) in &self.best.nodes {
            let id = match parent {
                None => tree.grow(ROOT, token),
                Some(parent) => ids[parent].and_then(|parent| tree.grow(parent, token)),
            };
            if let Some(id) = id {
                tree.set_source(id, source);
            }
            ids.push(id);
        }
    }

    fn rewind(&mut self) {
        // Answers stay cached, even if the text is truncated.
        self.next_request();
    }

    fn next_request(&mut self) {
        self.local.clear();
        self.global_match = (START, 0);
        self.has_history = !self.global.is_empty();
        self.pending = None;
    }

    fn reset(&mut self) {
        self.next_request();
        self.global.clear();
        self.answers.clear();
        self.has_history = false;
    }
}

#[cfg(test)]
mod tests;

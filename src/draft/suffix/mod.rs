//! SuffixDecoding.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::TokenId;
use crate::draft::{DraftInput, Drafter};
use crate::pool::{START, StateId, SuffixAutomaton};
use crate::tree::{DraftTree, NodeId, ROOT, Source};

/// Parameters of [`SuffixDecoding`]; the defaults are those of its authors' implementation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuffixParams {
    /// Longest string that is counted: a match and the draft behind it are no longer together.
    pub max_depth: usize,
    /// Most tokens drafted.
    pub max_spec_tokens: usize,
    /// Most tokens drafted for each token of the match, …
    pub max_spec_factor: f32,
    /// … and besides.
    pub max_spec_offset: f32,
    /// Tokens less probable than this are not drafted.
    pub min_token_prob: f32,
    /// Draft a tree of the most probable tokens instead of one chain.
    pub tree: bool,
    /// Most tokens of earlier answers remembered; the oldest half is forgotten when there are more.
    /// 0 remembers none.
    pub max_remembered: usize,
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
            max_remembered: 1_000_000,
        }
    }
}

/// Method `suffix`: SuffixDecoding (arXiv 2411.04975), as its authors' implementation in Arctic
/// Inference drafts.
///
/// For every suffix of the text, what followed it before is counted, in this request and, apart
/// from it, in all answers so far. A draft is the chain of the most frequent tokens (or the tree of
/// all frequent ones), no longer than the match it stands on allows; of the drafts of all matches,
/// the one with the largest sum of probabilities is taken.
///
/// A step costs a few look-ups for each distinct match and drafted token, whatever the length of
/// the text.
#[derive(Clone, Debug)]
pub struct SuffixDecoding {
    params: SuffixParams,
    /// This request.
    text: SuffixAutomaton,
    /// All answers, this one too.
    answers: SuffixAutomaton,
    /// The answers one by one, the oldest first, so that it can be forgotten.
    remembered: VecDeque<Vec<TokenId>>,
    /// The longest suffix of the text that is in `answers`.
    known: (StateId, usize),
    /// Whether some of the answers are of earlier requests.
    earlier: bool,
    /// The root that was drafted for: it is in both already.
    pending: Option<TokenId>,
    best: Draft,
    draft: Draft,
    queue: BinaryHeap<Item>,
}

/// Tokens with their parents (`None` for those below the root).
#[derive(Clone, Debug, Default)]
struct Draft {
    nodes: Vec<(TokenId, Option<usize>)>,
    score: f32,
}

/// A token that may be drafted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    prob: f32,
    /// Of equally probable ones, those whose parent was drafted first come first; of siblings, the
    /// oldest.
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
    /// A drafter that knows nothing yet.
    pub fn new(params: SuffixParams) -> Self {
        Self {
            params,
            text: SuffixAutomaton::with_max_depth(params.max_depth),
            answers: SuffixAutomaton::with_max_depth(params.max_depth),
            remembered: VecDeque::new(),
            known: (START, 0),
            earlier: false,
            pending: None,
            best: Draft::default(),
            draft: Draft::default(),
            queue: BinaryHeap::new(),
        }
    }

    /// A token of the answer.
    fn say(&mut self, token: TokenId) {
        self.text.append(&[token]);
        if self.params.max_remembered > 0 {
            self.answers.append(&[token]);
            if let Some(answer) = self.remembered.back_mut() {
                answer.push(token);
            }
            self.known = self.answers.advance(self.known, token);
        }
    }

    /// Starts over with the text of this request, all of which was said or heard before.
    fn rebuild(&mut self, text: &[TokenId]) {
        self.text.clear();
        self.text.append(text);
        self.pending = None;
        self.begin_answer(text);
    }

    fn begin_answer(&mut self, text: &[TokenId]) {
        if self.params.max_remembered == 0 {
            return;
        }
        self.forget();
        self.answers.begin_text();
        self.remembered.push_back(Vec::new());
        let tail = &text[text.len().saturating_sub(self.params.max_depth)..];
        let start = (START, 0);
        self.known = tail
            .iter()
            .fold(start, |known, &token| self.answers.advance(known, token));
    }

    /// Forgets the oldest answers if there are too many.
    fn forget(&mut self) {
        if self.answers.len() <= self.params.max_remembered {
            return;
        }
        let mut tokens = self.answers.len();
        while tokens > self.params.max_remembered / 2
            && let Some(oldest) = self.remembered.pop_front()
        {
            tokens -= oldest.len();
        }
        self.answers.clear();
        for answer in &self.remembered {
            self.answers.begin_text();
            self.answers.append(answer);
        }
    }

    /// Puts the draft of the best match into `best`; whether it is one of `answers`.
    fn speculate(&mut self, most: usize) -> bool {
        self.best.nodes.clear();
        self.best.score = 0.0;
        let known = self.answers.settle(self.known);
        self.speculate_in(Source::Text, (self.text.text(), usize::MAX), most);
        let own = self.best.score;
        if self.params.max_remembered > 0 {
            self.speculate_in(Source::History, known, most);
        }
        self.best.score > own
    }

    /// Replaces `best` by the draft of a match in one of the two, if there is a better one.
    fn speculate_in(&mut self, place: Source, (mut state, len): (StateId, usize), most: usize) {
        let params = self.params;
        let texts = match place {
            Source::Text => &self.text,
            _ => &self.answers,
        };
        // The context is no longer than strings are, and a match is shorter.
        let context = params.max_depth.min(self.text.len());
        let longest = len.min(context.saturating_sub(1));
        while state != START && texts.longest(texts.link(state)) >= longest {
            state = texts.link(state);
        }
        while state != START {
            // These matches continue alike; the one that allows the longest draft counts.
            let shortest = texts.longest(texts.link(state)) + 1;
            let lens = shortest..=texts.longest(state).min(longest);
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
    /// The chain of the most frequent followers.
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

    /// The tree of the most probable followers.
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
        let heard = &text[self.text.len()..];
        self.text.append(heard);
        self.begin_answer(text);
    }

    fn extend(&mut self, text: &[TokenId], fresh: usize) {
        let said = &text[text.len() - fresh..];
        let done = match self.pending.take() {
            None => 0,
            Some(root) if said.first() == Some(&root) => 1,
            // That root was never said after all.
            Some(_) => return self.rebuild(text),
        };
        said[done..].iter().for_each(|&token| self.say(token));
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        match self.pending {
            None => {
                // Matches end in the root.
                self.say(input.root);
                self.pending = Some(input.root);
            }
            Some(root) if root == input.root => {}
            Some(_) => {
                self.rebuild(input.text);
                self.say(input.root);
                self.pending = Some(input.root);
            }
        }
        let limits = tree.limits();
        let most = self.params.max_spec_tokens.min(limits.capacity - 1);
        let source = match self.speculate(most) {
            true if self.earlier => Source::History,
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
        // What was said stays said, even if it is taken back.
        self.next_request();
    }

    fn next_request(&mut self) {
        self.text.clear();
        self.known = (START, 0);
        self.earlier = !self.answers.is_empty();
        self.pending = None;
    }

    fn reset(&mut self) {
        self.next_request();
        self.answers.clear();
        self.remembered.clear();
        self.earlier = false;
    }
}

#[cfg(test)]
mod tests;

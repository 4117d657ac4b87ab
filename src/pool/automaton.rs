//! A suffix automaton with counts.

use rustc_hash::FxHashMap;

use crate::TokenId;

/// A state of a [`SuffixAutomaton`]: all substrings that end at the same positions. Each is a
/// suffix
/// of the longest.
pub type StateId = u32;

/// The state of the empty string.
pub const START: StateId = 0;

/// "No such edge".
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct State {
    /// Length of the longest string.
    len: u32,
    /// Suffix link: the state of the longest suffix that occurs at more positions.
    link: StateId,
    /// Number of occurrences.
    count: u32,
    /// Head of the list of outgoing edges, newest first.
    edges: u32,
    /// The edge to the most frequent next token.
    best: u32,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    token: TokenId,
    to: StateId,
    /// The next edge of the state's list.
    next: u32,
}

/// The suffix automaton of one or more texts, with counts, grown token by token.
///
/// It answers the questions of a suffix tree: how often does this string occur, and how often does
/// each token follow it? It has at most two states for each token.
///
/// [`append`](Self::append) takes one step for each state on the chain of suffix links. The chain
/// is
/// at most as long as the longest repeated suffix. A text that repeats one token is the worst case.
/// [`with_max_depth`](Self::with_max_depth) bounds the chain. Lookups take one hash look-up a
/// token.
///
/// ```
/// use logitspec::pool::{START, SuffixAutomaton};
///
/// let mut texts = SuffixAutomaton::default();
/// texts.append(&[1, 2, 3, 1, 2, 4, 1, 2, 3]);
/// let state = texts.walk(START, &[1, 2]).unwrap();
/// assert_eq!(texts.count(state), 3);
/// let (token, next) = texts.most_frequent(state).unwrap();
/// assert_eq!((token, texts.count(next)), (3, 2));
/// ```
#[derive(Clone, Debug)]
pub struct SuffixAutomaton {
    states: Vec<State>,
    edges: Vec<Edge>,
    by_token: FxHashMap<(StateId, TokenId), u32>,
    /// The state of the current text.
    last: StateId,
    tokens: usize,
    /// Length of the longest strings that are counted exactly.
    max_depth: usize,
}

impl Default for SuffixAutomaton {
    fn default() -> Self {
        Self {
            states: vec![State {
                len: 0,
                link: START,
                count: 0,
                edges: NONE,
                best: NONE,
            }],
            edges: Vec::new(),
            by_token: FxHashMap::default(),
            last: START,
            tokens: 0,
            max_depth: usize::MAX,
        }
    }
}

impl SuffixAutomaton {
    /// An automaton that counts strings of up to `max_depth` tokens (at least 1) exactly. Counts of
    /// longer strings may be too low. Appending a token takes at most `max_depth` steps.
    pub fn with_max_depth(max_depth: usize) -> Self {
        Self {
            max_depth: max_depth.max(1),
            ..Self::default()
        }
    }

    /// Number of tokens held.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.states.truncate(1);
        self.states[0].edges = NONE;
        self.states[0].best = NONE;
        self.edges.clear();
        self.by_token.clear();
        self.last = START;
        self.tokens = 0;
    }

    /// Starts another text: no substring spans two texts.
    pub fn begin_text(&mut self) {
        self.last = START;
    }

    /// Adds tokens to the end of the current text.
    pub fn append(&mut self, tokens: &[TokenId]) {
        tokens.iter().for_each(|&token| self.push(token));
    }

    /// The state of the current text, or of its last tokens if it is longer than `max_depth`.
    pub fn last(&self) -> StateId {
        self.last
    }

    /// Length of the longest string of a state.
    pub fn max_len(&self, state: StateId) -> usize {
        self.states[state as usize].len as usize
    }

    /// The suffix link of a state: the longest suffix that occurs at more positions.
    pub fn link(&self, state: StateId) -> StateId {
        self.states[state as usize].link
    }

    /// Number of occurrences of a state's strings. Meaningless for [`START`].
    pub fn count(&self, state: StateId) -> u32 {
        self.states[state as usize].count
    }

    /// The state after appending `token`, if that string occurs.
    pub fn next(&self, state: StateId, token: TokenId) -> Option<StateId> {
        let edge = *self.by_token.get(&(state, token))?;
        Some(self.edges[edge as usize].to)
    }

    /// Follows `tokens` from `state`.
    pub fn walk(&self, state: StateId, tokens: &[TokenId]) -> Option<StateId> {
        tokens
            .iter()
            .try_fold(state, |state, &token| self.next(state, token))
    }

    /// The most frequent next token and the state after it. Among equals, the first one to reach
    /// that count.
    pub fn most_frequent(&self, state: StateId) -> Option<(TokenId, StateId)> {
        let edge = self.edges.get(self.states[state as usize].best as usize)?;
        Some((edge.token, edge.to))
    }

    /// All next tokens, newest first, and the states after them.
    pub fn followers(&self, state: StateId) -> impl Iterator<Item = (TokenId, StateId)> + '_ {
        let edge = |at: u32| self.edges.get(at as usize);
        std::iter::successors(edge(self.states[state as usize].edges), move |it| {
            edge(it.next)
        })
        .map(|edge| (edge.token, edge.to))
    }

    /// Appends `token` to a string, given by its state and length. Returns the longest suffix of
    /// the
    /// result that occurs.
    pub fn advance(
        &self,
        (mut state, mut len): (StateId, usize),
        token: TokenId,
    ) -> (StateId, usize) {
        (state, len) = self.suffix((state, len));
        loop {
            if let Some(next) = self.next(state, token) {
                return (next, len + 1);
            }
            if state == START {
                return (START, 0);
            }
            state = self.link(state);
            len = self.max_len(state);
        }
    }

    /// The state of the last `len` tokens of a state's strings.
    ///
    /// Appending can split states. Call this to bring a stored state up to date.
    pub fn suffix(&self, (mut state, len): (StateId, usize)) -> (StateId, usize) {
        while state != START && self.max_len(self.link(state)) >= len {
            state = self.link(state);
        }
        (state, len)
    }

    fn push(&mut self, token: TokenId) {
        self.tokens += 1;
        // With the new token this is at most `max_depth` tokens long.
        let (before, _) = self.suffix((self.last, self.max_depth - 1));
        self.last = self.extend(before, token);
        let mut state = self.last;
        while state != START {
            self.states[state as usize].count += 1;
            state = self.link(state);
        }
        // Every suffix of the text now has one more occurrence of the token after it.
        let mut state = before;
        loop {
            let edge = self.by_token[&(state, token)];
            let best = self.states[state as usize].best;
            let count = |edge: u32| self.count(self.edges[edge as usize].to);
            if best == NONE || count(edge) > count(best) {
                self.states[state as usize].best = edge;
            }
            if state == START {
                return;
            }
            state = self.link(state);
        }
    }

    /// The state of the strings of `last` with `token` appended. Adds it if it does not exist.
    fn extend(&mut self, last: StateId, token: TokenId) -> StateId {
        let len = self.states[last as usize].len + 1;
        if let Some(there) = self.next(last, token) {
            // The string occurs in an earlier text.
            return self.split(last, token, there);
        }
        let new = self.add_state(len);
        let mut state = last;
        loop {
            if let Some(there) = self.next(state, token) {
                let link = self.split(state, token, there);
                self.states[new as usize].link = link;
                return new;
            }
            self.add_edge(state, token, new);
            if state == START {
                return new;
            }
            state = self.link(state);
        }
    }

    /// The state whose longest string is that of `state` with `token` appended. `there` contains
    /// the string; if it also contains longer ones, the shorter ones move to a clone.
    fn split(&mut self, state: StateId, token: TokenId, there: StateId) -> StateId {
        let len = self.states[state as usize].len + 1;
        let whole = self.states[there as usize];
        if whole.len == len {
            return there;
        }
        let short = self.add_state(len);
        self.states[short as usize].link = whole.link;
        self.states[short as usize].count = whole.count;
        let followers: Vec<_> = self.followers(there).collect();
        let best = self.edges.get(whole.best as usize).map(|edge| edge.token);
        // Oldest first, so that the clone's list has the same order.
        for (token, to) in followers.into_iter().rev() {
            let edge = self.add_edge(short, token, to);
            if best == Some(token) {
                self.states[short as usize].best = edge;
            }
        }
        self.states[there as usize].link = short;
        let mut state = state;
        while let Some(&edge) = self.by_token.get(&(state, token)) {
            if self.edges[edge as usize].to != there {
                break;
            }
            self.edges[edge as usize].to = short;
            if state == START {
                break;
            }
            state = self.link(state);
        }
        short
    }

    fn add_state(&mut self, len: u32) -> StateId {
        self.states.push(State {
            len,
            link: START,
            count: 0,
            edges: NONE,
            best: NONE,
        });
        id(self.states.len() - 1)
    }

    fn add_edge(&mut self, from: StateId, token: TokenId, to: StateId) -> u32 {
        let edge = id(self.edges.len());
        let state = &mut self.states[from as usize];
        self.edges.push(Edge {
            token,
            to,
            next: state.edges,
        });
        state.edges = edge;
        self.by_token.insert((from, token), edge);
        edge
    }
}

fn id(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 states and edges")
}

#[cfg(test)]
mod tests;

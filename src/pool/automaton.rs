//! All substrings of some texts, with how often each occurs.

use rustc_hash::FxHashMap;

use crate::TokenId;

/// A state of a [`SuffixAutomaton`]: substrings that end at the same places, each a suffix of the
/// longest.
pub type StateId = u32;

/// The state of the empty string.
pub const START: StateId = 0;

/// "No such edge".
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct State {
    /// Length of the longest string.
    len: u32,
    /// The state of the longest suffix that occurs in more places.
    link: StateId,
    /// How often the strings occur.
    count: u32,
    /// The newest edge of a list of all.
    edges: u32,
    /// The edge that was taken most often.
    best: u32,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    token: TokenId,
    to: StateId,
    next: u32,
}

/// The suffix automaton of one or more texts, with counts, grown token by token.
///
/// It answers what a suffix tree answers (how often does this string occur, and how often does each
/// token follow it?) with a state for each class of strings that end at the same places: at most
/// two for a token.
///
/// Appending costs a step for each state among the suffixes of the text, which is the number of
/// times that repetitions nest: as many as the longest repeated suffix has tokens at most, and one
/// token said over and over has them all. [`with_max_depth`](Self::with_max_depth) bounds that.
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
    /// The whole of the text that is being appended to.
    last: StateId,
    tokens: usize,
    /// Longer strings need not be counted.
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
    /// An automaton that counts strings of at most `max_depth` (at least 1) tokens; of longer ones
    /// it may say that they occur less often than they do, or not at all. Appending then costs at
    /// most `max_depth` steps.
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

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.states.truncate(1);
        self.states[0].edges = NONE;
        self.states[0].best = NONE;
        self.edges.clear();
        self.by_token.clear();
        self.last = START;
        self.tokens = 0;
    }

    /// What is appended from now on is another text.
    pub fn begin_text(&mut self) {
        self.last = START;
    }

    /// Adds tokens to the end of the text.
    pub fn append(&mut self, tokens: &[TokenId]) {
        tokens.iter().for_each(|&token| self.push(token));
    }

    /// The state of all of the text that is being appended to, or of as much of its end as is
    /// counted.
    pub fn text(&self) -> StateId {
        self.last
    }

    /// Length of the longest string of a state.
    pub fn longest(&self, state: StateId) -> usize {
        self.states[state as usize].len as usize
    }

    /// The state of the longest suffix of a state's strings that is not one of them.
    pub fn link(&self, state: StateId) -> StateId {
        self.states[state as usize].link
    }

    /// How often the strings of a state occur. Of no meaning for [`START`].
    pub fn count(&self, state: StateId) -> u32 {
        self.states[state as usize].count
    }

    /// The state of a state's strings with `token` behind them, if they occur.
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

    /// The token that followed a state's strings most often, and where it leads; of equals, the
    /// first to have followed so often.
    pub fn most_frequent(&self, state: StateId) -> Option<(TokenId, StateId)> {
        let edge = self.edges.get(self.states[state as usize].best as usize)?;
        Some((edge.token, edge.to))
    }

    /// All tokens that followed a state's strings, the newest first, and where they lead.
    pub fn followers(&self, state: StateId) -> impl Iterator<Item = (TokenId, StateId)> + '_ {
        let edge = |at: u32| self.edges.get(at as usize);
        std::iter::successors(edge(self.states[state as usize].edges), move |it| {
            edge(it.next)
        })
        .map(|edge| (edge.token, edge.to))
    }

    /// The state of the longest suffix of a string, of length `len` in `state`, with `token` behind
    /// it that occurs, and its length.
    pub fn advance(
        &self,
        (mut state, mut len): (StateId, usize),
        token: TokenId,
    ) -> (StateId, usize) {
        (state, len) = self.settle((state, len));
        loop {
            if let Some(next) = self.next(state, token) {
                return (next, len + 1);
            }
            if state == START {
                return (START, 0);
            }
            state = self.link(state);
            len = self.longest(state);
        }
    }

    /// The state that a string of length `len` is in now, which was in `state` before the texts
    /// grew.
    pub fn settle(&self, (mut state, len): (StateId, usize)) -> (StateId, usize) {
        while state != START && self.longest(self.link(state)) >= len {
            state = self.link(state);
        }
        (state, len)
    }

    fn push(&mut self, token: TokenId) {
        self.tokens += 1;
        // What is counted ends with the token, and begins no further back than in this state.
        let (before, _) = self.settle((self.last, self.max_depth - 1));
        self.last = self.extended(before, token);
        let mut state = self.last;
        while state != START {
            self.states[state as usize].count += 1;
            state = self.link(state);
        }
        // Every suffix of the text was followed by the token once more.
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

    /// The state of the text in `last` with `token` behind it.
    fn extended(&mut self, last: StateId, token: TokenId) -> StateId {
        let len = self.states[last as usize].len + 1;
        if let Some(there) = self.next(last, token) {
            // Another text had it.
            return self.split(last, token, there);
        }
        let new = self.state(len);
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

    /// The state whose longest string is that of `state` with `token` behind it, made out of
    /// `there` if need be.
    fn split(&mut self, state: StateId, token: TokenId, there: StateId) -> StateId {
        let len = self.states[state as usize].len + 1;
        let whole = self.states[there as usize];
        if whole.len == len {
            return there;
        }
        let short = self.state(len);
        self.states[short as usize].link = whole.link;
        self.states[short as usize].count = whole.count;
        let followers: Vec<_> = self.followers(there).collect();
        let best = self.edges.get(whole.best as usize).map(|edge| edge.token);
        // Oldest first, so that the copy's list has the same order.
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

    fn state(&mut self, len: u32) -> StateId {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every substring of every text, counted one by one.
    fn occurrences(texts: &[Vec<TokenId>], string: &[TokenId]) -> usize {
        let windows = texts.iter().flat_map(|text| text.windows(string.len()));
        windows.filter(|window| *window == string).count()
    }

    fn automaton(texts: &[Vec<TokenId>], max_depth: usize) -> SuffixAutomaton {
        let mut automaton = SuffixAutomaton::with_max_depth(max_depth);
        for text in texts {
            automaton.begin_text();
            automaton.append(text);
        }
        automaton
    }

    fn texts() -> impl Strategy<Value = Vec<Vec<TokenId>>> {
        prop::collection::vec(prop::collection::vec(0u32..4, 0..40), 1..5)
    }

    fn max_depth() -> impl Strategy<Value = usize> {
        prop_oneof![3usize..9, Just(usize::MAX)]
    }

    #[test]
    fn one_token_said_over_and_over_costs_no_more_each_time() {
        // Without a bound these are 5e9 steps and 100,000 states.
        let mut automaton = SuffixAutomaton::with_max_depth(64);
        automaton.append(&[7; 100_000]);
        assert!(automaton.states.len() <= 66, "{}", automaton.states.len());
        let state = automaton.walk(START, &[7; 64]).unwrap();
        assert_eq!(automaton.count(state), 100_000 - 63);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_counting(texts in texts(), strings in texts(), max_depth in max_depth()) {
            let automaton = automaton(&texts, max_depth);
            let own = texts.iter().flat_map(|text| text.windows(3)).map(<[TokenId]>::to_vec);
            let counted = |it: &Vec<TokenId>| (1..=max_depth).contains(&it.len());
            for string in strings.iter().cloned().chain(own).filter(counted) {
                let state = automaton.walk(START, &string);
                let counted = state.map_or(0, |state| automaton.count(state) as usize);
                prop_assert_eq!(counted, occurrences(&texts, &string), "{:?}", string);
            }
        }

        #[test]
        fn followers_are_all_there_and_the_best_is_the_first_of_the_most_frequent(texts in texts(), max_depth in max_depth()) {
            let automaton = automaton(&texts, max_depth.max(4));
            for string in texts.iter().flat_map(|text| (1..4).flat_map(|len| text.windows(len))) {
                let state = automaton.walk(START, string).unwrap();
                let mut expected: Vec<(usize, usize, TokenId)> = Vec::new();
                for token in 0..4 {
                    let mut long = string.to_vec();
                    long.push(token);
                    let count = occurrences(&texts, &long);
                    // Number of tokens before the last occurrence, over all texts.
                    let mut before = 0;
                    let mut last = 0;
                    for text in &texts {
                        for (at, window) in text.windows(long.len()).enumerate() {
                            if window == long {
                                last = before + at;
                            }
                        }
                        before += text.len();
                    }
                    if count > 0 {
                        expected.push((count, last, token));
                    }
                }
                let mut tokens: Vec<_> = automaton.followers(state).map(|it| it.0).collect();
                tokens.sort_unstable();
                let all: Vec<_> = expected.iter().map(|it| it.2).collect();
                prop_assert_eq!(tokens, all);
                let best = automaton.most_frequent(state).map(|it| it.0);
                let first = expected.iter().max_by_key(|it| (it.0, std::cmp::Reverse(it.1)));
                prop_assert_eq!(best, first.map(|it| it.2));
            }
        }

        #[test]
        fn the_longest_known_suffix_is_followed(texts in texts(), heard in prop::collection::vec(0u32..5, 0..60)) {
            let mut automaton = SuffixAutomaton::default();
            let mut at = (START, 0);
            // Half of the time the texts grow while something is heard.
            let mut growing = texts.iter().flatten();
            for (number, &token) in heard.iter().enumerate() {
                if let (true, Some(&new)) = (number % 2 == 0, growing.next()) {
                    automaton.append(&[new]);
                }
                at = automaton.advance(at, token);
                let suffix = &heard[number + 1 - at.1..=number];
                let at = automaton.settle(at);
                prop_assert_eq!(automaton.walk(START, suffix), Some(at.0));
            }
        }
    }
}

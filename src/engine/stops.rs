//! Stops: where an answer ends although the model would go on.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{TokenBytes, TokenId};

/// Strings and tokens that end an answer. The text from there on is not part of the answer.
///
/// A string is found in the bytes of the answer, wherever tokens begin and end. Of several, the one
/// that is complete first ends the answer; of those that are complete at the same byte, the
/// longest. So an answer does not depend on how its text is cut into tokens or steps.
///
/// Costs a few comparisons per byte and string, and nothing where there are no stops.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    strings: Vec<Pattern>,
    tokens: Vec<TokenId>,
    bytes: Arc<TokenBytes>,
}

/// A string, and how to go on after a byte that does not fit.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    /// For each length matched, the next shorter length that the same text matches, too.
    fallback: Vec<usize>,
}

/// How much of each stop the answer so far ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopState {
    matched: Vec<usize>,
}

/// The stop that an answer ran into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopHit {
    /// The string; `None` for a token.
    pub string: Option<String>,
    /// How many bytes at the end of the answer's tokens are not part of the answer.
    pub cut: usize,
}

impl Pattern {
    fn new(text: String) -> Self {
        let bytes = text.as_bytes();
        let mut fallback = vec![0; bytes.len() + 1];
        let mut shorter = 0;
        for end in 1..bytes.len() {
            while shorter > 0 && bytes[end] != bytes[shorter] {
                shorter = fallback[shorter];
            }
            shorter += usize::from(bytes[end] == bytes[shorter]);
            fallback[end + 1] = shorter;
        }
        Self { text, fallback }
    }

    /// The length matched after another byte.
    fn step(&self, mut matched: usize, byte: u8) -> usize {
        let bytes = self.text.as_bytes();
        loop {
            if bytes.get(matched) == Some(&byte) {
                return matched + 1;
            }
            if matched == 0 {
                return 0;
            }
            matched = self.fallback[matched];
        }
    }
}

impl Stops {
    /// Stops at these strings, of which empty ones are left out, and at these tokens. `bytes` says
    /// what tokens look like in the answer.
    pub fn new(strings: Vec<String>, tokens: Vec<TokenId>, bytes: Arc<TokenBytes>) -> Self {
        let strings = strings.into_iter().filter(|string| !string.is_empty());
        Self {
            strings: strings.map(Pattern::new).collect(),
            tokens,
            bytes,
        }
    }

    /// Stops at more tokens. `bytes` is asked what tokens look like if that is not known yet.
    pub fn with_tokens(mut self, tokens: &[TokenId], bytes: impl FnOnce() -> TokenBytes) -> Self {
        if !tokens.is_empty() && self.bytes.is_empty() {
            self.bytes = Arc::new(bytes());
        }
        self.tokens.extend_from_slice(tokens);
        self
    }

    /// Whether nothing stops an answer.
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty() && self.tokens.is_empty()
    }

    /// The bytes of `token` in the answer.
    pub fn bytes_of(&self, token: TokenId) -> &[u8] {
        self.bytes.of(token)
    }

    /// Adds a token to the answer that `state` is of. The answer ends with it if there is a hit.
    pub fn push(&self, state: &mut StopState, token: TokenId) -> Option<StopHit> {
        let bytes = self.bytes.of(token);
        if self.tokens.contains(&token) {
            return Some(StopHit {
                string: None,
                cut: bytes.len(),
            });
        }
        state.matched.resize(self.strings.len(), 0);
        for (&byte, behind) in bytes.iter().zip((0..bytes.len()).rev()) {
            let mut longest: Option<&str> = None;
            for (pattern, matched) in self.strings.iter().zip(&mut state.matched) {
                *matched = pattern.step(*matched, byte);
                let is_longer = longest.is_none_or(|it| it.len() < pattern.text.len());
                if *matched == pattern.text.len() && is_longer {
                    longest = Some(&pattern.text);
                }
            }
            if let Some(string) = longest {
                return Some(StopHit {
                    string: Some(string.to_owned()),
                    cut: behind + string.len(),
                });
            }
        }
        None
    }

    /// Whether the answer that `state` is of ends somewhere in the next `tokens`.
    pub fn ends_in(&self, state: &StopState, tokens: &[TokenId]) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut state = state.clone();
        tokens
            .iter()
            .any(|&token| self.push(&mut state, token).is_some())
    }

    /// How many of the tokens that end with `hit` are wholly part of the answer.
    pub fn kept(&self, tokens: &[TokenId], hit: &StopHit) -> usize {
        let mut left = hit.cut;
        let mut kept = tokens.len();
        if hit.string.is_none() {
            return kept.saturating_sub(1);
        }
        while left > 0 && kept > 0 {
            kept -= 1;
            left = left.saturating_sub(self.bytes.of(tokens[kept]).len());
        }
        kept
    }
}

impl StopState {
    /// How many bytes at the end of the answer so far may be the beginning of a stop.
    fn held(&self) -> usize {
        self.matched.iter().copied().max().unwrap_or(0)
    }
}

/// Shows an answer without its stop: what may be the beginning of a stop waits until it is known.
/// Every token has a mark, which its bytes keep.
#[derive(Clone, Debug)]
pub struct HeldBack<T> {
    stops: Stops,
    state: StopState,
    waiting: VecDeque<(Vec<u8>, T)>,
    stopped: bool,
}

impl<T: Clone> HeldBack<T> {
    /// Shows an answer that ends at `stops`.
    pub fn new(stops: Stops) -> Self {
        Self {
            stops,
            state: StopState::default(),
            waiting: VecDeque::new(),
            stopped: false,
        }
    }

    /// Adds a token and returns the bytes that can be shown. After a stop there are none.
    pub fn push(&mut self, token: TokenId, mark: T) -> Vec<(Vec<u8>, T)> {
        if self.stopped {
            return Vec::new();
        }
        let bytes = self.stops.bytes_of(token).to_vec();
        self.waiting.push_back((bytes, mark));
        let hit = self.stops.push(&mut self.state, token);
        self.stopped = hit.is_some();
        let shown = self.take_but(hit.map_or(self.state.held(), |hit| hit.cut));
        if self.stopped {
            self.waiting.clear();
        }
        shown
    }

    /// What is still waiting, at the end of the answer.
    pub fn finish(&mut self) -> Vec<(Vec<u8>, T)> {
        self.take_but(0)
    }

    /// Takes all but the last `held` bytes of what waits.
    fn take_but(&mut self, held: usize) -> Vec<(Vec<u8>, T)> {
        let all: usize = self.waiting.iter().map(|(bytes, _)| bytes.len()).sum();
        let mut left = all.saturating_sub(held);
        let mut taken = Vec::new();
        while left > 0 {
            let Some((bytes, mark)) = self.waiting.front_mut() else {
                break;
            };
            let count = bytes.len().min(left);
            left -= count;
            taken.push((bytes.drain(..count).collect(), mark.clone()));
            if bytes.is_empty() {
                self.waiting.pop_front();
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the text ends, by the definition: at the first byte where a stop is complete, before
    /// the longest that is complete there.
    fn cut(text: &[u8], stops: &[String]) -> Option<usize> {
        let longest_at = |end: usize| {
            let complete = stops
                .iter()
                .filter(|stop| !stop.is_empty() && text[..end].ends_with(stop.as_bytes()));
            complete.map(String::len).max().map(|len| end - len)
        };
        (1..=text.len()).find_map(longest_at)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn an_answer_ends_at_the_first_stop_however_it_is_cut_into_tokens(
            tokens in prop::collection::vec("[ab]{0,3}", 1..5),
            stops in prop::collection::vec("[ab]{0,5}", 0..4),
            answer in prop::collection::vec(0usize..4, 0..40),
        ) {
            let answer = answer.iter().map(|it| it % tokens.len());
            let answer: Vec<TokenId> = answer.map(|it| it as TokenId).collect();
            let text = |tokens: &TokenBytes, of: &[TokenId]| {
                of.iter().flat_map(|&it| tokens.of(it).to_vec()).collect::<Vec<u8>>()
            };
            let bytes: Arc<TokenBytes> = Arc::new(tokens.iter().collect());
            let set = Stops::new(stops.clone(), Vec::new(), Arc::clone(&bytes));
            let whole = text(&bytes, &answer);
            let mut state = StopState::default();
            let mut ends = (0..answer.len()).map(|at| (at, set.push(&mut state, answer[at])));
            let hit = ends.find_map(|(at, hit)| Some((at, hit?)));
            let end = cut(&whole, &stops);
            prop_assert_eq!(set.ends_in(&StopState::default(), &answer), end.is_some());
            let mut shown = HeldBack::new(set.clone());
            let mut pieces: Vec<(Vec<u8>, usize)> = Vec::new();
            for (at, &token) in answer.iter().enumerate() {
                pieces.extend(shown.push(token, at));
            }
            pieces.extend(shown.finish());
            let printed: Vec<u8> = pieces.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            prop_assert_eq!(&printed[..], &whole[..end.unwrap_or(whole.len())]);
            prop_assert!(pieces.is_sorted_by_key(|(_, at)| *at));
            match (hit, end) {
                (None, None) => {}
                (Some((last, hit)), Some(end)) => {
                    let said = &answer[..=last];
                    prop_assert_eq!(text(&bytes, said).len() - hit.cut, end);
                    let kept = set.kept(said, &hit);
                    prop_assert!(text(&bytes, &said[..kept]).len() <= end);
                    prop_assert!(text(&bytes, &said[..=kept]).len() > end);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn a_stop_token_is_not_shown() {
        let bytes: Arc<TokenBytes> = Arc::new(["a", "b"].iter().collect());
        let mut shown = HeldBack::new(Stops::new(Vec::new(), vec![1], bytes));
        let pieces: Vec<_> = [0, 0, 1, 0]
            .iter()
            .flat_map(|&it| shown.push(it, ()))
            .collect();
        assert_eq!(pieces, [(b"a".to_vec(), ()), (b"a".to_vec(), ())]);
        assert_eq!(shown.finish(), []);
    }
}

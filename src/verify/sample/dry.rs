//! DRY: a penalty for tokens that would go on with a repetition.
//!
//! If the text ends with tokens that stood somewhere before, the token that followed there is
//! penalized, the more the longer the repetition is. Some strings, as line ends, break repetitions:
//! what lies before them does not count.

use std::collections::HashMap;

use crate::TokenId;
use crate::verify::sample::params::DryParams;

/// The strings that break repetitions, as tokens: for the token in which a string begins, the
/// tokens that complete it. There are none if the token holds the whole string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryBreakers {
    strings: Vec<String>,
    tails: HashMap<TokenId, Vec<Vec<TokenId>>>,
}

impl DryBreakers {
    /// llama.cpp's default strings.
    pub const DEFAULT: [&str; 4] = ["\n", ":", "\"", "*"];

    /// Longest string, in bytes.
    const MAX_BYTES: usize = 40;
    /// Most tokens that complete a string.
    const MAX_TAIL: usize = 20;

    /// Finds `strings` in the tokens of a vocabulary. `tokenize` gives the tokens of the rest of a
    /// string.
    pub fn new<'v>(
        strings: Vec<String>,
        vocabulary: impl Iterator<Item = &'v [u8]> + Clone,
        tokenize: impl Fn(&[u8]) -> Vec<TokenId>,
    ) -> Self {
        let mut tails: HashMap<TokenId, Vec<Vec<TokenId>>> = HashMap::new();
        for string in strings.iter().filter(|string| !string.is_empty()) {
            let string = &string.as_bytes()[..string.len().min(Self::MAX_BYTES)];
            for (token, bytes) in (0..).zip(vocabulary.clone()) {
                if memchr::memmem::find(bytes, string).is_some() {
                    tails.entry(token).or_default().push(Vec::new());
                    continue;
                }
                // The token may end with the beginning of the string.
                for start in memchr::memchr_iter(string[0], bytes) {
                    let Some(rest) = string.strip_prefix(&bytes[start..]) else {
                        continue;
                    };
                    let mut tail = tokenize(rest);
                    tail.truncate(Self::MAX_TAIL);
                    let known = tails.entry(token).or_default();
                    if !known.contains(&tail) {
                        known.push(tail);
                    }
                }
            }
        }
        Self { strings, tails }
    }

    /// The strings.
    pub fn strings(&self) -> &[String] {
        &self.strings
    }

    fn tails(&self, token: TokenId) -> &[Vec<TokenId>] {
        self.tails.get(&token).map_or(&[], Vec::as_slice)
    }

    /// How many of the latest tokens lie behind the last string; `latest` has the last token first.
    fn unbroken(&self, latest: &[TokenId]) -> usize {
        let broken_at = |(at, &token): (usize, &TokenId)| {
            let follows = |tail: &&Vec<TokenId>| {
                let behind = latest[..at].iter().rev();
                tail.len() <= at && behind.zip(*tail).all(|(a, b)| a == b)
            };
            let longest = self.tails(token).iter().filter(follows).map(Vec::len).max();
            longest.map(|tail| at - tail)
        };
        let found = latest.iter().enumerate().find_map(broken_at);
        found.unwrap_or(latest.len())
    }
}

/// The tokens to penalize, in ascending order, and what to subtract from their logits. `latest` are
/// the tokens so far, the last one first, no more than [`DryParams::last_n`].
pub(super) fn penalties(dry: &DryParams, latest: &[TokenId]) -> Vec<(TokenId, f32)> {
    let none = DryBreakers::default();
    let breakers = dry.breakers.as_deref().unwrap_or(&none);
    if latest.len() <= dry.allowed_length {
        return Vec::new();
    }
    let limit = breakers.unbroken(latest);
    if limit < dry.allowed_length {
        return Vec::new();
    }
    let mut longest: HashMap<TokenId, usize> = HashMap::new();
    for (length, at) in repetitions(latest).into_iter().zip(1..) {
        let length = length.min(limit);
        if length >= dry.allowed_length {
            let known = longest.entry(latest[at - 1]).or_default();
            *known = length.max(*known);
        }
    }
    let mut penalties: Vec<(TokenId, f32)> = longest
        .into_iter()
        .filter(|&(token, _)| !breakers.tails(token).iter().any(Vec::is_empty))
        .map(|(token, length)| (token, dry.penalty(length)))
        .collect();
    penalties.sort_unstable_by_key(|&(token, _)| token);
    penalties
}

impl DryParams {
    /// The penalty for the token that follows a repetition of this length.
    fn penalty(&self, length: usize) -> f32 {
        let exponent = (length - self.allowed_length) as f64;
        // No power exceeds the largest number of single precision.
        let most = match self.base > 1.000_001 {
            true => f64::from(88.722_84 / self.base.ln()).trunc(),
            false => f64::INFINITY,
        };
        (f64::from(self.multiplier) * f64::from(self.base).powf(exponent.min(most))) as f32
    }
}

/// For each distance from 1: how many tokens at the start of `tokens` stand at that distance, too.
/// In time linear in the tokens (the "Z function").
fn repetitions(tokens: &[TokenId]) -> Vec<usize> {
    let mut lengths = vec![0; tokens.len()];
    // The repetition that reaches furthest: `tokens[start..end]` stands at the beginning, too.
    let (mut start, mut end) = (0, 0);
    for at in 1..tokens.len() {
        let mut length = match at < end {
            true => lengths[at - start].min(end - at),
            false => 0,
        };
        while tokens
            .get(at + length)
            .is_some_and(|it| *it == tokens[length])
        {
            length += 1;
        }
        lengths[at] = length;
        if at + length > end {
            (start, end) = (at, at + length);
        }
    }
    lengths.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn repetitions_are_found_as_by_comparing_each_place(
            tokens in prop::collection::vec(0u32..3, 1..60),
        ) {
            let naive = |at: usize| {
                let pairs = tokens[at..].iter().zip(&tokens);
                pairs.take_while(|(a, b)| a == b).count()
            };
            let naive: Vec<usize> = (1..tokens.len()).map(naive).collect();
            prop_assert_eq!(repetitions(&tokens), naive);
        }
    }

    #[test]
    fn a_string_that_begins_in_a_token_goes_on_in_others() {
        let vocabulary = [&b"say:"[..], b"a<", b"|>", b"<|", b"plain"];
        let strings = [":".to_owned(), "<|>".to_owned()];
        let tokenize = |rest: &[u8]| rest.iter().map(|&byte| TokenId::from(byte)).collect();
        let breakers = DryBreakers::new(strings.into(), vocabulary.into_iter(), tokenize);
        assert_eq!(breakers.tails(0), [Vec::<TokenId>::new()]);
        assert_eq!(breakers.tails(1), [b"|>".map(TokenId::from).to_vec()]);
        assert_eq!(breakers.tails(3), [b">".map(TokenId::from).to_vec()]);
        assert!(breakers.tails(2).is_empty() && breakers.tails(4).is_empty());
        let text = |tokens: &[TokenId]| tokens.iter().rev().copied().collect::<Vec<_>>();
        let (bar, end) = (u32::from(b'|'), u32::from(b'>'));
        assert_eq!(breakers.unbroken(&text(&[4, 0, 4, 4])), 2);
        assert_eq!(breakers.unbroken(&text(&[4, 1, bar, end, 4])), 1);
        assert_eq!(breakers.unbroken(&text(&[4, 1, bar, 4])), 4, "not complete");
    }
}

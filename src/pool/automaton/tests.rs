//! The automaton against counting every substring.

use super::*;
use proptest::prelude::*;

/// The number of occurrences of `string`, counted one by one.
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
fn a_repeated_token_costs_at_most_max_depth_steps() {
    // Without a bound this takes 5e9 steps and 100,000 states.
    let mut automaton = SuffixAutomaton::with_max_depth(64);
    automaton.append(&[7; 100_000]);
    assert!(automaton.states.len() <= 66, "{}", automaton.states.len());
    let state = automaton.walk(START, &[7; 64]).unwrap();
    assert_eq!(automaton.count(state), 100_000 - 63);
}

proptest! {
    #[test]
    fn counts_equal_naive_counts(
        texts in texts(),
        strings in texts(),
        max_depth in max_depth(),
    ) {
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
    fn followers_equal_naive_followers(
        texts in texts(),
        max_depth in max_depth(),
    ) {
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
    fn advance_keeps_a_suffix_that_occurs(
        texts in texts(),
        query in prop::collection::vec(0u32..5, 0..60),
    ) {
        let mut automaton = SuffixAutomaton::default();
        let mut at = (START, 0);
        // The texts grow at every second token of the query.
        let mut growing = texts.iter().flatten();
        for (number, &token) in query.iter().enumerate() {
            if let (true, Some(&new)) = (number % 2 == 0, growing.next()) {
                automaton.append(&[new]);
            }
            at = automaton.advance(at, token);
            let suffix = &query[number + 1 - at.1..=number];
            let at = automaton.suffix(at);
            prop_assert_eq!(automaton.walk(START, suffix), Some(at.0));
        }
    }
}

//! The suffix pool against a search that compares everything with everything.

use std::cmp::Reverse;

use logitspec::TokenId;
use logitspec::pool::{Retrieve, SuffixMatch, SuffixPool};

/// Tokens whose bytes overlap one another's when read across token borders.
const TRICKY: [TokenId; 8] = [
    0,
    1,
    0x100,
    0x1_0000,
    0x100_0000,
    0x101_0101,
    0x1_0001,
    TokenId::MAX,
];

pub fn as_tokens(bytes: &[u8]) -> Vec<TokenId> {
    // Most draws are from the first few, so that long matches happen.
    let tricky = |&byte: &u8| match byte {
        0..200 => TRICKY[usize::from(byte) % 3],
        _ => TRICKY[usize::from(byte) % TRICKY.len()],
    };
    bytes.iter().map(tricky).collect()
}

/// Every place after which something stands, ranked.
fn all_matches(text: &[TokenId], tail: &[TokenId], max_len: usize) -> Vec<SuffixMatch> {
    let mut found: Vec<_> = (1..text.len())
        .filter_map(|next| {
            let agree = |len: &usize| text[next - len..next] == tail[tail.len() - len..];
            let longest = next.min(tail.len()).min(max_len);
            let len = (1..=longest).rev().find(agree)?;
            Some(SuffixMatch { len, next })
        })
        .collect();
    found.sort_by_key(|place| Reverse((place.len, place.next)));
    found
}

/// Appends `pieces` one by one; after each, looks up `tails` and the text's own end.
pub fn check(pieces: &[Vec<u8>], tails: &[Vec<u8>], max_len: usize, limit: usize) {
    let pieces: Vec<_> = pieces.iter().map(|piece| as_tokens(piece)).collect();
    let tails: Vec<_> = tails.iter().map(|tail| as_tokens(tail)).collect();
    let mut text = Vec::new();
    let mut pool = SuffixPool::default();
    let mut found = vec![SuffixMatch { len: 9, next: 9 }]; // a used buffer
    for piece in &pieces {
        text.extend_from_slice(piece);
        pool.append(piece);
        assert_eq!((pool.len(), pool.is_empty()), (text.len(), text.is_empty()));
        assert_eq!(pool.continuation(0, usize::MAX).collect::<Vec<_>>(), text);
        for tail in tails.iter().chain([&text]) {
            let all = all_matches(&text, tail, max_len);
            let best = &all[..all.len().min(limit)];
            assert_eq!(
                pool.matches(tail, max_len, limit),
                best,
                "after {tail:?} in {text:?}"
            );
            pool.matches_into(tail, max_len, limit, &mut found);
            assert_eq!(found, best);
            for place in best {
                let expected = text[place.next..].iter().take(max_len);
                assert!(pool.continuation(place.next, max_len).eq(expected.copied()));
                assert_eq!(pool.token(place.next), text[place.next]);
            }
        }
    }
    let mut at_once = SuffixPool::default();
    at_once.append(&pieces.concat());
    for tail in &tails {
        assert_eq!(
            pool.matches(tail, max_len, usize::MAX),
            at_once.matches(tail, max_len, usize::MAX)
        );
    }
    pool.clear();
    assert!(
        pool.is_empty()
            && tails
                .iter()
                .all(|tail| pool.matches(tail, max_len, limit).is_empty())
    );
}

//! The suffix pool against brute-force search.

use std::cmp::Reverse;

use logitspec::TokenId;
use logitspec::pool::{Retrieve, SuffixMatch, SuffixPool};

/// Tokens whose bytes also occur across two other tokens.
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
    // Most tokens are one of three, so that long matches occur.
    let tricky = |&byte: &u8| match byte {
        0..200 => TRICKY[usize::from(byte) % 3],
        _ => TRICKY[usize::from(byte) % TRICKY.len()],
    };
    bytes.iter().map(tricky).collect()
}

/// All matches that another token follows, best first.
fn all_matches(text: &[TokenId], tail: &[TokenId], max_len: usize) -> Vec<SuffixMatch> {
    let mut found: Vec<_> = (1..text.len())
        .filter_map(|next| {
            let agree = |len: &usize| text[next - len..next] == tail[tail.len() - len..];
            let longest = next.min(tail.len()).min(max_len);
            let len = (1..=longest).rev().find(agree)?;
            Some(SuffixMatch { len, next })
        })
        .collect();
    found.sort_by_key(|it| Reverse((it.len, it.next)));
    found
}

/// Appends `pieces` one by one. Looks up `tails` and the end of the text after each.
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
            for &SuffixMatch { next, .. } in best {
                let expected = text[next..].iter().take(max_len);
                assert!(pool.continuation(next, max_len).eq(expected.copied()));
                assert_eq!(pool.token(next), text[next]);
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

//! Pools of documents against brute-force search.

use std::cmp::Reverse;

use logitspec::TokenId;
use logitspec::pool::{IndexedPool, Retrieve, SharedPool, SuffixMatch};

use super::suffix::as_tokens;

/// A change of a pool.
#[derive(Clone, Debug)]
pub enum Change {
    Append(Vec<u8>),
    EndDocument,
    Clear,
}

impl From<(u8, Vec<u8>)> for Change {
    fn from((kind, bytes): (u8, Vec<u8>)) -> Self {
        match kind % 10 {
            0 => Self::Clear,
            1..4 => Self::EndDocument,
            _ => Self::Append(bytes),
        }
    }
}

/// A simple model of a pool: all text ever appended.
#[derive(Default)]
struct Naive {
    text: Vec<TokenId>,
    /// Positions in `text` where documents start.
    starts: Vec<usize>,
    /// Positions below are evicted.
    floor: usize,
    open: bool,
    max_tokens: usize,
}

impl Naive {
    fn new(max_tokens: usize) -> Self {
        Self {
            max_tokens,
            ..Self::default()
        }
    }

    fn append(&mut self, token: TokenId) {
        if !self.open {
            self.starts.push(self.text.len());
            self.open = true;
        }
        self.text.push(token);
        let lowest = self.text.len().saturating_sub(self.max_tokens);
        if self.floor < lowest {
            let whole = self.starts.iter().find(|&&start| start >= lowest);
            self.floor = *whole.unwrap_or(&lowest);
        }
    }

    fn held(&self) -> usize {
        self.text.len() - self.floor
    }

    fn documents(&self) -> Vec<Vec<TokenId>> {
        let mut bounds: Vec<_> = self.starts.clone();
        bounds.retain(|&start| start > self.floor);
        bounds.insert(0, self.floor);
        bounds.push(self.text.len());
        let pieces = bounds
            .windows(2)
            .map(|pair| self.text[pair[0]..pair[1]].to_vec());
        pieces.filter(|piece| !piece.is_empty()).collect()
    }

    /// The start of the document of the token before `next`.
    fn start_before(&self, next: usize) -> usize {
        let before = self.starts.iter().rev().find(|&&start| start < next);
        self.floor.max(*before.unwrap_or(&0))
    }

    /// All matches of at least one token, even at the end of a document.
    fn candidates(&self, tail: &[TokenId], max_len: usize) -> Vec<SuffixMatch> {
        let mut found: Vec<_> = (self.floor + 1..=self.text.len())
            .filter_map(|next| {
                let longest = (next - self.start_before(next))
                    .min(tail.len())
                    .min(max_len);
                let agree = |len: &usize| self.text[next - len..next] == tail[tail.len() - len..];
                let len = (1..=longest).rev().find(agree)?;
                Some(SuffixMatch { len, next })
            })
            .collect();
        found.sort_by_key(|it| Reverse((it.len, it.next)));
        found
    }

    fn continuation(&self, next: usize, max: usize) -> &[TokenId] {
        let end = self.starts.iter().find(|&&start| start > next);
        let end = *end.unwrap_or(&self.text.len());
        &self.text[next..end.min(next.saturating_add(max))]
    }

    fn has_continuation(&self, found: &SuffixMatch) -> bool {
        found.next < self.text.len() && !self.starts.contains(&found.next)
    }

    /// Compares with the matches and continuations of `pool`.
    fn check(&self, pool: &impl Retrieve, tail: &[TokenId], max_len: usize, limit: usize) {
        let mut found = vec![SuffixMatch { len: 9, next: 9 }]; // a used buffer
        pool.matches_into(tail, max_len, limit, &mut found);
        let candidates = self.candidates(tail, max_len);
        let mut all = candidates.clone();
        all.retain(|it| self.has_continuation(it));
        // The matches are correct, distinct, sorted and not more than `limit`.
        assert!(found.len() <= limit);
        assert!(
            found.iter().all(|it| all.contains(it)),
            "{found:?} of {all:?}"
        );
        let rank = |it: &SuffixMatch| Reverse((it.len, it.next));
        assert!(found.is_sorted_by(|a, b| rank(a) < rank(b)), "{found:?}");
        // They are complete for all context lengths with at most 64 candidates.
        for order in [1, 2, 3, 4, 8, 16, 32] {
            let long = |it: &&SuffixMatch| it.len >= order;
            if candidates.iter().filter(long).count() <= 64 && self.held() <= 256 {
                let expected: Vec<_> = all.iter().filter(long).take(limit).collect();
                assert_eq!(
                    found.iter().filter(long).collect::<Vec<_>>(),
                    expected,
                    "after {tail:?} in {:?} from {}, documents at {:?}",
                    self.text,
                    self.floor,
                    self.starts
                );
            }
        }
        for &it in &found {
            let mut out = vec![7];
            pool.continuation_into(it, max_len, &mut out);
            assert_eq!(out[0], 7);
            assert_eq!(out[1..], *self.continuation(it.next, max_len));
        }
    }
}

/// Makes `changes` to a pool. Looks up `tails` and the end of the text after each.
pub fn check_indexed(
    changes: &[Change],
    tails: &[Vec<u8>],
    max_tokens: usize,
    max_len: usize,
    limit: usize,
) {
    let max_tokens = max_tokens.max(1);
    let tails: Vec<_> = tails.iter().map(|tail| as_tokens(tail)).collect();
    let mut pool = IndexedPool::new(max_tokens);
    let mut by_ones = IndexedPool::new(max_tokens);
    let mut naive = Naive::new(max_tokens);
    for change in changes {
        match change {
            Change::Append(bytes) => {
                let tokens = as_tokens(bytes);
                pool.append(&tokens);
                for token in tokens {
                    by_ones.append(&[token]);
                    naive.append(token);
                }
            }
            Change::EndDocument => {
                pool.end_document();
                by_ones.end_document();
                naive.open = false;
            }
            Change::Clear => {
                pool.clear();
                by_ones.clear();
                naive = Naive::new(max_tokens);
            }
        }
        assert_eq!(pool.len(), naive.held());
        assert_eq!(pool.is_empty(), naive.held() == 0);
        assert_eq!(pool.documents(), naive.documents().len());
        for tail in tails.iter().chain([&naive.text]) {
            naive.check(&pool, tail, max_len, limit);
            naive.check(&by_ones, tail, max_len, limit);
            naive.check(&pool.clone(), tail, max_len, limit);
        }
    }
}

/// Inserts `pieces` one by one. Looks up `tails` and the end of the text after each.
pub fn check_shared(
    pieces: &[Vec<u8>],
    tails: &[Vec<u8>],
    max_tokens: usize,
    max_len: usize,
    limit: usize,
) {
    let max_tokens = max_tokens.max(1);
    let tails: Vec<_> = tails.iter().map(|tail| as_tokens(tail)).collect();
    let pool = SharedPool::new(max_tokens);
    let mut naive = Naive::new(max_tokens);
    assert_eq!(pool.max_tokens(), max_tokens);
    for piece in pieces {
        let document = as_tokens(piece);
        pool.insert(&document);
        let kept = &document[document.len().saturating_sub(max_tokens)..];
        kept.iter().for_each(|&token| naive.append(token));
        naive.open = false;
        assert_eq!(pool.len(), naive.held());
        assert_eq!(pool.is_empty(), naive.held() == 0);
        assert_eq!(pool.documents(), naive.documents());
        for tail in tails.iter().chain([&naive.text]) {
            naive.check(&pool, tail, max_len, limit);
        }
    }
    pool.clear();
    assert!(pool.is_empty() && pool.documents().is_empty());
    let mut found = Vec::new();
    for tail in &tails {
        pool.matches_into(tail, max_len, limit, &mut found);
        assert!(found.is_empty());
    }
}

//! Other data structures to compare the pools with.

use std::collections::HashMap;

use logitspec::TokenId;
use logitspec::pool::{SuffixMatch, SuffixPool};

/// Compares the tail with every position, newest first.
pub fn brute_force(
    text: &[TokenId],
    tail: &[TokenId],
    max_len: usize,
    limit: usize,
    found: &mut Vec<SuffixMatch>,
) {
    found.clear();
    for next in (1..text.len()).rev() {
        let agree = text[..next].iter().rev().zip(tail.iter().rev());
        let len = agree.take(max_len).take_while(|(a, b)| a == b).count();
        if len > 0 && (found.len() < limit || found[limit - 1].len < len) {
            let at = found.partition_point(|old| old.len >= len);
            found.insert(at, SuffixMatch { len, next });
            found.truncate(limit);
        }
    }
}

/// A common simple pool: a hash map from each n-gram of 1 to 4 tokens to all its positions.
#[derive(Default)]
pub struct HashMapPool {
    positions: HashMap<Vec<TokenId>, Vec<usize>>,
    text: Vec<TokenId>,
}

impl HashMapPool {
    const LONGEST: usize = 4;

    pub fn append(&mut self, tokens: &[TokenId]) {
        for &token in tokens {
            self.text.push(token);
            let end = self.text.len();
            for len in 1..=Self::LONGEST.min(end) {
                let key = self.text[end - len..].to_vec();
                self.positions.entry(key).or_default().push(end);
            }
        }
    }

    pub fn lookup(&self, tail: &[TokenId], limit: usize, found: &mut Vec<SuffixMatch>) {
        found.clear();
        for len in (1..=Self::LONGEST.min(tail.len())).rev() {
            if let Some(positions) = self.positions.get(&tail[tail.len() - len..]) {
                let newest = positions.iter().rev().take(limit);
                found.extend(newest.map(|&next| SuffixMatch { len, next }));
                return;
            }
        }
    }
}

/// A pool of this crate that only scans.
pub fn scanning(text: &[TokenId]) -> SuffixPool {
    let mut pool = SuffixPool::default();
    pool.append(text);
    pool
}

//! The published n-gram pool against a simple dictionary.

use std::collections::HashMap;

use logitspec::TokenId;
use logitspec::pool::NgramPool;

/// The pool as the paper describes it: a dictionary from n-grams to the tokens that followed.
pub struct Dictionary {
    longest_key: usize,
    longest_value: usize,
    text: Vec<TokenId>,
    entries: HashMap<Vec<TokenId>, Vec<TokenId>>,
}

impl Dictionary {
    pub fn new(longest_key: usize, longest_value: usize) -> Self {
        Self {
            longest_key,
            longest_value,
            text: Vec::new(),
            entries: HashMap::new(),
        }
    }

    pub fn build(&mut self, text: &[TokenId]) {
        self.entries.clear();
        self.text = text.to_vec();
        self.enter(0);
    }

    pub fn update(&mut self, tokens: &[TokenId]) {
        self.text.extend(tokens);
        self.enter(self.text.len().saturating_sub(2 * self.longest_value));
    }

    fn enter(&mut self, first: usize) {
        let text = &self.text;
        for i in first..text.len() {
            for l in 1..=self.longest_key {
                if i + l >= text.len() {
                    continue;
                }
                let key = text[i..i + l].to_vec();
                let value: Vec<_> = text[i + l..]
                    .iter()
                    .take(self.longest_value)
                    .copied()
                    .collect();
                let stored = self.entries.get(&key).map_or(0, Vec::len);
                if !value.is_empty() && value.len() >= stored {
                    self.entries.insert(key, value);
                }
            }
        }
    }

    pub fn lookup(&self, tail: &[TokenId]) -> Option<&[TokenId]> {
        let mut found = None;
        for l in 1..=self.longest_key.min(tail.len()) {
            found = self.entries.get(&tail[tail.len() - l..]).or(found);
        }
        found.map(Vec::as_slice)
    }
}

/// Builds (`true`) or updates (`false`) both pools. Looks up `tails` and all n-grams of the text.
pub fn check(
    max_ngram_size: usize,
    num_pred_tokens: usize,
    changes: &[(bool, Vec<u8>)],
    tails: &[Vec<u8>],
) {
    let mut pool = NgramPool::new(max_ngram_size, num_pred_tokens);
    let mut naive = Dictionary::new(max_ngram_size, num_pred_tokens);
    assert_eq!(pool.max_ngram_size(), max_ngram_size);
    let as_tokens = |bytes: &[u8]| bytes.iter().map(|&b| b.into()).collect::<Vec<TokenId>>();
    let tails: Vec<_> = tails.iter().map(|tail| as_tokens(tail)).collect();
    for (builds, tokens) in changes {
        let tokens = as_tokens(tokens);
        if *builds {
            pool.build(&tokens);
            naive.build(&tokens);
        } else {
            pool.update(&tokens);
            naive.update(&tokens);
        }
        assert_eq!(pool.text(), naive.text);
        let in_text = (0..=naive.text.len())
            .map(|end| &naive.text[end.saturating_sub(max_ngram_size + 1)..end]);
        for tail in in_text.chain(tails.iter().map(Vec::as_slice)) {
            assert_eq!(pool.lookup(tail), naive.lookup(tail), "after {tail:?}");
        }
    }
}

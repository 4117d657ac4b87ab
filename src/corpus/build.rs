//! Building the suffix array of a corpus.

use rayon::prelude::*;

use crate::TokenId;
use crate::corpus::search::DEPTH;

/// Stands before, between and after documents. No vocabulary has this token.
pub(super) const SEPARATOR: TokenId = TokenId::MAX;

/// Collects documents and writes a [`Corpus`](crate::corpus::Corpus).
///
/// [`write`](Self::write) sorts the suffix array. It needs 8 bytes of memory for each token, and 16
/// more for each position that it sorts at the moment.
#[derive(Clone, Debug)]
pub struct CorpusBuilder {
    /// All documents, with separators before, between and after them.
    text: Vec<TokenId>,
    documents: u64,
}

impl Default for CorpusBuilder {
    fn default() -> Self {
        Self {
            text: vec![SEPARATOR],
            documents: 0,
        }
    }
}

impl CorpusBuilder {
    /// Adds a document. Skips empty documents. `TokenId::MAX` ends a document.
    pub fn add(&mut self, document: &[TokenId]) {
        for part in document.split(|&token| token == SEPARATOR) {
            if !part.is_empty() {
                self.text.extend_from_slice(part);
                self.text.push(SEPARATOR);
                self.documents += 1;
            }
        }
    }

    /// Number of tokens so far.
    pub fn tokens(&self) -> u64 {
        self.text.len() as u64 - 1 - self.documents
    }

    /// Number of documents so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    pub(super) fn text(&self) -> &[TokenId] {
        &self.text
    }
}

/// The suffix array and its buckets.
///
/// The array has all positions with a token before and after them in their document. They are
/// sorted
/// by the tokens before them, nearest token first. The buckets say where the positions after each
/// token begin, for all tokens below `n_vocab`, with one more entry for the end.
///
/// # Panics
/// If the text has 2^32 tokens or more, or a token that is neither a separator nor below `n_vocab`.
pub(super) fn suffix_array(text: &[TokenId], n_vocab: usize) -> (Vec<u32>, Vec<u32>) {
    assert!(u32::try_from(text.len()).is_ok());
    let positions = || {
        text.windows(2)
            .zip(1u32..)
            .filter(|(pair, _)| !pair.contains(&SEPARATOR))
            .map(|(pair, position)| (pair[0] as usize, position))
    };
    let mut starts = vec![0u32; n_vocab + 1];
    positions().for_each(|(token, _)| starts[token + 1] += 1);
    for token in 0..n_vocab {
        starts[token + 1] += starts[token];
    }
    let mut array = vec![0u32; starts[n_vocab] as usize];
    let mut free = starts.clone();
    for (token, position) in positions() {
        array[free[token] as usize] = position;
        free[token] += 1;
    }
    drop(free);
    sort_buckets(text, &mut array, &starts);
    (array, starts)
}

/// Sorts each bucket by the tokens before its positions.
fn sort_buckets(text: &[TokenId], array: &mut [u32], starts: &[u32]) {
    let mut rest = array;
    let mut buckets = Vec::new();
    for bounds in starts.windows(2) {
        let (bucket, after) = rest.split_at_mut((bounds[1] - bounds[0]) as usize);
        if bucket.len() > 1 {
            buckets.push(bucket);
        }
        rest = after;
    }
    // Longest first, so that all cores finish at about the same time.
    buckets.sort_unstable_by_key(|bucket| std::cmp::Reverse(bucket.len()));
    let (long, short): (Vec<_>, Vec<_>) = buckets
        .into_iter()
        .partition(|bucket| bucket.len() > LONG_BUCKET);
    long.into_iter().for_each(|bucket| refine(text, bucket, 1));
    short
        .into_par_iter()
        .for_each(|bucket| refine(text, bucket, 1));
}

/// Longer buckets are sorted one at a time, by all cores, to bound the memory for their buffers.
const LONG_BUCKET: usize = 1 << 18;

/// A sort key: the two tokens that are `depth` and `depth + 1` before the token right before
/// `position`.
fn context(text: &[TokenId], position: u32, depth: usize) -> u64 {
    let at = |depth: usize| match (position as usize).checked_sub(1 + depth) {
        Some(index) => text[index],
        None => SEPARATOR,
    };
    let near = at(depth);
    // Tokens beyond a separator belong to another document.
    let far = if near == SEPARATOR {
        SEPARATOR
    } else {
        at(depth + 1)
    };
    u64::from(near) << 32 | u64::from(far)
}

/// Sorts positions that have the same `depth` tokens before them.
fn refine(text: &[TokenId], positions: &mut [u32], depth: usize) {
    let mut keyed: Vec<(u64, u32)> = positions
        .iter()
        .map(|&position| (context(text, position, depth), position))
        .collect();
    if keyed.len() > LONG_BUCKET {
        keyed.par_sort_unstable();
    } else {
        keyed.sort_unstable();
    }
    for (position, (_, sorted)) in positions.iter_mut().zip(&keyed) {
        *position = *sorted;
    }
    let depth = depth + 2;
    let mut equal = Vec::new();
    let mut start = 0;
    for group in keyed.chunk_by(|a, b| a.0 == b.0) {
        let ends_before = group[0].0 as u32 == SEPARATOR;
        if group.len() > 1 && depth < DEPTH && !ends_before {
            equal.push(start..start + group.len());
        }
        start += group.len();
    }
    drop(keyed);
    for range in equal {
        refine(text, &mut positions[range], depth);
    }
}

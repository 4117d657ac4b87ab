//! Sorting the places of a text by what stands before them.

use rayon::prelude::*;

use crate::TokenId;
use crate::corpus::search::DEPTH;

/// Stands before, between and after documents. No vocabulary has it.
pub(super) const BORDER: TokenId = TokenId::MAX;

/// Gathers documents for a corpus.
///
/// [`write`](Self::write) sorts and writes them. While it does, it takes 8 bytes a token, and
/// another 16 for each place after the most frequent tokens that are being sorted at the moment.
#[derive(Clone, Debug)]
pub struct CorpusBuilder {
    /// Each document with a border on both sides.
    text: Vec<TokenId>,
    documents: u64,
}

impl Default for CorpusBuilder {
    fn default() -> Self {
        Self {
            text: vec![BORDER],
            documents: 0,
        }
    }
}

impl CorpusBuilder {
    /// Adds a document; empty ones are left out. `TokenId::MAX`, which no vocabulary has, ends a
    /// document.
    pub fn add(&mut self, document: &[TokenId]) {
        for part in document.split(|&token| token == BORDER) {
            if !part.is_empty() {
                self.text.extend_from_slice(part);
                self.text.push(BORDER);
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

/// The places of `text` that have something before and after them in their document, sorted by what
/// stands before, nearest token first; and where those after each token begin, for tokens below
/// `n_vocab` and one more.
///
/// # Panics
/// If the text has 2^32 tokens or more, or a token that is neither a border nor below `n_vocab`.
pub(super) fn sorted_places(text: &[TokenId], n_vocab: usize) -> (Vec<u32>, Vec<u32>) {
    assert!(u32::try_from(text.len()).is_ok());
    let counted = || {
        text.windows(2)
            .zip(1u32..)
            .filter(|(pair, _)| !pair.contains(&BORDER))
            .map(|(pair, place)| (pair[0] as usize, place))
    };
    let mut first = vec![0u32; n_vocab + 1];
    counted().for_each(|(token, _)| first[token + 1] += 1);
    for token in 0..n_vocab {
        first[token + 1] += first[token];
    }
    let mut places = vec![0u32; first[n_vocab] as usize];
    let mut free = first.clone();
    for (token, place) in counted() {
        places[free[token] as usize] = place;
        free[token] += 1;
    }
    drop(free);

    let mut rest = places.as_mut_slice();
    let mut buckets = Vec::new();
    for bounds in first.windows(2) {
        let (bucket, after) = rest.split_at_mut((bounds[1] - bounds[0]) as usize);
        if bucket.len() > 1 {
            buckets.push(bucket);
        }
        rest = after;
    }
    // The longest first, so that no core is left alone with one at the end.
    buckets.sort_unstable_by_key(|bucket| std::cmp::Reverse(bucket.len()));
    let (long, short): (Vec<_>, Vec<_>) = buckets
        .into_iter()
        .partition(|bucket| bucket.len() > LONG_BUCKET);
    long.into_iter().for_each(|bucket| refine(text, bucket, 1));
    short
        .into_par_iter()
        .for_each(|bucket| refine(text, bucket, 1));
    (places, first)
}

/// Buckets beyond this are sorted one at a time, by all cores, so that their buffers are not there
/// all at once.
const LONG_BUCKET: usize = 1 << 18;

/// The tokens at distances `depth` and `depth + 1` before the token right before `place`, as one
/// number to sort by.
fn context(text: &[TokenId], place: u32, depth: usize) -> u64 {
    let at = |depth: usize| match (place as usize).checked_sub(1 + depth) {
        Some(index) => text[index],
        None => BORDER,
    };
    let near = at(depth);
    // What lies beyond a border belongs to another document.
    let far = if near == BORDER {
        BORDER
    } else {
        at(depth + 1)
    };
    u64::from(near) << 32 | u64::from(far)
}

/// Sorts places that agree in `depth` tokens before them.
fn refine(text: &[TokenId], places: &mut [u32], depth: usize) {
    let mut keyed: Vec<(u64, u32)> = places
        .iter()
        .map(|&place| (context(text, place, depth), place))
        .collect();
    if keyed.len() > LONG_BUCKET {
        keyed.par_sort_unstable();
    } else {
        keyed.sort_unstable();
    }
    for (place, (_, sorted)) in places.iter_mut().zip(&keyed) {
        *place = *sorted;
    }
    let depth = depth + 2;
    let mut equal = Vec::new();
    let mut start = 0;
    for group in keyed.chunk_by(|a, b| a.0 == b.0) {
        let ends_before = group[0].0 as u32 == BORDER;
        if group.len() > 1 && depth < DEPTH && !ends_before {
            equal.push(start..start + group.len());
        }
        start += group.len();
    }
    drop(keyed);
    for range in equal {
        refine(text, &mut places[range], depth);
    }
}

//! Searching a corpus.

use std::cmp::Ordering;
use std::ops::Range;

use crate::TokenId;
use crate::corpus::CorpusInfo;
use crate::corpus::build::SEPARATOR;
use crate::files::MappedFile;
use crate::pool::{Retrieve, SuffixMatch};
use crate::store::word;

/// The suffix array is sorted by this many tokens. Longer matches count as this long.
pub const DEPTH: usize = 33;

/// A large text with a suffix array, in a file that is mapped into memory.
///
/// A lookup narrows the range of the array by binary search, one token of the tail at a time. The
/// first tokens take about `log2(tokens)` steps each, the others only a few. Matches longer than
/// [`DEPTH`] tokens count as `DEPTH`.
///
/// Matches of equal length are in no order of age. If there are more than `limit`, an evenly spaced
/// sample of the sorted range is returned. So frequent continuations are found often.
///
/// Positions count all tokens and one separator before each document.
///
/// ```
/// use logitspec::corpus::{Corpus, CorpusBuilder};
/// use logitspec::pool::{Retrieve, SuffixMatch};
/// use logitspec::store::VocabFingerprint;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("corpus");
/// let vocabulary = VocabFingerprint::of(["a", "b", "c", "d"]);
/// let mut builder = CorpusBuilder::default();
/// builder.add(&[0, 1, 2, 3]);
/// builder.write(&path, &vocabulary)?;
///
/// let corpus = Corpus::open(&path, Some(&vocabulary))?;
/// let mut found = Vec::new();
/// corpus.matches_into(&[3, 1, 2], 16, 8, &mut found);
/// assert_eq!(found, [SuffixMatch { len: 2, next: 4 }]);
/// let mut out = Vec::new();
/// corpus.continuation_into(found[0], 9, &mut out);
/// assert_eq!(out, [3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Corpus<B = MappedFile> {
    pub(super) bytes: B,
    pub(super) layout: Layout,
}

/// Where the parts of a corpus lie in its file, as ranges of bytes. All numbers have 32 bits.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub info: CorpusInfo,
    /// Tokens and separators.
    pub text: Range<usize>,
    /// The suffix array: positions, sorted by the tokens before them.
    pub array: Range<usize>,
    /// Where in `array` the positions after each token begin, with one more entry for the end.
    pub starts: Range<usize>,
}

impl<B: AsRef<[u8]>> Corpus<B> {
    /// The facts about this corpus.
    pub fn info(&self) -> &CorpusInfo {
        &self.layout.info
    }

    /// The token at `index`; a separator if there is none.
    fn token(&self, index: usize) -> TokenId {
        word(&self.bytes.as_ref()[self.layout.text.clone()], index).unwrap_or(SEPARATOR)
    }

    /// The entry of the suffix array at `rank`.
    fn position(&self, rank: usize) -> usize {
        word(&self.bytes.as_ref()[self.layout.array.clone()], rank).unwrap_or(0) as usize
    }

    /// The ranks of all positions after `token`.
    fn after(&self, token: TokenId) -> Range<usize> {
        let starts = &self.bytes.as_ref()[self.layout.starts.clone()];
        let bound = |index: usize| word(starts, index).map(|rank| rank as usize);
        match (bound(token as usize), bound(token as usize + 1)) {
            (Some(start), Some(end)) if start < end => start..end,
            _ => 0..0,
        }
    }

    /// The token `depth` before the token right before a position. There must be no separator in
    /// between.
    fn context(&self, rank: usize, depth: usize) -> TokenId {
        match self.position(rank).checked_sub(1 + depth) {
            Some(index) => self.token(index),
            None => SEPARATOR,
        }
    }

    /// Narrows a range of positions with the same `depth` tokens before them to those with `token`
    /// before these.
    fn narrow(&self, ranks: &Range<usize>, depth: usize, token: TokenId) -> Range<usize> {
        let Range { mut start, mut end } = *ranks;
        while start < end {
            let middle = start.midpoint(end);
            match self.context(middle, depth).cmp(&token) {
                Ordering::Less => start = middle + 1,
                Ordering::Greater => end = middle,
                // The bounds lie on both sides of this position.
                Ordering::Equal => {
                    let from = self.partition_point(start..middle, depth, |other| other >= token);
                    let to = self.partition_point(middle + 1..end, depth, |other| other > token);
                    return from..to;
                }
            }
        }
        0..0
    }

    /// The first of `ranks` whose token at `depth` is `wanted`. All ranks after it must be, too.
    fn partition_point(
        &self,
        ranks: Range<usize>,
        depth: usize,
        wanted: impl Fn(TokenId) -> bool,
    ) -> usize {
        let Range { mut start, mut end } = ranks;
        while start < end {
            let middle = start.midpoint(end);
            if wanted(self.context(middle, depth)) {
                end = middle;
            } else {
                start = middle + 1;
            }
        }
        start
    }

    /// The ranges of the suffix array that match 1, 2, 3, … of the last tokens of `tail`. None of
    /// them is empty.
    fn ranges(&self, tail: &[TokenId], max_len: usize) -> Vec<Range<usize>> {
        let mut before = tail.iter().rev().take(max_len.min(DEPTH));
        let mut ranges = Vec::with_capacity(DEPTH);
        let mut range = before.next().map_or(0..0, |&last| self.after(last));
        let mut before = before.take_while(|&&token| token != SEPARATOR);
        while !range.is_empty() {
            let depth = ranges.len() + 1;
            let longer = before
                .next()
                .map(|&token| self.narrow(&range, depth, token));
            ranges.push(range);
            range = longer.unwrap_or(0..0);
        }
        ranges
    }
}

impl<B: AsRef<[u8]>> Retrieve for Corpus<B> {
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    ) {
        found.clear();
        let ranges = self.ranges(tail, max_len);
        let mut longer = 0..0;
        for (index, ranks) in ranges.into_iter().enumerate().rev() {
            let len = index + 1;
            if longer.is_empty() {
                longer = ranks.start..ranks.start;
            }
            // All but the longer matches, which lie somewhere in the middle.
            let before_longer = longer.start - ranks.start;
            let available = ranks.len() - longer.len();
            let wanted = available.min(limit - found.len());
            found.extend((0..wanted).map(|n| {
                let nth = evenly_spaced(n, wanted, available);
                let skipped = if nth < before_longer { 0 } else { longer.len() };
                let next = self.position(ranks.start + skipped + nth);
                SuffixMatch { len, next }
            }));
            if found.len() == limit {
                break;
            }
            longer = ranks;
        }
    }

    fn continuation_into(&self, from: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        let positions = from.next..from.next.saturating_add(max);
        let tokens = positions.map(|index| self.token(index));
        out.extend(tokens.take_while(|&token| token != SEPARATOR));
    }
}

/// The `n`-th of `wanted` evenly spaced numbers below `available`: the middle of the `n`-th part.
fn evenly_spaced(n: usize, wanted: usize, available: usize) -> usize {
    ((2 * n as u128 + 1) * available as u128 / (2 * wanted as u128)) as usize
}

//! Finding places in a corpus.

use std::cmp::Ordering;
use std::ops::Range;

use crate::TokenId;
use crate::corpus::CorpusInfo;
use crate::corpus::build::BORDER;
use crate::files::MappedFile;
use crate::pool::{Retrieve, SuffixMatch};
use crate::store::word;

/// Contexts are sorted by this many tokens: longer matches count as so long.
pub const DEPTH: usize = 33;

/// A large text, sorted for searching, in a file that is mapped into memory.
///
/// Finds the longest suffix of a tail, then shorter ones, by binary search: about `log2(tokens)`
/// steps for each of the first tokens of a match and next to nothing for the others, at most
/// `limit` places. Matches of more than [`DEPTH`] tokens count as that long.
///
/// The places that match equally far have no age here. If they are more than wanted, those found
/// lie evenly spread among them, so that what often follows is often found.
///
/// Positions count all tokens and one border before each document.
#[derive(Clone, Debug)]
pub struct Corpus<B = MappedFile> {
    pub(super) bytes: B,
    pub(super) layout: Layout,
}

/// Where the parts of a corpus lie in its file.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub info: CorpusInfo,
    /// Tokens with borders, 32 bits each.
    pub text: Range<usize>,
    /// Places sorted by what stands before them, 32 bits each.
    pub places: Range<usize>,
    /// Where in `places` those after each token begin, 32 bits each, and one more for the end.
    pub first: Range<usize>,
}

impl<B: AsRef<[u8]>> Corpus<B> {
    /// What the corpus says about itself.
    pub fn info(&self) -> &CorpusInfo {
        &self.layout.info
    }

    /// A border where there is no token: nothing in a file can lead out of it.
    fn token(&self, index: usize) -> TokenId {
        word(&self.bytes.as_ref()[self.layout.text.clone()], index).unwrap_or(BORDER)
    }

    fn place(&self, rank: usize) -> usize {
        word(&self.bytes.as_ref()[self.layout.places.clone()], rank).unwrap_or(0) as usize
    }

    /// The ranks of all places after `token`.
    fn after(&self, token: TokenId) -> Range<usize> {
        let first = &self.bytes.as_ref()[self.layout.first.clone()];
        let bound = |index: usize| word(first, index).map(|rank| rank as usize);
        match (bound(token as usize), bound(token as usize + 1)) {
            (Some(start), Some(end)) if start < end => start..end,
            _ => 0..0,
        }
    }

    /// The token at distance `depth` before the one right before a place, given that no border lies
    /// between.
    fn context(&self, rank: usize, depth: usize) -> TokenId {
        match self.place(rank).checked_sub(1 + depth) {
            Some(index) => self.token(index),
            None => BORDER,
        }
    }

    /// Of the places at `ranks`, which agree in `depth` tokens, those that have `token` before
    /// these.
    fn narrowed(&self, ranks: &Range<usize>, depth: usize, token: TokenId) -> Range<usize> {
        let Range { mut start, mut end } = *ranks;
        while start < end {
            let middle = start.midpoint(end);
            match self.context(middle, depth).cmp(&token) {
                Ordering::Less => start = middle + 1,
                Ordering::Greater => end = middle,
                // One of those sought: the bounds lie on either side of it.
                Ordering::Equal => {
                    let first = self.first_rank(start..middle, depth, |other| other >= token);
                    let past = self.first_rank(middle + 1..end, depth, |other| other > token);
                    return first..past;
                }
            }
        }
        0..0
    }

    /// The first of `ranks` whose token at `depth` is as wanted, given that all after it are so
    /// too.
    fn first_rank(
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
        let mut before = tail.iter().rev().take(max_len.min(DEPTH));
        let Some(&last) = before.next() else { return };
        if limit == 0 {
            return;
        }
        // The places that agree in 1, 2, 3, … tokens.
        let mut agreeing: [Range<usize>; DEPTH] = [const { 0..0 }; DEPTH];
        agreeing[0] = self.after(last);
        let mut longest = usize::from(!agreeing[0].is_empty());
        if longest == 0 {
            return;
        }
        for (&token, depth) in before.take_while(|&&token| token != BORDER).zip(1..) {
            let narrowed = self.narrowed(&agreeing[depth - 1], depth, token);
            if narrowed.is_empty() {
                break;
            }
            agreeing[depth] = narrowed;
            longest = depth + 1;
        }
        let mut taken = 0..0;
        for len in (1..=longest).rev() {
            let ranks = agreeing[len - 1].clone();
            if taken.is_empty() {
                taken = ranks.start..ranks.start;
            }
            // All but those that agree further.
            let early = taken.start - ranks.start;
            let there = ranks.len() - taken.len();
            let wanted = there.min(limit - found.len());
            let places = (0..wanted).map(|n| {
                let nth = spread(n, wanted, there);
                let rank = if nth < early {
                    ranks.start + nth
                } else {
                    taken.len() + ranks.start + nth
                };
                SuffixMatch {
                    len,
                    next: self.place(rank),
                }
            });
            found.extend(places);
            if found.len() == limit {
                break;
            }
            taken = ranks;
        }
    }

    fn continuation_into(&self, place: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        let from = place.next..place.next.saturating_add(max);
        let tokens = from.map(|index| self.token(index));
        out.extend(tokens.take_while(|&token| token != BORDER));
    }
}

/// The `n`-th of `wanted` numbers below `there`, evenly spread: the middle of the `n`-th part.
fn spread(n: usize, wanted: usize, there: usize) -> usize {
    ((2 * n as u128 + 1) * there as u128 / (2 * wanted as u128)) as usize
}

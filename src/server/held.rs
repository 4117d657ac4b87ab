//! Text that waits until it is known what it is: the stop strings.

use std::collections::VecDeque;

use crate::tree::Source;

/// Text of the answer, all from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Where it was drafted from; `None` if it was not.
    pub source: Option<Source>,
}

/// Text that waits, with its sources.
#[derive(Clone, Debug, Default)]
pub struct Held {
    text: String,
    /// Lengths in bytes.
    runs: VecDeque<(usize, Option<Source>)>,
}

impl Held {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds text.
    pub fn push(&mut self, piece: &Piece) {
        self.text += &piece.text;
        match self.runs.back_mut() {
            Some((len, source)) if *source == piece.source => *len += piece.text.len(),
            _ => self.runs.push_back((piece.text.len(), piece.source)),
        }
    }

    /// Takes the first `len` bytes.
    pub fn take(&mut self, len: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let taken: String = self.text.drain(..len).collect();
        let mut begin = 0;
        while begin < len {
            let Some((run, source)) = self.runs.front_mut() else {
                break;
            };
            // A source may change within a character. It is the earlier one's.
            let mut end = len.min(begin + *run);
            while !taken.is_char_boundary(end) {
                end += 1;
            }
            if end > begin {
                let text = taken[begin..end].to_owned();
                pieces.push(Piece {
                    text,
                    source: *source,
                });
            }
            drop_front(&mut self.runs, end - begin);
            begin = end;
        }
        pieces
    }

    /// Takes all.
    pub fn take_all(&mut self) -> Vec<Piece> {
        self.take(self.text.len())
    }
}

/// Takes so many bytes off the front.
fn drop_front(runs: &mut VecDeque<(usize, Option<Source>)>, mut len: usize) {
    while let Some((run, _)) = runs.front_mut() {
        if *run > len {
            *run -= len;
            return;
        }
        len -= *run;
        runs.pop_front();
        if len == 0 {
            return;
        }
    }
}

/// Bytes of the longest proper beginning of one of `marks` that `text` ends with.
pub fn begun(text: &str, marks: &[impl AsRef<str>]) -> usize {
    let longest = |mark: &str| {
        let cuts = mark.char_indices().map(|(at, _)| at).skip(1);
        cuts.filter(|&cut| text.ends_with(&mark[..cut])).max()
    };
    marks
        .iter()
        .filter_map(|mark| longest(mark.as_ref()))
        .max()
        .unwrap_or(0)
}

/// Ends the text before the first of some strings. What may be the beginning of one waits.
#[derive(Clone, Debug)]
pub struct StopText {
    stops: Vec<String>,
    held: Held,
    /// The string that ended the text.
    hit: Option<String>,
}

impl StopText {
    /// Stops at these strings, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            held: Held::default(),
            hit: None,
        }
    }

    /// The string that ended the text.
    pub fn hit(&self) -> Option<&str> {
        self.hit.as_deref()
    }

    /// Adds text, and returns what is certainly part of the answer.
    pub fn push(&mut self, piece: &Piece) -> Vec<Piece> {
        if self.hit.is_some() || piece.text.is_empty() {
            return Vec::new();
        }
        if self.stops.is_empty() {
            return vec![piece.clone()];
        }
        self.held.push(piece);
        let text = self.held.text();
        // The one that is complete first, and of those the longest.
        let ends = self.stops.iter().filter_map(|stop| {
            let at = text.find(stop.as_str())?;
            Some((at + stop.len(), at, stop))
        });
        if let Some((_, at, stop)) = ends.min_by_key(|&(end, at, _)| (end, at)) {
            self.hit = Some(stop.clone());
            return self.held.take(at);
        }
        let sure = text.len() - begun(text, &self.stops);
        self.held.take(sure)
    }

    /// What still waits at the end of the answer.
    pub fn finish(&mut self) -> Vec<Piece> {
        match self.hit {
            Some(_) => Vec::new(),
            None => self.held.take_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_text_ends_before_the_first_stop_however_it_comes(
            text in prop::collection::vec("[abé]{0,3}", 0..20),
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
        ) {
            let whole = text.concat();
            let cut = (1..=whole.len()).find_map(|end| {
                let before = whole.as_bytes().get(..end)?;
                let complete = stops.iter().filter(|stop| before.ends_with(stop.as_bytes()));
                complete.map(|stop| end - stop.len()).min()
            });
            let mut shown = StopText::new(stops.clone());
            let mut pieces = Vec::new();
            for (number, text) in text.iter().enumerate() {
                let source = (number % 2 == 0).then_some(Source::Text);
                pieces.extend(shown.push(&Piece { text: text.clone(), source }));
            }
            let streamed = joined(&pieces);
            prop_assert!(whole.starts_with(&streamed));
            pieces.extend(shown.finish());
            prop_assert_eq!(joined(&pieces), &whole[..cut.unwrap_or(whole.len())]);
            prop_assert_eq!(shown.hit().is_some(), cut.is_some());
            // Nothing waits that cannot become a stop.
            if cut.is_none() {
                let waiting = &whole[streamed.len()..];
                let may_be = stops.iter().any(|stop| stop.starts_with(waiting));
                prop_assert!(waiting.is_empty() || may_be, "{}", waiting);
            }
        }
    }

    #[test]
    fn pieces_keep_their_sources() {
        let mut held = Held::default();
        for (text, source) in [("ab", None), ("cd", Some(Source::History)), ("e", None)] {
            held.push(&Piece {
                text: text.into(),
                source,
            });
        }
        let pieces = [held.take(3), held.take_all()].concat();
        let shown: Vec<_> = pieces
            .iter()
            .map(|it| (it.text.as_str(), it.source))
            .collect();
        let history = Some(Source::History);
        assert_eq!(
            shown,
            [("ab", None), ("c", history), ("d", history), ("e", None)]
        );
    }
}

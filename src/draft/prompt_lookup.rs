//! Prompt lookup decoding.

use crate::TokenId;
use crate::draft::{DraftInput, Drafter};
use crate::tree::{DraftTree, ROOT};

/// Method `prompt-lookup`: copies the tokens after the first earlier occurrence of the last tokens.
///
/// Source: Apoorv Saxena, "Prompt Lookup Decoding" (2023). Spec-Bench calls it PLD. It looks up the
/// last `max_ngram_size` tokens in the text, then shorter n-grams down to one token. The first
/// match
/// of the longest n-gram wins. Up to `num_pred_tokens` tokens after it become one chain.
///
/// A step costs at most `max_ngram_size` scans of the text.
#[derive(Clone, Debug)]
pub struct PromptLookup {
    max_ngram_size: usize,
    num_pred_tokens: usize,
    /// The committed text. A draft appends the root and removes it again, to save a copy.
    text: Vec<TokenId>,
}

impl PromptLookup {
    /// The published parameters are `max_ngram_size` 3 and `num_pred_tokens` 10.
    pub fn new(max_ngram_size: usize, num_pred_tokens: usize) -> Self {
        Self {
            max_ngram_size,
            num_pred_tokens,
            text: Vec::new(),
        }
    }

    /// The tokens after the first match of the longest n-gram at the end of `text`.
    fn lookup<'a>(&self, text: &'a [TokenId]) -> &'a [TokenId] {
        (1..=self.max_ngram_size.min(text.len().saturating_sub(1)))
            .rev()
            .find_map(|len| {
                let needle = &text[text.len() - len..];
                // Leave out the last token: nothing follows a match there.
                let at = text[..text.len() - 1]
                    .windows(len)
                    .position(|window| window == needle)?;
                let start = at + len;
                let end = text.len().min(start.saturating_add(self.num_pred_tokens));
                Some(&text[start..end])
            })
            .unwrap_or_default()
    }
}

impl Drafter for PromptLookup {
    fn name(&self) -> &'static str {
        "prompt-lookup"
    }

    fn begin(&mut self, text: &[TokenId]) {
        self.extend(text, text.len() - self.text.len());
    }

    fn extend(&mut self, text: &[TokenId], fresh: usize) {
        self.text.extend_from_slice(&text[text.len() - fresh..]);
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        self.text.push(input.root);
        tree.push_chain(ROOT, self.lookup(&self.text));
        self.text.pop();
    }

    fn reset(&mut self) {
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_of_the_longest_ngram_wins() {
        let lookup = PromptLookup::new(3, 3);
        assert_eq!(
            lookup.lookup(&[1, 2, 3, 7, 8, 9, 2, 3, 5, 1, 2, 3]),
            [7, 8, 9]
        );
        assert_eq!(lookup.lookup(&[2, 3, 4, 1, 2, 3, 5, 6, 0, 2, 3]), [4, 1, 2]);
        assert!(lookup.lookup(&[1, 2]).is_empty());
        assert_eq!(lookup.lookup(&[4, 4]), [4]);
        assert!(lookup.lookup(&[]).is_empty());
    }
}

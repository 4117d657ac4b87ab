//! Prompt lookup decoding.

use crate::TokenId;
use crate::draft::{DraftInput, Drafter};
use crate::tree::{DraftTree, ROOT};

/// Method `prompt-lookup`: copies what followed the first earlier place where the last few tokens
/// stood.
///
/// Source: Apoorv Saxena, "Prompt Lookup Decoding" (2023), the drafter that Spec-Bench calls PLD.
/// N-grams of `max_ngram_size` tokens down to 1 are looked up in the whole text, the first match of
/// the longest wins, and up to `num_pred_tokens` tokens after it become one chain.
///
/// A step costs at most `max_ngram_size` scans of the text.
#[derive(Clone, Debug)]
pub struct PromptLookup {
    max_ngram_size: usize,
    num_pred_tokens: usize,
    /// Committed text and root in one piece, kept to save the copy each step.
    text: Vec<TokenId>,
}

impl PromptLookup {
    /// `max_ngram_size` is 3 and `num_pred_tokens` 10 as published.
    pub fn new(max_ngram_size: usize, num_pred_tokens: usize) -> Self {
        Self {
            max_ngram_size,
            num_pred_tokens,
            text: Vec::new(),
        }
    }

    /// The chain that follows the first match of the longest n-gram at the end of `text`.
    fn lookup<'a>(&self, text: &'a [TokenId]) -> &'a [TokenId] {
        (1..=self.max_ngram_size.min(text.len().saturating_sub(1)))
            .rev()
            .find_map(|len| {
                let needle = &text[text.len() - len..];
                // The needle itself, at the very end, is not searched: nothing follows it.
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
    fn longest_ngram_first_match_wins() {
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

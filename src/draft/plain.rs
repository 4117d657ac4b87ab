//! No drafts.

use crate::TokenId;
use crate::draft::{DraftInput, Drafter};
use crate::tree::DraftTree;

/// Method `baseline`: no drafts. Each step decodes one token, like plain llama.cpp.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDraft;

impl Drafter for NoDraft {
    fn name(&self) -> &'static str {
        "baseline"
    }
    fn begin(&mut self, _text: &[TokenId]) {}
    fn extend(&mut self, _text: &[TokenId], _fresh: usize) {}
    fn draft(&mut self, _input: &DraftInput<'_>, _tree: &mut DraftTree) {}
    fn reset(&mut self) {}
}

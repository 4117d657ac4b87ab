//! No draft at all.

use crate::TokenId;
use crate::draft::{DraftInput, Drafter};
use crate::tree::DraftTree;

/// Method `baseline`: the tree stays a bare root, so every step decodes one token, as plain
/// llama.cpp does.
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

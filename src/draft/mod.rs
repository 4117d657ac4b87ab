//! Drafters: they guess what comes next.
//!
//! A [`Drafter`] is told the text as it grows and, once per decode step, the next token and the
//! runners-up of the logits that chose it; it grows a [`DraftTree`](crate::tree::DraftTree) below that token. Drafters
//! never see the model, so any of them can be tried on recorded text, and none of them can change
//! what the model says: a bad draft costs time, never a word.

mod cost;
mod drafter;
mod logitspec;
mod memory;
mod plain;
mod prompt_lookup;
mod recycling;
mod reference;
mod suffix;

pub use cost::{Graph, PassCost};
pub use drafter::{DraftInput, Drafter, NodeRows, ROW_CANDIDATES, Verified};
pub use logitspec::{LogitSpec, LogitSpecParams};
pub use memory::Memory;
pub use plain::NoDraft;
pub use prompt_lookup::PromptLookup;
pub use recycling::{RecyclingParams, TokenRecycling};
pub use reference::{ReferenceLogitSpec, ReferenceParams};
pub use suffix::{SuffixDecoding, SuffixParams};

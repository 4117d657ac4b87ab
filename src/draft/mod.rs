//! Drafters guess the next tokens.
//!
//! A [`Drafter`] gets the text as it grows. Once per decode step it gets the next token and the
//! runners-up of the logits that chose it, and grows a [`DraftTree`](crate::tree::DraftTree) below
//! that token. Drafters never see the model, so they also run on recorded text. A wrong draft costs
//! time and never changes the output.

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

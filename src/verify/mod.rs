//! Which of the drafted tokens would the model have said itself?
//!
//! [`walk()`] follows the model's own choices through a draft tree: at every node a selector
//! ([`Select`]) picks the next token from that node's logits, and the walk goes on as long as the
//! tree holds the token picked. What is accepted is therefore, token for token, what decoding one
//! token at a time picks: the argmax ([`Greedy`]), or a draw from the model's distribution
//! ([`Sampler`]).

mod constraint;
#[cfg(feature = "grammar")]
mod grammar;
mod logprobs;
mod sample;
mod walk;

pub use constraint::Constraint;
#[cfg(feature = "grammar")]
pub use grammar::{Grammar, GrammarError, GrammarSource, GrammarVocabulary};
pub use logprobs::{TokenLogprobs, WithLogprobs};
pub use sample::{
    DryBreakers, DryParams, Mirostat, Sampler, SamplerKind, SamplingParams, UnknownSampler,
};
pub use walk::{Accepted, Greedy, Select, walk};

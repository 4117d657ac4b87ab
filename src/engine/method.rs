//! Methods by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::draft::{
    Drafter, LogitSpec, LogitSpecParams, Memory, NoDraft, PromptLookup, RecyclingParams,
    ReferenceLogitSpec, ReferenceParams, SuffixDecoding, SuffixParams, TokenRecycling,
};
use crate::tree::SourceSet;

/// A way to draft, as named on the command line and in answer files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// No draft: plain decoding.
    Baseline,
    /// LogitSpec as this project runs it.
    #[default]
    Logitspec,
    /// LogitSpec exactly as published.
    LogitspecReference,
    /// Prompt lookup decoding.
    PromptLookup,
    /// Token Recycling.
    TokenRecycling,
    /// SuffixDecoding.
    Suffix,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 6] = [
        Self::Baseline,
        Self::Logitspec,
        Self::LogitspecReference,
        Self::PromptLookup,
        Self::TokenRecycling,
        Self::Suffix,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Logitspec => "logitspec",
            Self::LogitspecReference => "logitspec-reference",
            Self::PromptLookup => "prompt-lookup",
            Self::TokenRecycling => "token-recycling",
            Self::Suffix => "suffix",
        }
    }

    /// Whether the last step is drafted and verified although its outcome is known beforehand. The
    /// published code does so; everyone else saves the pass.
    pub fn verifies_last_step(self) -> bool {
        self == Self::LogitspecReference
    }

    /// Greatest depth of a tree's node where an answer has `left` tokens to go. Deeper nodes could
    /// never be committed; only the published code drafts them all the same.
    pub fn max_depth(self, left: usize) -> usize {
        if self.verifies_last_step() {
            usize::MAX
        } else {
            left - 1
        }
    }

    /// Whether trees are sized by what a pass costs.
    pub fn weighs_cost(self) -> bool {
        self == Self::Logitspec
    }

    /// Whether it copies from earlier requests and a corpus ([`drafter_with`](Self::drafter_with)).
    pub fn uses_memory(self) -> bool {
        self == Self::Logitspec
    }

    /// A drafter of this kind, with empty text.
    pub fn drafter(self, params: MethodParams) -> Box<dyn Drafter> {
        self.drafter_with(params, Memory::none())
    }

    /// A drafter of this kind, with empty text, that may copy from `memory`. Methods that have no
    /// use for one ignore it.
    pub fn drafter_with(self, params: MethodParams, memory: Memory) -> Box<dyn Drafter> {
        let MethodParams {
            max_ngram_size,
            num_pred_tokens,
            leave_out,
            suffix,
        } = params;
        match self {
            Self::Baseline => Box::new(NoDraft),
            Self::Logitspec => {
                let published = LogitSpecParams::default();
                Box::new(
                    LogitSpec::new(LogitSpecParams {
                        max_match: max_ngram_size.unwrap_or(published.max_match),
                        num_pred_tokens: num_pred_tokens.unwrap_or(published.num_pred_tokens),
                        leave_out,
                        ..published
                    })
                    .with_memory(memory),
                )
            }
            Self::LogitspecReference => {
                let published = ReferenceParams::default();
                Box::new(ReferenceLogitSpec::new(ReferenceParams {
                    max_ngram_size: max_ngram_size.unwrap_or(published.max_ngram_size),
                    num_pred_tokens: num_pred_tokens.unwrap_or(published.num_pred_tokens),
                }))
            }
            Self::PromptLookup => Box::new(PromptLookup::new(
                max_ngram_size.unwrap_or(3),
                num_pred_tokens.unwrap_or(10),
            )),
            Self::TokenRecycling => Box::new(TokenRecycling::new(RecyclingParams {
                nodes: num_pred_tokens.unwrap_or(RecyclingParams::default().nodes),
            })),
            Self::Suffix => Box::new(SuffixDecoding::new(SuffixParams {
                max_depth: max_ngram_size.unwrap_or(suffix.max_depth),
                max_spec_tokens: num_pred_tokens.unwrap_or(suffix.max_spec_tokens),
                ..suffix
            })),
        }
    }
}

/// Parameters that several methods share; `None` is the method's own default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MethodParams {
    /// Longest n-gram looked up.
    pub max_ngram_size: Option<usize>,
    /// Most tokens copied from one place.
    pub num_pred_tokens: Option<usize>,
    /// Sources that [`Method::Logitspec`] does not draw upon.
    pub leave_out: SourceSet,
    /// What [`Method::Suffix`] has of its own.
    pub suffix: SuffixParams,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no method's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown method {0:?}: choose one of {names}",
    names = Method::ALL.map(Method::name).join(", ")
)]
pub struct UnknownMethod(String);

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name.replace('_', "-"))
            .ok_or_else(|| UnknownMethod(name.into()))
    }
}

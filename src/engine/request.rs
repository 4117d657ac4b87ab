//! What a request asks for.

use crate::engine::stops::Stops;
#[cfg(feature = "grammar")]
use crate::verify::Grammar;
use crate::verify::{Greedy, Sampler, SamplingParams, Select, WithLogprobs};

/// What a request asks for beside its prompt: how tokens are selected, and where its answer ends.
/// Everything here belongs to one request; the model and the drafter know nothing of it.
#[derive(Clone, Debug, Default)]
pub struct RequestOptions {
    /// How tokens are drawn; the default is greedy.
    pub sampling: SamplingParams,
    /// Where the answer ends although the model would go on.
    pub stops: Stops,
    /// The grammar that the answer follows.
    #[cfg(feature = "grammar")]
    pub grammar: Option<Grammar>,
    /// Give the log-probability of each token, and of so many most probable ones in its place.
    pub logprobs: Option<usize>,
}

impl RequestOptions {
    /// Selects tokens as the request asks for it.
    pub fn selector(&self) -> Box<dyn Select> {
        let selector: Box<dyn Select> = match self.sampling.is_greedy() {
            true => Box::new(Greedy),
            false => Box::new(Sampler::new(self.sampling.clone())),
        };
        #[cfg(feature = "grammar")]
        let selector = match &self.grammar {
            Some(grammar) => grammar.selector(selector),
            None => selector,
        };
        match self.logprobs {
            Some(k) => Box::new(WithLogprobs::new(selector, k)),
            None => selector,
        }
    }
}

impl From<SamplingParams> for RequestOptions {
    fn from(sampling: SamplingParams) -> Self {
        Self {
            sampling,
            ..Self::default()
        }
    }
}

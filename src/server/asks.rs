//! What a request asks for beside its prompt.

use serde_json::Value;

use crate::TokenId;
use crate::verify::SamplingParams;

/// How tokens are drawn and where the answer ends, by llama.cpp's names. Plain data: the engine's
/// thread makes of it what it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Asks {
    /// The samplers that every build has.
    pub sampling: SamplingParams,
    /// Whether the request itself gives a seed.
    pub has_seed: bool,
    /// Subtracted from the logits of tokens seen lately.
    pub presence_penalty: f64,
    /// Subtracted from the logits of tokens seen lately, for each time.
    pub frequency_penalty: f64,
    /// Numbers by name that other samplers take, such as `typical_p`, where they are not at their
    /// neutral values.
    pub other_samplers: Vec<(&'static str, f64)>,
    /// The samplers by name, in order, if the request says.
    pub samplers: Option<Vec<String>>,
    /// Added to the logits of these tokens; minus infinity forbids them.
    pub logit_bias: Vec<(TokenId, f64)>,
    /// Go on behind the token that ends an answer.
    pub ignore_eos: bool,
    /// Strings that end the answer, which is cut before them.
    pub stop: Vec<String>,
    /// Give the log-probability of each token, and of so many most probable ones in its place.
    pub logprobs: Option<usize>,
    /// What the answer has to follow.
    pub grammar: Option<Grammar>,
}

/// What an answer has to follow.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema allows.
    JsonSchema(Value),
    /// A grammar in llama.cpp's format.
    Gbnf(String),
    /// A call of one of the tools, or of the one named.
    ToolCall(Option<String>),
}

impl Asks {
    /// What a request gets that asks for nothing.
    pub fn with_sampling(sampling: SamplingParams) -> Self {
        Self {
            sampling,
            has_seed: false,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            other_samplers: Vec::new(),
            samplers: None,
            logit_bias: Vec::new(),
            ignore_eos: false,
            stop: Vec::new(),
            logprobs: None,
            grammar: None,
        }
    }

    /// The field that this build's engine cannot serve yet, if there is one. Whoever adds a feature
    /// to the engine takes its line out here, and uses the field in `engine.rs`.
    pub fn unsupported(&self) -> Option<&'static str> {
        let asked = [
            ("presence_penalty", self.presence_penalty != 0.0),
            ("frequency_penalty", self.frequency_penalty != 0.0),
            ("samplers", self.samplers.is_some()),
            ("logit_bias", !self.logit_bias.is_empty()),
            ("ignore_eos", self.ignore_eos),
            ("logprobs", self.logprobs.is_some()),
        ];
        let named = asked.iter().find(|(_, is_asked)| *is_asked);
        let other = self.other_samplers.first().map(|(name, _)| *name);
        let grammar = self.grammar.as_ref().map(|grammar| match grammar {
            Grammar::JsonObject => "response_format",
            Grammar::JsonSchema(_) => "json_schema",
            Grammar::Gbnf(_) => "grammar",
            Grammar::ToolCall(_) => "tool_choice",
        });
        named.map(|(name, _)| *name).or(other).or(grammar)
    }
}

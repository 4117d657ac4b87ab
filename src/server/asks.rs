//! What a request asks for beside its prompt.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::{RequestOptions, Stops};
use crate::runtime::llama::Model;
use crate::server::error::ApiError;
use crate::verify::{Mirostat, SamplerKind, SamplingParams};
use crate::{TokenBytes, TokenId};

/// llama.cpp's defaults.
const MIROSTAT: Mirostat = Mirostat { tau: 5.0, eta: 0.1 };

/// How tokens are drawn and where the answer ends, by llama.cpp's names. Plain data: the engine's
/// thread makes of it what it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Asks {
    /// The samplers that every build has.
    pub sampling: SamplingParams,
    /// Whether the request itself gives a seed.
    pub has_seed: bool,
    /// Subtracted from the logits of tokens seen lately.
    pub presence_penalty: Option<f64>,
    /// Subtracted from the logits of tokens seen lately, for each time.
    pub frequency_penalty: Option<f64>,
    /// Numbers by name that other samplers take, such as `typical_p`.
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
}

impl Asks {
    /// What a request gets that asks for nothing.
    pub fn with_sampling(sampling: SamplingParams) -> Self {
        Self {
            sampling,
            has_seed: false,
            presence_penalty: None,
            frequency_penalty: None,
            other_samplers: Vec::new(),
            samplers: None,
            logit_bias: Vec::new(),
            ignore_eos: false,
            stop: Vec::new(),
            logprobs: None,
            grammar: None,
        }
    }

    /// The field that this build cannot serve, if there is one.
    pub fn unsupported(&self) -> Option<&'static str> {
        (!cfg!(feature = "grammar") && self.grammar.is_some()).then_some("grammar")
    }

    /// What the engine is told of it.
    ///
    /// # Errors
    /// If a sampler's name is unknown, or if the grammar cannot be followed.
    pub fn request(
        &self,
        model: &Model,
        bytes: impl FnOnce() -> Arc<TokenBytes>,
    ) -> Result<RequestOptions, ApiError> {
        let mut sampling = self.sampling.clone();
        if let Some(penalty) = self.presence_penalty {
            sampling.presence_penalty = penalty as f32;
        }
        if let Some(penalty) = self.frequency_penalty {
            sampling.frequency_penalty = penalty as f32;
        }
        for &(name, number) in &self.other_samplers {
            let number = number as f32;
            match name {
                "typical_p" => sampling.typical_p = number,
                "top_n_sigma" => sampling.top_n_sigma = number,
                "xtc_probability" => sampling.xtc_probability = number,
                "dynatemp_range" => sampling.dynatemp_range = number,
                "dry_multiplier" => sampling.dry.multiplier = number,
                _ if number == 0.0 => sampling.mirostat = None,
                _ if number == 2.0 => sampling.mirostat = Some(MIROSTAT),
                _ => {
                    let message = format!("{name} {number} is not served: use 0 or 2");
                    return Err(ApiError::of_field(name, message));
                }
            }
        }
        if let Some(names) = &self.samplers {
            let kinds = names.iter().map(|name| name.parse::<SamplerKind>());
            let kinds: Result<Vec<_>, _> = kinds.collect();
            let kinds = kinds.map_err(|error| ApiError::of_field("samplers", error.to_string()));
            sampling.samplers = kinds?.into();
        }
        let bias = self.logit_bias.iter();
        sampling
            .logit_bias
            .extend(bias.map(|&(token, bias)| (token, bias as f32)));
        if self.ignore_eos {
            let ends = model.vocabulary().ends();
            let never = ends.into_iter().map(|token| (token, f32::NEG_INFINITY));
            sampling.logit_bias.extend(never);
        }
        let stops = match self.stop.is_empty() {
            true => Stops::default(),
            false => Stops::new(self.stop.clone(), Vec::new(), bytes()),
        };
        Ok(RequestOptions {
            stops,
            #[cfg(feature = "grammar")]
            grammar: self.compile(model)?,
            logprobs: self.logprobs,
            ..sampling.into()
        })
    }

    /// The grammar, ready for the engine.
    #[cfg(feature = "grammar")]
    fn compile(&self, model: &Model) -> Result<Option<crate::verify::Grammar>, ApiError> {
        use crate::verify::GrammarSource;

        let (field, source) = match &self.grammar {
            None => return Ok(None),
            Some(Grammar::JsonObject) => {
                let schema = r#"{"type": "object"}"#.to_owned();
                ("response_format", GrammarSource::JsonSchema(schema))
            }
            Some(Grammar::JsonSchema(schema)) => {
                ("json_schema", GrammarSource::JsonSchema(schema.to_string()))
            }
            Some(Grammar::Gbnf(text)) => ("grammar", GrammarSource::Gbnf(text.clone())),
        };
        let compiled = model.grammars().and_then(|it| it.compile(&source));
        compiled
            .map(Some)
            .map_err(|error| ApiError::of_field(field, error.to_string()))
    }
}

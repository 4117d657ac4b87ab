//! A `llama-server` as an [`Answerer`].

use serde_json::{Value, json};

use super::{Completion, LlamaServer};
use crate::TokenId;
use crate::bench::answer::{Choice, Timings};
use crate::bench::prompt::Prompter;
use crate::bench::run::{Answerer, AskError};
use crate::engine::GenerateError;
use crate::runtime::TokenizeError;
use crate::verify::{DryBreakers, SamplingParams};

/// Answers questions with a [`LlamaServer`].
pub struct ServerAnswerer<'e> {
    server: &'e LlamaServer,
    prompter: &'e Prompter<'e>,
    sampling: SamplingParams,
    max_new_tokens: usize,
    n_ctx: usize,
}

impl<'e> ServerAnswerer<'e> {
    /// Asks `server`, whose context holds `n_ctx` tokens.
    pub fn new(
        server: &'e LlamaServer,
        prompter: &'e Prompter<'e>,
        sampling: SamplingParams,
        max_new_tokens: usize,
        n_ctx: usize,
    ) -> Self {
        Self {
            server,
            prompter,
            sampling,
            max_new_tokens,
            n_ctx,
        }
    }

    /// The body of a request to `/completion` for turn `turn` of a conversation.
    fn request(&self, text: &[TokenId], turn: usize, choice: u32) -> Value {
        let sampling = &self.sampling;
        let mut request = json!({
            "prompt": text,
            "n_predict": self.max_new_tokens,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repeat_penalty,
            "seed": sampling.seed.wrapping_add(choice.into()),
            // As in our sessions: a question starts with an empty cache, and its later turns reuse
            // the cache.
            "cache_prompt": turn > 0,
            "return_tokens": true,
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut request, more(sampling)) {
            all.extend(more);
        }
        request
    }
}

/// The samplers that are off by default.
fn more(sampling: &SamplingParams) -> Value {
    let SamplingParams { dry, mirostat, .. } = sampling;
    let names = sampling.samplers.iter().map(|kind| kind.name());
    let bias = |&(token, bias): &(TokenId, f32)| match bias == f32::NEG_INFINITY {
        // JSON has no infinity; the server takes this for it.
        true => json!([token, false]),
        false => json!([token, bias]),
    };
    let breakers = dry.breakers.as_deref().map(DryBreakers::strings);
    let mut more = json!({
        "samplers": names.collect::<Vec<_>>(),
        "dynatemp_range": sampling.dynatemp_range,
        "dynatemp_exponent": sampling.dynatemp_exponent,
        "typical_p": sampling.typical_p,
        "top_n_sigma": sampling.top_n_sigma,
        "xtc_probability": sampling.xtc_probability,
        "xtc_threshold": sampling.xtc_threshold,
        "repeat_last_n": sampling.repeat_last_n,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "dry_multiplier": dry.multiplier,
        "dry_base": dry.base,
        "dry_allowed_length": dry.allowed_length,
        "dry_penalty_last_n": dry.last_n,
        "logit_bias": sampling.logit_bias.iter().map(bias).collect::<Vec<_>>(),
    });
    if let Some(breakers) = breakers {
        more["dry_sequence_breakers"] = json!(breakers);
    }
    if let Some(mirostat) = mirostat {
        more["mirostat"] = json!(2);
        more["mirostat_tau"] = json!(mirostat.tau);
        more["mirostat_eta"] = json!(mirostat.eta);
    }
    more
}

impl Answerer for ServerAnswerer<'_> {
    fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError> {
        let mut conversation = self.prompter.conversation();
        let mut text: Vec<TokenId> = Vec::new();
        let mut record = Record::default();
        for (number, turn) in turns.iter().enumerate() {
            let prompt = conversation
                .next(turn, &text)
                .map_err(|error| AskError::of_prompt(error, number, turns.len()))?;
            text.truncate(prompt.keep);
            text.extend(prompt.tokens);
            if text.len() >= self.n_ctx {
                let error = GenerateError::PromptTooLong {
                    tokens: text.len(),
                    n_ctx: self.n_ctx,
                };
                return Err(AskError::Unaskable(format!(
                    "turn {} of {}: {error}",
                    number + 1,
                    turns.len()
                )));
            }
            let completion = self.server.complete(&self.request(&text, number, choice))?;
            record.add(&completion, text.len());
            if completion.tokens.is_empty() {
                let vocabulary = self.prompter.vocabulary();
                let answer = vocabulary.tokenize_continuation(&completion.content);
                let failed =
                    |error: TokenizeError| AskError::of_prompt(error.into(), number, turns.len());
                text.extend(answer.map_err(failed)?);
                record.add_text(&completion.content);
                conversation.push_answer(completion.content);
            } else {
                text.extend(&completion.tokens);
                conversation.answered(&completion.tokens);
                record.add_tokens(self.prompter.text(&completion.tokens), completion.tokens);
            }
        }
        Ok(record.choice())
    }
}

/// The record of a conversation, turn by turn.
#[derive(Default)]
struct Record {
    choice: Choice,
    timings: Timings,
    prompt_tokens: Vec<u64>,
    prefill_tokens: Vec<u64>,
    token_ids: Vec<Vec<TokenId>>,
}

impl Record {
    /// Adds the figures of a turn whose prompt, with all text before it, has `context` tokens.
    fn add(&mut self, completion: &Completion, context: usize) {
        let took = &completion.timings;
        let (prefill, decode) = (took.prompt_ms / 1e3, took.predicted_ms / 1e3);
        let tokens = completion.tokens_predicted;
        let steps = tokens.saturating_sub(took.draft_n_accepted);
        self.prompt_tokens.push(context as u64);
        self.prefill_tokens.push(took.prompt_n);
        self.choice.decoding_steps.push(steps);
        self.choice.new_tokens.push(tokens);
        self.choice.wall_time.push(prefill + decode);
        self.choice.accept_lengths.extend(spread(tokens, steps));
        self.timings.prefill.push(prefill);
        // The server reports no finer split.
        self.timings.decode.push(decode);
        let Timings {
            draft,
            verify,
            commit,
            ..
        } = &mut self.timings;
        for part in [draft, verify, commit] {
            part.push(0.0);
        }
    }

    /// Adds an answer of a server that does not return tokens.
    fn add_text(&mut self, text: &str) {
        self.choice.turns.push(text.trim().to_owned());
    }

    fn add_tokens(&mut self, text: String, tokens: Vec<TokenId>) {
        self.choice.turns.push(text);
        self.token_ids.push(tokens);
    }

    fn choice(self) -> Choice {
        let mut choice = self.choice;
        let has_tokens = self.token_ids.len() == choice.turns.len();
        choice
            .extra
            .insert("accept_lengths_spread".into(), true.into());
        Choice {
            timings: Some(self.timings),
            prompt_tokens: Some(self.prompt_tokens),
            prefill_tokens: Some(self.prefill_tokens),
            token_ids: has_tokens.then_some(self.token_ids),
            ..choice
        }
    }
}

/// Accept lengths, spread as evenly as possible. The server reports the number of tokens and of
/// steps, but not the tokens of each step.
fn spread(tokens: u64, steps: u64) -> impl Iterator<Item = u64> {
    let steps = steps.max(u64::from(tokens > 0));
    (0..steps).map(move |step| tokens / steps + u64::from(step < tokens % steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_accept_lengths_have_the_servers_mean() {
        assert_eq!(spread(10, 4).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert_eq!(spread(3, 3).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(spread(0, 0).count(), 0);
        assert_eq!(spread(5, 0).collect::<Vec<_>>(), [5]);
    }
}

//! An answer as a JSON object.

use std::time::Duration;

use serde_json::{Value, json};

use crate::TokenId;
use crate::cli::args::NO_LIMIT;
use crate::cli::sampling::SamplingArgs;
use crate::engine::{FinishReason, Generation, SessionOptions, StepTimes};
use crate::runtime::llama::Vocabulary;
use crate::tree::Source;
use crate::verify::TokenLogprobs;

/// Makes the JSON objects of answers that were generated with the same flags.
#[derive(Debug)]
pub(super) struct AnswerJson<'a> {
    pub options: &'a SessionOptions,
    pub sampling: &'a SamplingArgs,
    /// The limit of new tokens.
    pub max_new_tokens: usize,
    /// Where the cost of a pass comes from.
    pub pass_cost: Value,
}

impl AnswerJson<'_> {
    /// The flags that shape an answer.
    pub(super) fn parameters(&self) -> Value {
        let Self {
            options, sampling, ..
        } = self;
        // -1 as on the command line.
        let max_new_tokens = match self.max_new_tokens {
            NO_LIMIT => json!(-1),
            limit => json!(limit),
        };
        let suffix = options.method_params.suffix;
        let mut parameters = json!({
            "draft_tree_capacity": options.draft_tree_capacity,
            "fill_tree": options.fill_tree,
            "max_ngram_size": options.method_params.max_ngram_size,
            "num_pred_tokens": options.method_params.num_pred_tokens,
            "leave_out": options.method_params.leave_out.iter().collect::<Vec<_>>(),
            "max_spec_factor": suffix.max_spec_factor,
            "max_spec_offset": suffix.max_spec_offset,
            "min_token_prob": suffix.min_token_prob,
            "tree_spec": suffix.tree,
            "max_new_tokens": max_new_tokens,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repeat_penalty,
            "seed": sampling.seed,
        });
        let more = sampling.more_parameters();
        if let (Value::Object(all), Value::Object(more)) = (&mut parameters, more) {
            all.extend(more);
        }
        parameters
    }

    /// The object of an answer to a prompt of `prompt_tokens` tokens.
    pub(super) fn answer(&self, answer: &Generation, text: &str, prompt_tokens: usize) -> Value {
        // The format has three reasons. The `error` of an interrupted answer says so.
        let (finish_reason, error) = match &answer.finish {
            FinishReason::Stop => ("stop", None),
            FinishReason::Length => ("length", None),
            FinishReason::Cancelled => ("error", Some("interrupted by Ctrl-C".to_owned())),
            FinishReason::Failed(error) => ("error", Some(error.to_string())),
        };
        json!({
            "text": text,
            "tokens": answer.tokens,
            "prompt_tokens": prompt_tokens,
            "new_tokens": answer.tokens.len(),
            "decode_steps": answer.accept_lengths.len(),
            "accept_lengths": answer.accept_lengths,
            "mean_accepted_tokens": answer.mean_accepted_tokens(),
            "drafted_tokens": answer.drafted,
            "tokens_per_second": answer.tokens_per_second(),
            "finish_reason": finish_reason,
            "stopping_word": answer.stop.as_ref().and_then(|stop| stop.string.clone()),
            "error": error,
            "method": self.options.method,
            "parameters": self.parameters(),
            "timings": answer.timings,
            "median_step_us": {
                "draft": median_us(answer, |step| step.draft),
                "decode": median_us(answer, |step| step.decode),
                "verify": median_us(answer, |step| step.verify),
                "commit": median_us(answer, |step| step.commit),
                "overhead": median_us(answer, StepTimes::overhead),
                "kv": median_us(answer, |step| step.kv),
            },
            "graphs_reused": answer.graphs_reused,
            "decoded_again": answer.redecoded,
            "near_ties": answer.near_ties,
            "pass_cost": self.pass_cost,
            "sources": sources(answer),
        })
    }

    /// The object of a prompt that was refused: no tokens, and the reason.
    pub(super) fn refusal(&self, error: &str, prompt_tokens: usize) -> Value {
        let nothing = Generation::empty(FinishReason::Cancelled);
        let mut object = self.answer(&nothing, "", prompt_tokens);
        object["error"] = json!(error);
        object
    }
}

/// The log-probabilities of an answer's tokens, in the form of llama.cpp's server.
pub(super) fn logprobs(answer: &Generation, vocabulary: &Vocabulary<'_>) -> Value {
    let shown = vocabulary.shown(true);
    let one = |token: TokenId, logprob: f32| {
        let bytes = shown(token);
        json!({
            "id": token,
            "token": String::from_utf8_lossy(&bytes),
            "bytes": bytes,
            "logprob": logprob,
        })
    };
    let with_others = |of: &TokenLogprobs| {
        let mut object = one(of.token, of.logprob);
        let top = of.top.iter().map(|&(token, logprob)| one(token, logprob));
        object["top_logprobs"] = top.collect();
        object
    };
    answer.logprobs.iter().map(with_others).collect()
}

/// Drafted and accepted tokens by source.
fn sources(answer: &Generation) -> Value {
    let of = |(source, drafted): (Source, usize)| {
        let accepted = answer.sources.accepted.of(source);
        let counts = json!({"drafted": drafted, "accepted": accepted});
        (source.name().to_owned(), counts)
    };
    Value::Object(answer.sources.drafted.iter().map(of).collect())
}

/// The median over steps of a part of their time, in microseconds; `None` for an empty answer.
fn median_us(answer: &Generation, part: impl Fn(&StepTimes) -> Duration) -> Option<f64> {
    let mut times: Vec<Duration> = answer.step_times.iter().map(part).collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2)?;
    Some(middle.as_nanos() as f64 / 1e3)
}

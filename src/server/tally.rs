//! What an answer took, in the forms that clients know.

use serde_json::{Value, json};

use crate::server::engine::StepEvent;
use crate::tree::{PerSource, Source};

/// What an answer took.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// How many of them were in the cache.
    pub cached: usize,
    /// Seconds that the others took.
    pub prompt_seconds: f64,
    /// Tokens of the answer, the one that ended it included.
    pub answered: usize,
    /// How many of them were reasoning.
    pub reasoning: usize,
    /// Seconds of the decode steps.
    pub seconds: f64,
    /// Nodes drafted.
    pub drafted: PerSource,
    /// Nodes accepted.
    pub accepted: PerSource,
    /// How many steps accepted so many nodes.
    pub histogram: Vec<usize>,
    /// Tokens of the predicted output.
    pub prediction: usize,
    /// Most nodes that a tree may have.
    pub capacity: usize,
}

impl Tally {
    /// Adds a step.
    pub fn add(&mut self, step: &StepEvent) {
        let accepted = step.tokens.iter().filter_map(|(_, source)| *source);
        let mut count = 0;
        for source in accepted {
            self.accepted.add(source);
            count += 1;
        }
        if self.histogram.len() <= count {
            self.histogram.resize(count + 1, 0);
        }
        self.histogram[count] += 1;
        self.drafted.add_all(&step.drafted);
        self.answered += step.tokens.len();
        self.seconds += step.seconds;
    }

    /// Nodes drafted.
    pub fn drafted(&self) -> usize {
        self.drafted.iter().map(|(_, count)| count).sum()
    }

    /// Nodes accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.iter().map(|(_, count)| count).sum()
    }

    /// Decode steps.
    pub fn steps(&self) -> usize {
        self.histogram.iter().sum()
    }

    /// Tokens of the answer in a second.
    pub fn per_second(&self) -> f64 {
        rate(self.answered as f64, self.seconds)
    }

    /// Puts what the answer took into an object.
    pub fn write(&self, object: &mut Value) {
        object["timings"] = self.timings();
        object["metrics"] = self.metrics();
    }

    /// llama-server's object.
    pub fn timings(&self) -> Value {
        let decoded = self.prompt - self.cached;
        json!({
            "cache_n": self.cached,
            "prompt_n": decoded,
            "prompt_ms": self.prompt_seconds * 1e3,
            "prompt_per_token_ms": rate(self.prompt_seconds * 1e3, decoded as f64),
            "prompt_per_second": rate(decoded as f64, self.prompt_seconds),
            "predicted_n": self.answered,
            "predicted_ms": self.seconds * 1e3,
            "predicted_per_token_ms": rate(self.seconds * 1e3, self.answered as f64),
            "predicted_per_second": self.per_second(),
            "draft_n": self.drafted(),
            "draft_n_accepted": self.accepted(),
        })
    }

    /// vLLM's object, and what each source gave.
    pub fn metrics(&self) -> Value {
        let (steps, accepted) = (self.steps() as f64, self.accepted() as f64);
        let of = |source: Source| {
            let counts = json!({
                "drafted": self.drafted.of(source),
                "accepted": self.accepted.of(source),
            });
            (source.name().to_owned(), counts)
        };
        let drafted = self.drafted.iter().map(|(source, _)| of(source));
        json!({"speculative_decoding": {
            "mean_acceptance_length": rate(self.answered as f64, steps),
            "draft_acceptance_rate": rate(accepted, self.drafted() as f64),
            "acceptance_histogram": self.histogram,
            "num_spec_steps": self.steps(),
            "num_accepted_draft_tokens": self.accepted(),
            "num_draft_tokens": self.drafted(),
            "num_spec_tokens": self.capacity.saturating_sub(1),
            "sources": drafted.collect::<serde_json::Map<_, _>>(),
        }})
    }
}

/// OpenAI's object for some answers. Answers to one prompt share its tokens.
pub fn usage<'a>(tallies: impl Iterator<Item = &'a Tally> + Clone, prompts: usize) -> Value {
    let sum = |of: fn(&Tally) -> usize| tallies.clone().map(of).sum::<usize>();
    let each = tallies.clone().count() / prompts.max(1);
    let of_prompts =
        |of: fn(&Tally) -> usize| -> usize { tallies.clone().step_by(each.max(1)).map(of).sum() };
    let (prompt, answered) = (of_prompts(|it| it.prompt), sum(|it| it.answered));
    let accepted = sum(|it| it.accepted.of(Source::Prediction));
    let rejected = sum(|it| {
        it.prediction
            .saturating_sub(it.accepted.of(Source::Prediction))
    });
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": answered,
        "total_tokens": prompt + answered,
        "prompt_tokens_details": {"cached_tokens": of_prompts(|it| it.cached), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(|it| it.reasoning),
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": rejected,
            "audio_tokens": 0,
        },
    })
}

fn rate(count: f64, per: f64) -> f64 {
    if per > 0.0 { count / per } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(sources: &[Source]) -> StepEvent {
        let drafted = sources.iter().map(|&source| Some(source));
        let mut event = StepEvent {
            tokens: std::iter::once(None)
                .chain(drafted)
                .map(|source| (1, source))
                .collect(),
            logprobs: Vec::new(),
            drafted: PerSource::default(),
            seconds: 0.5,
        };
        sources.iter().for_each(|&source| event.drafted.add(source));
        event.drafted.add(Source::Recycled);
        event
    }

    #[test]
    fn steps_add_up() {
        let mut tally = Tally {
            prompt: 10,
            cached: 4,
            prediction: 5,
            ..Tally::default()
        };
        tally.add(&step(&[]));
        tally.add(&step(&[Source::Prediction, Source::Text]));
        tally.add(&step(&[]));
        let timings = tally.timings();
        assert_eq!(timings["predicted_n"], 5);
        assert_eq!(timings["draft_n"], 5);
        assert_eq!(timings["draft_n_accepted"], 2);
        assert_eq!(timings["prompt_n"], 6);
        assert_eq!(timings["predicted_per_second"], 5.0 / 1.5);
        let metrics = &tally.metrics()["speculative_decoding"];
        assert_eq!(metrics["acceptance_histogram"], json!([2, 0, 1]));
        assert_eq!(
            metrics["sources"]["recycled"],
            json!({"drafted": 3, "accepted": 0})
        );
        let both = [tally.clone(), tally];
        let usage = usage(both.iter(), 1);
        assert_eq!(usage["prompt_tokens"], 10);
        assert_eq!(usage["completion_tokens"], 10);
        let details = &usage["completion_tokens_details"];
        assert_eq!(details["accepted_prediction_tokens"], 2);
        assert_eq!(details["rejected_prediction_tokens"], 8);
    }
}

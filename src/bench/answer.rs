//! One record of an answer file.
//!
//! The keys of [`Answer`] and [`Choice`] that are not optional are the format that Spec-Bench and
//! its relatives share. The optional ones are this project's own: a file without them is read all
//! the same, and tools that do not know them pass over them. Whatever else a record holds is kept
//! in `extra`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::TokenId;

/// What one method said to one question, and what that took. One line of an answer file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's number.
    pub question_id: i64,
    /// The question's task.
    pub category: String,
    /// A name of this record that no other has.
    pub answer_id: String,
    /// The model and, as files made elsewhere have it, the method:
    /// `vicuna-7b-v1.3-logitspec-temp-0.0`.
    pub model_id: String,
    /// The answers: one, or as many as were asked for.
    pub choices: Vec<Choice>,
    /// When it was written, in seconds since 1970.
    pub tstamp: f64,
    /// The method, where it is to be told apart from the model: `baseline`, `logitspec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Which of several runs over the same questions this record is from, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
    /// Every other key.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One conversation: the turns of an answer. Every per-turn list has one entry a turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its number among the choices, from 0.
    pub index: u32,
    /// The text of each turn.
    pub turns: Vec<String>,
    /// Decode steps of each turn.
    pub decoding_steps: Vec<u64>,
    /// New tokens of each turn, an end-of-sequence token counted.
    pub new_tokens: Vec<u64>,
    /// Seconds of each turn: prefill and decode; tokenizing and detokenizing left out.
    pub wall_time: Vec<f64>,
    /// Tokens committed by each decode step, running on over the turns.
    pub accept_lengths: Vec<u64>,
    /// Where the time of each turn went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// Tokens in the context when each turn's decoding began: its whole prompt, earlier turns
    /// included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<Vec<u64>>,
    /// How many of `prompt_tokens` the turn's prefill computed, the rest being in the KV cache
    /// already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_tokens: Option<Vec<u64>>,
    /// The new tokens of each turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<Vec<u32>>>,
    /// Microseconds of each decode step of each turn, draft to commit. The context length at a step
    /// follows from `prompt_tokens` and `accept_lengths`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_us: Option<Vec<Vec<u64>>>,
    /// Decode steps of each turn whose pass could use the computation graph of the pass before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphs_reused: Option<Vec<u64>>,
    /// For each token of each turn, the candidates that the model had for it with their logits,
    /// best first; none where no step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranked: Option<Vec<Vec<RankedTokens>>>,
    /// By the name of a source, what it drafted and what of that was accepted, over all turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<BTreeMap<String, SourceTokens>>,
    /// Every other key.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a source of drafts gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTokens {
    /// Tokens drafted.
    pub drafted: u64,
    /// Tokens of those that were accepted.
    pub accepted: u64,
}

/// Candidates for a token and their logits, best first.
pub type RankedTokens = Vec<(TokenId, f32)>;

/// Seconds spent in each part of the work, one entry a turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Computing the prompt.
    pub prefill: Vec<f64>,
    /// Growing draft trees.
    pub draft: Vec<f64>,
    /// The model's forward passes over them.
    pub decode: Vec<f64>,
    /// Finding what was accepted.
    pub verify: Vec<f64>,
    /// Keeping it and dropping the rest.
    pub commit: Vec<f64>,
}

impl Timings {
    /// The parts by name, in the order of a step.
    pub fn parts(&self) -> [(&'static str, &[f64]); 5] {
        [
            ("prefill", &self.prefill),
            ("draft", &self.draft),
            ("decode", &self.decode),
            ("verify", &self.verify),
            ("commit", &self.commit),
        ]
    }
}

impl Answer {
    /// Whether the record's parts fit together; if not, what does not.
    ///
    /// # Errors
    /// A sentence that says which key is wrong, for a message that names the file.
    pub fn check(&self) -> Result<(), String> {
        if self.choices.is_empty() {
            return Err("choices is empty".into());
        }
        if !self.tstamp.is_finite() {
            return Err("tstamp is not a number".into());
        }
        self.choices.iter().try_for_each(Choice::check)
    }
}

impl Choice {
    fn check(&self) -> Result<(), String> {
        let turns = self.turns.len();
        let per_turn = |name: &str, entries: usize| match entries == turns {
            true => Ok(()),
            false => Err(format!(
                "choice {}: {name} has {entries} entries for {turns} turns",
                self.index
            )),
        };
        let seconds = |name: &str, values: &[f64]| {
            per_turn(name, values.len())?;
            match values
                .iter()
                .find(|value| !(value.is_finite() && **value >= 0.0))
            {
                None => Ok(()),
                Some(value) => Err(format!(
                    "choice {}: {name} holds {value}, which is no time",
                    self.index
                )),
            }
        };
        if turns == 0 {
            return Err(format!("choice {}: turns is empty", self.index));
        }
        per_turn("decoding_steps", self.decoding_steps.len())?;
        per_turn("new_tokens", self.new_tokens.len())?;
        seconds("wall_time", &self.wall_time)?;
        if let Some(timings) = &self.timings {
            timings
                .parts()
                .into_iter()
                .try_for_each(|(name, values)| seconds(name, values))?;
        }
        let optional = [
            ("prompt_tokens", self.prompt_tokens.as_ref().map(Vec::len)),
            ("prefill_tokens", self.prefill_tokens.as_ref().map(Vec::len)),
            ("token_ids", self.token_ids.as_ref().map(Vec::len)),
            ("step_us", self.step_us.as_ref().map(Vec::len)),
            ("graphs_reused", self.graphs_reused.as_ref().map(Vec::len)),
            ("ranked", self.ranked.as_ref().map(Vec::len)),
        ];
        for (name, entries) in optional {
            entries.map_or(Ok(()), |entries| per_turn(name, entries))?;
        }
        Ok(())
    }

    /// New tokens of all turns.
    pub fn total_new_tokens(&self) -> u64 {
        self.new_tokens.iter().sum()
    }

    /// Seconds of all turns.
    pub fn total_wall_time(&self) -> f64 {
        self.wall_time.iter().sum()
    }
}

//! One record of an answer file.
//!
//! The first keys of [`Answer`] and [`Choice`] are the format of Spec-Bench. The optional keys are
//! this project's own: other tools ignore them. All other keys are kept in `extra`.
//!
//! Related tools record less. FastChat writes only texts, and EAGLE `idxs` instead of
//! `decoding_steps`. So every key may be missing in a file that is read, but for `question_id`,
//! `choices` and `turns`: the text is then empty, and a list has no entries.

pub(crate) mod numbers;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::TokenId;
use crate::files::json_reason;

/// The answer of one method to one question, with its timings. One line of an answer file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's number.
    #[serde(deserialize_with = "numbers::whole")]
    pub question_id: i64,
    /// The question's category.
    #[serde(default)]
    pub category: String,
    /// A unique id of this record.
    #[serde(default)]
    pub answer_id: String,
    /// The model. Files from other tools include the method: `vicuna-7b-v1.3-logitspec-temp-0.0`.
    #[serde(default)]
    pub model_id: String,
    /// The answers, one or more.
    pub choices: Vec<Choice>,
    /// The time of writing, in seconds since 1970.
    #[serde(default)]
    pub tstamp: f64,
    /// The method, if it is recorded apart from the model: `baseline`, `logitspec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The repeat that this record is from, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
    /// Every other key.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One conversation: the turns of an answer. Every per-turn list has one entry per turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its number among the choices, from 0.
    #[serde(default, deserialize_with = "numbers::whole")]
    pub index: u32,
    /// The text of each turn.
    pub turns: Vec<String>,
    /// Decode steps of each turn.
    #[serde(default, deserialize_with = "numbers::some_wholes")]
    pub decoding_steps: Vec<u64>,
    /// New tokens of each turn, including an end-of-sequence token.
    #[serde(default, deserialize_with = "numbers::some_wholes")]
    pub new_tokens: Vec<u64>,
    /// Seconds of each turn: prefill and decode, without tokenizing and detokenizing.
    #[serde(default, deserialize_with = "numbers::some_seconds")]
    pub wall_time: Vec<f64>,
    /// Tokens committed by each decode step, over all turns.
    #[serde(default, deserialize_with = "numbers::wholes")]
    pub accept_lengths: Vec<u64>,
    /// The parts of each turn's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// Tokens in the context when each turn's decoding began: its whole prompt, including earlier
    /// turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<Vec<u64>>,
    /// How many of `prompt_tokens` the turn's prefill computed. The rest was in the KV cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_tokens: Option<Vec<u64>>,
    /// The new tokens of each turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<Vec<u32>>>,
    /// Microseconds of each decode step of each turn, from draft to commit. The context length at a
    /// step follows from `prompt_tokens` and `accept_lengths`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_us: Option<Vec<Vec<u64>>>,
    /// Decode steps of each turn that reused the computation graph of the previous pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphs_reused: Option<Vec<u64>>,
    /// The model's candidates for each token of each turn with their logits, best first. Only the
    /// first token of a step has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranked: Option<Vec<Vec<RankedTokens>>>,
    /// Drafted and accepted tokens by source, over all turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<BTreeMap<String, SourceTokens>>,
    /// Every other key.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Drafted and accepted tokens of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTokens {
    /// Tokens drafted.
    pub drafted: u64,
    /// Drafted tokens that were accepted.
    pub accepted: u64,
}

/// Candidates for a token and their logits, best first.
pub type RankedTokens = Vec<(TokenId, f32)>;

/// Seconds spent in each part of the work, one entry per turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Prefill: computing the prompt.
    pub prefill: Vec<f64>,
    /// Growing draft trees.
    pub draft: Vec<f64>,
    /// The model's forward passes over them.
    pub decode: Vec<f64>,
    /// Verifying the drafts.
    pub verify: Vec<f64>,
    /// Committing the accepted tokens and dropping the rest.
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
    /// Checks that the record is consistent and complete.
    ///
    /// # Errors
    /// What is wrong with which key, for a message that names the file.
    pub fn check(&self) -> Result<(), String> {
        self.check_consistent()?;
        self.choices.iter().try_for_each(Choice::check_complete)
    }

    /// Checks that the record is consistent. Keys may be missing.
    pub(super) fn check_consistent(&self) -> Result<(), String> {
        if self.choices.is_empty() {
            return Err("choices is empty".into());
        }
        if !self.tstamp.is_finite() {
            return Err("tstamp is not a number".into());
        }
        self.choices.iter().try_for_each(Choice::check_consistent)
    }

    /// Reads keys by the names that other tools give them.
    ///
    /// # Errors
    /// What is wrong with the value of such a key.
    pub(super) fn adopt_other_names(&mut self) -> Result<(), String> {
        for choice in &mut self.choices {
            let steps = choice.extra.get(EAGLE_STEPS);
            if let Some(steps) = steps.filter(|_| choice.decoding_steps.is_empty()) {
                choice.decoding_steps = numbers::some_wholes(steps)
                    .map_err(|error| format!("{EAGLE_STEPS}: {}", json_reason(&error)))?;
            }
        }
        Ok(())
    }
}

/// EAGLE's and Medusa's key for the decoding steps.
const EAGLE_STEPS: &str = "idxs";

impl Choice {
    /// Checks that each list of the format is there.
    fn check_complete(&self) -> Result<(), String> {
        let lists = [
            ("decoding_steps", self.decoding_steps.is_empty()),
            ("new_tokens", self.new_tokens.is_empty()),
            ("wall_time", self.wall_time.is_empty()),
        ];
        match lists.into_iter().find(|(_, is_empty)| *is_empty) {
            Some((name, _)) => Err(format!(
                "choice {}: {name} has 0 entries for {} turns",
                self.index,
                self.turns.len()
            )),
            None => Ok(()),
        }
    }

    fn check_consistent(&self) -> Result<(), String> {
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
                    "choice {}: {name} holds {value}, which is not a time",
                    self.index
                )),
            }
        };
        if turns == 0 {
            return Err(format!("choice {}: turns is empty", self.index));
        }
        if !self.decoding_steps.is_empty() {
            per_turn("decoding_steps", self.decoding_steps.len())?;
        }
        if !self.new_tokens.is_empty() {
            per_turn("new_tokens", self.new_tokens.len())?;
        }
        if !self.wall_time.is_empty() {
            seconds("wall_time", &self.wall_time)?;
        }
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
        sum(&self.new_tokens)
    }

    /// Seconds of all turns.
    pub fn total_wall_time(&self) -> f64 {
        self.wall_time.iter().sum()
    }
}

/// The sum of counts. Files may hold any numbers, so the sum stops at the largest.
pub(crate) fn sum(counts: &[u64]) -> u64 {
    counts.iter().copied().fold(0, u64::saturating_add)
}

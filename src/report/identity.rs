//! Compares the answers of a method with those of plain decoding.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::bench::{Answer, Choice};

use super::load::Method;

/// The number of identical answers, and the first difference of each other one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identity {
    /// Number of questions that both answered.
    pub compared: usize,
    /// Number of questions whose choices, turns and runs are all identical.
    pub identical: usize,
    /// Number of questions that were compared token by token. The others were compared as text,
    /// because one side has no `token_ids`; different tokens can make the same text.
    pub compared_as_tokens: usize,
    /// The first difference of each question, if there is one.
    pub differences: Vec<Difference>,
}

/// The first difference between an answer and the base's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The question.
    pub question_id: i64,
    /// Its category.
    pub category: String,
    /// The run, from 0.
    pub run: usize,
    /// The choice, from 0.
    pub choice: usize,
    /// The turn, from 0.
    pub turn: usize,
    /// The unit of comparison.
    pub unit: Unit,
    /// Number of equal units before the difference.
    pub position: usize,
    /// What the base has there: a token id, the next few characters, or nothing if its answer ends
    /// there.
    pub base: Option<String>,
    /// What the method has there.
    pub method: Option<String>,
    /// The base's text from the first character on that differs; `None` if none does in this turn,
    /// or if it ends there.
    pub base_text: Option<String>,
    /// The method's text from there on.
    pub method_text: Option<String>,
}

/// The unit of comparison of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Token ids.
    Token,
    /// Characters of the text.
    Character,
    /// Turns: one side has more than the other.
    Turn,
    /// Choices: one side has more than the other.
    Choice,
}

impl Unit {
    /// The unit's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Character => "character",
            Self::Turn => "turn",
            Self::Choice => "choice",
        }
    }
}

impl Identity {
    pub(super) fn new(method: &Method, base: &Method) -> Self {
        let mut compared = BTreeSet::new();
        let mut as_text = BTreeSet::new();
        let mut differences = BTreeMap::new();
        for (index, run) in method.runs.iter().enumerate() {
            let base_run = base.run_beside(index);
            for (&question_id, entry) in run {
                let Some(base_entry) = base_run.get(&question_id) else {
                    continue;
                };
                let pair = Pair {
                    method: &entry.answer,
                    base: &base_entry.answer,
                    run: index,
                };
                compared.insert(question_id);
                if !pair.has_tokens() {
                    as_text.insert(question_id);
                }
                if let Some(difference) = pair.first_difference() {
                    differences.entry(question_id).or_insert(difference);
                }
            }
        }
        Self {
            compared: compared.len(),
            identical: compared.len() - differences.len(),
            compared_as_tokens: compared.len() - as_text.len(),
            differences: differences.into_values().collect(),
        }
    }
}

/// Two answers to one question.
struct Pair<'a> {
    method: &'a Answer,
    base: &'a Answer,
    run: usize,
}

impl Pair<'_> {
    fn has_tokens(&self) -> bool {
        let choices = self.method.choices.iter().chain(&self.base.choices);
        choices.into_iter().all(|choice| choice.token_ids.is_some())
    }

    fn first_difference(&self) -> Option<Difference> {
        let choices = self.method.choices.iter().zip(&self.base.choices);
        let within = choices
            .enumerate()
            .find_map(|(index, (ours, theirs))| self.in_choice(index, ours, theirs));
        within.or_else(|| {
            let (ours, theirs) = (self.method.choices.len(), self.base.choices.len());
            let at = ours.min(theirs);
            (ours != theirs).then(|| self.at(at, 0, Unit::Choice, at, count(theirs), count(ours)))
        })
    }

    fn in_choice(&self, index: usize, ours: &Choice, theirs: &Choice) -> Option<Difference> {
        let (our_turns, their_turns) = (ours.turns.len(), theirs.turns.len());
        let turns = our_turns.min(their_turns);
        for turn in 0..turns {
            let difference = match (&ours.token_ids, &theirs.token_ids) {
                (Some(ours), Some(theirs)) => {
                    first_difference(&ours[turn], &theirs[turn]).map(|at| {
                        (
                            Unit::Token,
                            at,
                            token(&theirs[turn], at),
                            token(&ours[turn], at),
                        )
                    })
                }
                _ => in_text(&ours.turns[turn], &theirs.turns[turn])
                    .map(|(at, theirs, ours)| (Unit::Character, at, theirs, ours)),
            };
            if let Some((unit, at, base, method)) = difference {
                let in_text = in_text(&ours.turns[turn], &theirs.turns[turn]);
                let (_, base_text, method_text) = in_text.unwrap_or_default();
                return Some(Difference {
                    base_text,
                    method_text,
                    ..self.at(index, turn, unit, at, base, method)
                });
            }
        }
        (our_turns != their_turns).then(|| {
            self.at(
                index,
                turns,
                Unit::Turn,
                turns,
                count(their_turns),
                count(our_turns),
            )
        })
    }

    fn at(
        &self,
        choice: usize,
        turn: usize,
        unit: Unit,
        position: usize,
        base: Option<String>,
        method: Option<String>,
    ) -> Difference {
        let (question_id, category) = (self.method.question_id, self.method.category.clone());
        Difference {
            question_id,
            category,
            run: self.run,
            choice,
            turn,
            unit,
            position,
            base,
            method,
            base_text: None,
            method_text: None,
        }
    }
}

/// The first index at which two lists differ. The end of the shorter one counts as a difference.
fn first_difference<T: PartialEq>(a: &[T], b: &[T]) -> Option<usize> {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (common < a.len().max(b.len())).then_some(common)
}

/// Where two texts differ, and the second and the first one from there on.
fn in_text(ours: &str, theirs: &str) -> Option<(usize, Option<String>, Option<String>)> {
    let ours: Vec<char> = ours.chars().collect();
    let theirs: Vec<char> = theirs.chars().collect();
    let at = first_difference(&ours, &theirs)?;
    Some((at, excerpt(&theirs, at), excerpt(&ours, at)))
}

fn token(tokens: &[u32], at: usize) -> Option<String> {
    tokens.get(at).map(u32::to_string)
}

fn excerpt(text: &[char], at: usize) -> Option<String> {
    const LENGTH: usize = 24;
    let rest = &text[at..];
    (!rest.is_empty()).then(|| rest.iter().take(LENGTH).collect())
}

fn count(number: usize) -> Option<String> {
    Some(format!("{number} in all"))
}

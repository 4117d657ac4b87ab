//! Recorded answers to the questions of a set.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use super::{InputError, LineError, RecordKind, RequestEncoder, for_each_line};
use crate::TokenId;
use crate::bench::answer::numbers::whole;
use crate::bench::{Question, RankedTokens};
use crate::files::json_reason;
use crate::simulate::Request;

/// A recorded answer. Unlike a record of a benchmark's answer file, it may hold only the text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RecordedAnswer {
    /// The question's number.
    #[serde(deserialize_with = "whole")]
    pub question_id: i64,
    /// The answers. The first one counts.
    pub choices: Vec<RecordedChoice>,
}

/// The turns of a recorded answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RecordedChoice {
    /// The text of each turn.
    pub turns: Vec<String>,
    /// The tokens of each turn, if recorded.
    #[serde(default)]
    pub token_ids: Option<Vec<Vec<TokenId>>>,
    /// The candidates for each of those tokens, if recorded.
    #[serde(default)]
    pub ranked: Option<Vec<Vec<RankedTokens>>>,
}

impl RecordedChoice {
    /// Whether every list has one entry per turn or per token.
    fn is_consistent(&self) -> bool {
        let turns = self.turns.len();
        let token_ids = self.token_ids.as_ref();
        if turns == 0 || token_ids.is_some_and(|ids| ids.len() != turns) {
            return false;
        }
        let (Some(ranked), Some(token_ids)) = (&self.ranked, token_ids) else {
            return true;
        };
        let mut pairs = ranked.iter().zip(token_ids);
        ranked.len() == turns && pairs.all(|(ranked, ids)| ranked.len() == ids.len())
    }
}

/// Reads recorded answers in the file's order. If a question has several, the last one counts.
///
/// # Errors
/// A file that cannot be read, a line that is not an answer, or no answer at all.
pub fn read_recorded_answers(path: &Path) -> Result<Vec<RecordedAnswer>, InputError> {
    let mut answers: Vec<RecordedAnswer> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    for_each_line(path, RecordKind::Answers, |text| {
        let shape = r#"an answer looks like {"question_id": 81, "choices": [{"turns": ["..."]}]}"#;
        let answer: RecordedAnswer = serde_json::from_slice(text)
            .map_err(|error| format!("not an answer: {}; {shape}", json_reason(&error)))?;
        let Some(choice) = answer.choices.first() else {
            return Err(format!("choices is empty; {shape}").into());
        };
        if !choice.is_consistent() {
            return Err(LineError::from(format!(
                "turns, token_ids and ranked must have one entry per turn, and each entry of \
                 ranked one per token; {shape}"
            )));
        }
        match places.get(&answer.question_id) {
            Some(&place) => answers[place] = answer,
            None => {
                places.insert(answer.question_id, answers.len());
                answers.push(answer);
            }
        }
        Ok(())
    })?;
    match answers.is_empty() {
        true => Err(InputError::Empty {
            path: path.into(),
            kind: RecordKind::Answers,
            reason: "holds no answer; give a file with one answer per line",
        }),
        false => Ok(answers),
    }
}

/// The requests of recorded answers, in the order of `questions`. Questions without an answer are
/// left out.
///
/// # Errors
/// An answer to none of `all` questions, an answer with more turns than its question, or a template
/// that fails.
pub fn requests_from_answers(
    questions: &[Question],
    (all, question_file): (&[i64], &Path),
    (answers, answer_file): (&[RecordedAnswer], &Path),
    encoder: &RequestEncoder<'_>,
    progress: &mut dyn FnMut(),
) -> Result<Vec<Request>, InputError> {
    let known: HashSet<i64> = all.iter().copied().collect();
    if let Some(stray) = answers
        .iter()
        .find(|answer| !known.contains(&answer.question_id))
    {
        return Err(InputError::NoQuestion {
            path: answer_file.into(),
            questions: question_file.into(),
            question_id: stray.question_id,
        });
    }
    let choices: HashMap<i64, &RecordedChoice> = answers
        .iter()
        .map(|answer| (answer.question_id, &answer.choices[0]))
        .collect();
    let mut requests = Vec::new();
    for question in questions {
        let Some(choice) = choices.get(&question.question_id) else {
            continue;
        };
        if choice.turns.len() > question.turns.len() {
            return Err(InputError::Turns {
                path: answer_file.into(),
                question_id: question.question_id,
                answered: choice.turns.len(),
                asked: question.turns.len(),
            });
        }
        requests.push(encoder.request(&question.category, &question.turns, choice)?);
        progress();
    }
    Ok(requests)
}

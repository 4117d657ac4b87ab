//! Recorded text becomes requests.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::TokenId;
use crate::bench::{Question, RankedTokens};
use crate::files::{json_reason, lines};
use crate::logits::Candidate;
use crate::runtime::{ChatTemplate, Message, Role, TemplateError};
use crate::simulate::{Request, Turn};

/// Text to tokens, as a model's engine does it.
///
/// Tokenizers are files that people wrote: any of them may fail on any text.
pub trait TextTokens {
    /// The tokens of a text that starts a conversation, with the beginning-of-sequence token if the
    /// model has one there.
    ///
    /// # Errors
    /// If the tokenizer fails.
    fn start(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError>;

    /// The tokens that lead from an answer to the next one, `last` being the last token before
    /// them: the end of the answer, which the template writes, is left out if `last` is one.
    ///
    /// # Errors
    /// If the tokenizer fails.
    fn next_turn(&self, text: &str, last: Option<TokenId>) -> Result<Vec<TokenId>, TokenizeError>;

    /// The tokens of an answer, without the one that ends it.
    ///
    /// # Errors
    /// If the tokenizer fails.
    fn answer(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError>;

    /// The token that ends answers.
    fn end(&self) -> Option<TokenId>;

    /// Whether the model ends its answer with `token`.
    fn is_end(&self, token: TokenId) -> bool;
}

/// A tokenizer failed on a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the tokenizer fails on {beginning:?}: {reason}; give the tokenizer of the model that answered"
)]
pub struct TokenizeError {
    /// How the text begins.
    pub beginning: String,
    /// What the tokenizer said.
    pub reason: String,
}

/// Why recorded text could not be read. Each message is one line that names the file and the mend.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file is not there or cannot be read.
    #[error("{}: cannot read {what}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A line is not what it should be.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and the mend.
        reason: String,
    },
    /// Nothing to replay.
    #[error("{}: {reason}", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The answer is to a question that is not there.
    #[error(
        "{}: the answer to question {question_id} has no question in {}; give the question file that was answered",
        path.display(),
        questions.display()
    )]
    NoQuestion {
        /// The answer file.
        path: PathBuf,
        /// The question file.
        questions: PathBuf,
        /// The number.
        question_id: i64,
    },
    /// The answer has more turns than its question.
    #[error(
        "{}: the answer to question {question_id} has {answered} turns, its question {asked}; give the question file that was answered",
        path.display()
    )]
    Turns {
        /// The answer file.
        path: PathBuf,
        /// The number.
        question_id: i64,
        /// Turns of the answer.
        answered: usize,
        /// Turns of the question.
        asked: usize,
    },
    /// The tokenizer cannot be used.
    #[error("{}: not a tokenizer that can be used: {reason}; give the tokenizer.json of the model", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A special token that was asked for is not in the vocabulary.
    #[error(
        "{flag} {token}: the tokenizer has no such token; name one of its special tokens, or none"
    )]
    NoSuchToken {
        /// The flag.
        flag: &'static str,
        /// The token.
        token: String,
    },
    /// The tokenizer fails.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The template fails.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// A recorded answer. Unlike a record of a benchmark's answer file it need hold nothing but the
/// text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RecordedAnswer {
    /// The number of the question.
    pub question_id: i64,
    /// The answers; the first counts.
    pub choices: Vec<RecordedChoice>,
}

/// The turns of a recorded answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RecordedChoice {
    /// The text of each turn.
    pub turns: Vec<String>,
    /// The tokens of each turn, where they are on record.
    #[serde(default)]
    pub token_ids: Option<Vec<Vec<TokenId>>>,
    /// The candidates for each of those tokens, where they are on record.
    #[serde(default)]
    pub ranked: Option<Vec<Vec<RankedTokens>>>,
}

impl RecordedChoice {
    /// Whether all lists have as many entries as there are turns or tokens.
    fn is_consistent(&self) -> bool {
        let turns = self.turns.len();
        let told = self.token_ids.as_ref();
        if turns == 0 || told.is_some_and(|told| told.len() != turns) {
            return false;
        }
        let (Some(ranked), Some(told)) = (&self.ranked, told) else {
            return true;
        };
        let mut pairs = ranked.iter().zip(told);
        ranked.len() == turns && pairs.all(|(ranked, told)| ranked.len() == told.len())
    }
}

/// Reads recorded answers in the file's order; of those to the same question, the last counts.
///
/// # Errors
/// A file that cannot be read, a line that is no answer, no answer at all.
pub fn read_recorded_answers(path: &Path) -> Result<Vec<RecordedAnswer>, InputError> {
    let mut answers: Vec<RecordedAnswer> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    for_each_line(path, "the answer file", |text| {
        let shape = r#"an answer reads {"question_id": 81, "choices": [{"turns": ["..."]}]}"#;
        let answer: RecordedAnswer = serde_json::from_slice(text)
            .map_err(|error| format!("not an answer: {}; {shape}", json_reason(&error)))?;
        let Some(choice) = answer.choices.first() else {
            return Err(format!("choices is empty; {shape}"));
        };
        if !choice.is_consistent() {
            return Err(format!(
                "turns, token_ids and ranked must have one entry a turn, ranked one a token; {shape}"
            ));
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
        true => Err(nothing(
            path,
            "no answer in it; give a file with one answer a line",
        )),
        false => Ok(answers),
    }
}

/// How text was written for the model.
pub struct Reading<'a> {
    /// Text to tokens.
    pub tokens: &'a dyn TextTokens,
    /// The chat template; `None` for the bare text.
    pub template: Option<&'a ChatTemplate>,
    /// What comes before the first turn of every conversation.
    pub opening: Vec<Message>,
    /// Answers of this many tokens were cut off there and not ended by the model.
    pub max_new_tokens: usize,
}

impl Reading<'_> {
    /// The request of a conversation: what the user said, and what the model answered.
    ///
    /// # Errors
    /// If the template fails on it.
    fn request(
        &self,
        category: &str,
        turns: &[String],
        choice: &RecordedChoice,
    ) -> Result<Request, InputError> {
        let mut messages = self.opening.clone();
        let mut request = Request {
            category: category.into(),
            turns: Vec::new(),
        };
        let mut last = None;
        for (number, (said, answer)) in turns.iter().zip(&choice.turns).enumerate() {
            let message = Message::new(Role::User, said.as_str());
            let prompt = match self.template {
                None if number == 0 => self.tokens.start(said)?,
                None => self.tokens.next_turn(said, None)?,
                Some(template) if number == 0 => {
                    messages.push(message);
                    self.tokens.start(&template.prompt(&messages)?)?
                }
                Some(template) => {
                    let text = template.next_turn(&messages, &message)?;
                    messages.push(Message::new(Role::Assistant, answer.as_str()));
                    messages.push(message);
                    self.tokens.next_turn(&text, last)?
                }
            };
            let turn = match &choice.token_ids {
                Some(ids) => {
                    let ranked = choice.ranked.as_ref().map(|turns| &turns[number][..]);
                    self.told(prompt, &ids[number], ranked.unwrap_or_default())
                }
                None => self.written(prompt, answer)?,
            };
            last = turn.answer.last().copied();
            request.turns.push(turn);
        }
        Ok(request)
    }

    /// A turn whose answer is on record as text: the token that ended it has to be added.
    fn written(&self, prompt: Vec<TokenId>, answer: &str) -> Result<Turn, TokenizeError> {
        let mut answer = self.tokens.answer(answer)?;
        let end = match answer.len() < self.max_new_tokens {
            true => self.tokens.end(),
            false => None,
        };
        answer.truncate(self.max_new_tokens);
        answer.extend(end);
        Ok(Turn {
            prompt,
            answer,
            ended: end.is_some(),
            ranked: Vec::new(),
        })
    }

    /// A turn whose answer is on record as tokens, with candidates for each of them or for none.
    fn told(&self, prompt: Vec<TokenId>, answer: &[TokenId], ranked: &[RankedTokens]) -> Turn {
        let end = answer.iter().position(|&token| self.tokens.is_end(token));
        let answer = &answer[..end.map_or(answer.len(), |end| end + 1)];
        Turn {
            prompt,
            answer: answer.to_vec(),
            ended: end.is_some(),
            ranked: ranked.iter().map(|row| candidates(row)).collect(),
        }
    }
}

/// A request of one turn.
fn alone(category: &str, turn: Turn) -> Request {
    Request {
        category: category.into(),
        turns: vec![turn],
    }
}

fn candidates(row: &[(TokenId, f32)]) -> Vec<Candidate> {
    let row = row.iter();
    row.map(|&(token, logit)| Candidate { token, logit })
        .collect()
}

/// The requests of recorded answers, in the order of `questions`; those without an answer are left
/// out.
///
/// # Errors
/// An answer to none of `all` questions, or with more turns than its question, or a template that
/// fails.
pub fn requests_of(
    questions: &[Question],
    (all, question_file): (&[i64], &Path),
    (answers, answer_file): (&[RecordedAnswer], &Path),
    reading: &Reading<'_>,
    progress: &mut dyn FnMut(),
) -> Result<Vec<Request>, InputError> {
    let known: std::collections::HashSet<i64> = all.iter().copied().collect();
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
    let of: HashMap<i64, &RecordedChoice> = answers
        .iter()
        .map(|answer| (answer.question_id, &answer.choices[0]))
        .collect();
    let mut requests = Vec::new();
    for question in questions {
        let Some(choice) = of.get(&question.question_id) else {
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
        requests.push(reading.request(&question.category, &question.turns, choice)?);
        progress();
    }
    Ok(requests)
}

/// Which keys of a JSON line hold what.
#[derive(Clone, Debug)]
pub struct Fields {
    /// The prompt: a text, or an array of token ids.
    pub prompt: String,
    /// The response, likewise.
    pub response: String,
    /// The category, if lines have one.
    pub category: String,
}

/// Reads one request of one turn from each line of a JSON Lines file.
///
/// # Errors
/// A file that cannot be read, a line without the fields, a template that fails, no request at all.
pub fn read_jsonl(
    path: &Path,
    fields: &Fields,
    reading: &Reading<'_>,
    progress: &mut dyn FnMut(),
) -> Result<Vec<Request>, InputError> {
    let mut requests = Vec::new();
    for_each_line(path, "the file", |text| {
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| format!("not JSON: {}", json_reason(&error)))?;
        let category = value.get(&fields.category).and_then(Value::as_str);
        let category = category.unwrap_or("requests").to_owned();
        let prompt = field(&value, &fields.prompt, "--prompt-field")?;
        let response = field(&value, &fields.response, "--response-field")?;
        let request = match (prompt, response) {
            (Field::Tokens(prompt), Field::Tokens(ids)) => {
                Ok(alone(&category, reading.told(prompt, &ids, &[])))
            }
            (Field::Tokens(prompt), Field::Text(answer)) => reading
                .written(prompt, &answer)
                .map(|turn| alone(&category, turn))
                .map_err(InputError::from),
            (Field::Text(said), response) => {
                let choice = match response {
                    Field::Text(answer) => RecordedChoice {
                        turns: vec![answer],
                        token_ids: None,
                        ranked: None,
                    },
                    Field::Tokens(ids) => RecordedChoice {
                        turns: vec![String::new()],
                        token_ids: Some(vec![ids]),
                        ranked: None,
                    },
                };
                reading.request(&category, &[said], &choice)
            }
        };
        requests.push(request.map_err(|error| error.to_string())?);
        progress();
        Ok(())
    })?;
    match requests.is_empty() {
        true => Err(nothing(
            path,
            "no request in it; give a file with one JSON object a line",
        )),
        false => Ok(requests),
    }
}

/// What a line holds.
enum Field {
    Text(String),
    Tokens(Vec<TokenId>),
}

fn field(line: &Value, name: &str, flag: &str) -> Result<Field, String> {
    match line.get(name) {
        Some(Value::String(text)) => Ok(Field::Text(text.clone())),
        Some(value @ Value::Array(_)) => Vec::deserialize(value).map(Field::Tokens).map_err(|_| {
            format!("{name:?} is an array, but not of token ids; {flag} names a text or token ids")
        }),
        Some(_) => Err(format!(
            "{name:?} is neither a text nor token ids; name another key with {flag}"
        )),
        None => Err(format!("there is no {name:?}; name the key with {flag}")),
    }
}

fn nothing(path: &Path, reason: &str) -> InputError {
    InputError::Nothing {
        path: path.into(),
        reason: reason.into(),
    }
}

/// Calls `take` with every line that is not blank; what it says is wrong gets the file's name and
/// the line.
pub(super) fn for_each_line(
    path: &Path,
    what: &'static str,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), InputError> {
    let bytes = std::fs::read(path).map_err(|error| InputError::Read {
        path: path.into(),
        what,
        error,
    })?;
    for line in lines(&bytes).filter(|line| !line.is_blank()) {
        take(line.text).map_err(|reason| InputError::Line {
            path: path.into(),
            line: line.number,
            reason,
        })?;
    }
    Ok(())
}

//! Reads records of conversations and turns them into requests.

mod answers;
mod chat;
mod error;
mod jsonl;

use std::path::Path;

use crate::TokenId;
use crate::bench::RankedTokens;
use crate::files::lines;
use crate::logits::Candidate;
use crate::runtime::{
    ChatEncoder, ChatTemplate, Message, Prompt, PromptError, PromptTokenizer, Role, TokenizeError,
};
use crate::simulate::{Request, Turn};

pub use answers::{RecordedAnswer, RecordedChoice, read_recorded_answers, requests_from_answers};
pub(super) use error::LineError;
pub use error::{InputError, LinePart, RecordKind, SpecialToken};
pub use jsonl::{Fields, LineRead, holds_chats, read_jsonl};

/// Tokenizes text as the engine does for its model.
///
/// Every method can fail, because a tokenizer is a file from outside.
pub trait TextTokenizer: PromptTokenizer {
    /// The tokens of an answer, without the end token.
    ///
    /// # Errors
    /// If the tokenizer fails.
    fn answer(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError>;

    /// The token that ends answers.
    fn end(&self) -> Option<TokenId>;
}

/// Turns recorded conversations into requests.
pub struct RequestEncoder<'a> {
    /// The tokenizer.
    pub tokenizer: &'a dyn TextTokenizer,
    /// The chat template; `None` for plain text.
    pub template: Option<&'a ChatTemplate>,
    /// The messages before the first turn of every conversation.
    pub opening: Vec<Message>,
    /// Whether the spelling of a control token in a turn becomes that token.
    pub parse_special: bool,
    /// The limit of an answer: the model did not end answers of this many tokens.
    pub max_new_tokens: usize,
}

impl RequestEncoder<'_> {
    /// The request of a conversation: the user's turns and the model's answers.
    ///
    /// # Errors
    /// If the template or the tokenizer fails on it.
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
        let encoder = ChatEncoder {
            tokenizer: self.tokenizer,
            template: self.template,
            parse_special: self.parse_special,
        };
        let mut said = Vec::new();
        for (number, (question, answer)) in turns.iter().zip(&choice.turns).enumerate() {
            messages.push(Message::new(Role::User, question.as_str()));
            let prompt = match number {
                0 => encoder.first(&messages)?,
                _ => encoder.next(&messages, &said)?,
            };
            if let Some(template) = self.template {
                template
                    .check_question(&prompt.text, question)
                    .map_err(PromptError::from)?;
            }
            messages.push(Message::new(Role::Assistant, answer.as_str()));
            let turn = match &choice.token_ids {
                Some(ids) => {
                    let ranked = choice.ranked.as_ref().map(|turns| &turns[number][..]);
                    self.turn_from_tokens(prompt, &ids[number], ranked.unwrap_or_default())
                }
                None => self.turn_from_text(prompt, answer)?,
            };
            said.truncate(turn.keep);
            said.extend_from_slice(&turn.prompt);
            said.extend_from_slice(&turn.answer);
            request.turns.push(turn);
        }
        Ok(request)
    }

    /// A turn whose answer is recorded as text. The end token is added.
    fn turn_from_text(&self, prompt: Prompt, answer: &str) -> Result<Turn, TokenizeError> {
        let mut answer = self.tokenizer.answer(answer)?;
        let end = match answer.len() < self.max_new_tokens {
            true => self.tokenizer.end(),
            false => None,
        };
        answer.truncate(self.max_new_tokens);
        answer.extend(end);
        Ok(Turn {
            keep: prompt.keep,
            prompt: prompt.tokens,
            answer,
            ended: end.is_some(),
            ranked: Vec::new(),
        })
    }

    /// A turn whose answer is recorded as tokens, with candidates for all of them or for none.
    fn turn_from_tokens(
        &self,
        prompt: Prompt,
        answer: &[TokenId],
        ranked: &[RankedTokens],
    ) -> Turn {
        let end = answer
            .iter()
            .position(|&token| self.tokenizer.is_end(token));
        let answer = &answer[..end.map_or(answer.len(), |end| end + 1)];
        Turn {
            keep: prompt.keep,
            prompt: prompt.tokens,
            answer: answer.to_vec(),
            ended: end.is_some(),
            ranked: ranked.iter().map(|row| candidates(row)).collect(),
        }
    }
}

/// A request of one turn.
fn single_turn(category: &str, turn: Turn) -> Request {
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

/// Calls `read` with every line that is not blank. An error of `read` gets the file's name and the
/// line's number.
pub(super) fn for_each_line(
    path: &Path,
    kind: RecordKind,
    mut read: impl FnMut(&[u8]) -> Result<(), LineError>,
) -> Result<(), InputError> {
    let bytes = std::fs::read(path).map_err(|error| InputError::Read {
        path: path.into(),
        kind,
        error,
    })?;
    for line in lines(&bytes).filter(|line| !line.is_blank()) {
        read(line.text).map_err(|LineError { part, reason }| InputError::Line {
            path: path.into(),
            kind,
            line: line.number,
            part,
            reason,
        })?;
    }
    Ok(())
}

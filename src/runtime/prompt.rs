//! From a conversation to the tokens of its prompts.

use serde_json::{Map, Value};

use crate::TokenId;
use crate::runtime::{ChatTemplate, ControlTokens, Marked, Message, Part, TemplateError, TurnText};

/// A text that cannot be tokenized.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot tokenize the text that begins with {beginning:?}: {reason}")]
pub struct TokenizeError {
    /// How the text begins.
    pub beginning: String,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

impl TokenizeError {
    /// The error for `text`.
    pub fn new(text: &str, reason: impl Into<String>) -> Self {
        Self {
            beginning: text.chars().take(32).collect(),
            reason: reason.into(),
        }
    }
}

/// Why a conversation has no prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The chat template fails.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer fails.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
}

/// Where a text stands. Some tokenizers put a space before a text that begins a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the beginning of the sequence.
    Start,
    /// Behind a control token.
    AfterControl,
    /// Behind other text.
    Middle,
}

/// A tokenizer for prompts.
pub trait PromptTokenizer {
    /// The tokens of a text, and nothing before or behind them. With `parse_special`, the spelling
    /// of a control token becomes that token; otherwise it is plain text.
    ///
    /// # Errors
    /// If the tokenizer fails.
    fn encode(
        &self,
        text: &str,
        place: Place,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, TokenizeError>;

    /// The control tokens.
    fn control_tokens(&self) -> &ControlTokens;

    /// The tokens that the tokenizer puts before a prompt: the beginning-of-sequence token, if the
    /// model wants one.
    fn prefix(&self) -> Vec<TokenId>;

    /// The beginning-of-sequence token and its spelling, if there is one.
    fn bos_token(&self) -> Option<(TokenId, String)>;

    /// Whether the model ends its answer with `token`.
    fn is_end(&self, token: TokenId) -> bool;

    /// Whether `token` is nothing but white space.
    fn is_blank(&self, token: TokenId) -> bool;

    /// The tokens of a text that the model goes on with. Spellings of control tokens are parsed.
    ///
    /// # Errors
    /// If the tokenizer fails.
    fn raw_prompt(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        let mut tokens = self.prefix();
        tokens.extend(self.encode(text, Place::Start, true)?);
        Ok(tokens)
    }

    /// Whether a prompt has the beginning-of-sequence token twice: from the tokenizer and from its
    /// text.
    fn has_bos_twice(&self, prompt: &[TokenId]) -> bool {
        let prefix = self.prefix();
        let bos = self.bos_token().map(|(bos, _)| bos);
        bos.is_some()
            && prefix.last().copied() == bos
            && prompt.starts_with(&prefix)
            && prompt.get(prefix.len()).copied() == bos
    }
}

impl Prompt {
    /// This prompt of a whole conversation, without the tokens that `said` begins with as well.
    pub fn behind(mut self, said: &[TokenId]) -> Self {
        let pairs = self.tokens.iter().zip(said);
        let common = pairs.take_while(|(new, old)| new == old).count();
        // The last token is decoded again, so that its row is there.
        self.keep = common.min(self.tokens.len().saturating_sub(1));
        self.tokens.drain(..self.keep);
        self
    }
}

/// Makes the prompts of conversations.
#[derive(Clone, Copy)]
pub struct ChatEncoder<'a> {
    /// The tokenizer.
    pub tokenizer: &'a dyn PromptTokenizer,
    /// The chat template; `None` for plain text.
    pub template: Option<&'a ChatTemplate>,
    /// Whether the spelling of a control token in a message becomes that token. By default only the
    /// template's markers do, and messages are plain text.
    pub parse_special: bool,
}

/// The prompt of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// How many tokens of the conversation so far stay. All of them, unless the template writes
    /// earlier turns differently now.
    pub keep: usize,
    /// The tokens behind those. There is at least one, unless the prompt is empty.
    pub tokens: Vec<TokenId>,
    /// The rendered text: of the whole conversation, or of what comes behind the last answer.
    pub text: String,
}

impl ChatEncoder<'_> {
    /// The prompt for these messages, up to the start of the answer. Without a template, the last
    /// message is the prompt.
    ///
    /// It begins with the beginning-of-sequence token if the tokenizer adds one, or else if the
    /// template writes it.
    ///
    /// # Errors
    /// If the template or the tokenizer fails.
    pub fn first(&self, messages: &[Message]) -> Result<Prompt, PromptError> {
        let Some(template) = self.template else {
            let text = messages.last().map_or("", |message| &message.content);
            let mut tokens = self.tokenizer.prefix();
            tokens.extend(self.plain(text, Place::Start)?);
            return Ok(Prompt {
                keep: 0,
                tokens,
                text: text.into(),
            });
        };
        let marked = self.mark(messages);
        let text = template.prompt(marked.messages())?;
        Ok(self.whole(&text, &marked)?)
    }

    /// The prompt for a whole conversation, with more variables for the template, such as `tools`.
    /// If the last message is the model's, it is the beginning of the answer.
    ///
    /// # Errors
    /// If the template or the tokenizer fails.
    pub fn whole_with(
        &self,
        messages: &[Message],
        variables: &Map<String, Value>,
    ) -> Result<Prompt, PromptError> {
        let Some(template) = self.template else {
            return self.first(messages);
        };
        let mut marked = match self.parse_special {
            true => Marked::plain_with(messages, variables),
            false => self
                .tokenizer
                .control_tokens()
                .mark_with(messages, variables),
        };
        let begun = marked.take_begun_answer();
        let mut text = template.prompt_with(marked.messages(), marked.variables())?;
        if let Some(begun) = begun {
            text += &begun;
        }
        Ok(self.whole(&text, &marked)?)
    }

    /// The prompt for the turn behind `said`, the tokens of the conversation so far.
    ///
    /// `messages` are all messages, the new question being the last. An answer that the template
    /// writes as it is keeps its tokens. If the template writes it differently, for example without
    /// its reasoning, the whole conversation is tokenized again, and the tokens that it begins with
    /// stay.
    ///
    /// # Errors
    /// If the template or the tokenizer fails.
    pub fn next(&self, messages: &[Message], said: &[TokenId]) -> Result<Prompt, PromptError> {
        let Some(template) = self.template else {
            let text = messages.last().map_or("", |message| &message.content);
            return Ok(Prompt {
                keep: said.len(),
                tokens: self.plain(text, Place::Middle)?,
                text: text.into(),
            });
        };
        let marked = self.mark(messages);
        let text = match template.turn(marked.messages())? {
            TurnText::Next(text) => text,
            TurnText::Whole(text) => {
                return Ok(self.whole(&text, &marked)?.behind(said));
            }
        };
        let mut tokens = self.encode(&text, &marked, Place::Middle)?;
        if said.last().is_some_and(|&last| self.tokenizer.is_end(last)) {
            let is_blank = |token: &TokenId| self.tokenizer.is_blank(*token);
            let end = tokens.iter().position(|&it| self.tokenizer.is_end(it));
            // Some templates write a space before the end token.
            if let Some(end) = end.filter(|&end| tokens[..end].iter().all(is_blank)) {
                tokens.drain(..=end);
            }
        }
        Ok(Prompt {
            keep: said.len(),
            tokens,
            text: marked.restore(&text),
        })
    }

    /// The prompt of a whole conversation from its rendered text.
    fn whole(&self, rendered: &str, marked: &Marked) -> Result<Prompt, TokenizeError> {
        let mut tokens = self.tokenizer.prefix();
        let text = match self.tokenizer.bos_token() {
            Some((bos, spelling)) if tokens.contains(&bos) => {
                rendered.strip_prefix(spelling.as_str()).unwrap_or(rendered)
            }
            _ => rendered,
        };
        tokens.extend(self.encode(text, marked, Place::Start)?);
        Ok(Prompt {
            keep: 0,
            tokens,
            text: marked.restore(text),
        })
    }

    fn mark(&self, messages: &[Message]) -> Marked {
        if self.parse_special {
            Marked::plain(messages)
        } else {
            self.tokenizer.control_tokens().mark(messages)
        }
    }

    /// The tokens of a rendered text. Without marks, the tokenizer parses it as a whole. With
    /// marks, it is split at the template's control tokens, and what lies between them is plain
    /// text.
    fn encode(
        &self,
        text: &str,
        marked: &Marked,
        mut place: Place,
    ) -> Result<Vec<TokenId>, TokenizeError> {
        if marked.is_plain() {
            return self.tokenizer.encode(text, place, true);
        }
        let mut tokens = Vec::new();
        for part in self.tokenizer.control_tokens().split(text) {
            match part {
                Part::Control(token) => {
                    tokens.push(token);
                    place = Place::AfterControl;
                }
                Part::Text(text) => tokens.extend(self.plain(&marked.restore(text), place)?),
            }
        }
        Ok(tokens)
    }

    /// The tokens of a message or of a part of it.
    fn plain(&self, text: &str, place: Place) -> Result<Vec<TokenId>, TokenizeError> {
        if self.parse_special {
            return self.tokenizer.encode(text, place, true);
        }
        let control = self.tokenizer.control_tokens();
        let tokens = self.tokenizer.encode(text, place, false)?;
        if !tokens.iter().any(|&token| control.contains(token)) {
            return Ok(tokens);
        }
        // Some vocabularies merge the characters of a spelling into the control token all the same.
        // Take each spelling apart.
        let mut tokens = Vec::new();
        let mut begin = 0;
        let ends = control.spellings(text).into_iter().map(|(spelling, _)| {
            let first = text[spelling.start..].chars().next();
            spelling.start + first.map_or(0, char::len_utf8)
        });
        for end in ends.chain([text.len()]) {
            let place = if begin == 0 { place } else { Place::Middle };
            tokens.extend(self.tokenizer.encode(&text[begin..end], place, false)?);
            begin = end;
        }
        Ok(tokens)
    }
}

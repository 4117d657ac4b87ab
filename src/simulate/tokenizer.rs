//! Tokenizes text with a `tokenizer.json`.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::TokenId;
use crate::simulate::{InputError, RecordKind, SpecialToken, TextTokenizer, TokenizeError};

/// The usual beginning-of-sequence tokens. A `tokenizer.json` need not name its own.
const BOS_TOKENS: [&str; 3] = ["<s>", "<|begin_of_text|>", "<bos>"];

/// The usual end-of-sequence tokens. Tokens that end a turn come before tokens that end a text.
const EOS_TOKENS: [&str; 6] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "</s>",
    "<|endoftext|>",
    "<eos>",
];

/// The tokenizer of a `tokenizer.json`.
pub struct JsonTokenizer {
    tokenizer: Tokenizer,
    bos: Option<(String, TokenId)>,
    eos: Option<(String, TokenId)>,
    /// The special tokens that the tokenizer itself adds to a text.
    added: Vec<TokenId>,
}

impl JsonTokenizer {
    /// Reads a `tokenizer.json`. `bos` and `eos` are the texts of the tokens that begin texts and
    /// end answers: `"none"` for no token, `None` for the vocabulary's usual one.
    ///
    /// # Errors
    /// If the file does not exist, is not a tokenizer, or has no such tokens.
    pub fn from_file(
        path: &Path,
        bos: Option<&str>,
        eos: Option<&str>,
    ) -> Result<Self, InputError> {
        let unusable = |error: tokenizers::Error| InputError::Tokenizer {
            path: path.into(),
            reason: first_line(&error),
        };
        std::fs::metadata(path).map_err(|error| InputError::Read {
            path: path.into(),
            kind: RecordKind::Tokenizer,
            error,
        })?;
        let mut tokenizer = Tokenizer::from_file(path).map_err(unusable)?;
        tokenizer.with_truncation(None).map_err(unusable)?;
        tokenizer.with_padding(None);
        let added = tokenizer.encode_fast("", true).map_err(unusable)?;
        let added = added.get_ids().to_vec();
        let special = |role, name: Option<&str>, usual: &[&str]| match name {
            Some("none") => Ok(None),
            Some(name) => match tokenizer.token_to_id(name) {
                Some(id) => Ok(Some((name.to_owned(), id))),
                None => Err(InputError::NoSuchToken {
                    role,
                    token: name.into(),
                }),
            },
            None => Ok(usual
                .iter()
                .find_map(|name| Some(((*name).to_owned(), tokenizer.token_to_id(name)?)))),
        };
        let bos = special(SpecialToken::Bos, bos, &BOS_TOKENS)?;
        let eos = special(SpecialToken::Eos, eos, &EOS_TOKENS)?;
        Ok(Self {
            tokenizer,
            bos,
            eos,
            added,
        })
    }

    /// The text of the token that begins texts; empty if there is none.
    pub fn bos(&self) -> &str {
        self.bos.as_ref().map_or("", |(text, _)| text)
    }

    /// The text of the token that ends answers; empty if there is none.
    pub fn eos(&self) -> &str {
        self.eos.as_ref().map_or("", |(text, _)| text)
    }

    fn raw(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        raw(&self.tokenizer, text).map_err(|error| failure(text, &error))
    }
}

fn failure(text: &str, error: &tokenizers::Error) -> TokenizeError {
    TokenizeError {
        beginning: text.chars().take(32).collect(),
        reason: first_line(error),
    }
}

/// The first line of an error. Errors from deep in a tokenizer can be many lines long.
pub(crate) fn first_line(error: &tokenizers::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().into()
}

/// The tokens of a text, without special tokens.
pub(crate) fn raw(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Vec<TokenId>> {
    Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec())
}

/// The tokens of a text that continues another one: no leading space is added to it.
pub(crate) fn continuation(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Vec<TokenId>> {
    // The same trick as for llama.cpp: some tokenizers put a space before a text. Here it goes
    // before a guard byte, which never joins with its neighbours.
    const GUARD: &str = "\u{1}";
    // A text may be long. Its start shows how it begins.
    let start: String = text.chars().take(64).collect();
    let special = tokenizer.get_added_tokens_decoder();
    let first = raw(tokenizer, &start)?.first().copied();
    let guarded = tokenizer.encode(format!("{GUARD}{start}"), false)?;
    // In a vocabulary of whole words, the guard byte becomes a part of the first word.
    let joins = |&(from, to): &(usize, usize)| from < GUARD.len() && to > GUARD.len();
    if first.is_some_and(|id| special.contains_key(&id)) || guarded.get_offsets().iter().any(joins)
    {
        return raw(tokenizer, text);
    }
    let guarded = raw(tokenizer, &format!("{GUARD}{text}"))?;
    match guarded.strip_prefix(raw(tokenizer, GUARD)?.as_slice()) {
        Some(tokens) => Ok(tokens.to_vec()),
        None => raw(tokenizer, text),
    }
}

impl TextTokenizer for JsonTokenizer {
    fn start(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        let mut tokens = self.added.clone();
        // Some tokenizers also add an end token.
        tokens.retain(|&token| !self.is_end(token));
        if let (true, Some((_, bos))) = (tokens.is_empty(), &self.bos) {
            tokens.push(*bos);
        }
        tokens.extend(self.raw(text)?);
        Ok(tokens)
    }

    fn next_turn(&self, text: &str, last: Option<TokenId>) -> Result<Vec<TokenId>, TokenizeError> {
        let mut tokens =
            continuation(&self.tokenizer, text).map_err(|error| failure(text, &error))?;
        if !last.is_some_and(|token| self.is_end(token)) {
            return Ok(tokens);
        }
        let blank = |token: &TokenId| {
            let text = self.tokenizer.decode(&[*token], true);
            text.is_ok_and(|text| text.trim().is_empty())
        };
        Ok(match tokens.iter().position(|&token| self.is_end(token)) {
            Some(end) if tokens[..end].iter().all(blank) => tokens.split_off(end + 1),
            _ => tokens,
        })
    }

    fn answer(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        let mut tokens = self.raw(text)?;
        // A special token that a model writes ends its answer or is left out of its text.
        if let Some(end) = tokens.iter().position(|&token| self.is_end(token)) {
            tokens.truncate(end);
        }
        Ok(tokens)
    }

    fn end(&self) -> Option<TokenId> {
        self.eos.as_ref().map(|(_, id)| *id)
    }

    fn is_end(&self, token: TokenId) -> bool {
        self.end() == Some(token)
    }
}

//! `tokenizer.json` as what makes tokens.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::TokenId;
use crate::simulate::{InputError, TextTokens, TokenizeError};

/// Tokens that begin texts, where no one says which does. A tokenizer.json may leave that to the
/// program.
const BEGINNINGS: [&str; 3] = ["<s>", "<|begin_of_text|>", "<bos>"];

/// Tokens that end answers, likewise; those that end a turn come before those that end a text.
const ENDS: [&str; 6] = [
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
    begin: Option<(String, TokenId)>,
    end: Option<(String, TokenId)>,
    /// Special tokens that the tokenizer itself puts before a text.
    puts: Vec<TokenId>,
}

impl JsonTokenizer {
    /// Reads a `tokenizer.json`. `begin` and `end` are the tokens that begin texts and end answers,
    /// as written; `none` for no token, `None` for what the vocabulary suggests.
    ///
    /// # Errors
    /// If there is no such file, it is no tokenizer, or it has no such tokens.
    pub fn from_file(
        path: &Path,
        begin: Option<&str>,
        end: Option<&str>,
    ) -> Result<Self, InputError> {
        let unusable = |error: tokenizers::Error| InputError::Tokenizer {
            path: path.into(),
            reason: first_line(&error),
        };
        std::fs::metadata(path).map_err(|error| InputError::Read {
            path: path.into(),
            what: "the tokenizer",
            error,
        })?;
        let mut tokenizer = Tokenizer::from_file(path).map_err(unusable)?;
        tokenizer.with_truncation(None).map_err(unusable)?;
        tokenizer.with_padding(None);
        let puts = tokenizer.encode_fast("", true).map_err(unusable)?;
        let puts = puts.get_ids().to_vec();
        let named = |flag, name: Option<&str>, known: &[&str]| match name {
            Some("none") => Ok(None),
            Some(name) => match tokenizer.token_to_id(name) {
                Some(id) => Ok(Some((name.to_owned(), id))),
                None => Err(InputError::NoSuchToken {
                    flag,
                    token: name.into(),
                }),
            },
            None => Ok(known
                .iter()
                .find_map(|name| Some(((*name).to_owned(), tokenizer.token_to_id(name)?)))),
        };
        let begin = named("--bos", begin, &BEGINNINGS)?;
        let end = named("--eos", end, &ENDS)?;
        Ok(Self {
            tokenizer,
            begin,
            end,
            puts,
        })
    }

    /// The token that begins texts as written, or nothing.
    pub fn bos(&self) -> &str {
        self.begin.as_ref().map_or("", |(text, _)| text)
    }

    /// The token that ends answers as written, or nothing.
    pub fn eos(&self) -> &str {
        self.end.as_ref().map_or("", |(text, _)| text)
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

/// Errors from deep in a tokenizer can be many lines long; the first says what it is about.
pub(crate) fn first_line(error: &tokenizers::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().into()
}

/// The tokens of a text, with what the tokenizer puts before one and nothing else.
pub(crate) fn raw(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Vec<TokenId>> {
    Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec())
}

/// The tokens of a text in mid-text: nothing is put before it. Fails only on what is no text at
/// all.
pub(crate) fn continuation(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Vec<TokenId>> {
    // As with llama.cpp: a byte that never joins with its neighbours takes upon itself the space
    // that some tokenizers put before a text.
    const GUARD: &str = "\u{1}";
    // Enough to see how the text begins, since a text may be long.
    let start: String = text.chars().take(64).collect();
    let special = tokenizer.get_added_tokens_decoder();
    let first = raw(tokenizer, &start)?.first().copied();
    let guarded = tokenizer.encode(format!("{GUARD}{start}"), false)?;
    // Where words are whole, the byte is part of the first one.
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

impl TextTokens for JsonTokenizer {
    fn start(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        let mut tokens = self.puts.clone();
        // Only what stands before the text: some tokenizers put an end after it.
        tokens.retain(|&token| !self.is_end(token));
        if let (true, Some((_, begin))) = (tokens.is_empty(), &self.begin) {
            tokens.push(*begin);
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
        // What a model writes of special tokens ends its answer, or is left out of its text.
        if let Some(end) = tokens.iter().position(|&token| self.is_end(token)) {
            tokens.truncate(end);
        }
        Ok(tokens)
    }

    fn end(&self) -> Option<TokenId> {
        self.end.as_ref().map(|(_, id)| *id)
    }

    fn is_end(&self, token: TokenId) -> bool {
        self.end() == Some(token)
    }
}

//! Tokenizes text with a `tokenizer.json`.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::TokenId;
use crate::runtime::{ControlToken, ControlTokens, Place, PromptTokenizer, TokenizeError};
use crate::simulate::{InputError, RecordKind, SpecialToken, TextTokenizer};

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

/// A text that shows what a tokenizer does to texts.
const PROBE: &str = "a";

/// The tokenizer of a `tokenizer.json`.
pub struct JsonTokenizer {
    tokenizer: Tokenizer,
    /// The same, but without parsing special tokens.
    plain: Tokenizer,
    bos: Option<(String, TokenId)>,
    eos: Option<(String, TokenId)>,
    /// The special tokens that begin a text.
    prefix: Vec<TokenId>,
    control: ControlTokens,
    /// Whether the text behind a special token is tokenized as at the beginning of a text. In
    /// SentencePiece vocabularies it may get a space before it.
    begins_again: bool,
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
        let control = control_tokens(&tokenizer);
        let eos_id = eos.as_ref().map(|(_, id)| *id);
        let mut prefix = added_before(&tokenizer, eos_id).map_err(unusable)?;
        if let (true, Some((_, bos))) = (prefix.is_empty(), &bos) {
            prefix.push(*bos);
        }
        let mut plain = tokenizer.clone();
        plain.set_encode_special_tokens(true);
        Ok(Self {
            begins_again: begins_again(&tokenizer),
            tokenizer,
            plain,
            bos,
            eos,
            prefix,
            control,
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
}

fn failure(text: &str, error: &tokenizers::Error) -> TokenizeError {
    let reason = format!(
        "{}; give the tokenizer of the model that answered",
        first_line(error)
    );
    TokenizeError::new(text, reason)
}

/// The special tokens of a tokenizer.
fn control_tokens(tokenizer: &Tokenizer) -> ControlTokens {
    let added = tokenizer.get_added_tokens_decoder();
    let special = added.into_iter().filter(|(_, token)| token.special);
    ControlTokens::new(special.map(|(id, token)| ControlToken {
        id,
        text: token.content,
        strips_left: token.lstrip,
        strips_right: token.rstrip,
        is_unknown: false,
    }))
}

/// The special tokens that a tokenizer adds before a text. Some also add one behind it.
fn added_before(tokenizer: &Tokenizer, eos: Option<TokenId>) -> tokenizers::Result<Vec<TokenId>> {
    let with_special = |text| tokenizer.encode_fast(text, true);
    if let (Ok(plain), Ok(all)) = (raw(tokenizer, PROBE), with_special(PROBE)) {
        let all = all.get_ids();
        let mut places = all.windows(plain.len().max(1));
        if let Some(at) = places.position(|it| it == plain) {
            return Ok(all[..at].to_vec());
        }
    }
    // Not every vocabulary has the letter.
    let mut all = with_special("")?.get_ids().to_vec();
    all.retain(|&token| Some(token) != eos);
    Ok(all)
}

/// Whether the text behind a special token is tokenized as at the beginning of a text.
fn begins_again(tokenizer: &Tokenizer) -> bool {
    let added = tokenizer.get_added_tokens_decoder();
    let mut special = added
        .iter()
        .filter(|(_, token)| token.special && !token.rstrip);
    let Some((&id, token)) = special.next() else {
        return true;
    };
    let behind = raw(tokenizer, &format!("{}{PROBE}", token.content));
    match (behind, raw(tokenizer, PROBE)) {
        (Ok(behind), Ok(alone)) => behind.strip_prefix(&[id]) == Some(&alone),
        _ => true,
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

impl PromptTokenizer for JsonTokenizer {
    fn encode(
        &self,
        text: &str,
        place: Place,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, TokenizeError> {
        let tokenizer = if parse_special {
            &self.tokenizer
        } else {
            &self.plain
        };
        let tokens = match place {
            Place::Start => raw(tokenizer, text),
            Place::AfterControl if self.begins_again => raw(tokenizer, text),
            Place::AfterControl | Place::Middle => continuation(tokenizer, text),
        };
        tokens.map_err(|error| failure(text, &error))
    }

    fn control_tokens(&self) -> &ControlTokens {
        &self.control
    }

    fn prefix(&self) -> Vec<TokenId> {
        self.prefix.clone()
    }

    fn bos_token(&self) -> Option<(TokenId, String)> {
        self.bos.as_ref().map(|(text, id)| (*id, text.clone()))
    }

    fn is_end(&self, token: TokenId) -> bool {
        self.end() == Some(token)
    }

    fn is_blank(&self, token: TokenId) -> bool {
        let text = self.tokenizer.decode(&[token], true);
        text.is_ok_and(|text| text.trim().is_empty())
    }
}

impl TextTokenizer for JsonTokenizer {
    fn answer(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        let mut tokens = self.encode(text, Place::Start, true)?;
        // A special token that a model writes ends its answer or is left out of its text.
        if let Some(end) = tokens.iter().position(|&token| self.is_end(token)) {
            tokens.truncate(end);
        }
        Ok(tokens)
    }

    fn end(&self) -> Option<TokenId> {
        self.eos.as_ref().map(|(_, id)| *id)
    }
}

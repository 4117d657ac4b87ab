//! Answers that follow a grammar.
//!
//! The parser of the `llguidance` crate says which tokens may follow. All others are taken out of a
//! row before it is sampled, so an answer has the model's distribution among the texts that the
//! grammar allows so far. Where the grammar allows only one text, as between the parts of JSON, the
//! tokenizer's own tokens for it are taken: nothing is left to the model there, and they are known
//! before it is asked.

mod gbnf;
mod selector;

use std::fmt;
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::verify::Select;
use crate::{TokenBytes, TokenId};

/// Largest grammar or schema, in bytes.
const MAX_SOURCE: usize = 4 << 20;

/// Longest token that a grammar is followed by, in bytes. Few vocabularies have longer ones.
const MAX_TOKEN: usize = 1000;

/// What an answer has to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrammarSource {
    /// JSON that a JSON schema allows.
    JsonSchema(String),
    /// A grammar in llama.cpp's format. The answer is its rule `root`.
    Gbnf(String),
    /// A regular expression, which the whole answer matches.
    Regex(String),
}

impl GrammarSource {
    /// What it is, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "JSON schema",
            Self::Gbnf(_) => "grammar",
            Self::Regex(_) => "regular expression",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::JsonSchema(text) | Self::Gbnf(text) | Self::Regex(text) => text,
        }
    }
}

/// Why a grammar cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The grammar cannot be read, cannot be met or is too large.
    #[error("the {kind} cannot be used: {reason}")]
    Refused {
        /// What it is.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The vocabulary is not fit for grammars.
    #[error("the model cannot follow a grammar: {0}")]
    Vocabulary(String),
}

/// Gives the tokens of a piece of text.
type Tokenize = Box<dyn Fn(&[u8]) -> Vec<TokenId> + Send + Sync>;

/// A vocabulary, prepared for grammars. Preparing takes some tens of milliseconds, so it is done
/// once for a model.
pub struct GrammarVocabulary(ParserFactory);

/// The tokenizer as the parser wants it.
struct Env {
    trie: TokTrie,
    tokenize: Tokenize,
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        (self.tokenize)(text)
    }
}

impl GrammarVocabulary {
    /// Prepares a vocabulary. `bytes` has those of the tokens that may stand in a text: of control
    /// tokens it has none. `ends` are the tokens that end answers, and `tokenize` gives the tokens
    /// of text that lies behind other text.
    ///
    /// # Errors
    /// If no token ends an answer.
    pub fn new(
        bytes: &TokenBytes,
        ends: &[TokenId],
        tokenize: impl Fn(&[u8]) -> Vec<TokenId> + Send + Sync + 'static,
    ) -> Result<Self, GrammarError> {
        let unfit = |reason: &str| GrammarError::Vocabulary(reason.to_owned());
        let Some(&end) = ends.first() else {
            return Err(unfit("no token of its vocabulary ends an answer"));
        };
        let word = |(token, bytes): (TokenId, &[u8])| match bytes {
            // The parser's form for tokens that are no text.
            b"" => {
                let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                word.extend_from_slice(format!("[{token}]").as_bytes());
                word
            }
            long if long.len() > MAX_TOKEN => Vec::new(),
            bytes => bytes.to_vec(),
        };
        let words: Vec<Vec<u8>> = (0..).zip(bytes.all()).map(word).collect();
        let size = u32::try_from(words.len()).map_err(|_| unfit("it has too many tokens"))?;
        let trie = TokTrie::from(&TokRxInfo::new(size, end), &words).with_eos_tokens(ends);
        let env: TokEnv = Arc::new(Env {
            trie,
            tokenize: Box::new(tokenize),
        });
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| unfit(&e.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self(factory))
    }

    /// Reads a grammar.
    ///
    /// # Errors
    /// If it is malformed, too large, or if no text follows it.
    pub fn compile(&self, source: &GrammarSource) -> Result<Grammar, GrammarError> {
        let refused = |reason: String| GrammarError::Refused {
            kind: source.kind(),
            reason: reason.trim().replace('\n', " "),
        };
        let size = source.text().len();
        if size > MAX_SOURCE {
            return Err(refused(format!(
                "it has {size} bytes; {MAX_SOURCE} are the limit"
            )));
        }
        let grammar = match source {
            GrammarSource::JsonSchema(schema) => json_grammar(schema).map_err(refused)?,
            GrammarSource::Gbnf(text) => {
                TopLevelGrammar::from_lark(gbnf::to_lark(text).map_err(refused)?)
            }
            GrammarSource::Regex(text) => TopLevelGrammar::from_regex(without_anchors(text)),
        };
        let mut matcher = Matcher::new(self.0.create_parser(grammar));
        if let Some(error) = matcher.get_error() {
            return Err(refused(error));
        }
        // A grammar without any text shows here.
        matcher
            .compute_mask_or_eos()
            .map_err(|error| match matcher.stop_reason().is_ok() {
                true => refused("no text meets it".to_owned()),
                false => refused(error.to_string()),
            })?;
        _ = matcher.reset();
        Ok(Grammar(Arc::new(matcher)))
    }
}

/// The grammar of a JSON schema, with one space behind commas and colons, and no other.
fn json_grammar(schema: &str) -> Result<TopLevelGrammar, String> {
    let mut schema: Value =
        serde_json::from_str(schema).map_err(|error| format!("it is not JSON: {error}"))?;
    if let Value::Object(schema) = &mut schema {
        // If spaces were free, hardly any token would be certain, and some models never end.
        schema.entry("x-guidance").or_insert(json!({
            "whitespace_flexible": false,
            "item_separator": ", ",
            "key_separator": ": ",
        }));
    }
    Ok(TopLevelGrammar::from_json_schema(schema))
}

/// A regular expression without `^` and `$` around it: it is for the whole text anyway.
fn without_anchors(text: &str) -> &str {
    let text = text.strip_prefix('^').unwrap_or(text);
    match text.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => rest,
        _ => text,
    }
}

/// A grammar that answers can follow.
#[derive(Clone)]
pub struct Grammar(Arc<Matcher>);

impl Grammar {
    /// Selects as `inner` does, among the tokens that the grammar allows.
    pub fn selector(&self, inner: Box<dyn Select>) -> Box<dyn Select> {
        Box::new(selector::Constrained::new(self.0.deep_clone(), inner))
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammar")
    }
}

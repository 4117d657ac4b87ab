//! Text to tokens, by a GGUF or by a `tokenizer.json`.

use std::path::{Path, PathBuf};

use clap::Args;
use tokenizers::Tokenizer;

use crate::TokenId;
use crate::cli::exit::user_error;
use crate::cli::model::VocabularySource;
use crate::runtime::llama::{Model, ModelOptions};
use crate::simulate::{continuation, first_line, raw};
use crate::store::VocabFingerprint;

/// Whose tokens.
#[derive(Debug, Args)]
pub(super) struct TokensArgs {
    #[command(flatten)]
    model: VocabularySource,

    /// Tokenize with this tokenizer.json instead
    #[arg(long, alias = "tokenizer_path", value_name = "FILE")]
    tokenizer_path: Option<PathBuf>,
}

/// A tokenizer and its vocabulary.
pub(in crate::cli) enum Tokens {
    Gguf(Box<Model>),
    Json(Box<Tokenizer>),
}

impl Tokens {
    pub(super) fn open(args: &TokensArgs) -> anyhow::Result<Self> {
        Self::of(args.tokenizer_path.as_deref(), &args.model)
    }

    /// The tokens of a `tokenizer.json`, or of a GGUF.
    pub(in crate::cli) fn of(
        tokenizer_path: Option<&Path>,
        model: &VocabularySource,
    ) -> anyhow::Result<Self> {
        if let Some(path) = tokenizer_path {
            return open_json(path).map(|tokenizer| Self::Json(Box::new(tokenizer)));
        }
        match model.locate()? {
            Some(path) => {
                let options = ModelOptions {
                    info_only: true,
                    ..ModelOptions::default()
                };
                let model = Model::load(path, &options)?;
                if model.vocabulary().is_empty() {
                    return Err(user_error(format!(
                        "{}: this model has no vocabulary; name another with -m/--model-path, or a tokenizer with \
                         --tokenizer-path",
                        path.display()
                    )));
                }
                Ok(Self::Gguf(Box::new(model)))
            }
            None => Err(user_error(
                "no vocabulary: name a model with -m/--model-path or -hf, or a tokenizer.json with --tokenizer-path",
            )),
        }
    }

    pub(in crate::cli) fn fingerprint(&self) -> VocabFingerprint {
        match self {
            Self::Gguf(model) => model.vocabulary().fingerprint(),
            Self::Json(tokenizer) => fingerprint_of(tokenizer),
        }
    }

    /// The tokens of a document, or of a piece that goes on in mid-document.
    pub(super) fn tokenize(
        &self,
        text: &str,
        starts_document: bool,
    ) -> anyhow::Result<Vec<TokenId>> {
        match self {
            Self::Gguf(model) if starts_document => Ok(model.vocabulary().tokenize_document(text)),
            Self::Gguf(model) => Ok(model.vocabulary().tokenize_continuation(text)),
            Self::Json(tokenizer) => {
                let tokens = if starts_document {
                    raw(tokenizer, text)
                } else {
                    continuation(tokenizer, text)
                };
                tokens.map_err(|error| {
                    anyhow::anyhow!("the tokenizer failed: {}", first_line(&error))
                })
            }
        }
    }
}

fn open_json(path: &Path) -> anyhow::Result<Tokenizer> {
    let unusable = |error: tokenizers::Error| {
        user_error(format!(
            "{}: cannot use this tokenizer: {}; give --tokenizer-path a tokenizer.json",
            path.display(),
            first_line(&error)
        ))
    };
    let mut tokenizer = Tokenizer::from_file(path).map_err(unusable)?;
    // A tokenizer.json can ask for both. They serve training, and would spoil a text.
    tokenizer.with_truncation(None).map_err(unusable)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// Numbers without a token are named as llama.cpp's converters name them, so that the GGUF has the
/// same fingerprint.
fn fingerprint_of(tokenizer: &Tokenizer) -> VocabFingerprint {
    let vocabulary = tokenizer.get_vocab(true);
    let end = vocabulary.values().max().map_or(0, |&last| last + 1);
    VocabFingerprint::of((0..end).map(|number| {
        let token = tokenizer.id_to_token(number);
        token.unwrap_or_else(|| format!("[PAD{number}]"))
    }))
}

//! A tokenizer from a GGUF file or from a `tokenizer.json`.

use std::path::{Path, PathBuf};

use clap::Args;
use tokenizers::Tokenizer;

use crate::TokenId;
use crate::cli::exit::user_error;
use crate::cli::model::VocabularySource;
use crate::runtime::TokenizeError;
use crate::runtime::llama::{Model, ModelOptions};
use crate::simulate::{continuation, first_line, raw};
use crate::store::VocabFingerprint;

/// The flags for the tokenizer.
#[derive(Debug, Args)]
pub(super) struct TokenizerArgs {
    #[command(flatten)]
    model: VocabularySource,

    /// Tokenize with this tokenizer.json instead of a GGUF file
    #[arg(long, alias = "tokenizer_path", value_name = "FILE")]
    tokenizer_path: Option<PathBuf>,
}

/// A tokenizer with its vocabulary.
pub(super) enum AnyTokenizer {
    Gguf(Box<Model>),
    Json(Box<Tokenizer>),
}

impl AnyTokenizer {
    pub(super) fn open(args: &TokenizerArgs) -> anyhow::Result<Self> {
        Self::from_path(args.tokenizer_path.as_deref(), &args.model)
    }

    /// Opens a `tokenizer.json` or a GGUF file; the former outranks the latter.
    pub(super) fn from_path(
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
                        "{}: this model has no vocabulary; name another with -m/--model-path, or a \
                         tokenizer with --tokenizer-path",
                        path.display()
                    )));
                }
                Ok(Self::Gguf(Box::new(model)))
            }
            None => Err(user_error(
                "no vocabulary: name a model with -m/--model-path or -hf, or a tokenizer.json with \
                 --tokenizer-path",
            )),
        }
    }

    pub(super) fn fingerprint(&self) -> VocabFingerprint {
        match self {
            Self::Gguf(model) => model.vocabulary().fingerprint(),
            Self::Json(tokenizer) => fingerprint_of(tokenizer),
        }
    }

    /// The tokens of a document, or of a piece that continues one.
    pub(super) fn tokenize(
        &self,
        text: &str,
        starts_document: bool,
    ) -> Result<Vec<TokenId>, TokenizeError> {
        let tokens = match self {
            Self::Gguf(model) if starts_document => {
                return model.vocabulary().tokenize_document(text);
            }
            Self::Gguf(model) => return model.vocabulary().tokenize_continuation(text),
            Self::Json(tokenizer) if starts_document => raw(tokenizer, text),
            Self::Json(tokenizer) => continuation(tokenizer, text),
        };
        tokens.map_err(|error| TokenizeError::new(text, first_line(&error)))
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
    // A tokenizer.json can ask for both. They are meant for training and would alter a text.
    tokenizer.with_truncation(None).map_err(unusable)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// Ids without a token get the names that llama.cpp's converters give them, so that the GGUF file
/// has the same fingerprint.
fn fingerprint_of(tokenizer: &Tokenizer) -> VocabFingerprint {
    let vocabulary = tokenizer.get_vocab(true);
    let end = vocabulary.values().max().map_or(0, |&last| last + 1);
    VocabFingerprint::of((0..end).map(|number| {
        let token = tokenizer.id_to_token(number);
        token.unwrap_or_else(|| format!("[PAD{number}]"))
    }))
}

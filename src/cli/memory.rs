//! What may be copied from beyond the conversation: earlier requests, and a corpus.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cli::exit::{Outcome, is_broken_pipe};
use crate::corpus::Corpus;
use crate::draft::Memory;
use crate::engine::Method;
use crate::pool::SharedPool;
use crate::runtime::llama::Model;
use crate::store::VocabFingerprint;

/// Most tokens of earlier requests that are remembered, if no one says otherwise.
const HISTORY_TOKENS: usize = 1 << 20;

/// How much is remembered, and a text that stays as it is: the same wherever drafts are made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(super) struct TextsArgs {
    /// Most tokens of earlier requests to remember; the oldest requests go first
    #[arg(
        long,
        alias = "pool_max_tokens",
        default_value_t = HISTORY_TOKENS as u32,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1 << 29)
    )]
    pool_max_tokens: u32,

    /// Copy from a corpus, too: a file made by logitspec corpus build
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
}

impl TextsArgs {
    /// Most tokens of earlier requests.
    pub(super) fn pool_max_tokens(&self) -> usize {
        self.pool_max_tokens as usize
    }

    /// The corpus's file.
    pub(super) fn corpus(&self) -> Option<&Path> {
        self.corpus.as_deref()
    }

    /// A memory of the corpus alone, if there is one, for the vocabulary that `vocabulary` finds.
    pub(super) fn open_corpus(
        &self,
        vocabulary: impl Fn() -> anyhow::Result<VocabFingerprint>,
    ) -> anyhow::Result<Memory> {
        let Some(path) = &self.corpus else {
            return Ok(Memory::none());
        };
        Ok(Memory {
            history: None,
            corpus: Some(Arc::new(Corpus::open(path, Some(&vocabulary()?))?)),
        })
    }
}

/// Texts beyond the conversation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(super) struct MemoryArgs {
    /// Copy from earlier requests, too, and remember this one: the file is made if it is not there.
    /// It holds their text as tokens, so treat it as you treat what was asked and answered
    #[arg(
        long,
        alias = "pool_file",
        value_name = "FILE",
        conflicts_with = "no_shared_pool"
    )]
    pool_file: Option<PathBuf>,

    #[command(flatten)]
    texts: TextsArgs,

    /// Remember no earlier requests: copy from the conversation alone, and from a --corpus if one
    /// is named
    #[arg(long, alias = "no_shared_pool")]
    no_shared_pool: bool,
}

impl MemoryArgs {
    /// The file that earlier requests are kept in.
    pub(super) fn pool_file(&self) -> Option<&Path> {
        self.pool_file.as_deref()
    }

    /// Whether earlier requests are remembered at all.
    pub(super) fn remembers(&self) -> bool {
        !self.no_shared_pool
    }

    /// Opens what these flags name, for a model's vocabulary. Tells of what `method` has no use
    /// for.
    pub(super) fn open(&self, model: &Model, method: Method) -> anyhow::Result<Memory> {
        let files = [
            ("--pool-file", self.pool_file.is_some()),
            ("--corpus", self.texts.corpus().is_some()),
        ];
        for (flag, is_named) in files {
            if is_named && !method.uses_memory() {
                tell_line!(
                    "note: {flag} does nothing with --method {method}; logitspec copies from it"
                );
            }
        }
        let max_tokens = self.texts.pool_max_tokens();
        let fingerprint = || model.vocabulary().fingerprint();
        let history = match &self.pool_file {
            // What is not used is not written either.
            Some(_) if !method.uses_memory() => None,
            Some(path) => {
                let pool = SharedPool::load(path, &fingerprint(), max_tokens)?;
                SharedPool::check_writable(path)?;
                Some(pool)
            }
            None if self.no_shared_pool => None,
            None => Some(SharedPool::new(max_tokens)),
        };
        let corpus = self.texts.open_corpus(|| Ok(fingerprint()))?;
        Ok(Memory {
            history: history.map(Arc::new),
            ..corpus
        })
    }

    /// Keeps what was remembered, if a file was named for it, after an answer that ended as `done`.
    /// If both fail, the answer's failure is the one to return.
    pub(super) fn save_after(
        &self,
        done: anyhow::Result<Outcome>,
        memory: &Memory,
        model: &Model,
    ) -> anyhow::Result<Outcome> {
        let saved = match (&self.pool_file, &memory.history) {
            (Some(path), Some(history)) => history.save(path, &model.vocabulary().fingerprint()),
            _ => Ok(()),
        };
        let Err(error) = saved else { return done };
        match done {
            Err(failure) if !is_broken_pipe(&failure) => {
                tell_line!("note: {error}");
                Err(failure)
            }
            // A closed pipe is an ordinary end.
            _ => Err(error.into()),
        }
    }
}

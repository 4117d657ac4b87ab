//! What drafts may copy from besides the conversation: earlier requests and a corpus.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cli::exit::{Outcome, is_broken_pipe};
use crate::cli::hints;
use crate::corpus::Corpus;
use crate::draft::Memory;
use crate::engine::Method;
use crate::pool::SharedPool;
use crate::runtime::llama::Model;
use crate::store::VocabFingerprint;

/// Default for the most tokens of earlier requests to keep.
const HISTORY_TOKENS: usize = 1 << 20;

/// The memory flags that all drafting subcommands share.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(super) struct CommonMemoryArgs {
    /// Maximum number of tokens of earlier requests to keep; the oldest requests are dropped first
    #[arg(
        long,
        alias = "pool_max_tokens",
        default_value_t = HISTORY_TOKENS as u32,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1 << 29)
    )]
    pool_max_tokens: u32,

    /// Draft from a corpus, too: a file made by logitspec corpus build
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
}

impl CommonMemoryArgs {
    /// Most tokens of earlier requests to keep.
    pub(super) fn pool_max_tokens(&self) -> usize {
        self.pool_max_tokens as usize
    }

    /// The corpus file.
    pub(super) fn corpus(&self) -> Option<&Path> {
        self.corpus.as_deref()
    }

    /// A memory that holds only the corpus, if one is named, for the vocabulary that `vocabulary`
    /// returns.
    pub(super) fn open_corpus(
        &self,
        vocabulary: impl Fn() -> anyhow::Result<VocabFingerprint>,
    ) -> anyhow::Result<Memory> {
        let Some(path) = &self.corpus else {
            return Ok(Memory::none());
        };
        Ok(Memory {
            corpus: Some(Arc::new(Corpus::open(path, Some(&vocabulary()?))?)),
            ..Memory::none()
        })
    }
}

/// The memory of `generate` and `chat`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(super) struct MemoryArgs {
    /// Draft from the earlier requests in this file, too, and add this one; the file is created if
    /// it does not exist. It holds prompts and answers as tokens, so keep it as private as they are
    #[arg(
        long,
        alias = "pool_file",
        value_name = "FILE",
        conflicts_with = "no_shared_pool"
    )]
    pool_file: Option<PathBuf>,

    #[command(flatten)]
    common: CommonMemoryArgs,

    /// Do not draft from earlier requests: only from the conversation, and from --corpus if given
    #[arg(long, alias = "no_shared_pool")]
    no_shared_pool: bool,
}

impl MemoryArgs {
    /// The file that keeps earlier requests.
    pub(super) fn pool_file(&self) -> Option<&Path> {
        self.pool_file.as_deref()
    }

    /// Whether earlier requests are kept at all.
    pub(super) fn keeps_history(&self) -> bool {
        !self.no_shared_pool
    }

    /// Opens the files that these flags name, for the model's vocabulary. Prints a note if `method`
    /// cannot use them.
    pub(super) fn open(&self, model: &Model, method: Method) -> anyhow::Result<Memory> {
        if !method.uses_memory() {
            note_unused(&self.common, self.pool_file(), |flag| {
                format!("{flag} does nothing with --method {method}; logitspec drafts from it")
            });
        }
        let max_tokens = self.common.pool_max_tokens();
        let fingerprint = || model.vocabulary().fingerprint();
        let history = match &self.pool_file {
            // A method that does not use the file does not write it either.
            Some(_) if !method.uses_memory() => None,
            Some(path) => {
                let pool = SharedPool::load(path, &fingerprint(), max_tokens)?;
                SharedPool::check_writable(path)?;
                Some(pool)
            }
            None if self.no_shared_pool => None,
            None => Some(SharedPool::new(max_tokens)),
        };
        let corpus = self.common.open_corpus(|| Ok(fingerprint()))?;
        Ok(Memory {
            history: history.map(Arc::new),
            ..corpus
        })
    }

    /// Saves the history after an answer that ended as `done`, if a file was named for it. If both
    /// fail, returns the answer's failure.
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
                tell_line!("note: {}", hints::describe(&error));
                Err(failure)
            }
            // A closed pipe counts as success.
            _ => Err(error.into()),
        }
    }
}

/// Prints a note for each of the memory files that is named but not used.
pub(super) fn note_unused(
    common: &CommonMemoryArgs,
    pool_file: Option<&Path>,
    note: impl Fn(&str) -> String,
) {
    let files = [
        ("--pool-file", pool_file.is_some()),
        ("--corpus", common.corpus().is_some()),
    ];
    for (flag, is_named) in files {
        if is_named {
            tell_line!("note: {}", note(flag));
        }
    }
}

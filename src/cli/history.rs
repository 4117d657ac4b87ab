//! The memory that methods start from where several are measured: in `bench` and in `simulate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::TokenId;
use crate::cli::exit::user_error;
use crate::cli::memory::{CommonMemoryArgs, note_unused};
use crate::draft::Memory;
use crate::engine::Method;
use crate::pool::SharedPool;
use crate::store::VocabFingerprint;

/// Earlier requests and a corpus, where several methods are measured.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(super) struct HistoryArgs {
    /// Let methods draft from earlier requests; each request sees only those before it
    #[arg(long)]
    pub history: bool,

    /// Start with the earlier requests in this file, which is not changed
    #[arg(long, alias = "pool_file", value_name = "FILE")]
    pool_file: Option<PathBuf>,

    #[command(flatten)]
    pub common: CommonMemoryArgs,
}

impl HistoryArgs {
    pub(super) fn pool_file(&self) -> Option<&Path> {
        self.pool_file.as_deref()
    }

    /// Opens the files that these flags name, for the vocabulary that `vocabulary` returns. Prints
    /// a note if some of the `methods` cannot use them.
    pub(super) fn open(
        &self,
        methods: &[Method],
        vocabulary: impl Fn() -> anyhow::Result<VocabFingerprint>,
    ) -> anyhow::Result<InitialMemory> {
        let without_memory = methods.iter().filter(|it| !it.uses_memory());
        let names: Vec<_> = without_memory.map(|method| method.name()).collect();
        if !names.is_empty() {
            note_unused(&self.common, self.pool_file(), |flag| {
                format!("{flag} does nothing for {}", names.join(", "))
            });
        }
        let mut initial = InitialMemory {
            requests: (self.history || self.pool_file.is_some()).then(Vec::new),
            max_tokens: self.common.pool_max_tokens(),
            corpus: self.common.open_corpus(&vocabulary)?,
        };
        if let Some(path) = &self.pool_file {
            if !path.exists() {
                return Err(user_error(format!(
                    "--pool-file {}: no such file; name one that generate --pool-file wrote",
                    path.display()
                )));
            }
            let pool = SharedPool::load(path, &vocabulary()?, initial.max_tokens)?;
            initial.requests = Some(pool.documents());
        }
        Ok(initial)
    }
}

/// The memory that every method starts from.
pub(super) struct InitialMemory {
    /// Earlier requests, oldest first; `None` if methods must not draft from any.
    requests: Option<Vec<Vec<TokenId>>>,
    max_tokens: usize,
    corpus: Memory,
}

impl InitialMemory {
    /// A memory for one method, with a history of its own to add to.
    pub(super) fn copy(&self) -> Memory {
        let history = self.requests.as_ref().map(|requests| {
            let pool = SharedPool::new(self.max_tokens);
            requests.iter().for_each(|request| pool.insert(request));
            Arc::new(pool)
        });
        Memory {
            history,
            ..self.corpus.clone()
        }
    }
}

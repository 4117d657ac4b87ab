//! What methods may copy from beside the request where many are measured: each begins with the
//! same.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::TokenId;
use crate::cli::exit::user_error;
use crate::cli::memory::TextsArgs;
use crate::draft::Memory;
use crate::engine::Method;
use crate::pool::SharedPool;
use crate::store::VocabFingerprint;

/// Texts beyond the request.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(super) struct EarlierArgs {
    /// Let methods remember earlier requests; each request sees only those before it
    #[arg(long)]
    pub history: bool,

    /// Begin with the earlier requests that are kept in a file, which stays as it is
    #[arg(long, alias = "pool_file", value_name = "FILE")]
    pool_file: Option<PathBuf>,

    #[command(flatten)]
    pub texts: TextsArgs,
}

impl EarlierArgs {
    pub(super) fn pool_file(&self) -> Option<&Path> {
        self.pool_file.as_deref()
    }

    /// Opens what these flags name, for the vocabulary that `vocabulary` finds. Tells of what
    /// `methods` have no use for.
    pub(super) fn open(
        &self,
        methods: &[Method],
        vocabulary: impl Fn() -> anyhow::Result<VocabFingerprint>,
    ) -> anyhow::Result<Remembered> {
        let files = [
            ("--pool-file", self.pool_file.is_some()),
            ("--corpus", self.texts.corpus().is_some()),
        ];
        for (flag, _) in files.into_iter().filter(|&(_, is_named)| is_named) {
            let idle = methods.iter().filter(|it| !it.uses_memory());
            let idle: Vec<_> = idle.map(|method| method.name()).collect();
            if !idle.is_empty() {
                tell_line!("note: {flag} does nothing for {}", idle.join(", "));
            }
        }
        let mut remembered = Remembered {
            history: (self.history || self.pool_file.is_some()).then(Vec::new),
            max_tokens: self.texts.pool_max_tokens(),
            corpus: self.texts.open_corpus(&vocabulary)?,
        };
        if let Some(path) = &self.pool_file {
            if !path.exists() {
                return Err(user_error(format!(
                    "--pool-file {}: there is no such file; name one that generate or chat --pool-file wrote",
                    path.display()
                )));
            }
            let pool = SharedPool::load(path, &vocabulary()?, remembered.max_tokens)?;
            remembered.history = Some(pool.documents());
        }
        Ok(remembered)
    }
}

/// What every method begins with.
pub(super) struct Remembered {
    /// Earlier requests, the oldest first, if methods may copy from such at all.
    history: Option<Vec<Vec<TokenId>>>,
    max_tokens: usize,
    corpus: Memory,
}

impl Remembered {
    /// A memory that no replay has added to.
    pub(super) fn fresh(&self) -> Memory {
        let history = self.history.as_ref().map(|documents| {
            let pool = SharedPool::new(self.max_tokens);
            documents.iter().for_each(|document| pool.insert(document));
            Arc::new(pool)
        });
        Memory {
            history,
            ..self.corpus.clone()
        }
    }
}

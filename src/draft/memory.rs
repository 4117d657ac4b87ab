//! What drafters may know beyond the conversation.

use std::fmt;
use std::sync::Arc;

use crate::pool::{Retrieve, SharedPool};

/// Texts beyond the conversation that drafters may copy from. Cloning shares them.
#[derive(Clone, Default)]
pub struct Memory {
    /// Earlier requests; every finished one is added.
    pub history: Option<Arc<SharedPool>>,
    /// A text that stays as it is.
    pub corpus: Option<Arc<dyn Retrieve + Send + Sync>>,
}

impl Memory {
    /// Nothing but the conversation itself.
    pub fn none() -> Self {
        Self::default()
    }

    /// Earlier requests alone.
    pub fn of_history(history: Arc<SharedPool>) -> Self {
        Self {
            history: Some(history),
            corpus: None,
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("history", &self.history.as_ref().map(|pool| pool.len()))
            .field("corpus", &self.corpus.is_some())
            .finish()
    }
}

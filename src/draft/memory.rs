//! Texts beyond the conversation that drafters may use.

use std::fmt;
use std::sync::Arc;

use crate::pool::{Retrieve, SharedPool};

/// Texts beyond the conversation that drafters may copy from. Clones share them.
#[derive(Clone, Default)]
pub struct Memory {
    /// Earlier requests. Each finished request is added.
    pub history: Option<Arc<SharedPool>>,
    /// A text that never changes.
    pub corpus: Option<Arc<dyn Retrieve + Send + Sync>>,
    /// What the request itself expects its answer to be.
    pub prediction: Option<Arc<dyn Retrieve + Send + Sync>>,
}

impl Memory {
    /// Only the conversation itself.
    pub fn none() -> Self {
        Self::default()
    }

    /// Only earlier requests.
    pub fn of_history(history: Arc<SharedPool>) -> Self {
        Self {
            history: Some(history),
            ..Self::none()
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("history", &self.history.as_ref().map(|pool| pool.len()))
            .field("corpus", &self.corpus.is_some())
            .field("prediction", &self.prediction.is_some())
            .finish()
    }
}

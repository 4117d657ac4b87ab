//! Sessions on llama.cpp.

use crate::engine::{CostModel, Session, SessionOptions};
use crate::runtime::llama::{ContextOptions, LlamaTarget, LoadError, Model};

impl<'m> Session<LlamaTarget<'m>> {
    /// A session with a context of its own. The context has room for trees as large as `options`
    /// allow, whatever `context` says of them.
    ///
    /// # Errors
    /// See [`Model::context`].
    pub fn open(
        model: &'m Model,
        context: &ContextOptions,
        options: SessionOptions,
    ) -> Result<Self, LoadError> {
        let context = ContextOptions {
            draft_tree_capacity: options.draft_tree_capacity,
            ..*context
        };
        let options = SessionOptions {
            exact: options.exact && model.is_exact(),
            ..options
        };
        let session = Session::new(model.context(&context)?, options);
        Ok(session.with_cost(CostModel::of(model)))
    }
}

impl CostModel {
    /// A guess at what passes of `model` cost, by the kind of device and of weights.
    pub fn of(model: &Model) -> Self {
        if model.is_on_gpu() {
            return Self::gpu();
        }
        // A few tokens cost even less with the few-token kernels than this guess says. Too high a
        // guess is soon corrected; too low a guess drafts in vain where nothing can be drafted.
        Self::cpu(model.is_quantized() && !model.uses_few_token_kernels())
    }
}

//! Which kernels compute a model.

/// The kernels of this crate that some of a model's products are computed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernels {
    /// What they are called, for whatever depends on what passes cost.
    pub(super) name: String,
    /// Whether they compute most of the model, and not only some of its matrices.
    pub(super) most: bool,
}

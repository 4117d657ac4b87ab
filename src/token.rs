//! The smallest thing that text is made of here.

/// A token's number in the model's vocabulary.
pub type TokenId = u32;

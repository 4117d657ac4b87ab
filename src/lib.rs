//! Training-free speculative decoding for llama.cpp: draft trees from the last logits and an n-gram pool.

pub mod bench;

#[cfg(feature = "report")]
pub mod report;

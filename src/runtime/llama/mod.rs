//! llama.cpp, through `llama-cpp-2`: the only module that names it.

mod engine;
mod info;
mod log;
mod target;
mod vocab;

pub use engine::{CacheType, ContextOptions, Engine, FlashAttention, LoadError, ModelOptions};
pub use info::ModelInfo;
pub use log::set_verbose;
pub use target::LlamaTarget;
pub use vocab::Vocabulary;

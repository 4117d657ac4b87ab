//! Training-free speculative decoding for llama.cpp, word for word what plain decoding says.
//!
//! `logitspec` implements LogitSpec ([arXiv 2507.01449](https://arxiv.org/abs/2507.01449)): the
//! logits of the last token give the next token and, in their runners-up, guesses at the one after
//! it; an n-gram pool of the text so far says what followed such tokens before. Each decode step
//! grows a *draft tree* from both, verifies it in one `llama_decode`, and commits the accepted
//! path.
//!
//! The way of a token, and where to find it:
//!
//! | step | module | knows |
//! |---|---|---|
//! | what followed such tokens before | [`pool`] | tokens |
//! | large texts made beforehand, searched the same way | [`corpus`] | tokens, files |
//! | what pool files and corpora have in common | [`store`] | tokens, files |
//! | the draft tree and who grows it | [`draft`] | pool, tokens, logits |
//! | which drafted tokens the model would have said | [`verify`] | tree, logits |
//! | the tree as a batch, the KV cache in step, llama.cpp itself | [`runtime`] | tree, llama.cpp |
//! | the loop around all that | [`engine`] | all of the above, through traits |
//! | question sets and answer files | [`mod@bench`] | files |
//! | recorded text instead of a model | [`simulate`] | tokens, files |
//! | statistics, tables, plots | `report` | files |
//! | models from the Hugging Face Hub | `hub` | files, HTTP |
//! | OpenAI's and llama-server's HTTP APIs | `server` | engine, HTTP |
//!
//! Everything but `runtime::llama` is pure, safe Rust on token ids and logit rows; with
//! `--no-default-features` it builds without llama.cpp.
//!
//! # Example
//!
//! A session on llama.cpp continues a text:
//!
//! ```no_run
//! # #[cfg(feature = "llama")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use logitspec::engine::{Session, SessionOptions};
//! use logitspec::runtime::llama::{ContextOptions, Model, ModelOptions};
//! use std::ops::ControlFlow;
//!
//! let model = Model::load("model.gguf".as_ref(), &ModelOptions::default())?;
//! let mut session = Session::open(&model, &ContextOptions::default(), SessionOptions::default())?;
//! let prompt = model.vocabulary().tokenize("Once upon a time")?;
//! session.prefill(&prompt, &mut |_done, _all| ControlFlow::Continue(()))?;
//! let answer = session.generate(100, &mut |_step| ControlFlow::Continue(()))?;
//! println!("{} tokens in {} steps", answer.tokens.len(), answer.accept_lengths.len());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "llama"))]
//! # fn main() {}
//! ```

pub mod files;
mod token;

pub mod bench;
pub mod corpus;
pub mod draft;
pub mod engine;
pub mod logits;
pub mod pool;
pub mod runtime;
pub mod simulate;
pub mod store;
pub mod tree;
pub mod verify;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "server")]
pub mod server;

pub use token::{TokenBytes, TokenId};

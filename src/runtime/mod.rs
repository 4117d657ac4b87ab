//! The model that verifies: how a draft tree becomes a batch, and how the KV cache is kept in step.
//!
//! llama.cpp knows no trees, only sequences. A tree is laid out with one sequence per leaf: every
//! node carries the ids of all leaves below it, so a token sees the cells of its ancestors and of
//! nobody else ([`TreeLayout`]). After each pass the rejected cells are dropped and the branch
//! sequences brought up to date, lazily and only by what is new ([`KvLedger`]). Both are pure and
//! tested without llama.cpp; so is the [`ScriptedModel`], which answers from a table but keeps a
//! cache by llama.cpp's rules.
//!
//! `llama` is the only module that names llama.cpp.

mod cells;
mod control;
mod kv;
mod layout;
#[cfg(feature = "llama")]
pub mod llama;
mod noise;
mod prompt;
mod scripted;
mod slots;
mod target;
mod template;

pub use control::{ControlToken, ControlTokens, Marked, Part};
pub use kv::{KvLedger, KvOp, SimulatedKv};
pub use layout::{SeqId, TreeLayout};
pub use noise::rounding_noise;
pub use prompt::{ChatEncoder, Place, Prompt, PromptError, PromptTokenizer, TokenizeError};
pub use scripted::{Failure, ScriptedModel};
pub use slots::{BatchToken, MAX_SLOTS, SlotCache, SlotId};
pub use target::{DecodeError, SlotPart, TargetModel};
pub use template::{ChatTemplate, Message, Role, TemplateError, TurnText};

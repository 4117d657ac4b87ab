//! Replays of recorded text: by hand, against real sessions, and from files.

#[cfg(feature = "cli")]
mod command;
#[cfg(feature = "cli")]
mod logs;
#[cfg(feature = "cli")]
mod memory;
#[cfg(feature = "cli")]
#[path = "../program/mod.rs"]
mod program;
mod replay;
#[cfg(feature = "cli")]
mod tokens;

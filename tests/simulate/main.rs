//! Replays of recorded text: by hand, against real sessions, and from files.

#[cfg(feature = "cli")]
mod command;
mod replay;

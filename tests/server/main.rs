//! `logitspec serve`, over loopback.
#![cfg(all(feature = "cli", feature = "server"))]

mod client;
mod endpoints;
mod errors;
mod limits;
#[path = "../program/mod.rs"]
mod program;
mod requests;
mod streams;

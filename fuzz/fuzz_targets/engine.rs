//! A session on a scripted model, with every drafter and every interruption, against plain
//! decoding.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

use checks::engine::{Action, Scenario};

libfuzzer_sys::fuzz_target!(|input: ([u8; 16], Vec<(u8, bool)>, Vec<Action>)| {
    let (setup, failures, actions) = input;
    // More adds time, not situations.
    let actions = &actions[..actions.len().min(24)];
    checks::engine::check(&Scenario::new(setup, &failures), actions);
});

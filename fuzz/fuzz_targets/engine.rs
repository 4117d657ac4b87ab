//! A session on a scripted model against plain decoding, with any drafter and any interruption.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

use checks::engine::Action;
use checks::scenario::Scenario;

libfuzzer_sys::fuzz_target!(|input: ([u8; 16], Vec<(u8, bool)>, Vec<Action>)| {
    let (setup, failures, actions) = input;
    // More actions only take more time.
    let actions = &actions[..actions.len().min(24)];
    checks::engine::check(&Scenario::new(setup, &failures), actions);
});

//! Many requests at once against each of them alone.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

use checks::scheduler::{Action, Setup};

libfuzzer_sys::fuzz_target!(|input: (Setup, Vec<(u8, bool)>, Vec<Action>)| {
    let (setup, failures, actions) = input;
    // More actions only take more time.
    let actions = &actions[..actions.len().min(40)];
    checks::scheduler::check(setup, &failures, actions);
});

//! The greedy walk against the greedy continuation of a model.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: (u8, u8, Option<u8>, Vec<(u16, u8, bool)>)| {
    let (seed, root, stop, pushes) = input;
    checks::greedy::check(seed, root, stop, &pushes);
});

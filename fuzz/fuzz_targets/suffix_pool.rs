//! The suffix pool against brute-force search.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: (Vec<Vec<u8>>, Vec<Vec<u8>>, u8, u8)| {
    let (pieces, tails, max_len, limit) = input;
    checks::suffix::check(&pieces, &tails, max_len.into(), limit.into());
});

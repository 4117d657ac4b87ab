//! The shared pool against brute-force search.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: (Vec<Vec<u8>>, Vec<Vec<u8>>, u8, u8, u8)| {
    let (documents, tails, max_tokens, max_len, limit) = input;
    checks::documents::check_shared(
        &documents,
        &tails,
        max_tokens.into(),
        max_len.into(),
        limit.into(),
    );
});

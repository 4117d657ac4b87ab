//! The indexed pool, with documents and eviction, against brute-force search.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: (Vec<(u8, Vec<u8>)>, Vec<Vec<u8>>, u8, u8, u8)| {
    let (changes, tails, max_tokens, max_len, limit) = input;
    let changes: Vec<_> = changes.into_iter().map(Into::into).collect();
    checks::documents::check_indexed(
        &changes,
        &tails,
        max_tokens.into(),
        max_len.into(),
        limit.into(),
    );
});

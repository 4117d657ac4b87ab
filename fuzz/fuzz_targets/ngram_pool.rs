//! The published n-gram pool against a simple dictionary.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

type Input = (u8, u8, Vec<(bool, Vec<u8>)>, Vec<Vec<u8>>);

libfuzzer_sys::fuzz_target!(|input: Input| {
    let (max_ngram_size, num_pred_tokens, changes, tails) = input;
    checks::ngram::check(
        usize::from(max_ngram_size % 7),
        usize::from(num_pred_tokens % 30),
        &changes,
        &tails,
    );
});

//! Changed pool files and corpora with the right checksum are refused or harmless.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: (Vec<Vec<u8>>, Vec<(u16, u8)>, Vec<Vec<u8>>)| {
    let (documents, changes, tails) = input;
    checks::token_files::check_sealed(&documents, &changes, &tails);
});

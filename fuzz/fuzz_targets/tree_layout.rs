//! The tree, its layout and the KV ledger, against a naive tree, the ancestor relation and a
//! simulated
//! cache.
#![no_main]

#[path = "../../tests/properties/checks/mod.rs"]
mod checks;

use checks::tree::Growth;
use logitspec::tree::TreeLimits;

libfuzzer_sys::fuzz_target!(|input: (u8, u8, u8, Vec<Growth>, Vec<checks::kv::Event>)| {
    let (capacity, leaves, depth, growths, events) = input;
    let limits = TreeLimits {
        capacity: usize::from(capacity % 80),
        leaves: leaves.into(),
        depth: depth.into(),
    };
    checks::layout::check(
        &checks::tree::grown(limits, &growths),
        usize::from(leaves / 4),
    );
    checks::kv::check(1 + usize::from(leaves % 32), &events);
});

//! Many readers beside a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use logitspec::TokenId;
use logitspec::pool::{Retrieve, SharedPool, SuffixMatch};

const DOCUMENTS: u32 = 20_000;
const MAX_TOKENS: usize = 3_000;
const LONGEST: u32 = 60;

/// Every other token is the document's own, so that a text mixed from two shows.
fn document(number: u32) -> Vec<TokenId> {
    let len = 2 + number % (LONGEST - 1);
    let token = |at: u32| {
        if at.is_multiple_of(2) {
            1_000 + number
        } else {
            at / 2 % 7
        }
    };
    (0..len).map(token).collect()
}

/// What was found must be true of one whole document, whatever is written meanwhile.
fn check_place(pool: &SharedPool, tail: &[TokenId], place: SuffixMatch, out: &mut Vec<TokenId>) {
    out.clear();
    pool.continuation_into(place, 5, out);
    let matched = &tail[tail.len() - place.len..];
    let text = [matched, out].concat();
    let owners: Vec<_> = text.iter().filter(|&&token| token >= 1_000).collect();
    assert!(owners.windows(2).all(|pair| pair[0] == pair[1]), "{text:?}");
    let alternate = text
        .windows(2)
        .all(|pair| (pair[0] >= 1_000) != (pair[1] >= 1_000));
    assert!(alternate, "{text:?}");
    if let [owner, ..] = owners[..] {
        let document = document(owner - 1_000);
        let within = document.windows(text.len()).any(|window| window == text);
        assert!(within, "{text:?} is not in {document:?}");
    }
}

#[test]
fn readers_find_true_and_whole_documents_while_others_are_written() {
    let pool = Arc::new(SharedPool::new(MAX_TOKENS));
    let inserted = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..DOCUMENTS {
                pool.insert(&document(number));
                inserted.store(number + 1, Ordering::SeqCst);
            }
        });
        for seed in 0..3 {
            let (pool, inserted) = (pool.clone(), &inserted);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let (mut found, mut out) = (Vec::new(), Vec::new());
                loop {
                    let before = inserted.load(Ordering::SeqCst);
                    if before == 0 {
                        continue;
                    }
                    let recent = random.u32(before.saturating_sub(60)..before);
                    let tail = document(recent);
                    let tail = &tail[..random.usize(1..tail.len())];
                    pool.matches_into(tail, 40, 8, &mut found);
                    let after = inserted.load(Ordering::SeqCst);
                    // One more may be under way.
                    let newer = (after + 1 - recent) * LONGEST;
                    if newer as usize <= MAX_TOKENS {
                        let longest = found.first().map(|place| place.len);
                        assert_eq!(longest, Some(tail.len().min(40)), "{tail:?}");
                    }
                    for &place in &found {
                        check_place(&pool, tail, place, &mut out);
                    }
                    if after == DOCUMENTS {
                        break;
                    }
                }
            });
        }
    });
    assert!(pool.len() <= MAX_TOKENS && pool.len() > MAX_TOKENS - 60);
    let newest = pool.documents();
    assert_eq!(newest.last(), Some(&document(DOCUMENTS - 1)));
}

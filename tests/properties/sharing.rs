//! Many readers beside a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use logitspec::TokenId;
use logitspec::pool::{Retrieve, SharedPool, SuffixMatch};

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
    pool.continuation_into(place, 60, out);
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
    check(3_000, 20_000);
}

#[test]
fn what_is_overwritten_while_it_is_read_is_not_used() {
    // Hardly more than one document: every insertion overwrites what somebody may be reading.
    check(70, 150_000);
}

fn check(max_tokens: usize, documents: u32) {
    // As many of the newest documents are looked for; most of them are still there.
    let window = max_tokens as u32 / 50;
    let pool = Arc::new(SharedPool::new(max_tokens));
    let inserted = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..documents {
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
                    let recent = random.u32(before.saturating_sub(window)..before);
                    let tail = document(recent);
                    let tail = &tail[..random.usize(1..tail.len())];
                    pool.matches_into(tail, 40, 8, &mut found);
                    let after = inserted.load(Ordering::SeqCst);
                    // One more may be under way.
                    let newer = (after + 1 - recent) * LONGEST;
                    if newer as usize <= max_tokens {
                        let longest = found.first().map(|place| place.len);
                        assert_eq!(longest, Some(tail.len().min(40)), "{tail:?}");
                    }
                    for &place in &found {
                        check_place(&pool, tail, place, &mut out);
                    }
                    if after == documents {
                        break;
                    }
                }
            });
        }
    });
    assert!(pool.len() <= max_tokens && pool.len() > max_tokens - 60);
    let newest = pool.documents();
    assert_eq!(newest.last(), Some(&document(documents - 1)));
}

#[test]
fn what_is_said_again_is_not_kept_twice() {
    let pool = SharedPool::new(1_000);
    let said: Vec<TokenId> = (0..60).collect();
    pool.insert_new(&said);
    pool.insert_new(&said);
    pool.insert_new(&said[10..50]);
    assert_eq!(pool.documents(), [&said[..]]);
    // One token more, one other token, and a text that runs over a border are new.
    let more = [&said[..], &[60]].concat();
    let mut other = said.clone();
    other[30] = 99;
    let across = [&said[50..], &more[..10]].concat();
    for new in [&more, &other, &across] {
        pool.insert_new(new);
    }
    assert_eq!(pool.documents(), [said, more, other, across]);
    pool.insert_new(&[]);
    assert_eq!(pool.documents().len(), 4);
}

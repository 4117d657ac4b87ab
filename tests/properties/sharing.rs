//! A shared pool with concurrent readers and a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use logitspec::TokenId;
use logitspec::pool::{Retrieve, SharedPool, SuffixMatch};

const LONGEST: u32 = 60;

/// Every other token is unique to the document, to detect a mix of two documents.
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

/// Checks that a match and its continuation are part of one document.
fn check_match(pool: &SharedPool, tail: &[TokenId], found: SuffixMatch, out: &mut Vec<TokenId>) {
    out.clear();
    pool.continuation_into(found, 60, out);
    let matched = &tail[tail.len() - found.len..];
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
fn readers_find_whole_documents_during_writes() {
    check(3_000, 20_000);
}

#[test]
fn readers_drop_overwritten_text() {
    // The pool holds about one document: every insertion overwrites text that may be read.
    check(70, 150_000);
}

fn check(max_tokens: usize, documents: u32) {
    // Number of newest documents to look for. Most of them are still in the pool.
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
                    // One more document may be being inserted.
                    let newer = (after + 1 - recent) * LONGEST;
                    if newer as usize <= max_tokens {
                        let longest = found.first().map(|it| it.len);
                        assert_eq!(longest, Some(tail.len().min(40)), "{tail:?}");
                    }
                    for &it in &found {
                        check_match(&pool, tail, it, &mut out);
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
fn duplicates_are_not_inserted() {
    let pool = SharedPool::new(1_000);
    let text: Vec<TokenId> = (0..60).collect();
    pool.insert_new(&text);
    pool.insert_new(&text);
    pool.insert_new(&text[10..50]);
    assert_eq!(pool.documents(), [&text[..]]);
    // These are new: one more token, another token, and a text across two documents.
    let more = [&text[..], &[60]].concat();
    let mut other = text.clone();
    other[30] = 99;
    let across = [&text[50..], &more[..10]].concat();
    for new in [&more, &other, &across] {
        pool.insert_new(new);
    }
    assert_eq!(pool.documents(), [text, more, other, across]);
    pool.insert_new(&[]);
    assert_eq!(pool.documents().len(), 4);
}

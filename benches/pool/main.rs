//! Pools by scenario, compared with other data structures.
//!
//!     cargo bench --bench pool                    everything
//!     cargo bench --bench pool -- lookup/usual    one scenario
//!
//! Lookups ask for the 8 best matches of up to 32 tokens. The published pool and the hash-map pool
//! only find n-grams of up to 3 and 4 tokens, so they return less. They are here to compare costs.

mod rivals;
mod text;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use logitspec::TokenId;
use logitspec::pool::{IndexedPool, NgramPool, Retrieve, SharedPool};

use rivals::{HashMapPool, brute_force, scanning};
use text::{Scenario, natural, scenarios};

const MAX_LEN: usize = 32;
const LIMIT: usize = 8;
const LENGTHS: [usize; 6] = [512, 1_024, 2_048, 4_096, 16_384, 131_072];
const NO_BOUND: usize = 1 << 30;

fn indexed(text: &[TokenId]) -> IndexedPool {
    let mut pool = IndexedPool::new(NO_BOUND);
    pool.append(text);
    pool
}

fn published(text: &[TokenId]) -> NgramPool {
    let mut pool = NgramPool::new(3, 20);
    pool.build(text);
    pool
}

fn hash_map(text: &[TokenId]) -> HashMapPool {
    let mut pool = HashMapPool::default();
    pool.append(text);
    pool
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    for len in [1_024, 16_384, 131_072] {
        let text = natural(len, 1);
        group.throughput(Throughput::Elements(len as u64));
        group.bench_function(BenchmarkId::new("indexed", len), |b| {
            b.iter(|| indexed(&text))
        });
        group.bench_function(BenchmarkId::new("scan", len), |b| {
            b.iter(|| scanning(&text))
        });
        group.bench_function(BenchmarkId::new("published", len), |b| {
            b.iter(|| published(&text))
        });
        group.bench_function(BenchmarkId::new("hash-map", len), |b| {
            b.iter(|| hash_map(&text))
        });
    }
}

/// Appends four tokens, like a decode step. The pool starts over now and then (not timed), so that
/// no
/// table doubles. `build` measures doubling.
fn append(criterion: &mut Criterion) {
    const STEPS: usize = 200;
    let mut group = criterion.benchmark_group("append");
    let fresh = natural(4 * STEPS, 2);
    group.throughput(Throughput::Elements(4));
    for len in [1_000, 16_000, 130_000] {
        let text = natural(len, 1);
        let mut pool = indexed(&text);
        group.bench_function(BenchmarkId::new("indexed", len), |b| {
            b.iter_custom(|count| {
                timed_steps(count, &fresh, &mut pool, IndexedPool::append, |pool| {
                    pool.clear();
                    pool.append(&text);
                })
            });
        });
        let mut pool = published(&text);
        group.bench_function(BenchmarkId::new("published", len), |b| {
            b.iter_custom(|count| {
                timed_steps(count, &fresh, &mut pool, NgramPool::update, |pool| {
                    pool.build(&text);
                })
            });
        });
        let mut pool = hash_map(&text);
        group.bench_function(BenchmarkId::new("hash-map", len), |b| {
            b.iter_custom(|count| {
                timed_steps(count, &fresh, &mut pool, HashMapPool::append, |_| {})
            });
        });
    }
}

/// Time of `count` appends of four tokens each. `restart` restores the initial pool.
fn timed_steps<P>(
    count: u64,
    fresh: &[TokenId],
    pool: &mut P,
    append: impl Fn(&mut P, &[TokenId]),
    restart: impl Fn(&mut P),
) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        restart(pool);
        for step in fresh.chunks(4).take(left as usize) {
            let begun = Instant::now();
            append(pool, step);
            spent += begun.elapsed();
            left -= 1;
        }
    }
    spent
}

fn lookup(criterion: &mut Criterion) {
    for len in LENGTHS {
        for Scenario { name, text, tails } in scenarios(len) {
            let mut group = criterion.benchmark_group(format!("lookup/{name}"));
            let mut found = Vec::new();
            let mut turn = tails.iter().cycle();
            let mut next = || turn.next().expect("a scenario has tails").as_slice();
            let pool = indexed(&text);
            group.bench_function(BenchmarkId::new("indexed", len), |b| {
                b.iter(|| pool.matches_into(next(), MAX_LEN, LIMIT, black_box(&mut found)));
            });
            let pool = scanning(&text);
            group.bench_function(BenchmarkId::new("scan", len), |b| {
                b.iter(|| pool.matches_into(next(), MAX_LEN, LIMIT, black_box(&mut found)));
            });
            let pool = published(&text);
            group.bench_function(BenchmarkId::new("published", len), |b| {
                b.iter(|| black_box(pool.lookup(next())));
            });
            let pool = hash_map(&text);
            group.bench_function(BenchmarkId::new("hash-map", len), |b| {
                b.iter(|| pool.lookup(next(), LIMIT, black_box(&mut found)));
            });
            group.bench_function(BenchmarkId::new("brute-force", len), |b| {
                b.iter(|| brute_force(&text, next(), MAX_LEN, LIMIT, black_box(&mut found)));
            });
        }
    }
}

/// A million tokens in documents of a thousand.
fn shared(criterion: &mut Criterion) {
    const LEN: usize = 1 << 20;
    let mut group = criterion.benchmark_group("shared");
    let document = natural(1_000, 3);
    for Scenario { name, text, tails } in scenarios(LEN) {
        let pool = SharedPool::new(LEN);
        text.chunks(1_000).for_each(|chunk| pool.insert(chunk));
        let mut found = Vec::new();
        let mut turn = tails.iter().cycle();
        group.bench_function(BenchmarkId::new("lookup", name), |b| {
            b.iter(|| {
                let tail = turn.next().expect("a scenario has tails");
                pool.matches_into(tail, MAX_LEN, LIMIT, black_box(&mut found));
            });
        });
        if name == "usual" {
            group.bench_function("insert/1000", |b| b.iter(|| pool.insert(&document)));
        }
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
}

criterion_group! {
    name = pools;
    config = settings();
    targets = build, append, lookup, shared
}
criterion_main!(pools);

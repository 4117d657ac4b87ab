//! What a step does with its tokens once they are committed: bytes, text, output. Here, or on a thread of its own.
//!
//!     cargo bench --bench text -- --quick
//!
//! The thread must be told, over a channel, and that is what remains of the work on the decoding thread. See "No second
//! thread beside the model" in `docs/decisions.md`.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam::channel::bounded;
use logitspec::TokenId;
use logitspec::engine::TextStream;
use logitspec::pool::RequestPool;
use logitspec::runtime::llama::{Engine, ModelOptions};

/// Tokens committed by a step.
const COMMITTED: usize = 4;
/// A pass of a small model: the other thread has gone to sleep when the next tokens come.
const PASS: Duration = Duration::from_micros(500);

fn text(criterion: &mut Criterion) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny-llama.gguf");
    let engine = Engine::load(&model, &ModelOptions::default()).expect("the tests' model loads");
    let vocabulary = engine.vocabulary();
    let tokens: Vec<TokenId> = (0..COMMITTED as TokenId).map(|at| 40 + at).collect();
    let mut group = criterion.benchmark_group("a step's four tokens");
    group.sample_size(20);

    let mut null = File::options()
        .write(true)
        .open(if cfg!(windows) { "NUL" } else { "/dev/null" })
        .expect("a sink");
    let mut stream = TextStream::default();
    group.bench_function("text and output, here", |bencher| {
        bencher.iter(|| {
            for &token in black_box(&tokens) {
                let text = stream.push(&vocabulary.bytes(token));
                null.write_all(text.as_bytes()).expect("it takes all");
            }
        });
    });

    let mut pool = RequestPool::default();
    group.bench_function("pool, here", |bencher| {
        bencher.iter(|| {
            pool.append(black_box(&tokens));
            if pool.len() > 4_096 {
                pool.clear();
            }
        });
    });

    let (sender, receiver) = bounded::<Vec<TokenId>>(64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = TextStream::default();
            for token in receiver.into_iter().flatten() {
                let text = stream.push(&vocabulary.bytes(token));
                null.write_all(text.as_bytes()).expect("it takes all");
            }
        });
        group.bench_function("told to another thread, after a pass", |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    std::thread::sleep(PASS);
                    let start = Instant::now();
                    sender.send(black_box(&tokens).clone()).expect("it listens");
                    spent += start.elapsed();
                }
                spent
            });
        });
        drop(sender);
    });
    group.finish();
}

criterion_group!(benches, text);
criterion_main!(benches);

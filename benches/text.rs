//! Work on committed tokens: detokenizing, output and the pool. On the decoding thread, or on
//! another one.
//!
//!     cargo bench --bench text -- --quick
//!
//! With another thread, the decoding thread only sends the tokens over a channel. Each measurement
//! follows a simulated pass of the model: caches are cold, and the other thread is asleep.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use crossbeam::channel::bounded;
use logitspec::TokenId;
use logitspec::engine::TextStream;
use logitspec::pool::RequestPool;
use logitspec::runtime::llama::{Model, ModelOptions};

/// Tokens that a step commits.
const COMMITTED: usize = 4;
/// Time of a pass of a small model.
const PASS: Duration = Duration::from_micros(500);
/// Bytes read by a pass, to evict the caches of the processor.
const WEIGHTS: usize = 4 << 20;

/// Times `what` after a simulated pass.
fn after_a_pass(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut what: impl FnMut()) {
    let weights = vec![1u8; WEIGHTS];
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                let pass = Instant::now();
                while pass.elapsed() < PASS {
                    black_box(weights.iter().map(|&it| u64::from(it)).sum::<u64>());
                }
                let start = Instant::now();
                what();
                spent += start.elapsed();
            }
            spent
        });
    });
}

fn text(criterion: &mut Criterion) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny-llama.gguf");
    let model = Model::load(&model, &ModelOptions::default()).expect("the tests' model loads");
    let vocabulary = model.vocabulary();
    let tokens: [TokenId; COMMITTED] = [40, 41, 42, 43];
    let sink = || {
        let name = if cfg!(windows) { "NUL" } else { "/dev/null" };
        let file = File::options().write(true).open(name);
        file.expect("the null device opens")
    };
    let write = |stream: &mut TextStream, out: &mut File, tokens: &[TokenId]| {
        for &token in tokens {
            let text = stream.push(&vocabulary.bytes(token));
            out.write_all(text.as_bytes())
                .expect("the null device accepts all");
        }
    };
    let mut group = criterion.benchmark_group("a step's four tokens");
    group.sample_size(20);

    let (mut stream, mut out) = (TextStream::default(), sink());
    after_a_pass(&mut group, "text and output, same thread", || {
        write(&mut stream, &mut out, black_box(&tokens));
    });
    let mut pool = RequestPool::default();
    after_a_pass(&mut group, "pool, same thread", || {
        if pool.len() > 4_096 {
            pool.clear();
        }
        pool.append(black_box(&tokens));
    });
    let (sender, receiver) = bounded::<[TokenId; COMMITTED]>(64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, mut out) = (TextStream::default(), sink());
            for tokens in receiver {
                write(&mut stream, &mut out, &tokens);
            }
        });
        after_a_pass(&mut group, "send to another thread", || {
            sender
                .send(black_box(tokens))
                .expect("the other thread receives");
        });
        drop(sender);
    });
    group.finish();
}

criterion_group!(benches, text);
criterion_main!(benches);

//! Building and searching a corpus.
//!
//!     cargo bench --bench corpus
//!     LOGITSPEC_BENCH_TOKENS=100000000 cargo bench --bench corpus
//!
//! The second command needs 1 GB of memory and 0.8 GB of disk. The text is synthetic (see
//! `pool/text.rs`), in documents of 1,000 tokens.

#[allow(dead_code)]
#[path = "pool/text.rs"]
mod text;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use logitspec::TokenId;
use logitspec::corpus::{Corpus, CorpusBuilder};
use logitspec::draft::{DraftInput, Memory, PassCost};
use logitspec::engine::{Method, MethodParams};
use logitspec::pool::Retrieve;
use logitspec::store::VocabFingerprint;
use logitspec::tree::{DraftTree, TreeLimits};

use text::{VOCABULARY, natural, usual_tails};

const MAX_LEN: usize = 32;
/// Matches that the method `logitspec` asks for.
const LIMIT: usize = 32;

/// Builds, writes and opens a corpus of `text`, and prints what that took.
fn built(text: &[TokenId], folder: &Path) -> Arc<Corpus> {
    let vocabulary = VocabFingerprint::of((0..=VOCABULARY).map(|token| token.to_string()));
    let mut builder = CorpusBuilder::default();
    text.chunks(1_000)
        .for_each(|document| builder.add(document));
    let path = folder.join("corpus");
    let begun = Instant::now();
    let info = builder
        .write(&path, &vocabulary)
        .expect("the corpus can be written");
    let built = begun.elapsed();
    drop(builder);
    let begun = Instant::now();
    let corpus = Corpus::open(&path, Some(&vocabulary)).expect("the corpus can be read");
    println!(
        "{} tokens: sorted and written in {:.1} s, {} bytes, opened and checked in {:.2} s, \
         peak memory {}",
        text.len(),
        built.as_secs_f64(),
        info.file_size,
        begun.elapsed().as_secs_f64(),
        peak_memory(),
    );
    Arc::new(corpus)
}

/// Looks up each tail once, so that the caches do not help. Measures CPU time, so that other
/// programs
/// do not count.
fn print_time_of_first_lookups(corpus: &Corpus, tails: &[Vec<TokenId>]) {
    let Some(before) = time_on_processor() else {
        return;
    };
    let mut found = Vec::new();
    for tail in tails {
        corpus.matches_into(tail, MAX_LEN, LIMIT, black_box(&mut found));
    }
    let spent = time_on_processor().unwrap_or(before) - before;
    let each = spent.as_secs_f64() * 1e6 / tails.len() as f64;
    println!(
        "{} different tails: {each:.1} us of CPU time each on average",
        tails.len()
    );
}

fn corpus(criterion: &mut Criterion) {
    let tokens = std::env::var("LOGITSPEC_BENCH_TOKENS");
    let tokens = tokens.map_or(1_000_000, |n| n.parse().expect("a number of tokens"));
    let text = natural(tokens, 5);
    let tails = usual_tails(&text, 20_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let corpus = built(&text, folder.path());
    drop(text);
    print_time_of_first_lookups(&corpus, &tails);
    lookup(criterion, &corpus, &tails);
    draft(criterion, corpus);
}

fn lookup(criterion: &mut Criterion, corpus: &Corpus, tails: &[Vec<TokenId>]) {
    let mut group = criterion.benchmark_group("corpus");
    let mut found = Vec::new();
    let mut out = Vec::new();
    let mut turn = tails.iter().cycle();
    group.bench_function("lookup/usual", |b| {
        b.iter(|| {
            let tail = turn.next().expect("there are tails");
            corpus.matches_into(tail, MAX_LEN, LIMIT, black_box(&mut found));
        });
    });
    group.bench_function("lookup/usual, 4 tokens copied of each match", |b| {
        b.iter(|| {
            let tail = turn.next().expect("there are tails");
            corpus.matches_into(tail, MAX_LEN, LIMIT, &mut found);
            out.clear();
            found
                .iter()
                .for_each(|&it| corpus.continuation_into(it, 4, &mut out));
            black_box(&mut out);
        });
    });
    let mut random = fastrand::Rng::with_seed(3);
    group.bench_function("lookup/common", |b| {
        b.iter(|| {
            // The two most frequent tokens give the widest ranges.
            let tail: [TokenId; 3] = [random.u32(1..VOCABULARY), 2, 1];
            corpus.matches_into(&tail, MAX_LEN, LIMIT, black_box(&mut found));
        });
    });
    group.bench_function("lookup/never", |b| {
        b.iter(|| corpus.matches_into(&[1, VOCABULARY], MAX_LEN, LIMIT, black_box(&mut found)));
    });
}

fn draft(criterion: &mut Criterion, corpus: Arc<Corpus>) {
    let mut text = natural(4_096 + 512, 3);
    let rest = text.split_off(4_096);
    let memory = Memory {
        history: None,
        corpus: Some(corpus),
        prediction: None,
    };
    let mut drafter = Method::Logitspec.drafter_with(MethodParams::default(), memory);
    drafter.begin(&text);
    // Each step has another root, like in an answer.
    let mut roots = rest.iter().cycle();
    let mut group = criterion.benchmark_group("corpus");
    group.bench_function("a draft of 64 nodes, 4,096 tokens of text", |b| {
        b.iter(|| {
            let root = *roots.next().expect("there are roots");
            let mut tree = DraftTree::new(root, TreeLimits::nodes(64));
            let input = DraftInput {
                text: &text,
                root,
                ranked: &[],
                cost: &PassCost::flat(),
            };
            drafter.draft(&input, &mut tree);
            tree
        });
    });
}

/// CPU time of this thread, on Linux.
fn time_on_processor() -> Option<Duration> {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = counts.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Peak memory of this process, on Linux.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".into(), |size| size.trim().into())
}

criterion_group! {
    name = corpora;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    targets = corpus
}
criterion_main!(corpora);

//! What a step does around the model's pass: growing the tree, laying it out, searching rows,
//! walking.
//!
//!     cargo bench --no-default-features --bench step
//!
//! The text is that of the pool's benchmarks: synthetic, a quarter of it repeats earlier stretches.
//! Rivals are what one would write first: a loop over the row for its maximum, a full sort for its
//! best.

#[allow(dead_code)]
#[path = "pool/text.rs"]
mod text;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use logitspec::TokenId;
use logitspec::draft::{DraftInput, Drafter, Memory, NodeRows, PassCost, Verified};
use logitspec::engine::{Method, MethodParams};
use logitspec::logits::{Candidate, Row, argmax, top_k};
use logitspec::pool::SharedPool;
use logitspec::runtime::{KvLedger, TreeLayout};
use logitspec::tree::{DraftTree, NodeId, TreeLimits};
use logitspec::verify::walk;

use text::natural;

const SIZES: [usize; 6] = [8, 16, 32, 64, 128, 256];
const VOCABULARY: usize = 32_000;

/// A row of logits without order.
fn row() -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..VOCABULARY)
        .map(|_| 20.0 * random.f32() - 10.0)
        .collect()
}

/// Runners-up as a model has them, the root first.
fn ranked(root: TokenId, count: usize) -> Vec<Candidate> {
    (0..count)
        .map(|rank| Candidate {
            token: if rank == 0 {
                root
            } else {
                (7 * rank + 1) as TokenId
            },
            logit: 10.0 - rank as f32 / 8.0,
        })
        .collect()
}

/// As many of them as `drafter` asks for, for a tree of `nodes` nodes; the root in any case, which
/// [`grown`] reads there.
fn asked_for(drafter: &dyn Drafter, root: TokenId, nodes: usize) -> Vec<Candidate> {
    ranked(root, drafter.candidates(nodes, &PassCost::flat()).max(1))
}

/// A drafter that has seen a text of `len` tokens, and the token that follows it.
fn drafter(method: Method, len: usize) -> (Box<dyn Drafter>, Vec<TokenId>, TokenId) {
    let mut text = natural(len + 1, 3);
    let root = text.pop().expect("a token after the text");
    let mut drafter = method.drafter(MethodParams::default());
    drafter.begin(&text);
    (drafter, text, root)
}

/// A tree of `nodes` nodes after `text` and its next token, the first of `ranked`.
fn grown(
    drafter: &mut dyn Drafter,
    text: &[TokenId],
    ranked: &[Candidate],
    nodes: usize,
) -> DraftTree {
    let root = ranked[0].token;
    let mut tree = DraftTree::new(root, TreeLimits::nodes(nodes));
    let input = DraftInput {
        text,
        root,
        ranked,
        cost: &PassCost::flat(),
    };
    drafter.draft(&input, &mut tree);
    tree
}

/// A tree of `nodes` nodes as `logitspec` grows it.
fn tree(nodes: usize) -> DraftTree {
    let (mut drafter, text, root) = drafter(Method::Logitspec, 2_000);
    grown(&mut *drafter, &text, &ranked(root, nodes), nodes)
}

fn draft(criterion: &mut Criterion) {
    for (name, method) in [
        ("logitspec", Method::Logitspec),
        ("published", Method::LogitspecReference),
    ] {
        let mut group = criterion.benchmark_group(format!("draft, 2,000 tokens of text, {name}"));
        for nodes in SIZES {
            let (mut drafter, text, root) = drafter(method, 2_000);
            let ranked = asked_for(&*drafter, root, nodes);
            group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
                bencher.iter(|| grown(&mut *drafter, &text, &ranked, nodes));
            });
        }
    }
}

/// Rows of a model that has its own few candidates for every token.
struct Candidates<'a>(&'a DraftTree);

impl NodeRows for Candidates<'_> {
    fn top_k(&self, node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
        let token = self.0.token(node);
        found.clear();
        found.extend((0..k as u32).map(|rank| Candidate {
            token: (token * 31 + rank * rank * 7 + 1) % VOCABULARY as u32,
            logit: 10.0 - 1.5 * rank as f32,
        }));
        true
    }
}

/// Lets `drafter` go through the tokens of `text` after the first `begin`, as in an answer, with
/// rows to recycle.
fn go_through(drafter: &mut dyn Drafter, text: &[TokenId], begin: usize, nodes: usize) {
    drafter.begin(&text[..begin]);
    let mut done = begin;
    while done < text.len() {
        let ranked = asked_for(drafter, text[done], nodes);
        let tree = grown(drafter, &text[..done], &ranked, nodes);
        let said = |tokens: &[TokenId]| text.get(done + tokens.len()).copied();
        let accepted = walk(
            &tree,
            |_, tokens| said(tokens).unwrap_or_default(),
            |tokens| said(tokens).is_none(),
        );
        drafter.observe(&Verified {
            tree: &tree,
            path: &accepted.path,
            next: accepted.next,
            rows: &Candidates(&tree),
        });
        let fresh = 1 + accepted.path.len();
        drafter.extend(&text[..done + fresh], fresh);
        done += fresh;
    }
}

/// Beside a million tokens of earlier requests, and with rows to recycle. Trees of 64 nodes are to
/// take less than 150 µs.
fn draft_with_history(criterion: &mut Criterion) {
    let earlier = SharedPool::new(1 << 20);
    for document in natural(1 << 20, 5).chunks(1024) {
        earlier.insert(document);
    }
    let memory = Memory::of_history(Arc::new(earlier));
    let mut group =
        criterion.benchmark_group("draft, 4,096 tokens of text, 2^20 of history, rows, logitspec");
    for nodes in SIZES {
        let mut text = natural(4_096 + 512, 3);
        let rest = text.split_off(4_096);
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            let mut drafter =
                Method::Logitspec.drafter_with(MethodParams::default(), memory.clone());
            go_through(&mut *drafter, &text, text.len() - 512, nodes);
            // Each step has another root, as in an answer.
            let mut roots = rest.iter().cycle();
            bencher.iter(|| {
                let root = *roots.next().expect("roots do not end");
                grown(&mut *drafter, &text, &ranked(root, nodes), nodes)
            });
        });
    }
}

/// What a drafter does after a pass: it learns from the walk and reads rows.
fn observe(criterion: &mut Criterion) {
    let text = natural(2_000, 3);
    let one = row();
    let rows: Vec<f32> = one.iter().copied().cycle().take(256 * VOCABULARY).collect();
    for method in [Method::Logitspec, Method::TokenRecycling] {
        let mut group =
            criterion.benchmark_group(format!("observe, 32,000 logits a row, {method}"));
        for nodes in SIZES {
            let mut drafter = method.drafter(MethodParams::default());
            go_through(&mut *drafter, &text, 1_500, nodes);
            let tree = tree(nodes);
            let path: Vec<_> = tree.children(0).take(1).collect();
            let logits = |node: NodeId| &rows[node * VOCABULARY..][..VOCABULARY];
            let rows = |node: NodeId| Row::from(logits(node));
            group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
                bencher.iter(|| {
                    drafter.observe(&Verified {
                        tree: black_box(&tree),
                        path: &path,
                        next: Some(1),
                        rows: &rows,
                    });
                });
            });
        }
    }
}

fn layout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layout");
    for nodes in SIZES {
        let tree = tree(nodes);
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| TreeLayout::of(black_box(&tree)));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("ledger: what a commit asks of the cache");
    for nodes in SIZES {
        let tree = tree(nodes);
        let layout = TreeLayout::of(&tree);
        let path: Vec<_> = tree.children(0).take(1).collect();
        let mut ledger = KvLedger::new(layout.sequence_count());
        let mut ops = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| {
                ops.clear();
                ledger.before_decode(0, layout.clone(), &mut ops);
                ledger.after_decode(&tree, &path, &mut ops);
                ops.len()
            });
        });
    }
}

fn rows(criterion: &mut Criterion) {
    let row = row();
    let mut group = criterion.benchmark_group("largest of 32,000 logits");
    group.bench_function("ours", |bencher| bencher.iter(|| argmax(black_box(&row))));
    group.bench_function("loop", |bencher| {
        bencher.iter(|| {
            let row = black_box(&row);
            let mut best = 0;
            for (index, &logit) in row.iter().enumerate() {
                if logit > row[best] {
                    best = index;
                }
            }
            best
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("8 largest of 32,000 logits");
    group.bench_function("ours", |bencher| bencher.iter(|| top_k(black_box(&row), 8)));
    group.finish();
    // As after a pass: 63 rows that lie in memory.
    let rows: Vec<f32> = row.iter().copied().cycle().take(63 * VOCABULARY).collect();
    let mut group = criterion.benchmark_group("8 largest of each of 63 rows");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let rows = black_box(&rows).chunks(VOCABULARY);
            rows.map(|row| top_k(row, 8).len()).sum::<usize>()
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("64 largest of 32,000 logits");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| top_k(black_box(&row), 64))
    });
    group.bench_function("sort", |bencher| {
        bencher.iter(|| {
            let mut order: Vec<usize> = (0..VOCABULARY).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            order.truncate(64);
            order
        });
    });
    group.bench_function("selection", |bencher| {
        bencher.iter(|| {
            let mut order: Vec<usize> = (0..VOCABULARY).collect();
            order.select_nth_unstable_by(63, |&a, &b| row[b].total_cmp(&row[a]));
            order.truncate(64);
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            order
        });
    });
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk down the first children");
    for nodes in SIZES {
        let tree = tree(nodes);
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| {
                walk(
                    &tree,
                    |node, _| {
                        tree.children(node)
                            .next()
                            .map_or(0, |child| tree.token(child))
                    },
                    |_| false,
                )
            });
        });
    }
}

criterion_group!(
    benches,
    draft,
    draft_with_history,
    observe,
    layout,
    rows,
    verify
);
criterion_main!(benches);

//! The work of a step outside the model's pass: drafting, tree layout, searching logits, verifying.
//!
//!     cargo bench --no-default-features --bench step
//!
//! The text is synthetic (see `pool/text.rs`). Searches of logits are compared with the simplest
//! code:
//! a loop for the maximum, a full sort for the best 64.

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

/// A row of random logits.
fn row() -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..VOCABULARY)
        .map(|_| 20.0 * random.f32() - 10.0)
        .collect()
}

/// Candidates with falling logits, the root first.
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

/// As many candidates as `drafter` asks for, for a tree of `nodes` nodes, and at least the root.
fn wanted_candidates(drafter: &dyn Drafter, root: TokenId, nodes: usize) -> Vec<Candidate> {
    ranked(root, drafter.candidates(nodes, &PassCost::flat()).max(1))
}

/// A drafter with a text of `len` tokens, the text, and the next token.
fn drafter(method: Method, len: usize) -> (Box<dyn Drafter>, Vec<TokenId>, TokenId) {
    let mut text = natural(len + 1, 3);
    let root = text.pop().expect("a token after the text");
    let mut drafter = method.drafter(MethodParams::default());
    drafter.begin(&text);
    (drafter, text, root)
}

/// Drafts a tree of `nodes` nodes. The root is the first of `ranked`.
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

/// A tree of `nodes` nodes of the method `logitspec`.
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
            let ranked = wanted_candidates(&*drafter, root, nodes);
            group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
                bencher.iter(|| grown(&mut *drafter, &text, &ranked, nodes));
            });
        }
    }
}

/// Rows of a made-up model: the candidates depend only on the token.
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

/// Runs `drafter` through `text` like through an answer that starts at `begin`.
fn replay(drafter: &mut dyn Drafter, text: &[TokenId], begin: usize, nodes: usize) {
    drafter.begin(&text[..begin]);
    let mut done = begin;
    while done < text.len() {
        let ranked = wanted_candidates(drafter, text[done], nodes);
        let tree = grown(drafter, &text[..done], &ranked, nodes);
        let next = |tokens: &[TokenId]| text.get(done + tokens.len()).copied();
        let accepted = walk(
            &tree,
            |_, tokens| next(tokens),
            |tokens| next(tokens).is_none(),
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

/// Drafting with a million tokens of earlier requests, and with recycled rows. A tree of 64 nodes
/// should take less than 150 µs.
fn draft_with_history(criterion: &mut Criterion) {
    let history = SharedPool::new(1 << 20);
    for document in natural(1 << 20, 5).chunks(1024) {
        history.insert(document);
    }
    let memory = Memory::of_history(Arc::new(history));
    let mut group =
        criterion.benchmark_group("draft, 4,096 tokens of text, 2^20 of history, rows, logitspec");
    for nodes in SIZES {
        let mut text = natural(4_096 + 512, 3);
        let rest = text.split_off(4_096);
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            let mut drafter =
                Method::Logitspec.drafter_with(MethodParams::default(), memory.clone());
            replay(&mut *drafter, &text, text.len() - 512, nodes);
            // Each step has another root, like in an answer.
            let mut roots = rest.iter().cycle();
            bencher.iter(|| {
                let root = *roots.next().expect("the iterator cycles");
                grown(&mut *drafter, &text, &ranked(root, nodes), nodes)
            });
        });
    }
}

/// The work of a drafter after a pass: it learns from the accepted path and reads rows.
fn observe(criterion: &mut Criterion) {
    let text = natural(2_000, 3);
    let one = row();
    let rows: Vec<f32> = one.iter().copied().cycle().take(256 * VOCABULARY).collect();
    for method in [Method::Logitspec, Method::TokenRecycling] {
        let mut group =
            criterion.benchmark_group(format!("observe, 32,000 logits a row, {method}"));
        for nodes in SIZES {
            let mut drafter = method.drafter(MethodParams::default());
            replay(&mut *drafter, &text, 1_500, nodes);
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
    let mut group = criterion.benchmark_group("ledger: cache operations of a commit");
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

fn largest_logit(criterion: &mut Criterion) {
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
}

fn best_8_logits(criterion: &mut Criterion) {
    let row = row();
    let mut group = criterion.benchmark_group("8 largest of 32,000 logits");
    group.bench_function("ours", |bencher| bencher.iter(|| top_k(black_box(&row), 8)));
    group.finish();
    // 63 rows in memory, like after a pass.
    let rows: Vec<f32> = row.iter().copied().cycle().take(63 * VOCABULARY).collect();
    let mut group = criterion.benchmark_group("8 largest of each of 63 rows");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let rows = black_box(&rows).chunks(VOCABULARY);
            rows.map(|row| top_k(row, 8).len()).sum::<usize>()
        });
    });
}

fn best_64_logits(criterion: &mut Criterion) {
    let row = row();
    let by_logit = |&a: &usize, &b: &usize| row[b].total_cmp(&row[a]);
    let mut group = criterion.benchmark_group("64 largest of 32,000 logits");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| top_k(black_box(&row), 64))
    });
    group.bench_function("sort", |bencher| {
        bencher.iter(|| {
            let mut order: Vec<usize> = (0..VOCABULARY).collect();
            order.sort_by(by_logit);
            order.truncate(64);
            order
        });
    });
    group.bench_function("selection", |bencher| {
        bencher.iter(|| {
            let mut order: Vec<usize> = (0..VOCABULARY).collect();
            order.select_nth_unstable_by(63, by_logit);
            order.truncate(64);
            order.sort_by(by_logit);
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
                        let child = tree.children(node).next();
                        Some(child.map_or(0, |child| tree.token(child)))
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
    largest_logit,
    best_8_logits,
    best_64_logits,
    verify
);
criterion_main!(benches);

//! The cost of the KV cache calls of a step: a tree of 64 leaves is committed, and the cache is
//! prepared for the next one.
//!
//!     cargo bench --bench kv
//!
//! Only the cache calls are timed. The model is a tiny one, so passes take little time.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use logitspec::TokenId;
use logitspec::runtime::TargetModel;
use logitspec::runtime::llama::{ContextOptions, Model, ModelOptions};
use logitspec::tree::{DraftTree, NodeId, ROOT, TreeLimits};

/// A chain of two nodes below the root, and 63 more children of the root: 64 leaves.
fn tree() -> DraftTree {
    let mut tree = DraftTree::new(5, TreeLimits::nodes(66));
    let first = tree.push(ROOT, 6).expect("there is room");
    tree.push(first, 7).expect("there is room");
    for token in 8..71 {
        tree.push(ROOT, token).expect("there is room");
    }
    assert_eq!(tree.leaf_count(), 64);
    tree
}

fn kv(criterion: &mut Criterion) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny-llama.gguf");
    let model = Model::load(&model, &ModelOptions::default()).expect("the tests' model loads");
    let tree = tree();
    let chain: Vec<NodeId> = tree.path_to(2);
    let mut group = criterion.benchmark_group("cache calls of a step, 64 leaves");
    group.sample_size(20);
    for n_ctx in [1_024_u32, 4_096, 16_384] {
        let context = ContextOptions {
            n_ctx: Some(n_ctx),
            draft_tree_capacity: 66,
            ..ContextOptions::default()
        };
        let mut target = model.context(&context).expect("a context");
        // Leave room for the tree.
        let len = n_ctx as usize - 128;
        let text: Vec<TokenId> = (0..len).map(|at| 3 + (at % 60) as TokenId).collect();
        for piece in text.chunks(512) {
            target.append(0, piece).expect("there is room");
        }
        for (outcome, path) in [
            ("root only", &chain[..0]),
            ("two drafted tokens", &chain[..]),
        ] {
            let id = BenchmarkId::new(outcome, format!("{len} of {n_ctx} cells"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|times| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..times {
                        let before = target.kv_time();
                        target
                            .decode_tree(0, &[], black_box(&tree))
                            .expect("there is room");
                        target.commit(0, &tree, path);
                        // This call waits for the commit.
                        black_box(target.graphs_reused());
                        spent += target.kv_time() - before;
                        // Restore the length of the text. This is not timed.
                        target.truncate(0, len);
                    }
                    spent
                });
            });
        }
    }
}

criterion_group!(benches, kv);
criterion_main!(benches);

//! What the drafter does from step to step.

use super::*;
use crate::draft::{Graph, NodeRows};
use crate::logits::Row;
use crate::tree::{NodeId, PerSource, TreeLimits};

/// The tree of at most `capacity` nodes that is drafted after `text` and `root`. Nothing below the
/// root is accepted.
fn plain_step(
    drafter: &mut LogitSpec,
    text: &mut Vec<TokenId>,
    root: TokenId,
    ranked: &[Candidate],
    cost: &PassCost,
    capacity: usize,
) -> DraftTree {
    let mut tree = DraftTree::new(root, TreeLimits::nodes(capacity));
    let input = DraftInput {
        text,
        root,
        ranked,
        cost,
    };
    drafter.draft(&input, &mut tree);
    text.push(root);
    drafter.extend(text, 1);
    tree
}

/// The sources of a tree after a text that repeats itself, a root whose logits were seen, and
/// runners-up.
fn sources(leave_out: SourceSet) -> PerSource {
    let mut drafter = LogitSpec::new(LogitSpecParams {
        leave_out,
        ..LogitSpecParams::default()
    });
    let candidates = |tokens: [TokenId; 3]| {
        let logits = [3.0, 2.0, 1.0].into_iter().zip(tokens);
        logits.map(|(logit, token)| Candidate { token, logit })
    };
    let cost = PassCost::flat();
    let mut text = vec![1, 2, 3, 4, 1, 2];
    drafter.begin(&text);
    let mut found = PerSource::default();
    for (root, ranked) in [(3, candidates([3, 30, 31])), (2, candidates([2, 40, 41]))] {
        let ranked: Vec<_> = ranked.collect();
        let tree = plain_step(&mut drafter, &mut text, root, &ranked, &cost, 40);
        (ROOT + 1..tree.len()).for_each(|node| found.add(tree.source(node)));
    }
    found
}

#[test]
fn sources_left_out_are_not_used() {
    let here = [Source::Text, Source::LastLogits, Source::Recycled];
    let all = sources(SourceSet::default());
    for source in here {
        assert!(all.of(source) > 0, "{source:?}: {all:?}");
        let without = sources([source].into_iter().collect());
        assert_eq!(without.of(source), 0, "{source:?}: {without:?}");
        assert!(without.iter().count() >= 1);
    }
    assert_eq!(sources(here.into_iter().collect()), PerSource::default());
}

/// Sizes of trees of at most 16 nodes over a text that repeats itself and goes on with `roots`. The
/// time to build a graph is `build`, where a pass of one token takes 1.
fn sizes_of<const N: usize>(
    drafter: &mut LogitSpec,
    build: f64,
    roots: [TokenId; N],
) -> [usize; N] {
    let mut cost = PassCost::from_times((0..16).map(|n| 1.0 + 0.1 * f64::from(n)).collect());
    let mut text: Vec<TokenId> = (0..20).cycle().take(50).collect();
    drafter.begin(&text);
    let mut tokens = None;
    roots.map(|root| {
        cost.set_graph(Graph { tokens, build });
        let ranked: Vec<_> = (0..40)
            .map(|rank: u16| Candidate {
                token: if rank == 0 {
                    root
                } else {
                    (1000 + rank).into()
                },
                logit: -f32::from(rank),
            })
            .collect();
        let size = plain_step(drafter, &mut text, root, &ranked, &cost, 16).len();
        tokens = Some(size);
        size
    })
}

#[test]
fn few_logits_are_ranked_until_a_tree_was_larger_and_many_where_large_passes_are_cheap() {
    let dear = PassCost::from_times((0..16).map(|n| 1.0 + 0.1 * f64::from(n)).collect());
    let mut drafter = LogitSpec::new(LogitSpecParams::default());
    assert_eq!(drafter.candidates(64, &dear), recycled::KEPT);
    assert_eq!(
        drafter.candidates(64, &PassCost::flat()),
        2 * 15 + recycled::KEPT
    );
    let [size] = sizes_of(&mut drafter, 0.0, [10]);
    assert!(size > 1);
    let more = 2 * (size - 1) + recycled::KEPT;
    assert_eq!(drafter.candidates(64, &dear), more);
    assert_eq!(drafter.candidates(more - 1, &dear), more - 1);
    drafter.reset();
    assert_eq!(drafter.candidates(64, &dear), recycled::KEPT);
}

#[test]
fn a_tree_keeps_its_size_where_another_graph_costs_more_than_it_brings() {
    // Tokens that were never in the text follow one that was.
    let roots = [10, 900, 901, 902, 903];
    let sizes = |build| {
        sizes_of(
            &mut LogitSpec::new(LogitSpecParams::default()),
            build,
            roots,
        )
    };
    let free = sizes(0.0);
    assert!(free[0] >= 8 && free[4] <= 4, "{free:?}");
    // In the first step there is no graph to keep, so the size is that of free graphs.
    assert_eq!(sizes(100.0), [free[0]; 5]);
}

/// The best token after each node.
struct Says(Vec<(NodeId, TokenId)>);

impl NodeRows for Says {
    fn top_k(&self, node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
        found.clear();
        let said = self.0.iter().find(|said| said.0 == node);
        let said = said.map(|&(_, token)| Candidate { token, logit: 1.0 });
        found.extend(said.into_iter().take(k));
        !found.is_empty()
    }
}

#[test]
fn rows_of_guesses_are_recycled_and_those_of_accepted_tokens_before_them() {
    let mut drafter = LogitSpec::new(LogitSpecParams::default());
    let cost = PassCost::flat();
    let mut tree = DraftTree::new(5, TreeLimits::nodes(8));
    let [a, b] = [6, 7].map(|token| tree.grow(ROOT, token).unwrap());
    let below = tree.grow(b, 6).unwrap();
    // 6 stands in the tree twice: accepted below the root, and as a guess below 7.
    let rows = Says(vec![(ROOT, 50), (a, 60), (b, 70), (below, 61)]);
    drafter.observe(&Verified {
        tree: &tree,
        path: &[a],
        next: Some(60),
        rows: &rows,
    });
    let children = |drafter: &mut LogitSpec, root| {
        let mut tree = DraftTree::new(root, TreeLimits::nodes(8));
        let input = DraftInput {
            text: &[],
            root,
            ranked: &[],
            cost: &cost,
        };
        drafter.draft(&input, &mut tree);
        let children: Vec<_> = tree.children(ROOT).map(|id| tree.token(id)).collect();
        children
    };
    assert_eq!(children(&mut drafter, 7), [70], "a guess that was wrong");
    assert_eq!(children(&mut drafter, 5), [50], "the root");
    // The row after the last accepted token is handed over with the next step, so here its guess
    // stands.
    assert_eq!(children(&mut drafter, 6), [61]);
    // Further down the path, what was accepted counts.
    let c = tree.grow(a, 8).unwrap();
    drafter.observe(&Verified {
        tree: &tree,
        path: &[a, c],
        next: None,
        rows: &rows,
    });
    assert_eq!(children(&mut drafter, 6), [60]);
}

#[test]
fn no_token_has_two_rows_read() {
    let mut drafter = LogitSpec::new(LogitSpecParams::default());
    let mut tree = DraftTree::new(5, TreeLimits::nodes(8));
    let [a, b] = [6, 7].map(|token| tree.grow(ROOT, token).unwrap());
    tree.grow(b, 6).unwrap();
    tree.grow(a, 5).unwrap();
    let asked = std::cell::RefCell::new(Vec::new());
    let row = [0.0f32; 9];
    let rows = |node: NodeId| {
        asked.borrow_mut().push(node);
        Row::from(&row)
    };
    drafter.observe(&Verified {
        tree: &tree,
        path: &[],
        next: Some(1),
        rows: &rows,
    });
    // The root's row comes with the next step, so the guess of the same token is read.
    assert_eq!(*asked.borrow(), [a, b, a + 3]);
}

#[test]
fn rows_are_remembered_from_request_to_request_if_the_text_is() {
    for remembers in [false, true] {
        let memory = match remembers {
            true => Memory::of_history(std::sync::Arc::new(crate::pool::SharedPool::new(9))),
            false => Memory::none(),
        };
        let mut drafter = LogitSpec::new(LogitSpecParams::default()).with_memory(memory);
        let mut tree = DraftTree::new(5, TreeLimits::nodes(8));
        let guess = tree.grow(ROOT, 7).unwrap();
        drafter.observe(&Verified {
            tree: &tree,
            path: &[],
            next: None,
            rows: &Says(vec![(guess, 70)]),
        });
        let knows = |drafter: &LogitSpec| drafter.recycled.after(7).is_some();
        assert!(knows(&drafter));
        drafter.next_request();
        assert_eq!(knows(&drafter), remembers);
        drafter.reset();
        assert!(!knows(&drafter));
    }
}

#[test]
fn logits_that_no_tree_can_use_are_ranked_only_now_and_then() {
    let mut drafter = LogitSpec::new(LogitSpecParams::default());
    let step = |drafter: &mut LogitSpec, cost: &PassCost| {
        let wanted = drafter.candidates(64, cost);
        let ranked: Vec<_> = (0..wanted)
            .map(|rank| Candidate {
                token: rank as TokenId,
                logit: -(rank as f32),
            })
            .collect();
        let mut tree = DraftTree::new(0, TreeLimits::nodes(64));
        let input = DraftInput {
            text: &[9],
            root: 0,
            ranked: &ranked,
            cost,
        };
        drafter.draft(&input, &mut tree);
        wanted
    };
    let looks = |wanted: &[usize]| wanted.iter().filter(|&&wanted| wanted > 0).count();
    // Logits might pay, but do not; and cannot pay, which is soon clear.
    for (second, patience) in [(1.1, PATIENCE as usize), (100.0, 5)] {
        drafter.reset();
        let steep = PassCost::from_times(vec![1.0, second, 200.0]);
        let wanted: Vec<_> = (0..200).map(|_| step(&mut drafter, &steep)).collect();
        assert_eq!(looks(&wanted[..patience]), patience, "{wanted:?}");
        assert!(looks(&wanted[..patience + 32]) < patience + 8, "{wanted:?}");
        let late = &wanted[100..];
        assert!((10..20).contains(&looks(late)), "{late:?}");
    }
    // As soon as a larger tree pays, they are all asked for again.
    let flat = PassCost::flat();
    let wanted: Vec<_> = (0..20).map(|_| step(&mut drafter, &flat)).collect();
    assert_eq!(wanted.last(), Some(&64), "{wanted:?}");
}

#[test]
fn drafts_are_copied_from_what_was_taken_back() {
    let history = std::sync::Arc::new(crate::pool::SharedPool::new(100));
    let mut drafter = LogitSpec::new(LogitSpecParams::default()).with_memory(Memory {
        history: Some(std::sync::Arc::clone(&history)),
        ..Memory::none()
    });
    drafter.begin(&[1, 2, 3, 4, 5, 6, 7]);
    let mut text = vec![1, 2, 8];
    drafter.revise(&text, 2);
    let cost = PassCost::flat();
    let mut tree = DraftTree::new(5, TreeLimits::nodes(8));
    text.extend([3, 4]);
    drafter.extend(&text, 2);
    let input = DraftInput {
        text: &text,
        root: 5,
        ranked: &[],
        cost: &cost,
    };
    drafter.draft(&input, &mut tree);
    assert!(tree.len() > 2, "{tree:?}");
    assert_eq!(tree.token(1), 6);
    // The next turn goes on from there, and the request is kept with all its text.
    text.extend([5, 9]);
    drafter.extend(&text, 2);
    drafter.begin(&[&text[..], &[1]].concat());
    drafter.next_request();
    let kept = history.documents().concat();
    assert!(kept.windows(2).any(|pair| pair == [6, 7]), "{kept:?}");
}

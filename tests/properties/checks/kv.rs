//! The operations of the KV ledger on a simulated cache.

use logitspec::TokenId;
use logitspec::runtime::{KvLedger, KvOp, SeqId, SimulatedKv, TreeLayout};
use logitspec::tree::{DraftTree, NodeId, ROOT, TreeLimits};

use super::tree::{self, Growth};

/// An event: its kind (see [`Cache::handle`]), a parameter, and the growth of the tree of a step.
pub type Event = (u8, u8, Vec<Growth>);

const CELLS: usize = 256;

struct Cache {
    /// Whether only beginnings of the principal path are kept.
    exact: bool,
    ledger: KvLedger,
    cells: SimulatedKv,
    text: Vec<TokenId>,
}

impl Cache {
    fn n(&self) -> usize {
        self.text.len()
    }

    /// Position and token of the visible cells. In exact mode they lie in the order of their
    /// positions.
    fn visible(&self, seq: SeqId, pos: usize) -> Vec<(usize, TokenId)> {
        let mut visible = self.cells.visible(seq, pos);
        if !self.exact {
            visible.sort_unstable();
        }
        visible
    }

    fn apply(&mut self, ops: &[KvOp]) {
        ops.iter().for_each(|&op| self.cells.apply(op));
    }

    fn tokens_of(&self, seq: usize) -> usize {
        self.cells.visible(seq, usize::MAX).len()
    }

    /// Checks the cache between steps: each sequence holds a prefix of the committed text, and
    /// there
    /// are no other cells.
    fn assert_only_the_committed_text(&self) {
        assert_eq!(self.cells.used(), self.n(), "stray or missing cells");
        assert_eq!(self.ledger.n_past(), self.n());
        assert_eq!(
            self.ledger.held(0),
            self.n(),
            "sequence 0 does not hold all tokens"
        );
        for seq in 0..self.ledger.sequences() {
            let text = self.text[..self.ledger.held(seq)].iter().copied();
            let held: Vec<_> = (0..).zip(text).collect();
            assert_eq!(self.visible(seq, usize::MAX), held, "sequence {seq}");
        }
    }

    fn prepare(&mut self, missing: usize, layout: &TreeLayout) {
        let mut ops = Vec::new();
        self.ledger.before_decode(missing, layout.clone(), &mut ops);
        self.synchronize(&ops, layout.sequence_count());
    }

    /// Applies operations that copy the committed text to the first sequences. Checks that they
    /// copy
    /// only missing tokens.
    fn synchronize(&mut self, ops: &[KvOp], sequences: usize) {
        for op in ops {
            let &KvOp::Copy {
                source,
                seq,
                from,
                to,
            } = op
            else {
                panic!("{op:?} removes tokens before a step");
            };
            assert_eq!((source, to), (0, self.n()));
            assert!(
                0 < seq && seq < sequences,
                "{op:?} for a sequence not in use"
            );
            assert_eq!(
                from,
                self.tokens_of(seq),
                "copies tokens that are there already"
            );
            assert!(from < to, "an empty copy");
        }
        assert!(ops.len() < sequences, "more than one copy for each branch");
        self.apply(ops);
        for seq in 0..sequences {
            assert_eq!(self.tokens_of(seq), self.n(), "sequence {seq} lacks tokens");
        }
    }

    /// Decodes a tree, with the `missing` tokens of the text before it, and commits the path that
    /// `turns` selects. The layout may have more sequences than the tree needs. If `fails`, decodes
    /// only a part.
    fn step(&mut self, missing: &[TokenId], tree: &DraftTree, turns: u8, fails: bool) {
        let layout =
            TreeLayout::padded(tree, usize::from(turns / 16) % self.ledger.sequences() + 1);
        self.prepare(missing.len(), &layout);
        let start = self.n();
        let n = start + missing.len();
        let mut batch: Vec<_> = (start..)
            .zip(missing)
            .map(|(pos, &token)| (token, pos, layout.sequences(ROOT)))
            .collect();
        batch.extend(layout.order().iter().map(|&node| {
            let pos = n + tree.depth(node);
            (tree.token(node), pos, layout.sequences(node))
        }));
        if fails {
            batch.truncate(usize::from(turns) % batch.len());
        }
        assert!(self.cells.put(batch));
        if fails {
            let mut ops = Vec::new();
            self.ledger.after_failure(&mut ops);
            return self.apply(&ops);
        }
        self.assert_visible(missing, tree, &layout);
        self.commit(missing, tree, &layout, turns);
        if turns.is_multiple_of(3) {
            // Catch up before the next step. Its tree may be smaller.
            let mut ops = Vec::new();
            self.ledger.catch_up(&mut ops);
            self.synchronize(&ops, layout.sequence_count());
        }
    }

    /// Checks that each node sees the text, the missing tokens and its path, and nothing else.
    fn assert_visible(&self, missing: &[TokenId], tree: &DraftTree, layout: &TreeLayout) {
        let n = self.n() + missing.len();
        for node in ROOT..tree.len() {
            let mut expected = self.text.clone();
            expected.extend(missing);
            expected.push(tree.token(ROOT));
            expected.extend(tree.path_to(node).iter().map(|&id| tree.token(id)));
            let seq = layout.sequences(node).start;
            let visible = self.visible(seq, n + tree.depth(node));
            let expected: Vec<_> = (0..).zip(expected).collect();
            assert_eq!(visible, expected, "cells visible to node {node}");
        }
    }

    /// Commits the path that `turns` selects.
    fn commit(&mut self, missing: &[TokenId], tree: &DraftTree, layout: &TreeLayout, turns: u8) {
        let n = self.n() + missing.len();
        let mut path = some_path(tree, turns);
        if self.exact {
            let principal = tree.principal_path().zip(&path);
            path.truncate(principal.take_while(|(a, b)| a == *b).count());
        }
        let mut root_only = Vec::new();
        self.ledger.clone().after_decode(tree, &[], &mut root_only);
        assert!(root_only.len() <= 1, "more than one operation drops a tree");
        let mut ops = Vec::new();
        self.ledger.after_decode(tree, &path, &mut ops);
        let committed = n + 1 + path.len();
        assert!(
            ops.len() <= layout.sequence_count() + 2,
            "{} operations",
            ops.len()
        );
        for op in &ops {
            match *op {
                KvOp::Remove { from, .. } => assert!(from > n, "{op:?} drops committed text"),
                KvOp::Copy { from, to, .. } => {
                    assert!(
                        n < from && to == committed,
                        "{op:?} copies tokens of earlier steps"
                    );
                }
            }
        }
        self.apply(&ops);
        self.text.extend(missing);
        self.text.push(tree.token(ROOT));
        self.text.extend(path.iter().map(|&node| tree.token(node)));
    }

    fn handle(&mut self, (kind, number, growths): &Event) {
        match kind % 8 {
            0 => {
                let len = usize::from(*number) % (self.n() + 1);
                let mut ops = Vec::new();
                self.ledger.truncate(len, &mut ops);
                self.apply(&ops);
                self.text.truncate(len);
            }
            1 => {
                let count = usize::from(*number % 8).min(CELLS - self.n());
                for token in 0..count {
                    let token = TokenId::try_from(token).unwrap() + 10;
                    assert!(self.cells.put([(token, self.n(), 0..1)]));
                    self.text.push(token);
                }
                self.ledger.appended(count);
            }
            kind => {
                let limits = TreeLimits {
                    capacity: CELLS - self.n(),
                    leaves: self.ledger.sequences(),
                    depth: usize::MAX,
                };
                let missing = [30, 31, 32].into_iter().take(usize::from(kind) - 2);
                let missing: Vec<_> = missing.take(limits.capacity.saturating_sub(1)).collect();
                let limits = TreeLimits {
                    capacity: limits.capacity - missing.len(),
                    ..limits
                };
                if limits.capacity > 0 {
                    let tree = tree::grown(limits, growths);
                    self.step(&missing, &tree, *number, *number % 5 == 0);
                }
            }
        }
    }
}

/// The path from the root that `turns` selects.
pub fn some_path(tree: &DraftTree, turns: u8) -> Vec<NodeId> {
    let mut turns = usize::from(turns);
    let mut path = Vec::new();
    let mut at = ROOT;
    loop {
        let children: Vec<_> = tree.children(at).collect();
        // Stopping is less likely than continuing, so that paths get long.
        let choice = turns % (2 * children.len() + 1);
        turns = turns / 3 + 7 * path.len();
        let Some(&child) = children.get(choice / 2) else {
            return path;
        };
        path.push(child);
        at = child;
    }
}

/// Handles `events` on an empty cache with `sequences` sequences.
pub fn check(sequences: usize, events: &[Event]) {
    let mut cache = Cache {
        exact: sequences.is_multiple_of(2),
        ledger: KvLedger::new(sequences),
        cells: SimulatedKv::new(CELLS),
        text: Vec::new(),
    };
    for event in events {
        cache.handle(event);
        cache.assert_only_the_committed_text();
        assert!(!cache.exact || cache.cells.is_in_order(), "a hole");
    }
}

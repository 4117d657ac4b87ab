//! The KV ledger's calls, carried out on a simulated cache.

use logitspec::TokenId;
use logitspec::draft::{DraftTree, NodeId, ROOT, TreeLimits};
use logitspec::runtime::{KvLedger, KvOp, SimulatedKv, TreeLayout};

use super::tree::{self, Growth};

/// Something that happens to a cache: what (see [`Cache::happen`]), a number for it, and, for a step, how its tree grows.
pub type Event = (u8, u8, Vec<Growth>);

const CELLS: usize = 256;

struct Cache {
    ledger: KvLedger,
    cells: SimulatedKv,
    text: Vec<TokenId>,
}

impl Cache {
    fn n(&self) -> usize {
        self.text.len()
    }

    fn apply(&mut self, ops: &[KvOp]) {
        ops.iter().for_each(|&op| self.cells.apply(op));
    }

    fn tokens_of(&self, seq: usize) -> usize {
        self.cells.visible(seq, usize::MAX).len()
    }

    /// Between steps: every sequence holds the first so many committed tokens at 0.., and nothing else is there.
    fn assert_only_the_committed_text(&self) {
        assert_eq!(self.cells.used(), self.n(), "stray or missing cells");
        assert_eq!(self.ledger.n_past(), self.n());
        assert_eq!(
            self.ledger.held(0),
            self.n(),
            "sequence 0 carries all of it"
        );
        for seq in 0..self.ledger.sequences() {
            let text = self.text[..self.ledger.held(seq)].iter().copied();
            let held: Vec<_> = (0..).zip(text).collect();
            assert_eq!(self.cells.visible(seq, usize::MAX), held, "sequence {seq}");
        }
    }

    fn prepare(&mut self, layout: &TreeLayout) {
        let mut ops = Vec::new();
        self.ledger.before_decode(layout.clone(), &mut ops);
        self.bring_in_step(&ops, layout.sequence_count());
    }

    /// Carries out calls that bring the first sequences in step, and sees to it that only what was missing is copied.
    fn bring_in_step(&mut self, ops: &[KvOp], sequences: usize) {
        for op in ops {
            let &KvOp::Copy {
                source,
                seq,
                from,
                to,
            } = op
            else {
                panic!("nothing to remove before a step: {op:?}");
            };
            assert_eq!((source, to), (0, self.n()));
            assert!(
                0 < seq && seq < sequences,
                "{op:?} for a sequence not in use"
            );
            assert_eq!(from, self.tokens_of(seq), "copies what is there already");
            assert!(from < to, "copies nothing");
        }
        assert!(ops.len() < sequences, "at most one call for each branch");
        self.apply(ops);
        for seq in 0..sequences {
            assert_eq!(
                self.tokens_of(seq),
                self.n(),
                "sequence {seq} is not in step"
            );
        }
    }

    fn put(&mut self, tree: &DraftTree, layout: &TreeLayout, node: NodeId) {
        let pos = self.n() + tree.depth(node);
        assert!(
            self.cells
                .put(tree.token(node), pos, layout.sequences(node))
        );
    }

    /// Decodes a tree on some sequences more than it needs, and keeps the path that `turns` leads down; or, if `fails`,
    /// breaks off half-way.
    fn step(&mut self, tree: &DraftTree, turns: u8, fails: bool) {
        let layout =
            TreeLayout::padded(tree, usize::from(turns / 16) % self.ledger.sequences() + 1);
        let n = self.n();
        self.prepare(&layout);
        if fails {
            for node in 0..usize::from(turns) % tree.len() {
                self.put(tree, &layout, node);
            }
            let mut ops = Vec::new();
            self.ledger.after_failure(&mut ops);
            return self.apply(&ops);
        }
        (ROOT..tree.len()).for_each(|node| self.put(tree, &layout, node));
        for node in ROOT..tree.len() {
            let mut expected = self.text.clone();
            expected.push(tree.token(ROOT));
            expected.extend(tree.path_to(node).iter().map(|&id| tree.token(id)));
            let seen = self
                .cells
                .visible(layout.sequences(node).start, n + tree.depth(node));
            let expected: Vec<_> = (0..).zip(expected).collect();
            assert_eq!(seen, expected, "what node {node} sees");
        }

        let path = some_path(tree, turns);
        let mut ops = Vec::new();
        self.ledger.after_decode(tree, &path, &mut ops);
        let committed = n + 1 + path.len();
        assert!(
            ops.len() <= layout.sequence_count() + 2,
            "{} calls",
            ops.len()
        );
        for op in &ops {
            match *op {
                KvOp::Remove { from, .. } => assert!(from > n, "{op:?} drops committed text"),
                KvOp::Copy { from, to, .. } => {
                    assert!(
                        n < from && to == committed,
                        "{op:?} copies more than this step's"
                    );
                }
            }
        }
        self.apply(&ops);
        self.text.push(tree.token(ROOT));
        self.text.extend(path.iter().map(|&node| tree.token(node)));
        if turns.is_multiple_of(3) {
            // Ahead of the next tree, which may turn out smaller.
            let mut ops = Vec::new();
            self.ledger.catch_up(&mut ops);
            self.bring_in_step(&ops, layout.sequence_count());
        }
    }

    fn happen(&mut self, (kind, number, growths): &Event) {
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
                    assert!(self.cells.put(token, self.n(), 0..1));
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
                if limits.capacity > 0 {
                    self.step(&tree::grown(limits, growths), *number, kind == 2);
                }
            }
        }
    }
}

/// A path from the root that ends somewhere, where `turns` says.
fn some_path(tree: &DraftTree, turns: u8) -> Vec<NodeId> {
    let mut turns = usize::from(turns);
    let mut path = Vec::new();
    let mut at = ROOT;
    loop {
        let children: Vec<_> = tree.children(at).collect();
        // Going on is likelier than stopping, or no path would ever be long.
        let choice = turns % (2 * children.len() + 1);
        turns = turns / 3 + 7 * path.len();
        let Some(&child) = children.get(choice / 2) else {
            return path;
        };
        path.push(child);
        at = child;
    }
}

/// Lets `events` happen to an empty cache with `sequences` sequences.
pub fn check(sequences: usize, events: &[Event]) {
    let mut cache = Cache {
        ledger: KvLedger::new(sequences),
        cells: SimulatedKv::new(CELLS),
        text: Vec::new(),
    };
    for event in events {
        cache.happen(event);
        cache.assert_only_the_committed_text();
    }
}

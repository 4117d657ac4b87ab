//! Bookkeeping of the KV cache.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::TokenId;
use crate::runtime::layout::{SeqId, TreeLayout};
use crate::tree::{DraftTree, NodeId, ROOT};

/// One call to the cache. Positions are half-open; each call scans all cells once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvOp {
    /// Take the cells at positions `from..to` (no `to`: to the end) out of `seq`, or out of every
    /// sequence.
    Remove {
        /// The sequence; `None` for all.
        seq: Option<SeqId>,
        /// First position.
        from: usize,
        /// Position after the last.
        to: Option<usize>,
    },
    /// Let the cells of sequence 0 (or of another `source`) at `from..to` belong to `seq` too.
    Copy {
        /// Where the cells are.
        source: SeqId,
        /// The sequence that gains them.
        seq: SeqId,
        /// First position.
        from: usize,
        /// Position after the last.
        to: usize,
    },
}

/// Knows what every sequence of the cache holds, and says which calls bring it up to date.
///
/// Sequence 0 holds all committed tokens in the cache. Each other sequence holds a beginning of them
/// and catches up only when a tree needs it. So a step makes calls for the sequences that it uses,
/// not for all, and copies only what was committed since a sequence was used last.
///
/// Between steps the cache holds committed tokens and nothing else. It may lack the last of them:
/// those are decoded again with the next tree.
#[derive(Clone, Debug)]
pub struct KvLedger {
    /// `held[s]` is the number of committed tokens in sequence `s`.
    held: Vec<usize>,
    /// Whether the memory can drop the end of a sequence. If not, it can only be emptied.
    can_cut: bool,
    /// The layout of the last tree, or of a bare root if other tokens were decoded since.
    layout: TreeLayout,
    /// Tokens decoded again along with that tree, before its root.
    redecode: usize,
    /// Tokens of that batch.
    batch: usize,
}

impl KvLedger {
    /// An empty cache with `sequences` sequences (at least one).
    pub fn new(sequences: usize) -> Self {
        Self {
            held: vec![0; sequences.max(1)],
            can_cut: true,
            layout: TreeLayout::of_root(),
            redecode: 0,
            batch: 0,
        }
    }

    /// The ledger of a memory that can only be emptied (recurrent models): one sequence, and
    /// nothing to draft.
    pub fn uncuttable() -> Self {
        Self {
            can_cut: false,
            ..Self::new(1)
        }
    }

    /// Number of committed tokens in the cache.
    pub fn n_past(&self) -> usize {
        self.held[0]
    }

    /// Number of sequences, the most leaves a tree may have.
    pub fn sequences(&self) -> usize {
        self.held.len()
    }

    /// Number of committed tokens in sequence `seq`.
    pub fn held(&self, seq: SeqId) -> usize {
        self.held[seq]
    }

    /// The layout of the last tree.
    pub fn layout(&self) -> &TreeLayout {
        &self.layout
    }

    /// The batch of the tree laid out last, after the tokens to `redecode`: token, position and
    /// sequences.
    pub fn batch<'a>(
        &'a self,
        redecode: &'a [TokenId],
        tree: &'a DraftTree,
    ) -> impl Iterator<Item = (TokenId, usize, Range<SeqId>)> + 'a {
        let start = self.n_past();
        let root = start + redecode.len();
        let ahead = (start..).zip(redecode);
        let ahead = ahead.map(|(pos, &token)| (token, pos, self.layout.sequences(ROOT)));
        ahead.chain((ROOT..tree.len()).map(move |node| {
            let pos = root + tree.depth(node);
            (tree.token(node), pos, self.layout.sequences(node))
        }))
    }

    /// Notes that `count` tokens were decoded on sequence 0 alone.
    pub fn appended(&mut self, count: usize) {
        self.held[0] += count;
        self.redecode = 0;
        // The last tree's graph is gone, so the next tree need not have its shape.
        self.layout = TreeLayout::of_root();
        self.batch = 0;
    }

    /// Lays out the next tree, behind `redecode` tokens to decode again, and says what to do before
    /// it is decoded. A batch as large as the last one gets as many sequences, so that its graph can
    /// be reused.
    pub fn lay_out(&mut self, redecode: usize, tree: &DraftTree, ops: &mut Vec<KvOp>) {
        let batch = redecode + tree.len();
        let sequences = if batch == self.batch {
            self.layout.sequence_count()
        } else {
            1
        };
        self.batch = batch;
        self.before_decode(redecode, TreeLayout::padded(tree, sequences), ops);
    }

    /// What to do before a tree with this layout is decoded, behind `redecode` tokens on all its
    /// sequences.
    ///
    /// # Panics
    /// If there are not so many sequences.
    pub fn before_decode(&mut self, redecode: usize, layout: TreeLayout, ops: &mut Vec<KvOp>) {
        self.layout = layout;
        self.redecode = redecode;
        self.catch_up(ops);
    }

    /// The calls that give the sequences of the last layout all committed tokens.
    pub fn catch_up(&mut self, ops: &mut Vec<KvOp>) {
        let n_past = self.n_past();
        for (seq, held) in self.held[..self.layout.sequence_count()]
            .iter_mut()
            .enumerate()
        {
            if *held < n_past {
                ops.push(KvOp::Copy {
                    source: 0,
                    seq,
                    from: *held,
                    to: n_past,
                });
                *held = n_past;
            }
        }
    }

    /// What to do after the last tree was decoded, to keep its root and `path` (nodes below it, from
    /// the top).
    pub fn after_decode(&mut self, tree: &DraftTree, path: &[NodeId], ops: &mut Vec<KvOp>) {
        let layout = &self.layout;
        let root_pos = self.held[0] + self.redecode;
        let committed = root_pos + 1 + path.len();
        let keeper = path.last().map_or(0, |&last| layout.sequences(last).start);
        // Cells deeper than the kept path hang below it only on the sequences that carry all of it;
        // one call drops them for everybody. The other sequences part from the path higher up.
        let deeper = path
            .last()
            .map_or(tree.drafted() > 0, |&last| !tree.is_leaf(last));
        if deeper {
            ops.push(KvOp::Remove {
                seq: None,
                from: committed,
                to: None,
            });
        }
        for (seq, held) in self.held[..layout.sequence_count()].iter_mut().enumerate() {
            let shared = path
                .iter()
                .take_while(|&&node| layout.sequences(node).contains(&seq))
                .count();
            *held = root_pos + 1 + shared;
            if *held < committed {
                ops.push(KvOp::Remove {
                    seq: Some(seq),
                    from: *held,
                    to: None,
                });
            }
        }
        if self.held[0] < committed {
            ops.push(KvOp::Copy {
                source: keeper,
                seq: 0,
                from: self.held[0],
                to: committed,
            });
            self.held[0] = committed;
        }
    }

    /// Calls that it takes to keep `path` of the tree laid out last and to bring all its sequences
    /// in step again, and that keeping the root alone does not take: two for each sequence that
    /// parts from the path.
    pub fn calls_for(&self, path: &[NodeId]) -> usize {
        let of = |node| self.layout.sequences(node).len();
        path.last()
            .map_or(0, |&last| 2 * (self.layout.sequence_count() - of(last)))
    }

    /// What to do after a decode that failed half-way: drop whatever it left, keep all that was
    /// committed.
    pub fn after_failure(&mut self, ops: &mut Vec<KvOp>) {
        self.truncate(self.n_past(), ops);
    }

    /// Keep only the first `len` committed tokens, or none if the memory cannot be cut back.
    pub fn truncate(&mut self, len: usize, ops: &mut Vec<KvOp>) {
        let len = if self.can_cut { len } else { 0 };
        ops.push(KvOp::Remove {
            seq: None,
            from: len,
            to: None,
        });
        self.held.iter_mut().for_each(|held| *held = len.min(*held));
    }
}

/// A KV cache without a model: cells with a token, a position and the sequences they belong to,
/// under llama.cpp's rules. It is what [`KvLedger`] and [`TreeLayout`] are tested against.
#[derive(Clone, Debug)]
pub struct SimulatedKv {
    cells: Vec<Option<Cell>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    token: TokenId,
    pos: usize,
    sequences: BTreeSet<SeqId>,
}

impl SimulatedKv {
    /// An empty cache of `size` cells.
    pub fn new(size: usize) -> Self {
        Self {
            cells: vec![None; size],
        }
    }

    /// Number of cells in use.
    pub fn used(&self) -> usize {
        self.cells.iter().flatten().count()
    }

    /// Number of cells not in use.
    pub fn free(&self) -> usize {
        self.cells.len() - self.used()
    }

    /// Does what `op` says.
    pub fn apply(&mut self, op: KvOp) {
        let within = |pos: usize, from: usize, to: usize| (from..to).contains(&pos);
        match op {
            KvOp::Remove { seq, from, to } => {
                for cell in &mut self.cells {
                    if let Some(held) = cell
                        && within(held.pos, from, to.unwrap_or(usize::MAX))
                    {
                        match seq {
                            Some(seq) => held.sequences.remove(&seq),
                            None => {
                                held.sequences.clear();
                                true
                            }
                        };
                        if held.sequences.is_empty() {
                            *cell = None;
                        }
                    }
                }
            }
            KvOp::Copy {
                source,
                seq,
                from,
                to,
            } => {
                for cell in self.cells.iter_mut().flatten() {
                    if within(cell.pos, from, to) && cell.sequences.contains(&source) {
                        cell.sequences.insert(seq);
                    }
                }
            }
        }
    }

    /// Puts a token into a free cell. `false` if there is none.
    pub fn put(
        &mut self,
        token: TokenId,
        pos: usize,
        sequences: impl IntoIterator<Item = SeqId>,
    ) -> bool {
        let Some(free) = self.cells.iter_mut().find(|cell| cell.is_none()) else {
            return false;
        };
        *free = Some(Cell {
            token,
            pos,
            sequences: sequences.into_iter().collect(),
        });
        true
    }

    /// The greatest and the smallest position of a sequence, if it holds any cell.
    pub fn bounds(&self, seq: SeqId) -> Option<(usize, usize)> {
        let positions = || {
            self.cells
                .iter()
                .flatten()
                .filter(move |cell| cell.sequences.contains(&seq))
                .map(|cell| cell.pos)
        };
        Some((positions().min()?, positions().max()?))
    }

    /// What a token at `pos` whose first sequence is `seq` sees: position and token of each cell,
    /// by position.
    pub fn visible(&self, seq: SeqId, pos: usize) -> Vec<(usize, TokenId)> {
        let mut seen: Vec<_> = self
            .cells
            .iter()
            .flatten()
            .filter(|cell| cell.sequences.contains(&seq) && cell.pos <= pos)
            .map(|cell| (cell.pos, cell.token))
            .collect();
        seen.sort_unstable();
        seen
    }
}

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
/// Sequence 0 holds all committed tokens in the cache. Each other sequence holds a beginning of
/// them and catches up only when a tree needs it. So a step makes calls for the sequences that it
/// uses, not for all, and copies only what was committed since a sequence was used last.
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

    /// Whether the memory can drop the end of a sequence.
    pub fn can_cut(&self) -> bool {
        self.can_cut
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
        ahead.chain(self.layout.order().iter().map(move |&node| {
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

    /// Notes that sequence 0, which is empty, was given `count` tokens of another text.
    pub fn shared(&mut self, count: usize) {
        debug_assert_eq!(self.held[0], 0);
        self.held[0] = count;
    }

    /// Lays out the next tree, behind `redecode` tokens to decode again, and says what to do before
    /// it is decoded. A batch as large as the last one gets as many sequences, so that its graph
    /// can be reused.
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

    /// What to do after the last tree was decoded, to keep its root and `path` (nodes below it,
    /// from the top).
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

/// A KV cache without a model, under llama.cpp's rules: cells with a token, a position and the
/// sequences they belong to. [`KvLedger`] and [`TreeLayout`] are tested against it.
#[derive(Clone, Debug)]
pub struct SimulatedKv {
    cells: Vec<Option<Cell>>,
    /// Where the search for a free cell starts.
    head: usize,
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
            head: 0,
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

    /// Whether the cells in use lie in the order of their positions, without holes, from the first
    /// cell on, as plain decoding leaves them.
    pub fn is_in_order(&self) -> bool {
        let used = &self.cells[..self.used()];
        let mut in_place = used.iter().zip(0..);
        in_place.all(|(cell, pos)| cell.as_ref().is_some_and(|cell| cell.pos == pos))
    }

    /// Does what `op` says.
    pub fn apply(&mut self, op: KvOp) {
        match op {
            KvOp::Remove { seq, from, to } => self.remove(seq, from..to.unwrap_or(usize::MAX)),
            KvOp::Copy {
                source,
                seq,
                from,
                to,
            } => {
                for cell in self.cells.iter_mut().flatten() {
                    if (from..to).contains(&cell.pos) && cell.sequences.contains(&source) {
                        cell.sequences.insert(seq);
                    }
                }
            }
        }
    }

    /// llama.cpp's `seq_rm`: the head moves to the lowest cell that becomes free, if that is lower.
    fn remove(&mut self, seq: Option<SeqId>, positions: Range<usize>) {
        let mut lowest = None;
        for (index, slot) in self.cells.iter_mut().enumerate() {
            let Some(cell) = slot.as_mut().filter(|it| positions.contains(&it.pos)) else {
                continue;
            };
            match seq {
                Some(seq) => drop(cell.sequences.remove(&seq)),
                None => cell.sequences.clear(),
            }
            if cell.sequences.is_empty() {
                *slot = None;
                lowest = lowest.or(Some(index));
            }
        }
        self.head = self.head.min(lowest.unwrap_or(self.head));
    }

    /// llama.cpp's `find_slot`: puts the tokens of a batch into free cells, one by one from the
    /// head on, and leaves the head behind the last one. `false`, and nothing, if there is no room.
    pub fn put(&mut self, batch: impl IntoIterator<Item = (TokenId, usize, Range<SeqId>)>) -> bool {
        let batch: Vec<_> = batch.into_iter().collect();
        if batch.len() > self.free() {
            return false;
        }
        let far = self.head > self.used() + 2 * batch.len();
        let mut at = if far { 0 } else { self.head };
        for (token, pos, sequences) in batch {
            let size = self.cells.len();
            at = (at..at + size)
                .map(|at| at % size)
                .find(|&at| self.cells[at].is_none())
                .expect("there is room");
            self.cells[at] = Some(Cell {
                token,
                pos,
                sequences: sequences.collect(),
            });
            at += 1;
        }
        self.head = at;
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
    /// in the order of the cells.
    pub fn visible(&self, seq: SeqId, pos: usize) -> Vec<(usize, TokenId)> {
        self.cells
            .iter()
            .flatten()
            .filter(|cell| cell.sequences.contains(&seq) && cell.pos <= pos)
            .map(|cell| (cell.pos, cell.token))
            .collect()
    }
}

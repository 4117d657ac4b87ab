//! Which cell of the KV cache each token gets.

use std::collections::HashSet;
use std::ops::Range;

use crate::runtime::slots::SlotId;

/// A mirror of llama.cpp's cells, to know beforehand where the tokens of a batch will lie.
///
/// llama.cpp puts the tokens of a batch into the free cells one by one, the lowest first. Attention
/// adds up in the order of the cells. So for the same rounding as in plain decoding, the tokens of
/// each slot must lie in the order of their positions. Other slots' cells between them do not
/// matter: attention skips them.
///
/// [`place`](Self::place) orders a batch such that each slot's tokens come behind those that the
/// slot has already. A free cell that no slot of the batch may use is a problem, because llama.cpp
/// would use it. There are two ways out:
///
/// - Tokens that a slot no longer needs are not freed but [set aside](Self::set_aside). They are
///   freed when a slot can use their cells.
/// - A slot gives up its tokens behind the free cell. They are decoded again with the batch.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    cells: Vec<Cell>,
    /// The cells of each slot's tokens, by position.
    live: Vec<Vec<usize>>,
    /// No lower cell is free or set aside.
    lowest: usize,
    /// Number of cells that slots hold.
    held: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Free,
    /// Held by so many slots.
    Live(u16),
    /// Set aside by this slot, at this position.
    Aside {
        slot: SlotId,
        pos: usize,
    },
}

/// The tokens that one slot adds to a batch, behind those that it has.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub slot: SlotId,
    /// For each token, how unlikely it is to be kept: 0 for certain. The likely ones lie together,
    /// so that few cells become free between them.
    pub ranks: Vec<usize>,
}

/// Where a batch goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// For each token of the batch: which of the [`Wanted`] it belongs to. The tokens of one come
    /// in their own order.
    pub order: Vec<usize>,
    /// The cell of each token of the batch.
    pub cells: Vec<usize>,
}

/// There are too few cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Cells {
    pub(super) fn new(cells: usize, slots: usize) -> Self {
        Self {
            cells: vec![Cell::Free; cells],
            live: vec![Vec::new(); slots],
            lowest: 0,
            held: 0,
        }
    }

    /// Number of cells that no slot holds.
    pub(super) fn free(&self) -> usize {
        self.cells.len() - self.held
    }

    /// The last cell of a slot's tokens.
    fn last(&self, slot: SlotId) -> Option<usize> {
        self.live[slot].last().copied()
    }

    /// Orders a batch. Slots may have to give up their last tokens for it: `wanted` then begins
    /// with those. Cells that were set aside and are to be freed go to `freed`, as slot and
    /// position. The cells of the batch are taken from now on, until [`settle`](Self::settle).
    ///
    /// # Errors
    /// If there are too few cells. What was given up and freed until then stays so.
    pub(super) fn place(
        &mut self,
        wanted: &mut [Wanted],
        freed: &mut Vec<(SlotId, usize)>,
    ) -> Result<Placed, Full> {
        loop {
            match self.try_place(wanted, freed) {
                Ok(placed) => {
                    for &cell in &placed.cells {
                        self.cells[cell] = Cell::Live(1);
                    }
                    self.held += placed.cells.len();
                    return Ok(placed);
                }
                Err(Some(blocked)) => self.give_up_behind(blocked, wanted),
                Err(None) => return Err(Full),
            }
        }
    }

    /// Where a batch goes; or the free cell that nobody may use; or `None` if there
    /// are too few cells.
    fn try_place(
        &mut self,
        wanted: &[Wanted],
        freed: &mut Vec<(SlotId, usize)>,
    ) -> Result<Placed, Option<usize>> {
        let total = wanted.iter().map(|it| it.ranks.len()).sum();
        let mut next = vec![0; wanted.len()];
        let (mut order, mut cells) = (Vec::with_capacity(total), Vec::with_capacity(total));
        let mut passed_over = HashSet::new();
        let is_live = |cell: &Cell| matches!(cell, Cell::Live(_));
        self.lowest += self.cells[self.lowest..]
            .iter()
            .take_while(|cell| is_live(cell))
            .count();
        for at in self.lowest..self.cells.len() {
            if order.len() == total {
                break;
            }
            let cell = self.cells[at];
            if is_live(&cell) {
                continue;
            }
            let may_use = |index: &usize| {
                let it: &Wanted = &wanted[*index];
                next[*index] < it.ranks.len() && self.last(it.slot).is_none_or(|last| last < at)
            };
            let best = (0..wanted.len()).filter(may_use).min_by_key(|&index| {
                let it = &wanted[index];
                (it.ranks[next[index]], self.last(it.slot))
            });
            match (best, cell) {
                (None, Cell::Free) => return Err(Some(at)),
                (None, Cell::Aside { slot, pos }) => {
                    passed_over.insert((slot, pos));
                    continue;
                }
                // Freeing it would free the cell before, too.
                (Some(_), Cell::Aside { slot, pos }) if passed_over.contains(&(slot, pos)) => {
                    continue;
                }
                (Some(_), Cell::Aside { slot, pos }) => {
                    self.free_aside(slot, pos);
                    freed.push((slot, pos));
                }
                _ => {}
            }
            let best = best.expect("the cell is used");
            next[best] += 1;
            order.push(best);
            cells.push(at);
        }
        match order.len() == total {
            true => Ok(Placed { order, cells }),
            false => Err(None),
        }
    }

    /// Frees the cells that `slot` set aside at `pos`.
    fn free_aside(&mut self, slot: SlotId, pos: usize) {
        let aside = Cell::Aside { slot, pos };
        for cell in self.cells.iter_mut().filter(|cell| **cell == aside) {
            *cell = Cell::Free;
        }
    }

    /// Has one of the slots of a batch give up its tokens behind a cell: the one with the fewest.
    fn give_up_behind(&mut self, cell: usize, wanted: &mut [Wanted]) {
        let live = &self.live;
        let behind = |it: &Wanted| {
            let live = &live[it.slot];
            live.len() - live.partition_point(|&held| held < cell)
        };
        let given_up = wanted.iter_mut().map(|it| (behind(it), it));
        let (given_up, it) = given_up
            .filter(|(given_up, _)| *given_up > 0)
            .min_by_key(|(given_up, _)| *given_up)
            .expect("a slot with tokens left may not use the cell");
        it.ranks.splice(0..0, std::iter::repeat_n(0, given_up));
        let (slot, kept) = (it.slot, live[it.slot].len() - given_up);
        self.forget(slot, kept);
    }

    /// Number of tokens that a slot has.
    pub(super) fn held(&self, slot: SlotId) -> usize {
        self.live[slot].len()
    }

    /// Frees the cells of a slot behind its first `len` tokens, unless another slot holds them,
    /// too.
    pub(super) fn forget(&mut self, slot: SlotId, len: usize) {
        let live = &mut self.live[slot];
        let dropped = live.split_off(len.min(live.len()));
        for at in dropped {
            self.let_go(at, Cell::Free);
        }
    }

    /// A slot no longer holds a cell. If no other slot does, it becomes `then`.
    fn let_go(&mut self, at: usize, then: Cell) {
        match &mut self.cells[at] {
            Cell::Live(holders @ 2..) => *holders -= 1,
            cell => {
                *cell = then;
                self.held -= 1;
                self.lowest = self.lowest.min(at);
            }
        }
    }

    /// Whether cells that a slot frees behind its first `len` tokens lie before tokens of another
    /// slot.
    pub(super) fn would_leave_holes(&self, slot: SlotId, len: usize) -> bool {
        let Some(&first) = self.live[slot].get(len) else {
            return false;
        };
        let mut others = (0..self.live.len()).filter(|&other| other != slot);
        others.any(|other| self.last(other).is_some_and(|last| last > first))
    }

    /// Like [`forget`](Self::forget), but the cells stay occupied until they are of use. Returns
    /// the positions of those that no other slot holds.
    pub(super) fn set_aside(&mut self, slot: SlotId, len: usize) -> Vec<Range<usize>> {
        let live = &mut self.live[slot];
        let dropped = live.split_off(len.min(live.len()));
        let mut aside: Vec<Range<usize>> = Vec::new();
        for (pos, at) in (len..).zip(dropped) {
            let then = Cell::Aside { slot, pos };
            self.let_go(at, then);
            match aside.last_mut() {
                _ if self.cells[at] != then => {}
                Some(run) if run.end == pos => run.end += 1,
                _ => aside.push(pos..pos + 1),
            }
        }
        aside
    }

    /// A slot keeps `kept` of the cells that it was given by [`place`](Self::place), in this order,
    /// and frees the `dropped` ones.
    pub(super) fn settle(
        &mut self,
        slot: SlotId,
        kept: impl IntoIterator<Item = usize>,
        dropped: impl IntoIterator<Item = usize>,
    ) {
        self.live[slot].extend(kept);
        for at in dropped {
            self.let_go(at, Cell::Free);
        }
        debug_assert!(self.live[slot].is_sorted(), "out of order");
    }

    /// Slot `to`, which is empty, holds the first `len` tokens of `from`, too.
    pub(super) fn share(&mut self, from: SlotId, to: SlotId, len: usize) {
        let shared = self.live[from][..len].to_vec();
        for &at in &shared {
            match &mut self.cells[at] {
                Cell::Live(holders) => *holders += 1,
                other => unreachable!("a slot holds {other:?}"),
            }
        }
        debug_assert!(self.live[to].is_empty());
        self.live[to] = shared;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(slot: SlotId, ranks: &[usize]) -> Wanted {
        Wanted {
            slot,
            ranks: ranks.to_vec(),
        }
    }

    /// Places a batch in which nothing that was set aside is freed.
    fn place(cells: &mut Cells, batch: &mut [Wanted]) -> Placed {
        let mut freed = Vec::new();
        let placed = cells.place(batch, &mut freed).unwrap();
        assert_eq!(freed, []);
        placed
    }

    #[test]
    fn likely_tokens_of_all_slots_lie_together() {
        let mut cells = Cells::new(16, 2);
        let mut batch = [wanted(0, &[0, 1, 9]), wanted(1, &[0, 0, 1])];
        let placed = place(&mut cells, &mut batch);
        assert_eq!(placed.order, [0, 1, 1, 0, 1, 0]);
        assert_eq!(placed.cells, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_slot_gives_up_tokens_where_others_leave_a_hole_that_nobody_fills() {
        let mut cells = Cells::new(16, 2);
        place(&mut cells, &mut [wanted(0, &[0]), wanted(1, &[])]);
        cells.settle(0, [0], []);
        // Slot 1 holds cell 2; cell 1 becomes free.
        place(&mut cells, &mut [wanted(0, &[0]), wanted(1, &[0])]);
        cells.settle(0, [], [1]);
        cells.settle(1, [2], []);
        // Slot 0 fills it first.
        let mut both = [wanted(0, &[0]), wanted(1, &[0])];
        let placed = place(&mut cells, &mut both);
        assert_eq!((placed.order, placed.cells), (vec![0, 1], vec![1, 3]));
        cells.settle(0, [], [1]);
        cells.settle(1, [], [3]);
        // Alone, slot 1 has to decode its token again.
        let mut alone = [wanted(1, &[0])];
        let placed = place(&mut cells, &mut alone);
        assert_eq!(alone[0].ranks, [0, 0]);
        assert_eq!(placed.cells, [1, 2]);
    }

    #[test]
    fn cells_set_aside_are_freed_when_a_slot_can_use_them() {
        let mut cells = Cells::new(8, 2);
        place(&mut cells, &mut [wanted(0, &[0, 0, 0])]);
        cells.settle(0, [0, 1, 2], []);
        place(&mut cells, &mut [wanted(1, &[0])]);
        cells.settle(1, [3], []);
        assert!(cells.would_leave_holes(0, 1));
        assert!(!cells.would_leave_holes(1, 0));
        let one_run = 1..3;
        assert_eq!(cells.set_aside(0, 1), [one_run]);
        assert_eq!(cells.free(), 6);
        // Slot 1 goes on behind its own token.
        let placed = place(&mut cells, &mut [wanted(1, &[0])]);
        assert_eq!(placed.cells, [4]);
        cells.settle(1, [4], []);
        // Slot 0 uses one of its old cells, not both.
        let mut freed = Vec::new();
        let placed = cells.place(&mut [wanted(0, &[0])], &mut freed).unwrap();
        assert_eq!((placed.cells, freed), (vec![1], vec![(0, 1)]));
    }

    #[test]
    fn shared_cells_are_free_when_both_slots_have_let_go() {
        let mut cells = Cells::new(4, 2);
        place(&mut cells, &mut [wanted(0, &[0, 0])]);
        cells.settle(0, [0, 1], []);
        cells.share(0, 1, 2);
        cells.forget(0, 0);
        assert_eq!(cells.free(), 2);
        cells.forget(1, 1);
        assert_eq!(cells.free(), 3);
        let full = cells.place(&mut [wanted(0, &[0; 5])], &mut Vec::new());
        assert_eq!(full, Err(Full));
    }
}

//! What is asked of the memory ahead of its use: how far, in what order, and at whose turn.

use std::arch::x86_64::*;
use std::sync::LazyLock;

use super::Matrix;

/// How far ahead of their use weights are asked for, in bytes. Half and twice as far made no
/// difference, 4 KB a large one.
pub(super) const AHEAD: usize = 64 << 10;
/// The bytes that come from memory at once.
pub(super) const LINE: usize = 64;

/// Asks for a line, for the second-level cache: few lines can be on their way to the first
/// level at a time. The address may be past the end of everything.
#[inline(always)]
fn ask_for(address: *const u8) {
    // SAFETY: every x86-64 has the instruction, and asking for an address that there is not does
    // nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
}

/// In which order the lines of a few rows are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// That of their addresses, as rows follow each other: what AMD's processors like.
    Addresses,
    /// Each row's own, as the rows are read: Intel's are slower with the other than if nothing was
    /// asked for.
    Rows,
}

impl Order {
    /// What this processor likes.
    pub(super) fn here() -> Self {
        static ORDER: LazyLock<Order> = LazyLock::new(|| {
            let maker = __cpuid(0);
            let maker = [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes);
            match maker.concat() == *b"GenuineIntel" {
                true => Order::Rows,
                false => Order::Addresses,
            }
        });
        *ORDER
    }
}

/// Which time it is that a piece is gone over, when there are more tokens than can go over it at
/// once: its rows come from memory the first time only, and after the last time the next piece is
/// wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) first: bool,
    pub(super) last: bool,
}

/// What a thread reads ahead of time: the rows of its piece, and then those of the next one that it
/// will take. That is asked for as late as can be, since nobody else can take it then.
pub(super) struct Ahead<'a> {
    weights: Matrix,
    end: *const u8,
    order: Order,
    next: Option<Option<*const u8>>,
    next_row: &'a mut dyn FnMut() -> Option<usize>,
}

impl<'a> Ahead<'a> {
    /// For a piece of `weights` that ends before the row `end`, asked for in an `order`; `next_row`
    /// takes the next piece and names its first row.
    pub(super) fn new(
        weights: Matrix,
        end: usize,
        order: Order,
        next_row: &'a mut dyn FnMut() -> Option<usize>,
    ) -> Self {
        Self {
            weights,
            end: weights.row(end),
            order,
            next: None,
            next_row,
        }
    }

    /// What is to be asked for while so many `bytes` at `rows` are gone over.
    pub(super) fn of(&mut self, rows: *const u8, bytes: usize, time: Time) -> Coming {
        let start = rows.wrapping_add(AHEAD);
        let over = start as usize + bytes > self.end as usize;
        let (weights, next_row) = (self.weights, &mut *self.next_row);
        let mut claim = || {
            *self
                .next
                .get_or_insert_with(|| Some(weights.row(next_row()?)))
        };
        Coming {
            start,
            end: self.end,
            order: self.order,
            here: time.first,
            next: if time.last && over { claim() } else { None },
        }
    }
}

/// As many bytes as some rows have, [`AHEAD`] of them.
#[derive(Clone, Copy)]
pub(super) struct Coming {
    /// Where they are, as far as the piece goes.
    start: *const u8,
    end: *const u8,
    order: Order,
    /// Whether these are to be asked for.
    here: bool,
    /// Where those behind the end are, if they are to be asked for: at the next piece's beginning.
    next: Option<*const u8>,
}

impl Coming {
    /// Where the byte numbered `at` is, if it is to be asked for.
    #[inline(always)]
    fn place(&self, at: usize) -> Option<*const u8> {
        let place = self.start.wrapping_add(at);
        match (place as usize).checked_sub(self.end as usize) {
            None => self.here.then_some(place),
            Some(over) => self.next.map(|next| next.wrapping_add(over)),
        }
    }
}

/// What one turn over a few rows asks for. They are gone over once for each few tokens, and if one
/// turn asked for everything that comes next, the memory would be idle in all others.
#[derive(Clone, Copy)]
pub(super) struct Share {
    coming: Coming,
    /// The next step that asks, for what the step numbered `part` goes over.
    due: usize,
    part: usize,
    turns: usize,
}

impl Share {
    /// That of the turn numbered `turn`, of `turns`, each of which has so many `steps`.
    pub(super) fn of(coming: Coming, turn: usize, turns: usize, steps: usize) -> Self {
        let part = (turn * steps).div_ceil(turns);
        let due = match coming.here || coming.next.is_some() {
            true => part * turns - turn * steps,
            false => usize::MAX,
        };
        Self {
            coming,
            due,
            part,
            turns,
        }
    }

    /// At the step numbered `step` over `R` rows that are `stride` bytes apart, of each of which a
    /// step takes so many `bytes`: asks for what comes, if this is a step that does.
    #[inline(always)]
    pub(super) fn ask<const R: usize>(&mut self, step: usize, bytes: usize, stride: usize) {
        self.each_line::<R>(step, bytes, stride, ask_for);
    }

    /// As [`ask`](Self::ask), with something else done with each line's address.
    #[inline(always)]
    pub(super) fn each_line<const R: usize>(
        &mut self,
        step: usize,
        bytes: usize,
        stride: usize,
        mut ask_for: impl FnMut(*const u8),
    ) {
        if step != self.due {
            return;
        }
        let part = self.part;
        self.due += self.turns;
        self.part += 1;
        let mut lines = |from: usize, bytes: usize| {
            if let Some(place) = self.coming.place(from) {
                for line in 0..bytes.div_ceil(LINE) {
                    ask_for(place.wrapping_add(line * LINE));
                }
            }
        };
        match self.coming.order {
            Order::Addresses => lines(part * R * bytes, R * bytes),
            Order::Rows => (0..R).for_each(|row| lines(row * stride + part * bytes, bytes)),
        }
    }
}

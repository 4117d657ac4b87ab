//! Prefetching of weights: how far ahead, in which order, and by which pass over the rows.

use std::arch::x86_64::*;
use std::sync::LazyLock;

use crate::mul_mat::Matrix;

/// How many bytes ahead of their use weights are prefetched. Half and twice as much made no
/// difference, 4 KB a large one.
pub(crate) const DISTANCE: usize = 64 << 10;
/// Bytes of a cache line.
pub(crate) const CACHE_LINE: usize = 64;

/// Prefetches a line into the second-level cache: few lines can be on their way to the first level
/// at a time. The address may be outside of everything.
#[inline(always)]
fn prefetch_line(address: *const u8) {
    // SAFETY: every x86-64 has the instruction, and it ignores addresses without memory.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
}

/// In which order the lines of several rows are prefetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By address, one row after the other: faster on AMD's processors.
    Address,
    /// As the kernel reads them, a few lines of each row in turn: faster on Intel's, which are
    /// slower with the other order than without any prefetching.
    Row,
}

impl Order {
    /// The faster one on this processor.
    pub(crate) fn best() -> Self {
        static BEST: LazyLock<Order> = LazyLock::new(|| {
            let vendor = __cpuid(0);
            let vendor = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
            match vendor.concat() == *b"GenuineIntel" {
                true => Order::Row,
                false => Order::Address,
            }
        });
        *BEST
    }
}

/// Which visit of a chunk's rows this is. Many tokens need several visits, and the rows come from
/// memory at the first. After the last one the thread takes the next chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) first: bool,
    pub(crate) last: bool,
}

/// What a thread prefetches: the rows of its chunk, then those of the next chunk that it takes. It
/// takes that one as late as possible, because no other thread can take it afterwards.
pub(crate) struct Prefetcher<'a> {
    weights: Matrix,
    end: *const u8,
    order: Order,
    next_chunk: Option<Option<*const u8>>,
    take_next: &'a mut dyn FnMut() -> Option<usize>,
}

impl<'a> Prefetcher<'a> {
    /// For a chunk of `weights` that ends before the row `end`. `take_next` takes the next chunk
    /// and returns its first row.
    pub(crate) fn new(
        weights: Matrix,
        end: usize,
        order: Order,
        take_next: &'a mut dyn FnMut() -> Option<usize>,
    ) -> Self {
        Self {
            weights,
            end: weights.row(end),
            order,
            next_chunk: None,
            take_next,
        }
    }

    /// What to prefetch while the kernel reads `bytes` bytes at `rows`.
    pub(crate) fn window(&mut self, rows: *const u8, bytes: usize, visit: Visit) -> Window {
        let start = rows.wrapping_add(DISTANCE);
        let passes_end = start as usize + bytes > self.end as usize;
        let next = match visit.last && passes_end {
            true => self.next_chunk(),
            false => None,
        };
        Window {
            start,
            end: self.end,
            order: self.order,
            within: visit.first,
            next,
        }
    }

    fn next_chunk(&mut self) -> Option<*const u8> {
        let (weights, take_next) = (self.weights, &mut *self.take_next);
        *self
            .next_chunk
            .get_or_insert_with(|| Some(weights.row(take_next()?)))
    }
}

/// A range of weights to prefetch.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    start: *const u8,
    /// End of the chunk.
    end: *const u8,
    order: Order,
    /// Whether to prefetch what is within the chunk.
    within: bool,
    /// Where to go on behind the chunk's end, if anywhere: the next chunk.
    next: Option<*const u8>,
}

impl Window {
    /// Address of the byte at an offset, if it is to be prefetched.
    #[inline(always)]
    fn address(&self, offset: usize) -> Option<*const u8> {
        let address = self.start.wrapping_add(offset);
        match (address as usize).checked_sub(self.end as usize) {
            None => self.within.then_some(address),
            Some(behind) => self.next.map(|next| next.wrapping_add(behind)),
        }
    }
}

/// The part of a window that one of several passes over the same rows prefetches. If the first
/// pass prefetched everything, memory would be idle during the others.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    window: Window,
    /// The next step at which to prefetch, and for which step of the rows ahead.
    due: usize,
    ahead_step: usize,
    passes: usize,
}

impl Schedule {
    /// For the pass numbered `pass` of `passes`, each of which has `steps` steps.
    pub(crate) fn new(window: Window, pass: usize, passes: usize, steps: usize) -> Self {
        let ahead_step = (pass * steps).div_ceil(passes);
        let due = match window.within || window.next.is_some() {
            true => ahead_step * passes - pass * steps,
            false => usize::MAX,
        };
        Self {
            window,
            due,
            ahead_step,
            passes,
        }
    }

    /// Prefetches what is due at a step over `R` rows that are `stride` bytes apart, of each of
    /// which a step reads `bytes` bytes.
    #[inline(always)]
    pub(crate) fn prefetch<const R: usize>(&mut self, step: usize, bytes: usize, stride: usize) {
        self.for_each_line::<R>(step, bytes, stride, prefetch_line);
    }

    /// Calls `visit` for every line that is due at a step.
    #[inline(always)]
    pub(crate) fn for_each_line<const R: usize>(
        &mut self,
        step: usize,
        bytes: usize,
        stride: usize,
        mut visit: impl FnMut(*const u8),
    ) {
        if step != self.due {
            return;
        }
        let ahead_step = self.ahead_step;
        self.due += self.passes;
        self.ahead_step += 1;
        let mut lines = |offset: usize, bytes: usize| {
            if let Some(address) = self.window.address(offset) {
                for line in 0..bytes.div_ceil(CACHE_LINE) {
                    visit(address.wrapping_add(line * CACHE_LINE));
                }
            }
        };
        match self.window.order {
            Order::Address => lines(ahead_step * R * bytes, R * bytes),
            Order::Row => (0..R).for_each(|row| lines(row * stride + ahead_step * bytes, bytes)),
        }
    }
}

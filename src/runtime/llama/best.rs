//! The best candidates of rows of logits, picked while llama.cpp copies the rows.
//!
//! After a pass llama.cpp copies the rows of all its tokens to where they can be read: 8 MB for 64 tokens and 32,000 logits. Who looks for the
//! best of each then fetches all of that from memory once more, which takes longer than looking. Where the rows were computed on the
//! processor, they are copied here instead, and looked through on the way. The copies are the same.

use crate::draft::ROW_CANDIDATES;
use crate::verify::{Candidate, Row};

/// The best candidates of the rows that a decode gave, if they were looked for.
#[derive(Debug, Default)]
pub(super) struct Best {
    /// Where the first row was copied to, as an address: nothing is read there.
    start: usize,
    /// Logits of a row.
    len: usize,
    /// [`ROW_CANDIDATES`] for each row.
    candidates: Vec<Candidate>,
    /// Whether a row had fewer: one of little but NaN. Whoever wants such rows looks for himself.
    unfit: bool,
}

impl Best {
    /// The row, with its best if it is one of those copied last.
    pub(super) fn of<'a>(&'a self, logits: &'a [f32]) -> Row<'a> {
        let best = self.number(logits).and_then(|row| {
            let start = row * ROW_CANDIDATES;
            self.candidates.get(start..start + ROW_CANDIDATES)
        });
        Row::with_best(logits, best.unwrap_or_default())
    }

    /// Which of the rows it would be by its place.
    fn number(&self, logits: &[f32]) -> Option<usize> {
        let after = (logits.as_ptr() as usize).checked_sub(self.start)?;
        let bytes = size_of_val(logits);
        (logits.len() == self.len && after.is_multiple_of(bytes)).then(|| after / bytes)
    }

    /// Decodes: forgets the rows before, and looks through those that come if there are several.
    pub(super) fn during<T>(&mut self, decode: impl FnOnce() -> T) -> T {
        self.candidates.clear();
        self.unfit = false;
        copies::during(self, decode)
    }
}

#[cfg(not(few_token_kernels))]
mod copies {
    pub(super) fn during<T>(_: &mut super::Best, decode: impl FnOnce() -> T) -> T {
        decode()
    }
}

#[cfg(few_token_kernels)]
mod copies {
    #![allow(unsafe_code)]

    use std::cell::RefCell;
    use std::ffi::c_void;
    use std::slice::{from_raw_parts, from_raw_parts_mut};

    use llama_cpp_sys_2 as sys;

    use super::Best;
    use crate::draft::ROW_CANDIDATES;
    use crate::runtime::llama::products::are_left_to_llama;
    use crate::runtime::llama::products::led::led;
    use crate::verify::copy_and_top_k;

    thread_local! {
        /// Where this thread puts what it finds, while it decodes.
        static FOUND: RefCell<Option<Best>> = const { RefCell::new(None) };
    }

    /// Whether llama.cpp's copies are made here.
    pub(super) fn are_led_here() -> bool {
        !logitspec_llama_get().is_null()
    }

    pub(super) fn during<T>(best: &mut Best, decode: impl FnOnce() -> T) -> T {
        if !are_led_here() {
            return decode();
        }
        FOUND.set(Some(std::mem::take(best)));
        let decoded = decode();
        *best = FOUND.take().unwrap_or_default();
        decoded
    }

    led! {
        "ggml_backend_tensor_get_async" to copy:
            unsafe extern "C" fn(sys::ggml_backend_t, *const sys::ggml_tensor, *mut c_void, usize, usize) -> bool;
        /// The address of llama.cpp's function, if the linker leads calls of it here.
        logitspec_llama_get
    }

    /// Copies `size` bytes of a tensor from `offset` on to `to`, if they are rows to be looked through; `false` if not.
    ///
    /// # Safety
    /// As llama.cpp calls it: the tensor is computed by the backend, and there is room at `to`.
    unsafe extern "C" fn copy(
        backend: sys::ggml_backend_t,
        tensor: *const sys::ggml_tensor,
        to: *mut c_void,
        offset: usize,
        size: usize,
    ) -> bool {
        FOUND.with_borrow_mut(|best| {
            let Some(best) = best else {
                return false;
            };
            // SAFETY: the caller's promises.
            let tensor = unsafe { &*tensor };
            // SAFETY: a tensor's own buffer, if it has one.
            let host = !tensor.buffer.is_null()
                && unsafe { sys::ggml_backend_buffer_is_host(tensor.buffer) };
            let len = usize::try_from(tensor.ne[0]).unwrap_or(0);
            let rows = size / size_of::<f32>() / len.max(1);
            // SAFETY: looks at the tensor's shape.
            let whole = unsafe { sys::ggml_is_contiguous(tensor) }
                && offset == 0
                && rows * len * size_of::<f32>() == size;
            if !host
                || !whole
                || tensor.type_ != sys::GGML_TYPE_F32
                || rows < 2
                || are_left_to_llama(false)
            {
                return false;
            }
            // SAFETY: the caller's promises. The host sees what was computed when the backend is done.
            unsafe {
                sys::ggml_backend_synchronize(backend);
                let count = rows * len;
                let from = from_raw_parts(tensor.data.cast::<f32>(), count);
                best.copy(from, from_raw_parts_mut(to.cast(), count), len);
            }
            true
        })
    }

    impl Best {
        /// Copies rows of `len` logits.
        pub(super) fn copy(&mut self, from: &[f32], to: &mut [f32], len: usize) {
            // A batch that is computed in parts comes in parts.
            let place = to.as_ptr() as usize;
            let copied = self.candidates.len() / ROW_CANDIDATES;
            let follows = self.start + copied * len * size_of::<f32>();
            if self.len != len || follows != place {
                self.candidates.clear();
                (self.start, self.len) = (place, len);
            }
            let mut found = Vec::with_capacity(ROW_CANDIDATES);
            for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
                copy_and_top_k(from, to, ROW_CANDIDATES, &mut found);
                self.unfit |= found.len() < ROW_CANDIDATES;
                self.candidates.append(&mut found);
            }
            if self.unfit {
                self.candidates.clear();
            }
        }
    }
}

#[cfg(all(test, few_token_kernels))]
mod tests {
    use super::*;
    use crate::verify::top_k;

    const LEN: usize = 1_500;

    fn rows(count: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..count * LEN).map(|_| random.f32()).collect()
    }

    /// The best known of each row, if any are.
    fn known(best: &Best, rows: &[f32]) -> Vec<Vec<Candidate>> {
        let rows = rows.chunks(LEN);
        rows.map(|row| best.of(row).best().to_vec()).collect()
    }

    #[test]
    fn rows_are_copied_as_they_are_and_known_by_their_place_in_one_part_or_several() {
        let from = rows(6);
        let expected: Vec<_> = from.chunks(LEN).map(|row| top_k(row, 8)).collect();
        for parts in [6, 4, 2, 1] {
            let mut to = vec![0.0; from.len()];
            let mut best = Best::default();
            best.during(|| ());
            for (from, to) in from.chunks(parts * LEN).zip(to.chunks_mut(parts * LEN)) {
                best.copy(from, to, LEN);
            }
            assert_eq!(to, from);
            assert_eq!(known(&best, &to), expected);
            // Equal rows elsewhere, what begins or ends within rows, and what the next decode may put there.
            assert_eq!(known(&best, &from), vec![vec![]; 6]);
            assert!(best.of(&to[1..=LEN]).best().is_empty());
            assert!(best.of(&to[..LEN - 1]).best().is_empty());
            assert!(best.of(&to[..0]).best().is_empty());
            best.during(|| ());
            assert_eq!(known(&best, &to), vec![vec![]; 6]);
        }
    }

    #[test]
    fn a_decode_that_gave_a_row_with_few_numbers_leaves_all_to_be_looked_for() {
        let mut from = rows(3);
        from[LEN..2 * LEN - 5].fill(f32::NAN);
        let mut to = vec![0.0; from.len()];
        let mut best = Best::default();
        best.during(|| ());
        best.copy(&from[..2 * LEN], &mut to[..2 * LEN], LEN);
        best.copy(&from[2 * LEN..], &mut to[2 * LEN..], LEN);
        assert_eq!(known(&best, &to), vec![vec![]; 3]);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&to), bits(&from));
        best.during(|| ());
        best.copy(&from[..LEN], &mut to[..LEN], LEN);
        assert_eq!(best.of(&to[..LEN]).best(), top_k(&from[..LEN], 8));
    }

    #[test]
    fn calls_for_copies_come_here() {
        assert!(copies::are_led_here());
    }
}

//! The best candidates of rows of logits, picked while llama.cpp copies the rows.
//!
//! After a pass llama.cpp copies the rows of all its tokens to where they can be read: 8 MB for 64
//! tokens and 32,000 logits. Who looks for the best of each then fetches all of that from memory
//! once more, which takes longer than looking. Where the rows were computed on the processor, they
//! are copied here instead, and looked through on the way. The copies are the same.
//!
//! A row is known again by where it was copied to. llama.cpp may put rows in another order there
//! before it shows them (it does for batches that are computed sequence by sequence, which trees
//! are not). To notice it, a row is also asked whether its best is where it was found.

use crate::draft::ROW_CANDIDATES;
use crate::verify::{Candidate, Row};

/// The best candidates of the rows that a decode gave, as far as they were looked for.
#[derive(Debug, Default)]
pub(super) struct Best {
    /// Where the first row was copied to, as an address: nothing is read there.
    start: usize,
    /// Logits of a row.
    len: usize,
    /// [`ROW_CANDIDATES`] for each row. Nothing, if a row had fewer: one of little but NaN. Whoever
    /// wants such rows looks for himself.
    candidates: Option<Vec<Candidate>>,
}

impl Best {
    /// Whether any are known.
    pub(super) fn is_known(&self) -> bool {
        self.candidates.as_ref().is_some_and(|all| !all.is_empty())
    }

    /// The row, with its best if it is one of those copied last.
    pub(super) fn of<'a>(&'a self, logits: &'a [f32]) -> Row<'a> {
        let best = self.at(logits).filter(|best| {
            let first = best[0];
            logits[first.token as usize].to_bits() == first.logit.to_bits()
        });
        Row::with_best(logits, best.unwrap_or_default())
    }

    /// What was found in the row that was copied to where this one is.
    fn at(&self, logits: &[f32]) -> Option<&[Candidate]> {
        let after = (logits.as_ptr() as usize).checked_sub(self.start)?;
        let bytes = size_of_val(logits);
        if logits.is_empty() || logits.len() != self.len || !after.is_multiple_of(bytes) {
            return None;
        }
        let first = after / bytes * ROW_CANDIDATES;
        self.candidates.as_ref()?.get(first..first + ROW_CANDIDATES)
    }

    /// Decodes: forgets the rows before, and looks through those that come.
    pub(super) fn during<T>(&mut self, decode: impl FnOnce() -> T) -> T {
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
    use std::slice::from_raw_parts;

    use llama_cpp_sys_2 as sys;

    use super::Best;
    use crate::draft::ROW_CANDIDATES;
    use crate::runtime::llama::products::are_left_to_llama;
    use crate::runtime::llama::products::led::led;
    use crate::verify::hand_on_and_top_k;

    thread_local! {
        /// Where this thread puts what it finds, while it decodes.
        static FOUND: RefCell<Option<Best>> = const { RefCell::new(None) };
    }

    led! {
        "ggml_backend_tensor_get_async" to copy:
            unsafe extern "C" fn(sys::ggml_backend_t, *const sys::ggml_tensor, *mut c_void, usize, usize) -> bool;
        /// The address of llama.cpp's function, if the linker leads calls of it here.
        logitspec_llama_get
    }

    /// Whether llama.cpp's copies are made here.
    pub(super) fn are_led_here() -> bool {
        !logitspec_llama_get().is_null()
    }

    pub(super) fn during<T>(best: &mut Best, decode: impl FnOnce() -> T) -> T {
        /// Whatever becomes of the decode, nothing is noted after it.
        struct End<'a>(&'a mut Best);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                *self.0 = FOUND.take().unwrap_or_default();
            }
        }

        if !are_led_here() {
            return decode();
        }
        best.begin();
        FOUND.set(Some(std::mem::take(best)));
        let _end = End(best);
        decode()
    }

    /// Copies `size` bytes of a tensor from `offset` on to `to`, if they are rows to be looked
    /// through; `false` if not.
    ///
    /// # Safety
    /// As llama.cpp calls it: the tensor is computed by the backend, and there is room at `to`,
    /// which is elsewhere.
    unsafe extern "C" fn copy(
        backend: sys::ggml_backend_t,
        tensor: *const sys::ggml_tensor,
        to: *mut c_void,
        offset: usize,
        size: usize,
    ) -> bool {
        let note = |found: &RefCell<Option<Best>>| {
            let Ok(mut found) = found.try_borrow_mut() else {
                return false;
            };
            let Some(best) = found.as_mut() else {
                return false;
            };
            // SAFETY: the caller's promises.
            let tensor = unsafe { &*tensor };
            let len = usize::try_from(tensor.ne[0]).unwrap_or(0);
            let rows = size / size_of::<f32>() / len.max(1);
            let whole = offset == 0 && rows >= 1 && rows * len * size_of::<f32>() == size;
            // SAFETY: the caller's promises.
            let here = whole && unsafe { is_at_hand(backend, tensor, size) };
            if !here || are_left_to_llama(false) {
                return false;
            }
            // SAFETY: the tensor has so much, and the caller's promises. The host sees what was
            // computed when the backend is done.
            unsafe {
                sys::ggml_backend_synchronize(backend);
                let count = rows * len;
                let from = from_raw_parts(tensor.data.cast::<f32>(), count);
                best.copy(from, to.cast(), len);
            }
            true
        };
        // A thread that ends has nothing to note.
        FOUND.try_with(note).unwrap_or(false)
    }

    /// Whether a tensor's first `size` bytes are numbers in single precision, computed by the
    /// processor, where it can read them.
    ///
    /// # Safety
    /// Both are llama.cpp's.
    unsafe fn is_at_hand(
        backend: sys::ggml_backend_t,
        tensor: &sys::ggml_tensor,
        size: usize,
    ) -> bool {
        if tensor.type_ != sys::GGML_TYPE_F32 || tensor.data.is_null() || tensor.buffer.is_null() {
            return false;
        }
        // SAFETY: the caller's promises.
        unsafe {
            let device = sys::ggml_backend_get_device(backend);
            if device.is_null() {
                return false;
            }
            let kind = sys::ggml_backend_dev_type(device);
            let processor = [
                sys::GGML_BACKEND_DEVICE_TYPE_CPU,
                sys::GGML_BACKEND_DEVICE_TYPE_ACCEL,
            ];
            processor.contains(&kind)
                && sys::ggml_backend_buffer_is_host(tensor.buffer)
                && sys::ggml_is_contiguous(tensor)
                && size <= sys::ggml_nbytes(tensor)
        }
    }

    impl Best {
        /// Forgets all rows, for those of the next decode.
        pub(super) fn begin(&mut self) {
            let mut candidates = self.candidates.take().unwrap_or_default();
            candidates.clear();
            self.candidates = Some(candidates);
        }

        /// Copies rows of `len` logits.
        ///
        /// # Safety
        /// There is room for them at `to`, which is elsewhere.
        pub(super) unsafe fn copy(&mut self, from: &[f32], to: *mut f32, len: usize) {
            // A batch that is computed in parts comes in parts.
            let place = to as usize;
            let known = self.candidates.as_ref().map_or(0, Vec::len) / ROW_CANDIDATES;
            if self.len != len || self.start + known * len * size_of::<f32>() != place {
                (self.start, self.len) = (place, len);
                if let Some(candidates) = &mut self.candidates {
                    candidates.clear();
                }
            }
            let mut found = Vec::with_capacity(ROW_CANDIDATES);
            for (row, number) in from.chunks_exact(len).zip(0..) {
                // SAFETY: the caller's promise.
                let put = |start, block: &[f32]| unsafe {
                    let to = to.add(number * len + start);
                    to.copy_from_nonoverlapping(block.as_ptr(), block.len());
                };
                hand_on_and_top_k(row, ROW_CANDIDATES, &mut found, put);
                if found.len() < ROW_CANDIDATES {
                    self.candidates = None;
                }
                if let Some(candidates) = &mut self.candidates {
                    candidates.append(&mut found);
                }
            }
        }
    }
}

#[cfg(all(test, few_token_kernels))]
#[allow(unsafe_code)]
mod tests {
    use llama_cpp_sys_2 as sys;

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

    fn looked_for(rows: &[f32]) -> Vec<Vec<Candidate>> {
        let rows = rows.chunks(LEN);
        rows.map(|row| top_k(row, ROW_CANDIDATES)).collect()
    }

    fn copy(best: &mut Best, from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len());
        // SAFETY: there is room.
        unsafe { best.copy(from, to.as_mut_ptr(), LEN) }
    }

    fn begun() -> Best {
        let mut best = Best::default();
        best.begin();
        best
    }

    #[test]
    fn rows_are_copied_as_they_are_and_known_by_their_place_in_one_part_or_several() {
        let from = rows(6);
        for parts in [6, 4, 2, 1] {
            let mut to = vec![0.0; from.len()];
            let mut best = begun();
            assert!(!best.is_known());
            for (from, to) in from.chunks(parts * LEN).zip(to.chunks_mut(parts * LEN)) {
                copy(&mut best, from, to);
            }
            assert_eq!(to, from);
            assert!(best.is_known());
            assert_eq!(known(&best, &to), looked_for(&from));
            // Equal rows elsewhere, and what begins or ends within rows.
            assert_eq!(known(&best, &from), vec![vec![]; 6]);
            assert!(best.of(&to[1..=LEN]).best().is_empty());
            assert!(best.of(&to[..LEN - 1]).best().is_empty());
            assert!(best.of(&to[..0]).best().is_empty());
            // Rows that were put in another order.
            to.rotate_left(LEN);
            assert_eq!(known(&best, &to), vec![vec![]; 6]);
            to.rotate_right(LEN);
            // What the next decode may put there.
            best.begin();
            assert_eq!(known(&best, &to), vec![vec![]; 6]);
        }
    }

    #[test]
    fn parts_that_do_not_follow_each_other_are_not_mixed_up() {
        let from = rows(4);
        let mut to = vec![0.0; from.len()];
        let mut best = begun();
        let (first, last) = to.split_at_mut(2 * LEN);
        copy(&mut best, &from[2 * LEN..], last);
        copy(&mut best, &from[..2 * LEN], first);
        let mut expected = looked_for(&from);
        expected[2..].fill(vec![]);
        assert_eq!(known(&best, &to), expected);
    }

    #[test]
    fn a_decode_that_gave_a_row_with_few_numbers_leaves_all_to_be_looked_for() {
        let mut from = rows(3);
        from[LEN..2 * LEN - 5].fill(f32::NAN);
        let mut to = vec![0.0; from.len()];
        let mut best = begun();
        copy(&mut best, &from[..2 * LEN], &mut to[..2 * LEN]);
        copy(&mut best, &from[2 * LEN..], &mut to[2 * LEN..]);
        assert_eq!(known(&best, &to), vec![vec![]; 3]);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&to), bits(&from));
        best.begin();
        copy(&mut best, &from[..LEN], &mut to[..LEN]);
        assert_eq!(known(&best, &to)[0], looked_for(&from)[0]);
    }

    /// A tensor in the host's memory with so many rows, and what may be done to it.
    fn with_tensor(
        kind: sys::ggml_type,
        values: &[f32],
        mut what: impl FnMut(sys::ggml_backend_t, *const sys::ggml_tensor),
    ) {
        crate::runtime::llama::devices();
        // SAFETY: all of it is made here, has the room that it is said to have, and is freed in the
        // end.
        unsafe {
            let cpu = sys::GGML_BACKEND_DEVICE_TYPE_CPU;
            let backend = sys::ggml_backend_init_by_type(cpu, std::ptr::null());
            let context = sys::ggml_init(sys::ggml_init_params {
                mem_size: 1 << 20,
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            });
            let rows = values.len() / LEN;
            let tensor = sys::ggml_new_tensor_2d(context, kind, LEN as i64, rows as i64);
            let memory = sys::ggml_backend_cpu_buffer_type();
            let buffer = sys::ggml_backend_alloc_ctx_tensors_from_buft(context, memory);
            sys::ggml_backend_tensor_set(tensor, values.as_ptr().cast(), 0, 4 * values.len());
            what(backend, tensor);
            sys::ggml_backend_buffer_free(buffer);
            sys::ggml_free(context);
            sys::ggml_backend_free(backend);
        }
    }

    #[test]
    fn llama_s_copies_come_here_while_there_is_a_decode_and_are_llama_s_otherwise() {
        assert!(copies::are_led_here());
        let from = rows(4);
        let get = |backend, tensor, offset: usize, rows: usize| {
            let mut to = vec![0.0f32; rows * LEN];
            let bytes = size_of_val(&to[..]);
            // SAFETY: there is so much, and room for it.
            unsafe {
                let to = to.as_mut_ptr().cast();
                sys::ggml_backend_tensor_get_async(backend, tensor, to, 4 * offset * LEN, bytes);
            }
            assert_eq!(to, from[offset * LEN..][..rows * LEN]);
            to
        };
        with_tensor(sys::GGML_TYPE_F32, &from, |backend, tensor| {
            let mut best = Best::default();
            for (offset, rows, comes_here) in
                [(0, 4, true), (0, 2, true), (0, 1, true), (1, 3, false)]
            {
                let rows = best.during(|| get(backend, tensor, offset, rows));
                let expected = looked_for(&rows);
                let none = vec![vec![]; expected.len()];
                let expected = if comes_here { expected } else { none };
                assert_eq!(known(&best, &rows), expected);
            }
            // Another one's decode in between, and copies that belong to none.
            let mut other = Best::default();
            let ours = best.during(|| get(backend, tensor, 0, 4));
            let others = other.during(|| get(backend, tensor, 0, 3));
            let nobodys = get(backend, tensor, 0, 4);
            assert_eq!(known(&best, &ours), looked_for(&ours));
            assert_eq!(known(&other, &others), looked_for(&others));
            assert_eq!(known(&other, &ours), vec![vec![]; 4]);
            assert_eq!(known(&best, &nobodys), vec![vec![]; 4]);
            // A decode that panics ends as well.
            let panics = std::panic::AssertUnwindSafe(|| best.during(|| panic!("on purpose")));
            assert!(std::panic::catch_unwind(panics).is_err());
            assert_eq!(known(&best, &ours), vec![vec![]; 4]);
            let nobodys = get(backend, tensor, 0, 4);
            assert_eq!(known(&best, &nobodys), vec![vec![]; 4]);
        });
        with_tensor(sys::GGML_TYPE_I32, &from, |backend, tensor| {
            let mut best = Best::default();
            let rows = best.during(|| get(backend, tensor, 0, 4));
            assert_eq!(
                known(&best, &rows),
                vec![vec![]; 4],
                "no numbers in single precision"
            );
        });
    }
}

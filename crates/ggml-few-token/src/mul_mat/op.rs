//! `MUL_MAT` as an operation of ggml's graph: which ones the kernels take, and their activations.

use std::cell::RefCell;
use std::ffi::c_void;

use llama_cpp_sys_2 as sys;

use super::layout::Activations;
use super::{Job, Layout, Matrix, MulMat, Output, vnni};
use crate::Isa;
use crate::ggml::{self, ComputeParams};

/// Computes this thread's part of a `MUL_MAT`. `false` if ggml has to.
///
/// # Safety
/// As for [`crate::forward`].
pub(crate) unsafe fn forward(params: &ComputeParams, op: &sys::ggml_tensor) -> bool {
    // SAFETY: the caller's promises.
    let op = unsafe { Op::new(params, op) };
    // SAFETY: the caller's promises; `shape` says that there is a kernel.
    unsafe {
        match op.shape() {
            Some((shape, isa)) => op.compute(shape, isa),
            None => return false,
        }
    }
    true
}

/// A `MUL_MAT` with its operands.
pub(crate) struct Op<'a> {
    params: &'a ComputeParams,
    src0: &'a sys::ggml_tensor,
    src1: &'a sys::ggml_tensor,
    dst: &'a sys::ggml_tensor,
}

impl<'a> Op<'a> {
    /// # Safety
    /// As for [`crate::forward`].
    pub(crate) unsafe fn new(params: &'a ComputeParams, dst: &'a sys::ggml_tensor) -> Self {
        // SAFETY: the caller's promises; a MUL_MAT has two sources.
        let [src0, src1] = unsafe { [&*dst.src[0], &*dst.src[1]] };
        Self {
            params,
            src0,
            src1,
            dst,
        }
    }

    /// The shape of each of its products and the instruction set for them, if there is a kernel.
    ///
    /// # Safety
    /// The tensors are ggml's.
    unsafe fn shape(&self) -> Option<(MulMat, Isa)> {
        // SAFETY: the caller's promise.
        self.shape_in(unsafe { Layout::of(self.src0) }?)
    }

    /// The same for weights in a layout.
    pub(crate) fn shape_in(&self, layout: Layout) -> Option<(MulMat, Isa)> {
        let Self {
            src0, src1, dst, ..
        } = self;
        // ggml does not read a Hadamard matrix: it transforms the activations.
        if dst.op_params[1] as u32 == sys::GGML_HINT_SRC0_IS_HADAMARD {
            return None;
        }
        // Not the rows of a cache, which mostly hold other heads between them.
        if src0.nb[1] != ggml::row_size(src0.type_, src0.ne[0]) {
            return None;
        }
        let f32 = src1.type_ == sys::GGML_TYPE_F32 && src1.nb[0] == size_of::<f32>();
        let takes = match layout.activations() {
            Activations::Converted => f32 || self.is_converted() && ggml::is_contiguous(src1),
            _ => f32 && dst.ne[2] * dst.ne[3] == 1,
        };
        let shape = MulMat::new(layout, src0.ne, dst.ne[1]).filter(|_| takes)?;
        Some((shape, layout.isa()?))
    }

    /// Whether the activations have the type that ggml multiplies the weights by: for F16 and Q8_0,
    /// the same.
    fn is_converted(&self) -> bool {
        self.src1.type_ == self.src0.type_
    }

    /// Computes this thread's part of all products.
    ///
    /// # Safety
    /// As for [`crate::forward`], and the operands have the shape.
    pub(crate) unsafe fn compute(&self, shape: MulMat, isa: Isa) {
        // SAFETY: the caller's promises. Each chunk is taken by one thread, and chunks have no
        // results in common.
        unsafe {
            match shape.layout.activations() {
                Activations::Converted if !self.is_converted() => self.convert(),
                _ => {}
            }
            for (number, [i2, i3]) in self.batches().enumerate() {
                if number > 0 {
                    // None is still taking chunks of the product before.
                    self.params.barrier();
                }
                let mut job = self.job(shape, [i2, i3]);
                match shape.layout.is_packed() {
                    true => job.activations = self.pack(&job),
                    false => self.params.start_chunks(),
                }
                job.compute(isa, &mut shape.chunks(self.params));
            }
        }
    }

    /// The indices of all products in the third and fourth dimension.
    fn batches(&self) -> impl Iterator<Item = [i64; 2]> {
        let [.., ne2, ne3] = self.dst.ne;
        (0..ne3).flat_map(move |i3| (0..ne2).map(move |i2| [i2, i3]))
    }

    /// One product. Its weights may belong to several, which ggml calls broadcasting.
    fn job(&self, shape: MulMat, [i2, i3]: [i64; 2]) -> Job {
        let Self {
            src0, src1, dst, ..
        } = self;
        let at = |tensor: &sys::ggml_tensor, [i2, i3]: [i64; 2]| {
            let offset = i2 as usize * tensor.nb[2] + i3 as usize * tensor.nb[3];
            tensor.data.cast::<u8>().wrapping_add(offset)
        };
        let of_weights = [2, 3].map(|dim| dst.ne[dim] / src0.ne[dim]);
        let activations = match shape.layout.activations() {
            Activations::Converted if !self.is_converted() => {
                let stride = ggml::row_size(src0.type_, src0.ne[0]);
                let first = (i3 * dst.ne[2] + i2) as usize * shape.tokens;
                let data = self.params.wdata.cast::<u8>().wrapping_add(first * stride);
                Matrix { data, stride }
            }
            _ => Matrix {
                data: at(src1, [i2, i3]),
                stride: src1.nb[1],
            },
        };
        Job {
            shape,
            weights: Matrix {
                data: at(src0, [i2 / of_weights[0], i3 / of_weights[1]]),
                stride: shape.layout.group_bytes(shape.row_len),
            },
            activations,
            output: Output {
                data: at(dst, [i2, i3]).cast(),
                stride: dst.nb[1] / size_of::<f32>(),
            },
        }
    }

    /// Converts this thread's part of the activations, into the work buffer, in the way that
    /// `ggml_compute_forward_mul_mat` does: each thread takes the same blocks of all rows.
    ///
    /// # Safety
    /// As for [`compute`](Self::compute); the work buffer has room for all.
    unsafe fn convert(&self) {
        let Self { params, src1, .. } = self;
        let ty = self.src0.type_;
        let [ne0, ne1, ne2, ne3] = src1.ne;
        // SAFETY: every type has traits, and those of F16 and Q8_0 a conversion.
        let (block, from_float) = unsafe {
            let traits = &*sys::ggml_get_type_traits_cpu(ty);
            (sys::ggml_blck_size(ty), traits.from_float)
        };
        let from_float = from_float.expect("ggml converts to F16 and Q8_0");
        let start_of = |thread: i32| i64::from(thread) * (ne0 / block) / i64::from(params.nth);
        let [start, end] = [params.ith, params.ith + 1].map(|thread| start_of(thread) * block);
        let row_size = ggml::row_size(ty, ne0);
        debug_assert!(params.wsize >= row_size * (ne1 * ne2 * ne3) as usize);
        for row in 0..ne1 * ne2 * ne3 {
            let [i1, i2, i3] = [row % ne1, row / ne1 % ne2, row / ne1 / ne2];
            let offset = i1 as usize * src1.nb[1] + i2 as usize * src1.nb[2];
            let offset = offset + i3 as usize * src1.nb[3] + start as usize * src1.nb[0];
            let from = src1.data.cast::<u8>().wrapping_add(offset);
            let at = row as usize * row_size + ggml::row_size(ty, start);
            let to = params.wdata.cast::<u8>().wrapping_add(at);
            // SAFETY: the caller's promises, and no other thread writes these blocks.
            unsafe { from_float(from.cast(), to.cast::<c_void>(), end - start) }
        }
    }

    /// Packs the activations of a job, which all threads do together, and starts its chunks.
    ///
    /// # Safety
    /// As for [`compute`](Self::compute).
    unsafe fn pack(&self, job: &Job) -> Matrix {
        thread_local! {
            /// That of the first thread is used by all. Kept for the next product: 256 tokens of
            /// 5,632 values take 1.8 MB.
            static PACKED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
        }
        let MulMat {
            row_len, tokens, ..
        } = job.shape;
        let params = self.params;
        // The work buffer has room for the quantized activations, which is more than an address.
        debug_assert!(params.wsize >= size_of::<*mut u64>());
        let shared = params.wdata.cast::<*mut u64>();
        // SAFETY: the caller's promises: all threads share the buffer, and none reads the address
        // before the barrier in `start_chunks`. What it leads to does not change before the first
        // thread packs for another product, and all wait for each other before that.
        unsafe {
            if params.ith == 0 {
                PACKED.with_borrow_mut(|packed| {
                    let words = vnni::packed_words(job.shape);
                    if packed.len() < words {
                        packed.resize(words, 0);
                    }
                    shared.write_unaligned(packed.as_mut_ptr());
                });
            }
            params.start_chunks();
            let packed = shared.read_unaligned();
            let [ith, nth] = [params.ith, params.nth].map(|number| number as usize);
            // Neighbouring tokens for each thread, since their blocks share cache lines.
            for token in ith * tokens / nth..(ith + 1) * tokens / nth {
                let values = job.activations.row(token).cast::<f32>();
                let values = std::slice::from_raw_parts(values, row_len);
                vnni::pack(job.shape, token, values, packed);
            }
            params.barrier();
            Matrix {
                data: packed.cast_const().cast(),
                stride: 0,
            }
        }
    }
}

//! Through ggml's graph: which operations the hook takes, and their results.

mod extra_buffers;
mod host_buffers;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

/// Of all products with so many rows: how many threads computed one, and how many rows.
struct Count {
    rows: usize,
    threads: AtomicUsize,
    computed: AtomicUsize,
}

impl Count {
    const fn of(rows: usize) -> Self {
        Self {
            rows,
            threads: AtomicUsize::new(0),
            computed: AtomicUsize::new(0),
        }
    }

    fn now(&self) -> [usize; 2] {
        [&self.threads, &self.computed].map(|count| count.load(Relaxed))
    }

    /// How many threads have computed one since, all rows of `products` once.
    fn since(&self, before: [usize; 2], products: usize) -> usize {
        let [threads, computed] = self.now();
        let threads = threads - before[0];
        let expected = if threads > 0 { products * self.rows } else { 0 };
        assert_eq!(computed - before[1], expected);
        threads
    }
}

// Each test has its own, since they run at the same time.
static HOST: Count = Count::of(300);
static STRIDES: Count = Count::of(308);
static AMX: Count = Count::of(352);
static REPACK: Count = Count::of(416);
static Q6_K: Count = Count::of(424);
/// Enough rows for several chunks a thread.
static MANY: Count = Count::of(2048);

/// Counts a thread that computes its part of a product, and the rows of its chunks.
pub(crate) fn count(
    shape: MulMat,
    chunks: impl Iterator<Item = Range<usize>>,
) -> impl Iterator<Item = Range<usize>> {
    let group = shape.layout.interleaved_rows();
    let count = [&HOST, &STRIDES, &AMX, &REPACK, &Q6_K, &MANY]
        .into_iter()
        .find(|count| count.rows == shape.groups * group);
    if let Some(count) = count {
        count.threads.fetch_add(1, Relaxed);
    }
    chunks.inspect(move |chunk| {
        if let Some(count) = count {
            count.computed.fetch_add(chunk.len() * group, Relaxed);
        }
    })
}

/// Random weights of a type.
fn weights(ty: sys::ggml_type, rows: usize, row_len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let weights: Vec<f32> = std::iter::repeat_with(|| random.f32() - 0.5)
        .take(rows * row_len)
        .collect();
    if ty == sys::GGML_TYPE_F16 {
        let halves = weights.iter().map(|&value| half(value).to_le_bytes());
        return halves.flatten().collect();
    }
    let bytes = rows * crate::ggml::row_size(ty, row_len as i64);
    let mut quantized = vec![0; bytes];
    let (from, to) = (weights.as_ptr(), quantized.as_mut_ptr().cast());
    let (rows, row_len) = (rows as i64, row_len as i64);
    // SAFETY: there is room for so many rows.
    let written =
        unsafe { sys::ggml_quantize_chunk(ty, from, to, 0, rows, row_len, std::ptr::null()) };
    assert_eq!(written, bytes);
    quantized
}

/// A context of ggml's for tensors.
struct Context(*mut sys::ggml_context);

impl Context {
    /// `no_alloc` if the tensors' data are elsewhere.
    fn new(no_alloc: bool) -> Self {
        // SAFETY: ggml allocates the memory itself.
        Self(unsafe {
            sys::ggml_init(sys::ggml_init_params {
                mem_size: 24 << 20,
                mem_buffer: std::ptr::null_mut(),
                no_alloc,
            })
        })
    }

    /// A tensor, with room for its data unless there is none.
    fn tensor(&self, ty: sys::ggml_type, ne: [usize; 4]) -> *mut sys::ggml_tensor {
        let [ne0, ne1, ne2, ne3] = ne.map(|n| n as i64);
        // SAFETY: the context is there, and large enough for the tests.
        unsafe { sys::ggml_new_tensor_4d(self.0, ty, ne0, ne1, ne2, ne3) }
    }

    /// A tensor with data.
    fn tensor_of(&self, ty: sys::ggml_type, ne: [usize; 4], data: &[u8]) -> *mut sys::ggml_tensor {
        let tensor = self.tensor(ty, ne);
        // SAFETY: the tensor has memory for its type and size.
        unsafe {
            assert_eq!(sys::ggml_nbytes(tensor), data.len());
            sys::ggml_get_data(tensor)
                .cast::<u8>()
                .copy_from(data.as_ptr(), data.len());
        }
        tensor
    }

    fn tensor_of_f32(&self, ne: [usize; 4], values: &[f32]) -> *mut sys::ggml_tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_ne_bytes()).collect();
        self.tensor_of(sys::GGML_TYPE_F32, ne, &bytes)
    }

    /// What ggml computes for the product of two tensors.
    ///
    /// # Safety
    /// They are tensors with data.
    unsafe fn mul_mat(
        &self,
        src0: *mut sys::ggml_tensor,
        src1: *mut sys::ggml_tensor,
        threads: c_int,
    ) -> Vec<f32> {
        // SAFETY: the caller's promise.
        unsafe {
            let dst = sys::ggml_mul_mat(self.0, src0, src1);
            let graph = sys::ggml_new_graph(self.0);
            sys::ggml_build_forward_expand(graph, dst);
            assert_eq!(
                sys::ggml_graph_compute_with_ctx(self.0, graph, threads),
                sys::GGML_STATUS_SUCCESS
            );
            let count = (*dst).ne.iter().product::<i64>() as usize;
            std::slice::from_raw_parts(sys::ggml_get_data(dst).cast(), count).to_vec()
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: its tensors are not used any more.
        unsafe { sys::ggml_free(self.0) }
    }
}

/// The product of a matrix in memory without a buffer, with the rows of `of`, and of tokens in so
/// many `batches`. Tokens may be shorter than rows of the matrix: then it is a view. The results,
/// and how many threads computed them here.
fn by_rows(
    of: &Count,
    (ty, weights, row_len): (sys::ggml_type, &[u8], usize),
    tokens: &[Vec<f32>],
    batches: usize,
    threads: c_int,
) -> (Vec<f32>, usize) {
    let before = of.now();
    let context = Context::new(false);
    let mut src0 = context.tensor_of(ty, [row_len, of.rows, 1, 1], weights);
    let ne = [tokens[0].len(), tokens.len() / batches, batches, 1];
    let src1 = context.tensor_of_f32(ne, &tokens.concat());
    // SAFETY: the tensors have data.
    let results = unsafe {
        if ne[0] < row_len {
            let (rows, stride) = (of.rows as i64, (*src0).nb[1]);
            src0 = sys::ggml_view_2d(context.0, src0, ne[0] as i64, rows, stride, 0);
        }
        context.mul_mat(src0, src1, threads)
    };
    (results, of.since(before, batches))
}

/// The same of a matrix in a buffer of a type.
fn by_buffer(
    of: &Count,
    buffer_type: sys::ggml_backend_buffer_type_t,
    (ty, weights): (sys::ggml_type, &[u8]),
    tokens: &[Vec<f32>],
    threads: c_int,
) -> (Vec<f32>, usize) {
    let before = of.now();
    let (in_buffer, context) = (Context::new(true), Context::new(false));
    let row_len = tokens[0].len();
    let src0 = in_buffer.tensor(ty, [row_len, of.rows, 1, 1]);
    let src1 = context.tensor_of_f32([row_len, tokens.len(), 1, 1], &tokens.concat());
    // SAFETY: the buffer has room for the tensor, which gets data of its type and size.
    let results = unsafe {
        let buffer = sys::ggml_backend_alloc_ctx_tensors_from_buft(in_buffer.0, buffer_type);
        sys::ggml_backend_tensor_set(src0, weights.as_ptr().cast(), 0, weights.len());
        let results = context.mul_mat(src0, src1, threads);
        sys::ggml_backend_buffer_free(buffer);
        results
    };
    (results, of.since(before, 1))
}

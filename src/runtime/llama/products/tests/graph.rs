//! Through llama.cpp's graph: which products come here, and what comes of them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

/// Rows of the products that are counted.
const COUNTED: usize = 300;
static THREADS: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Tells that a thread computes its part of `product`, and of each piece that it takes how many rows it has.
pub(in super::super) fn count(
    product: Product,
    pieces: impl Iterator<Item = Range<usize>>,
) -> impl Iterator<Item = Range<usize>> {
    let counted = usize::from(product.rows == COUNTED);
    THREADS.fetch_add(counted, Relaxed);
    pieces.inspect(move |piece| {
        TAKEN.fetch_add(counted * piece.len(), Relaxed);
    })
}

/// What llama.cpp computes of a matrix of `COUNTED` rows by 512, which are a part of one `wider` times as wide, and `tokens`, in two
/// products: the results, and how many threads came by here.
fn by_graph(
    kind: sys::ggml_type,
    tokens: &[Vec<f32>],
    threads: c_int,
    wider: usize,
) -> (Vec<f32>, usize) {
    const LENGTH: usize = 512;
    let width = wider * LENGTH;
    let mut random = fastrand::Rng::with_seed(1);
    let weights: Vec<f32> = std::iter::repeat_with(|| random.f32() - 0.5)
        .take(COUNTED * width)
        .collect();
    let rounded: Vec<u16> = weights.iter().map(|&value| half(value)).collect();
    let before = [&THREADS, &TAKEN].map(|count| count.load(Relaxed));
    // SAFETY: the tensors have room for what is written, which has their types and sizes; all is freed once it was copied.
    let results = unsafe {
        let params = sys::ggml_init_params {
            mem_size: 16 << 20,
            mem_buffer: std::ptr::null_mut(),
            no_alloc: false,
        };
        let context = sys::ggml_init(params);
        let (length, rows, n) = (LENGTH as i64, COUNTED as i64, tokens.len() as i64 / 2);
        let a = sys::ggml_new_tensor_3d(context, kind, width as i64, rows, 1);
        if kind == sys::GGML_TYPE_F16 {
            sys::ggml_get_data(a)
                .cast::<u16>()
                .copy_from(rounded.as_ptr(), rounded.len());
        } else {
            let to = sys::ggml_get_data(a);
            sys::ggml_quantize_chunk(
                kind,
                weights.as_ptr(),
                to,
                0,
                rows,
                width as i64,
                std::ptr::null(),
            );
        }
        let a = match wider {
            1 => a,
            _ => sys::ggml_view_3d(context, a, length, rows, 1, (*a).nb[1], (*a).nb[2], 0),
        };
        let b = sys::ggml_new_tensor_3d(context, sys::GGML_TYPE_F32, length, n, 2);
        let values = tokens.concat();
        sys::ggml_get_data(b)
            .cast::<f32>()
            .copy_from(values.as_ptr(), values.len());
        let c = sys::ggml_mul_mat(context, a, b);
        let graph = sys::ggml_new_graph(context);
        sys::ggml_build_forward_expand(graph, c);
        assert_eq!(
            sys::ggml_graph_compute_with_ctx(context, graph, threads),
            sys::GGML_STATUS_SUCCESS
        );
        let results =
            std::slice::from_raw_parts(sys::ggml_get_data(c).cast::<f32>(), COUNTED * tokens.len())
                .to_vec();
        sys::ggml_free(context);
        results
    };
    let threads = THREADS.load(Relaxed) - before[0];
    // Each row is taken by one thread, in either product.
    let taken = TAKEN.load(Relaxed) - before[1];
    assert_eq!(taken, if threads > 0 { 2 * COUNTED } else { 0 });
    (results, threads)
}

#[test]
fn llama_computes_a_few_tokens_here_and_all_others_itself() {
    assert!(sgemm::is_linked());
    if instructions().is_none() {
        return;
    }
    crate::runtime::llama::devices();
    let mut random = fastrand::Rng::with_seed(2);
    for kind in [sys::GGML_TYPE_F16, sys::GGML_TYPE_Q8_0] {
        for tokens in [1, 2, 5, 64, 65] {
            let mut vector = || (0..512).map(|_| random.f32() - 0.5).collect();
            let vectors: Vec<Vec<f32>> = std::iter::repeat_with(&mut vector)
                .take(2 * tokens)
                .collect();
            let one_by_one: Vec<f32> = (0..tokens)
                .flat_map(|at| {
                    let two = [vectors[at].clone(), vectors[tokens + at].clone()];
                    let (results, count) = by_graph(kind, &two, 1, 1);
                    assert_eq!(count, 0, "a single token");
                    results
                })
                .collect();
            let (_, count) = by_graph(kind, &vectors, 1, 2);
            assert_eq!(count, 0, "rows that do not follow each other");
            for threads in [1, 3] {
                let (results, count) = by_graph(kind, &vectors, threads, 1);
                let here = (2..=MOST_TOKENS).contains(&tokens);
                let what = format!("type {kind}, {tokens} tokens, {threads} threads");
                assert_eq!(count, if here { 2 * threads as usize } else { 0 }, "{what}");
                for (at, result) in results.iter().enumerate() {
                    let (vector, row) = (at / COUNTED, at % COUNTED);
                    let (half, token) = (vector / tokens, vector % tokens);
                    let alone = one_by_one[(2 * token + half) * COUNTED + row];
                    if kind == sys::GGML_TYPE_Q8_0 && here {
                        assert_eq!(
                            result.to_bits(),
                            alone.to_bits(),
                            "{what}, row {row}, token {token}"
                        );
                    } else {
                        assert!(
                            (result - alone).abs() < 1e-4,
                            "{what}: {result} for {alone}"
                        );
                    }
                }
            }
        }
    }
}

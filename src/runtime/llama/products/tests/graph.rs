//! Through llama.cpp's graph: which products come here, and what comes of them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

/// Of all products with so many rows: how many threads came by, and how many rows they took.
struct Count {
    rows: usize,
    threads: AtomicUsize,
    taken: AtomicUsize,
}

impl Count {
    const fn of(rows: usize) -> Self {
        Self {
            rows,
            threads: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
        }
    }

    fn now(&self) -> [usize; 2] {
        [&self.threads, &self.taken].map(|count| count.load(Relaxed))
    }

    /// How many threads have come by since, if they took each row of `products` once.
    fn since(&self, before: [usize; 2], products: usize) -> usize {
        let [threads, taken] = self.now();
        let threads = threads - before[0];
        let expected = if threads > 0 { products * self.rows } else { 0 };
        assert_eq!(taken - before[1], expected);
        threads
    }
}

/// Each test has its own, since they run at the same time.
static PLAIN: Count = Count::of(300);
static AMX: Count = Count::of(352);
static EIGHTS: Count = Count::of(416);
/// Rows enough for several pieces a thread.
static MANY: Count = Count::of(2048);

/// Tells that a thread computes its part of `product`, and of each piece that it takes how many
/// rows it has.
pub(in super::super) fn count(
    product: Product,
    pieces: impl Iterator<Item = Range<usize>>,
) -> impl Iterator<Item = Range<usize>> {
    let group = product.kind.group();
    let count = [&PLAIN, &AMX, &EIGHTS, &MANY]
        .into_iter()
        .find(|count| count.rows == product.rows * group);
    if let Some(count) = count {
        count.threads.fetch_add(1, Relaxed);
    }
    pieces.inspect(move |piece| {
        if let Some(count) = count {
            count.taken.fetch_add(piece.len() * group, Relaxed);
        }
    })
}

/// Random weights, `rows` by `width`, written in `kind`.
fn weights(kind: sys::ggml_type, rows: usize, width: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let weights: Vec<f32> = std::iter::repeat_with(|| random.f32() - 0.5)
        .take(rows * width)
        .collect();
    if kind == sys::GGML_TYPE_F16 {
        return weights
            .iter()
            .flat_map(|&value| half(value).to_le_bytes())
            .collect();
    }
    // SAFETY: takes a type and a number of values.
    let bytes = rows * unsafe { sys::ggml_row_size(kind, width as i64) };
    let mut rounded = vec![0; bytes];
    let (from, to) = (weights.as_ptr(), rounded.as_mut_ptr().cast());
    // SAFETY: there is room for so many rows.
    let written = unsafe {
        sys::ggml_quantize_chunk(
            kind,
            from,
            to,
            0,
            rows as i64,
            width as i64,
            std::ptr::null(),
        )
    };
    assert_eq!(written, bytes);
    rounded
}

/// Makes a context of llama.cpp's for tensors, whose data are elsewhere if so told.
unsafe fn context(elsewhere: bool) -> *mut sys::ggml_context {
    // SAFETY: it makes room of its own.
    unsafe {
        sys::ggml_init(sys::ggml_init_params {
            mem_size: 24 << 20,
            mem_buffer: std::ptr::null_mut(),
            no_alloc: elsewhere,
        })
    }
}

/// The product of the weights `a` and `tokens`, of which there are so many `batches`.
///
/// # Safety
/// `context` is one with room, and `a` a tensor.
unsafe fn multiply(
    context: *mut sys::ggml_context,
    a: *mut sys::ggml_tensor,
    tokens: &[Vec<f32>],
    batches: usize,
    threads: c_int,
) -> Vec<f32> {
    let (length, n) = (tokens[0].len(), tokens.len() / batches);
    let values = tokens.concat();
    // SAFETY: the tensors have room for what is written and read.
    unsafe {
        let f32 = sys::GGML_TYPE_F32;
        let b = sys::ggml_new_tensor_3d(context, f32, length as i64, n as i64, batches as i64);
        let data = sys::ggml_get_data(b).cast::<f32>();
        data.copy_from(values.as_ptr(), values.len());
        let c = sys::ggml_mul_mat(context, a, b);
        let graph = sys::ggml_new_graph(context);
        sys::ggml_build_forward_expand(graph, c);
        assert_eq!(
            sys::ggml_graph_compute_with_ctx(context, graph, threads),
            sys::GGML_STATUS_SUCCESS
        );
        let count = (*c).ne.iter().product::<i64>() as usize;
        std::slice::from_raw_parts(sys::ggml_get_data(c).cast(), count).to_vec()
    }
}

/// What llama.cpp computes of a matrix of `PLAIN`'s rows by 512, which are a part of one `wider`
/// times as wide, and `tokens`, in two products: the results, and how many threads came by here.
fn by_graph(
    kind: sys::ggml_type,
    tokens: &[Vec<f32>],
    threads: c_int,
    wider: usize,
) -> (Vec<f32>, usize) {
    by_graph_of(&PLAIN, kind, tokens, threads, wider)
}

/// The same of a matrix with the rows of `of`, which are as long as a token.
fn by_graph_of(
    of: &Count,
    kind: sys::ggml_type,
    tokens: &[Vec<f32>],
    threads: c_int,
    wider: usize,
) -> (Vec<f32>, usize) {
    let length = tokens[0].len();
    let width = wider * length;
    let weights = weights(kind, of.rows, width);
    let before = of.now();
    // SAFETY: the tensors have room for what is written, which has their types and sizes; all is
    // freed once it was copied.
    let results = unsafe {
        let context = context(false);
        let (length, rows) = (length as i64, of.rows as i64);
        let a = sys::ggml_new_tensor_3d(context, kind, width as i64, rows, 1);
        let data = sys::ggml_get_data(a).cast::<u8>();
        data.copy_from(weights.as_ptr(), weights.len());
        let a = match wider {
            1 => a,
            _ => sys::ggml_view_3d(context, a, length, rows, 1, (*a).nb[1], (*a).nb[2], 0),
        };
        let results = multiply(context, a, tokens, 2, threads);
        sys::ggml_free(context);
        results
    };
    (results, of.since(before, 2))
}

/// What llama.cpp computes of a matrix of `weights` with the rows of `of`, in the layout for AMX,
/// and `tokens`: the results, and how many threads came by here.
fn by_amx(
    of: &Count,
    layout: sys::ggml_backend_buffer_type_t,
    (kind, weights): (sys::ggml_type, &[u8]),
    tokens: &[Vec<f32>],
    threads: c_int,
) -> (Vec<f32>, usize) {
    let length = tokens[0].len();
    let before = of.now();
    // SAFETY: as above; the tensor has room in the buffer for so many bytes.
    let results = unsafe {
        let [of_weights, context] = [true, false].map(|elsewhere| context(elsewhere));
        let a = sys::ggml_new_tensor_2d(of_weights, kind, length as i64, of.rows as i64);
        let buffer = sys::ggml_backend_alloc_ctx_tensors_from_buft(of_weights, layout);
        sys::ggml_backend_tensor_set(a, weights.as_ptr().cast(), 0, weights.len());
        let results = multiply(context, a, tokens, 1, threads);
        sys::ggml_backend_buffer_free(buffer);
        sys::ggml_free(of_weights);
        sys::ggml_free(context);
        results
    };
    (results, of.since(before, 1))
}

/// As many random tokens.
fn random_tokens(count: usize, random: &mut fastrand::Rng) -> Vec<Vec<f32>> {
    tokens_of(512, count, random)
}

/// Tokens of so many values.
fn tokens_of(length: usize, count: usize, random: &mut fastrand::Rng) -> Vec<Vec<f32>> {
    let mut token = || (0..length).map(|_| random.f32() - 0.5).collect();
    (0..count).map(|_| token()).collect()
}

#[test]
fn llama_computes_all_but_single_tokens_here() {
    assert!(sgemm::is_linked());
    if instructions().is_none() {
        return;
    }
    crate::runtime::llama::devices();
    let mut random = fastrand::Rng::with_seed(2);
    for kind in [sys::GGML_TYPE_F16, sys::GGML_TYPE_Q8_0] {
        for tokens in [1, 2, 5, 64, 150] {
            let vectors = random_tokens(2 * tokens, &mut random);
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
                let here = tokens >= 2;
                let what = format!("type {kind}, {tokens} tokens, {threads} threads");
                assert_eq!(count, if here { 2 * threads as usize } else { 0 }, "{what}");
                for (at, result) in results.iter().enumerate() {
                    let (vector, row) = (at / PLAIN.rows, at % PLAIN.rows);
                    let (half, token) = (vector / tokens, vector % tokens);
                    let alone = one_by_one[(2 * token + half) * PLAIN.rows + row];
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

/// On a processor with AMX.
#[test]
fn weights_in_amx_s_layout_come_here_and_lose_no_bit() {
    crate::runtime::llama::devices();
    let Some(layout) = amx::layout() else {
        return eprintln!("not run: llama.cpp has no such layout here");
    };
    assert!(amx::is_linked());
    let mut random = fastrand::Rng::with_seed(4);
    for kind in [
        sys::GGML_TYPE_F16,
        sys::GGML_TYPE_Q8_0,
        sys::GGML_TYPE_Q4_0,
        sys::GGML_TYPE_Q4_K,
        sys::GGML_TYPE_Q5_K,
        sys::GGML_TYPE_Q6_K,
    ] {
        let weights = weights(kind, AMX.rows, 512);
        let weights = (kind, &weights[..]);
        for tokens in [2, 7, 33, 70, 200] {
            let vectors = random_tokens(tokens, &mut random);
            let alone = vectors.iter().flat_map(|token| {
                let (results, count) =
                    by_amx(&AMX, layout, weights, std::slice::from_ref(token), 1);
                assert_eq!(count, 0, "a single token");
                results
            });
            let alone: Vec<f32> = alone.collect();
            // Three first: what one left behind would be right for them, too.
            for threads in [3, 1] {
                let (results, count) = by_amx(&AMX, layout, weights, &vectors, threads);
                let what = format!("type {kind}, {tokens} tokens, {threads} threads");
                assert_eq!(count, threads as usize, "{what}");
                let bits = |results: &[f32]| -> Vec<u32> {
                    results.iter().map(|result| result.to_bits()).collect()
                };
                assert!(bits(&results) == bits(&alone), "{what}");
            }
        }
    }
    let vectors = random_tokens(3, &mut random);
    let q4_1 = weights(sys::GGML_TYPE_Q4_1, AMX.rows, 512);
    let (_, count) = by_amx(&AMX, layout, (sys::GGML_TYPE_Q4_1, &q4_1), &vectors, 2);
    assert_eq!(count, 0, "another type");
}

/// A matrix of several pieces for each thread, some of which take more than others.
#[test]
fn threads_take_pieces_until_none_are_left() {
    crate::runtime::llama::devices();
    let mut random = fastrand::Rng::with_seed(6);
    let layout = amx::layout();
    for kind in [sys::GGML_TYPE_F16, sys::GGML_TYPE_Q8_0] {
        let tokens = tokens_of(2048, 4, &mut random);
        let expected = weighted(kind, &tokens);
        for threads in [1, 2, 3] {
            let plain = by_graph_of(&MANY, kind, &tokens, threads, 1);
            let weights = weights(kind, MANY.rows, 2048);
            let packed =
                layout.map(|layout| by_amx(&MANY, layout, (kind, &weights), &tokens, threads));
            for (results, count) in [Some(plain), packed].into_iter().flatten() {
                let what = format!("type {kind}, {threads} threads");
                assert!(count > 0 || instructions().is_none(), "{what}");
                let off = results
                    .iter()
                    .zip(&expected)
                    .map(|(result, sum)| (result - sum).abs());
                assert!(off.fold(0.0, f32::max) < 0.3, "{what}");
            }
        }
    }
}

/// What the product of `MANY`'s weights and `tokens` is, about.
fn weighted(kind: sys::ggml_type, tokens: &[Vec<f32>]) -> Vec<f32> {
    let weights = weights(kind, MANY.rows, tokens[0].len());
    let row = weights.len() / MANY.rows;
    let rows: Vec<Vec<f32>> = weights
        .chunks_exact(row)
        .map(|row| match kind {
            sys::GGML_TYPE_F16 => halves(row).collect(),
            _ => row
                .chunks_exact(q8_0::BYTES)
                .flat_map(|block| {
                    let scale = from_half(u16::from_le_bytes([block[0], block[1]]));
                    block[2..]
                        .iter()
                        .map(move |&value| scale * f32::from(value as i8))
                })
                .collect(),
        })
        .collect();
    let sum = |row: &[f32], token: &[f32]| row.iter().zip(token).map(|(a, b)| a * b).sum();
    tokens
        .iter()
        .flat_map(|token| rows.iter().map(|row| sum(row, token)))
        .collect()
}

/// On a processor without AMX, and with it for weights that are not in its layout.
#[test]
fn what_has_no_layout_for_amx_comes_here_and_loses_no_bit() {
    if !packed::can() {
        return;
    }
    crate::runtime::llama::devices();
    assert!(plain::is_linked());
    let mut random = fastrand::Rng::with_seed(7);
    let [q4_0, q4_k, q6_k] = [
        sys::GGML_TYPE_Q4_0,
        sys::GGML_TYPE_Q4_K,
        sys::GGML_TYPE_Q6_K,
    ]
    .map(|kind| (kind, weights(kind, EIGHTS.rows, 512)));
    let by_llama = |kind: sys::ggml_type, tokens: &[Vec<f32>], threads| match kind {
        sys::GGML_TYPE_Q4_0 | sys::GGML_TYPE_Q4_K => {
            let layout = plain::layout().expect("looked for below");
            let (_, weights) = if kind == q4_0.0 { &q4_0 } else { &q4_k };
            by_amx(&EIGHTS, layout, (kind, weights), tokens, threads)
        }
        _ => by_rows(&EIGHTS, (kind, &q6_k.1), tokens, threads),
    };
    // llama.cpp can be built without that layout.
    let of_layout = plain::layout().map(|_| [q4_0.0, q4_k.0]);
    for kind in of_layout.into_iter().flatten().chain([q6_k.0]) {
        for tokens in [2, 7, 33, 70] {
            let vectors = random_tokens(tokens, &mut random);
            let alone = vectors.iter().flat_map(|token| {
                let (results, count) = by_llama(kind, std::slice::from_ref(token), 1);
                assert_eq!(count, 0, "a single token");
                results
            });
            let alone: Vec<u32> = alone.map(f32::to_bits).collect();
            for threads in [3, 1] {
                let (results, count) = by_llama(kind, &vectors, threads);
                let what = format!("type {kind}, {tokens} tokens, {threads} threads");
                assert_eq!(count, threads as usize, "{what}");
                let results: Vec<u32> = results.into_iter().map(f32::to_bits).collect();
                assert!(results == alone, "{what}");
            }
        }
    }
    let vectors = random_tokens(4, &mut random);
    // SAFETY: a type of memory that is always there.
    let plain = unsafe { sys::ggml_backend_cpu_buffer_type() };
    for (kind, weights) in [&q4_0, &q4_k] {
        let (_, count) = by_rows(&EIGHTS, (*kind, weights), &vectors, 2);
        assert_eq!(count, 0, "no layout");
        let (_, count) = by_amx(&EIGHTS, plain, (*kind, weights), &vectors, 2);
        assert_eq!(count, 0, "memory without a layout");
    }
    let (_, count) = by_amx(&EIGHTS, plain, (q6_k.0, &q6_k.1), &vectors, 2);
    assert_eq!(count, 2, "memory without a layout, and none is needed");
    let (_, count) = by_graph_of(&EIGHTS, q6_k.0, &vectors, 2, 1);
    assert_eq!(count, 0, "two batches");
    // Half of each row.
    let halves: Vec<_> = vectors.iter().map(|it| it[..256].to_vec()).collect();
    let (results, count) = by_rows(&EIGHTS, (q6_k.0, &q6_k.1), &halves, 2);
    assert_eq!(count, 0, "rows that do not follow each other");
    assert!(results.iter().all(|it| it.is_finite()));
}

/// What llama.cpp computes of a matrix of `weights` as they lie in files, with the rows of `of`,
/// 512 values each, and `tokens`, which may be shorter: the results, and how many threads came by
/// here.
fn by_rows(
    of: &Count,
    (kind, weights): (sys::ggml_type, &[u8]),
    tokens: &[Vec<f32>],
    threads: c_int,
) -> (Vec<f32>, usize) {
    let before = of.now();
    // SAFETY: as above.
    let results = unsafe {
        let context = context(false);
        let a = sys::ggml_new_tensor_2d(context, kind, 512, of.rows as i64);
        let data = sys::ggml_get_data(a).cast::<u8>();
        data.copy_from(weights.as_ptr(), weights.len());
        let a = match tokens[0].len() as i64 {
            512 => a,
            length => sys::ggml_view_2d(context, a, length, of.rows as i64, (*a).nb[1], 0),
        };
        let results = multiply(context, a, tokens, 1, threads);
        sys::ggml_free(context);
        results
    };
    (results, of.since(before, 1))
}

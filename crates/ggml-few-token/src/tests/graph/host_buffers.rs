//! F16 and Q8_0, which ggml without the hook gives to `llamafile_sgemm`.

use super::*;
use crate::ggml::{Q8_0_BYTES, QK8_0};

unsafe extern "C" {
    fn llamafile_sgemm(
        params: *const crate::ComputeParams,
        m: i64,
        n: i64,
        k: i64,
        a: *const c_void,
        lda: i64,
        b: *const c_void,
        ldb: i64,
        c: *mut c_void,
        ldc: i64,
        a_type: c_int,
        b_type: c_int,
        c_type: c_int,
    ) -> bool;
}

const TYPES: [sys::ggml_type; 2] = [sys::GGML_TYPE_F16, sys::GGML_TYPE_Q8_0];
const ROW_LEN: usize = 512;

/// Tokens in the type that ggml multiplies weights of a type by.
fn converted(ty: sys::ggml_type, tokens: &[Vec<f32>]) -> Vec<u8> {
    let (row_len, tokens) = (tokens[0].len() as i64, tokens.concat());
    let rows = tokens.len() as i64 / row_len;
    let mut bytes = vec![0; rows as usize * crate::ggml::row_size(ty, row_len)];
    // SAFETY: there is room for so many values.
    unsafe {
        let traits = &*sys::ggml_get_type_traits_cpu(ty);
        let from_float = traits.from_float.expect("there is a conversion");
        from_float(tokens.as_ptr(), bytes.as_mut_ptr().cast(), rows * row_len);
    }
    bytes
}

/// The product by ggml's kernel for several tokens.
fn by_llamafile(ty: sys::ggml_type, weights: &[u8], tokens: &[Vec<f32>]) -> Vec<f32> {
    let (row_len, n) = (tokens[0].len(), tokens.len());
    let rows = weights.len() / crate::ggml::row_size(ty, row_len as i64);
    let (a, b) = (weights, converted(ty, tokens));
    let mut results = vec![f32::NAN; rows * n];
    let thread = OneThread::new();
    let params = thread.params(&mut []);
    // SAFETY: takes a type.
    let k = row_len as i64 / unsafe { sys::ggml_blck_size(ty) };
    let (m, f32) = (rows as i64, sys::GGML_TYPE_F32 as c_int);
    let (a, b, c) = (
        a.as_ptr().cast(),
        b.as_ptr().cast(),
        results.as_mut_ptr().cast(),
    );
    let ty = ty as c_int;
    // SAFETY: the operands have the shape, and there is one thread.
    let computed =
        unsafe { llamafile_sgemm(&params, m, n as i64, k, a, k, b, k, c, m, ty, ty, f32) };
    assert!(computed);
    results
}

#[test]
fn all_but_single_tokens_are_computed_here() {
    assert!(crate::is_linked());
    require!(Isa::best().is_some(), "AVX2");
    init();
    let mut random = fastrand::Rng::with_seed(2);
    for ty in TYPES {
        let rows = weights(ty, HOST.rows, ROW_LEN);
        let weights = (ty, &rows[..], ROW_LEN);
        for tokens in [1, 2, 5, 64, 150] {
            let vectors = random_tokens(ROW_LEN, 2 * tokens, &mut random);
            let alone = vectors.iter().flat_map(|token| {
                let (results, count) = by_rows(&HOST, weights, std::slice::from_ref(token), 1, 1);
                assert_eq!(count, 0, "a single token");
                results
            });
            let alone: Vec<f32> = alone.collect();
            for threads in [1, 3] {
                let (results, count) = by_rows(&HOST, weights, &vectors, 2, threads);
                let what = format!("type {ty}, {tokens} tokens, {threads} threads");
                if tokens == 1 {
                    assert_eq!(count, 0, "{what}");
                    continue;
                }
                assert_eq!(count, 2 * threads as usize, "{what}");
                if ty == sys::GGML_TYPE_Q8_0 {
                    assert!(bits(&results) == bits(&alone), "{what}");
                }
                let by_llamafile = [&vectors[..tokens], &vectors[tokens..]]
                    .map(|tokens| by_llamafile(ty, &rows, tokens))
                    .concat();
                assert!(bits(&results) == bits(&by_llamafile), "{what}");
            }
        }
    }
}

/// Keys of a cache have those of other heads between them, and queries are permuted.
#[test]
fn strides_are_followed_or_left_to_ggml() {
    require!(Isa::best().is_some(), "AVX2");
    init();
    let mut random = fastrand::Rng::with_seed(8);
    for ty in TYPES {
        let rows = weights(ty, STRIDES.rows, ROW_LEN);
        let vectors = random_tokens(ROW_LEN, 6, &mut random);
        let halves: Vec<_> = vectors.iter().map(|it| it[..256].to_vec()).collect();
        let (_, count) = by_rows(&STRIDES, (ty, &rows, ROW_LEN), &halves, 1, 2);
        assert_eq!(count, 0, "rows that do not follow each other");
        // Tokens of two batches, one and one in memory.
        let of_batch = |batch: usize| vectors[batch..].iter().step_by(2).cloned();
        let expected: Vec<Vec<f32>> = of_batch(0).chain(of_batch(1)).collect();
        let (expected, _) = by_rows(&STRIDES, (ty, &rows, ROW_LEN), &expected, 2, 1);
        let context = Context::new(false);
        let src0 = context.tensor_of(ty, [ROW_LEN, STRIDES.rows, 1, 1], &rows);
        let bytes = converted(ty, &vectors);
        for (src1, is_taken) in [
            (
                context.tensor_of_f32([ROW_LEN, 2, 3, 1], &vectors.concat()),
                true,
            ),
            // ggml does not give tokens that it need not convert to llamafile if they are permuted.
            (context.tensor_of(ty, [ROW_LEN, 2, 3, 1], &bytes), false),
        ] {
            let before = STRIDES.now();
            // SAFETY: the tensors have data.
            let results = unsafe {
                let src1 = sys::ggml_permute(context.0, src1, 0, 2, 1, 3);
                context.mul_mat(src0, src1, 2)
            };
            let count = STRIDES.since(before, 2);
            assert_eq!(count, if is_taken { 4 } else { 0 }, "type {ty}");
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
            assert!(results.iter().zip(&expected).all(close));
            assert!(!is_taken || bits(&results) == bits(&expected));
        }
        let before = STRIDES.now();
        let src1 = context.tensor_of(ty, [ROW_LEN, 6, 1, 1], &bytes);
        // SAFETY: the tensors have data.
        let results = unsafe { context.mul_mat(src0, src1, 2) };
        assert_eq!(
            STRIDES.since(before, 1),
            2,
            "tokens that need not be converted"
        );
        assert!(bits(&results) == bits(&by_llamafile(ty, &rows, &vectors)));
    }
}

/// Two matrices of weights for four batches.
#[test]
fn weights_are_broadcast() {
    require!(Isa::best().is_some(), "AVX2");
    init();
    let mut random = fastrand::Rng::with_seed(9);
    const ROWS: usize = 256;
    for ty in TYPES {
        let rows = weights(ty, 2 * ROWS, ROW_LEN);
        let vectors = random_tokens(ROW_LEN, 4 * 3, &mut random);
        let context = Context::new(false);
        let src0 = context.tensor_of(ty, [ROW_LEN, ROWS, 2, 1], &rows);
        let src1 = context.tensor_of_f32([ROW_LEN, 3, 4, 1], &vectors.concat());
        // SAFETY: the tensors have data.
        let results = unsafe { context.mul_mat(src0, src1, 2) };
        let matrices = rows.chunks_exact(rows.len() / 2);
        let expected = vectors
            .chunks_exact(6)
            .zip(matrices)
            .flat_map(|(two, matrix)| {
                let batches = two.chunks_exact(3);
                batches
                    .flat_map(|batch| by_llamafile(ty, matrix, batch))
                    .collect::<Vec<_>>()
            });
        assert!(bits(&results) == bits(&expected.collect::<Vec<_>>()));
    }
}

#[test]
fn what_is_not_for_the_kernels_goes_to_ggml() {
    require!(Isa::best().is_some(), "AVX2");
    init();
    let context = Context::new(false);
    let ty = sys::GGML_TYPE_F16;
    let src0 = context.tensor_of(ty, [256, 256, 1, 1], &weights(ty, 256, 256));
    let src1 = context.tensor_of_f32([256, 2, 1, 1], &vec![0.5; 512]);
    // SAFETY: the tensors have data, the work buffer has room for the tokens in F16, and the thread
    // is alone.
    unsafe {
        let dst = &mut *sys::ggml_mul_mat(context.0, src0, src1);
        let thread = OneThread::new();
        let mut work = vec![0; 512 * 2 / 8];
        let mut params = thread.params(&mut work);
        assert!(crate::forward(&mut params, dst));
        dst.op_params[1] = sys::GGML_HINT_SRC0_IS_HADAMARD as i32;
        assert!(!crate::forward(&mut params, dst), "a Hadamard matrix");
        dst.op_params[1] = 0;
        params.use_ref = true;
        assert!(
            !crate::forward(&mut params, dst),
            "the reference implementation"
        );
        params.use_ref = false;
        dst.op = sys::GGML_OP_MUL;
        assert!(!crate::forward(&mut params, dst), "another operation");
    }
}

/// A matrix of several chunks for each thread, of which some threads compute more than others.
#[test]
fn threads_take_chunks_until_none_are_left() {
    init();
    let mut random = fastrand::Rng::with_seed(6);
    let amx = crate::ggml::extra_buffer_type(c"AMX");
    for ty in TYPES {
        let tokens = random_tokens(2048, 4, &mut random);
        let weights = weights(ty, MANY.rows, 2048);
        let expected = exact(ty, &weights, &tokens);
        for threads in [1, 2, 3] {
            let weights = (ty, &weights[..], 2048);
            let one = by_rows(&MANY, weights, &tokens, 1, threads);
            let two = by_rows(&MANY, weights, &tokens, 2, threads);
            let amx = amx.map(|amx| by_buffer(&MANY, amx, (ty, weights.1), &tokens, threads));
            for (results, count) in [Some(one), Some(two), amx].into_iter().flatten() {
                let what = format!("type {ty}, {threads} threads");
                assert!(count > 0 || Isa::best().is_none(), "{what}");
                let errors = results.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                assert!(errors.fold(0.0, f32::max) < 0.3, "{what}");
            }
        }
    }
}

/// The product without quantized tokens.
fn exact(ty: sys::ggml_type, weights: &[u8], tokens: &[Vec<f32>]) -> Vec<f32> {
    let row_size = weights.len() / MANY.rows;
    let values = |block: &[u8]| -> Vec<f32> {
        let (scale, values) = block.split_at(2);
        let scale = from_half(u16::from_le_bytes([scale[0], scale[1]]));
        values
            .iter()
            .map(|&value| scale * f32::from(value as i8))
            .collect()
    };
    let rows = weights.chunks_exact(row_size).map(|row| match ty {
        sys::GGML_TYPE_F16 => halves(row).collect(),
        _ => row.chunks_exact(Q8_0_BYTES).flat_map(values).collect(),
    });
    let rows: Vec<Vec<f32>> = rows.collect();
    assert!(rows[0].len().is_multiple_of(QK8_0));
    let dot = |row: &[f32], token: &[f32]| row.iter().zip(token).map(|(a, b)| a * b).sum();
    let of_token = |token: &Vec<f32>| rows.iter().map(|row| dot(row, token)).collect::<Vec<_>>();
    tokens.iter().flat_map(of_token).collect()
}

//! Weights in ggml's extra buffers, and Q6_K, which has a kernel where they do not take it.

use super::*;

const ROW_LEN: usize = 512;

/// A product by ggml, with the tokens and the number of threads.
type Multiply<'a> = &'a dyn Fn(&[Vec<f32>], c_int) -> (Vec<f32>, usize);

/// Compares the products of several tokens with those of each token alone, which ggml computes.
fn check_against_single_tokens(ty: sys::ggml_type, multiply: Multiply<'_>) {
    let mut random = fastrand::Rng::with_seed(4);
    for tokens in [2, 7, 33, 70, 200] {
        let vectors = random_tokens(ROW_LEN, tokens, &mut random);
        let alone = vectors.iter().flat_map(|token| {
            let (results, count) = multiply(std::slice::from_ref(token), 1);
            assert_eq!(count, 0, "a single token");
            results
        });
        let alone = bits(&alone.collect::<Vec<_>>());
        // Three threads first: what one thread left in memory would be right for three, too.
        for threads in [3, 1] {
            let (results, count) = multiply(&vectors, threads);
            let what = format!("type {ty}, {tokens} tokens, {threads} threads");
            assert_eq!(count, threads as usize, "{what}");
            assert!(bits(&results) == alone, "{what}");
        }
    }
}

#[test]
fn weights_in_the_amx_buffer_are_computed_here_and_lose_no_bit() {
    init();
    let amx = crate::ggml::extra_buffer_type(c"AMX");
    require!(amx.is_some(), "AMX, and llama.cpp built for it");
    let amx = amx.expect("looked at above");
    for ty in [
        sys::GGML_TYPE_F16,
        sys::GGML_TYPE_Q8_0,
        sys::GGML_TYPE_Q4_0,
        sys::GGML_TYPE_Q4_K,
        sys::GGML_TYPE_Q5_K,
        sys::GGML_TYPE_Q6_K,
    ] {
        let weights = weights(ty, AMX.rows, ROW_LEN);
        check_against_single_tokens(ty, &|tokens, threads| {
            by_buffer(&AMX, amx, (ty, &weights), tokens, threads)
        });
    }
    let vectors = random_tokens(ROW_LEN, 3, &mut fastrand::Rng::with_seed(5));
    let q4_1 = weights(sys::GGML_TYPE_Q4_1, AMX.rows, ROW_LEN);
    let (_, count) = by_buffer(&AMX, amx, (sys::GGML_TYPE_Q4_1, &q4_1), &vectors, 2);
    assert_eq!(count, 0, "another type");
}

#[test]
fn repacked_weights_are_computed_here_and_lose_no_bit() {
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    init();
    let repack = crate::ggml::extra_buffer_type(c"CPU_REPACK");
    require!(repack.is_some(), "llama.cpp built with GGML_CPU_REPACK");
    let repack = repack.expect("looked at above");
    // SAFETY: a buffer type that is always there.
    let plain = unsafe { sys::ggml_backend_cpu_buffer_type() };
    let vectors = random_tokens(ROW_LEN, 4, &mut fastrand::Rng::with_seed(7));
    for ty in [sys::GGML_TYPE_Q4_0, sys::GGML_TYPE_Q4_K] {
        let rows = weights(ty, REPACK.rows, ROW_LEN);
        check_against_single_tokens(ty, &|tokens, threads| {
            by_buffer(&REPACK, repack, (ty, &rows), tokens, threads)
        });
        let (_, count) = by_rows(&REPACK, (ty, &rows, ROW_LEN), &vectors, 1, 2);
        assert_eq!(count, 0, "not repacked, no buffer");
        let (_, count) = by_buffer(&REPACK, plain, (ty, &rows), &vectors, 2);
        assert_eq!(count, 0, "not repacked");
    }
}

#[test]
fn q6_k_is_computed_here_and_loses_no_bit() {
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    init();
    let ty = sys::GGML_TYPE_Q6_K;
    let rows = weights(ty, Q6_K.rows, ROW_LEN);
    check_against_single_tokens(ty, &|tokens, threads| {
        by_rows(&Q6_K, (ty, &rows, ROW_LEN), tokens, 1, threads)
    });
    let vectors = random_tokens(ROW_LEN, 4, &mut fastrand::Rng::with_seed(7));
    // SAFETY: a buffer type that is always there.
    let plain = unsafe { sys::ggml_backend_cpu_buffer_type() };
    let (_, count) = by_buffer(&Q6_K, plain, (ty, &rows), &vectors, 2);
    assert_eq!(count, 2, "in a host buffer");
    let (_, count) = by_rows(&Q6_K, (ty, &rows, ROW_LEN), &vectors, 2, 2);
    assert_eq!(count, 0, "two batches");
    let halves: Vec<_> = vectors.iter().map(|it| it[..256].to_vec()).collect();
    let (results, count) = by_rows(&Q6_K, (ty, &rows, ROW_LEN), &halves, 1, 2);
    assert_eq!(count, 0, "rows that do not follow each other");
    assert!(results.iter().all(|it| it.is_finite()));
}

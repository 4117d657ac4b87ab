//! Which products the kernels take, and how threads divide them.

use super::*;
use crate::mul_mat::isa_for;

#[test]
fn products_of_weights_with_several_tokens_are_taken() {
    require!(Isa::best().is_some(), "AVX2");
    let taken = |layout, rows, row_len, tokens| {
        MulMat::new(layout, [row_len, rows, 1, 1], tokens)
            .map(|shape| (shape.groups, shape.row_len, shape.tokens))
    };
    let whole = |layout| {
        for tokens in [2, 300] {
            let expected = Some((2048, 5632, tokens as usize));
            assert_eq!(taken(layout, 2048, 5632, tokens), expected, "{layout:?}");
        }
        assert_eq!(taken(layout, 2048, 2048, 1), None, "a single token");
        assert_eq!(taken(layout, 128, 2048, 2), None, "attention's values");
        assert_eq!(taken(layout, 2048, 128, 2), None, "attention's keys");
        assert_eq!(taken(layout, -1, 2048, 2), None);
    };
    [Layout::F16, Layout::Q8_0, Layout::AmxF16]
        .into_iter()
        .for_each(whole);
    assert_eq!(taken(Layout::F16, 2048, 2064, 2), None, "half a cache line");
    assert_eq!(
        taken(Layout::Q8_0, 2048, 2080, 2),
        None,
        "fewer than eight blocks"
    );
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    for layout in [Layout::AmxQ8_0, Layout::AmxQ4_0] {
        assert_eq!(taken(layout, 2048, 2080, 300), Some((128, 2080, 300)));
        assert_eq!(taken(layout, 2056, 2048, 2), None, "half a group");
    }
    assert_eq!(taken(Layout::AmxQ4K, 2048, 2048, 2), Some((128, 2048, 2)));
    assert_eq!(
        taken(Layout::AmxQ4K, 2048, 2080, 2),
        None,
        "half a super-block"
    );
    assert_eq!(taken(Layout::Q4Kx8, 2048, 2048, 2), Some((256, 2048, 2)));
    assert_eq!(taken(Layout::Q6K, 2048, 2048, 2), Some((2048, 2048, 2)));
}

#[test]
fn chunks_are_a_few_for_each_thread_and_not_too_small() {
    for (groups, row_len, threads, chunk) in [
        (2048, 2048, 2, 128),
        (32_000, 2048, 2, 2000),
        (2048, 2048, 16, 64),
        (2048, 2048, 24, 88),
        (2048, 2048, 31, 68),
        (2048, 2048, 64, 32),
        (256, 256, 2, 128),
        (2050, 2048, 2, 132),
    ] {
        let shape = MulMat {
            layout: Layout::F16,
            groups,
            row_len,
            tokens: 2,
        };
        let what = format!("{groups} rows of {row_len}, {threads} threads");
        assert_eq!(shape.chunk_size(threads), chunk, "{what}");
    }
}

#[test]
fn the_first_answer_stays() {
    assert!(crate::enabled_or_init(true));
    assert!(crate::enabled_or_init(false));
}

#[test]
fn the_layout_that_llama_cpp_prefers_decides() {
    init();
    let amx = crate::ggml::extra_buffer_type(c"AMX").is_some();
    let repack = amx || crate::ggml::extra_buffer_type(c"CPU_REPACK").is_some();
    let (any, vnni) = (Isa::best().is_some(), Isa::has_vnni_kernels());
    for (weights, row_len, expected) in [
        (sys::GGML_TYPE_F16, 2048, any),
        (sys::GGML_TYPE_F16, 2064, false),
        (sys::GGML_TYPE_Q8_0, 2048, any),
        (sys::GGML_TYPE_Q8_0, 896, amx && vnni),
        (sys::GGML_TYPE_Q4_0, 2048, repack && vnni),
        (sys::GGML_TYPE_Q4_K, 2048, repack && vnni),
        (sys::GGML_TYPE_Q4_K, 2080, false),
        (sys::GGML_TYPE_Q5_K, 2048, amx && vnni),
        (sys::GGML_TYPE_Q6_K, 2048, vnni),
        (sys::GGML_TYPE_Q2_K, 2048, false),
        (sys::GGML_TYPE_BF16, 2048, false),
    ] {
        let isa = isa_for(weights, row_len);
        assert_eq!(isa.is_some(), expected, "type {weights}, {row_len}");
        assert_eq!(isa, crate::isa_for(weights, row_len), "it is linked");
    }
}

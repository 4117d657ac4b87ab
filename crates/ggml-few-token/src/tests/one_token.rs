//! Q4_0 and Q4_K in the `CPU_REPACK` buffer, and Q6_K in rows, against ggml's kernels for one
//! token.

use proptest::prelude::*;

use super::*;
use crate::ggml::{Q8_0_BYTES, QK8_0, quantize_q8_0, quantize_q8_k};

unsafe extern "C" {
    #[allow(non_snake_case)]
    fn ggml_vec_dot_q6_K_q8_K(
        n: c_int,
        s: *mut f32,
        bs: usize,
        vx: *const c_void,
        bx: usize,
        vy: *const c_void,
        by: usize,
        nrc: c_int,
    );
}

/// Declares ggml's products of interleaved rows and a token.
macro_rules! gemv {
    ($($name:ident)*) => {
        unsafe extern "C" {
            $(#[allow(non_snake_case)]
            fn $name(
                n: c_int,
                s: *mut f32,
                bs: usize,
                vx: *const c_void,
                vy: *const c_void,
                nr: c_int,
                nc: c_int,
            );)*
        }
    };
}

gemv! { ggml_gemv_q4_0_8x8_q8_0 ggml_gemv_q4_K_8x8_q8_K }

const LAYOUTS: [Layout; 3] = [Layout::Q4_0x8, Layout::Q4Kx8, Layout::Q6K];

/// Which 16-bit words of a block are in F16.
fn halves(layout: Layout) -> Range<usize> {
    match layout {
        Layout::Q4_0x8 => 0..8,
        Layout::Q4Kx8 => 0..16,
        _ => 104..105,
    }
}

/// Random weights, and tokens.
#[derive(Debug)]
struct Case {
    shape: MulMat,
    /// Any bytes, except for what is in F16.
    weights: Vec<u8>,
    tokens: Vec<Vec<f32>>,
    cuts: Vec<usize>,
}

impl Case {
    fn random(
        layout: Layout,
        [groups, blocks, tokens]: [usize; 3],
        cuts: Vec<usize>,
        seed: u64,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut weights = vec![0; groups * blocks * layout.block().1];
        for block in weights.chunks_exact_mut(layout.block().1) {
            block.fill_with(|| random.u8(..));
            for number in halves(layout) {
                let scale = half((random.f32() - 0.5) / 64.0).to_le_bytes();
                block[2 * number..][..2].copy_from_slice(&scale);
            }
        }
        let row_len = blocks * layout.block().0;
        let mut token = || (0..row_len).map(|_| random.f32() - 0.5).collect();
        Self {
            shape: MulMat {
                layout,
                groups,
                row_len,
                tokens,
            },
            weights,
            tokens: (0..tokens).map(|_| token()).collect(),
            cuts,
        }
    }

    fn compute(&self) -> Vec<f32> {
        packed::compute(self.shape, &self.weights, &self.tokens, 0, &self.cuts)
    }

    /// What ggml computes, one token after the other.
    fn by_ggml(&self) -> Vec<f32> {
        let rows = self.shape.groups * self.shape.layout.interleaved_rows();
        let mut super_blocks = Vec::new();
        let of_token = |token: &Vec<f32>| {
            let mut results = vec![f32::NAN; rows];
            if self.shape.layout == Layout::Q4_0x8 {
                let mut blocks = vec![0; token.len() / QK8_0 * Q8_0_BYTES];
                quantize_q8_0(token, &mut blocks);
                self.one_token_by_ggml(blocks.as_ptr().cast(), &mut results);
            } else {
                quantize_q8_k(token, &mut super_blocks);
                self.one_token_by_ggml(super_blocks.as_ptr().cast(), &mut results);
            }
            results
        };
        self.tokens.iter().flat_map(of_token).collect()
    }

    fn one_token_by_ggml(&self, token: *const c_void, results: &mut [f32]) {
        let MulMat {
            layout, row_len, ..
        } = self.shape;
        let (n, rows) = (row_len as c_int, results.len());
        let gemv = match layout {
            Layout::Q4_0x8 => ggml_gemv_q4_0_8x8_q8_0,
            Layout::Q4Kx8 => ggml_gemv_q4_K_8x8_q8_K,
            _ => {
                let weights = self.weights.chunks_exact(layout.group_bytes(row_len));
                for (row, result) in weights.zip(results) {
                    let row = row.as_ptr().cast();
                    // SAFETY: the row and the token have so many values.
                    unsafe { ggml_vec_dot_q6_K_q8_K(n, result, 0, row, 0, token, 0, 1) }
                }
                return;
            }
        };
        let (to, weights) = (results.as_mut_ptr(), self.weights.as_ptr().cast());
        // SAFETY: the rows and the token have so many values.
        unsafe { gemv(n, to, rows, weights, token, 1, rows as c_int) }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let results = self.compute().into_iter().zip(self.by_ggml());
        for (at, (result, expected)) in results.enumerate() {
            prop_assert_eq!(
                result.to_bits(),
                expected.to_bits(),
                "{:?}, result {}: {} for {}",
                self.shape,
                at,
                result,
                expected
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn results_are_bit_for_bit_what_ggml_computes_for_one_token(
        layout in prop::sample::select(&LAYOUTS[..]),
        groups in 1..12_usize,
        blocks in 1..4_usize,
        tokens in 1..70_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        seed: u32,
    ) {
        require!(Isa::has_vnni_kernels(), "AVX-512 VNNI", Ok(()));
        init();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(groups + 1)).collect();
        cuts.sort_unstable();
        Case::random(layout, [groups, blocks, tokens], cuts, seed.into()).check()?;
    }
}

/// Every number of tokens has code of its own.
#[test]
fn each_number_of_tokens_is_computed() {
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    init();
    for tokens in 1..=18 {
        for layout in LAYOUTS {
            let case = Case::random(layout, [3, 2, tokens], vec![], tokens as u64);
            case.check()
                .unwrap_or_else(|error| panic!("{tokens} tokens: {error}"));
        }
    }
}

/// Where sums are largest, and where they are zero.
#[test]
fn extremes_do_not_overflow() {
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    init();
    for layout in LAYOUTS {
        for byte in [0, 0x7f, 0x80, 0xff] {
            for token in [-1.0, 0.0, 1.0] {
                let mut case = Case::random(layout, [1, 2, 3], vec![], 1);
                for block in case.weights.chunks_exact_mut(layout.block().1) {
                    let halves = 2 * halves(layout).start..2 * halves(layout).end;
                    let others = block.iter_mut().enumerate();
                    let others = others.filter(|(at, _)| !halves.contains(at));
                    others.for_each(|(_, value)| *value = byte);
                }
                for values in &mut case.tokens {
                    values.fill(token);
                    // The largest value becomes 127 or -127, and all others nearly the opposite.
                    values
                        .iter_mut()
                        .step_by(layout.block().0)
                        .for_each(|it| *it *= -1.001);
                }
                case.check().expect("the same");
            }
        }
    }
}

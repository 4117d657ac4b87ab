//! Q4_0 and K-quants where there is no AMX, against llama.cpp's kernels for one token.

use super::*;
use packed::Rounded;

unsafe extern "C" {
    #[allow(non_snake_case)]
    fn ggml_vec_dot_q6_K_q8_K(
        n: c_int,
        result: *mut f32,
        bs: usize,
        weights: *const c_void,
        bx: usize,
        token: *const c_void,
        by: usize,
        nrc: c_int,
    );
}

/// Declares llama.cpp's products of rows in eights with a token.
macro_rules! gemv {
    ($($name:ident)*) => {
        unsafe extern "C" {
            $(#[allow(non_snake_case)]
            fn $name(
                n: c_int,
                results: *mut f32,
                bs: usize,
                weights: *const c_void,
                token: *const c_void,
                nr: c_int,
                nc: c_int,
            );)*
        }
    };
}

gemv! { ggml_gemv_q4_0_8x8_q8_0 ggml_gemv_q4_K_8x8_q8_K }

const KINDS: [Kind; 3] = [Kind::EightsQ4_0, Kind::EightsQ4K, Kind::RowsQ6K];

/// Where in a block there are numbers in half precision, two bytes each.
fn halves(kind: Kind) -> Range<usize> {
    match kind {
        Kind::EightsQ4_0 => 0..8,
        Kind::EightsQ4K => 0..16,
        _ => 104..105,
    }
}

/// Random weights, and tokens.
#[derive(Debug)]
struct Case {
    product: Product,
    /// Any bytes are weights, but for what is in half precision.
    weights: Vec<u8>,
    tokens: Vec<Vec<f32>>,
    cuts: Vec<usize>,
}

impl Case {
    fn random(
        kind: Kind,
        [groups, blocks, tokens]: [usize; 3],
        cuts: Vec<usize>,
        seed: u64,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut weights = vec![0; groups * blocks * kind.block().1];
        for block in weights.chunks_exact_mut(kind.block().1) {
            block.fill_with(|| random.u8(..));
            for number in halves(kind) {
                let scale = half((random.f32() - 0.5) / 64.0).to_le_bytes();
                block[2 * number..][..2].copy_from_slice(&scale);
            }
        }
        let length = blocks * kind.block().0;
        let mut token = || (0..length).map(|_| random.f32() - 0.5).collect();
        Self {
            product: Product {
                kind,
                rows: groups,
                length,
                tokens,
            },
            weights,
            tokens: (0..tokens).map(|_| token()).collect(),
            cuts,
        }
    }

    fn compute(&self) -> Vec<f32> {
        laid::compute(self.product, &self.weights, &self.tokens, 0, &self.cuts)
    }

    /// What llama.cpp computes, one token after the other.
    fn by_llama(&self) -> Vec<f32> {
        let Product {
            rows, length, kind, ..
        } = self.product;
        let n = length as c_int;
        let mut blocks = vec![0; length / q8_0::BLOCK * q8_0::BYTES];
        let mut super_blocks = Vec::new();
        let of_token = |token: &Vec<f32>| {
            let token: *const c_void = if kind == Kind::EightsQ4_0 {
                packed::round(token, &mut blocks);
                blocks.as_ptr().cast()
            } else {
                Rounded::of(token, &mut super_blocks);
                super_blocks.as_ptr().cast()
            };
            let mut results = vec![f32::NAN; rows * kind.group()];
            match kind {
                Kind::EightsQ4_0 | Kind::EightsQ4K => {
                    let (to, weights) = (results.as_mut_ptr(), self.weights.as_ptr().cast());
                    let count = results.len();
                    let gemv = match kind {
                        Kind::EightsQ4_0 => ggml_gemv_q4_0_8x8_q8_0,
                        _ => ggml_gemv_q4_K_8x8_q8_K,
                    };
                    // SAFETY: there are so many rows of so many values, and a token.
                    unsafe { gemv(n, to, count, weights, token, 1, count as c_int) }
                }
                _ => {
                    for (row, result) in self
                        .weights
                        .chunks_exact(kind.row_bytes(length))
                        .zip(&mut results)
                    {
                        // SAFETY: both have so many values.
                        unsafe {
                            let row = row.as_ptr().cast();
                            ggml_vec_dot_q6_K_q8_K(n, result, 0, row, 0, token, 0, 1);
                        }
                    }
                }
            }
            results
        };
        self.tokens.iter().flat_map(of_token).collect()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let results = self.compute().into_iter().zip(self.by_llama());
        for (at, (result, expected)) in results.enumerate() {
            prop_assert_eq!(
                result.to_bits(),
                expected.to_bits(),
                "{:?}, result {}: {} for {}",
                self.product,
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
    fn results_are_bit_for_bit_what_llama_computes_for_one_token(
        kind in prop::sample::select(&KINDS[..]),
        groups in 1..12_usize,
        blocks in 1..4_usize,
        tokens in 1..70_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        seed: u32,
    ) {
        if !packed::can() {
            return Ok(());
        }
        crate::runtime::llama::devices();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(groups + 1)).collect();
        cuts.sort_unstable();
        Case::random(kind, [groups, blocks, tokens], cuts, seed.into()).check()?;
    }
}

/// Every number of tokens has code of its own.
#[test]
fn each_number_of_tokens_is_as_llama_computes_it() {
    if !packed::can() {
        return;
    }
    crate::runtime::llama::devices();
    for tokens in 1..=18 {
        for kind in KINDS {
            let case = Case::random(kind, [3, 2, tokens], vec![], tokens as u64);
            case.check()
                .unwrap_or_else(|error| panic!("{tokens} tokens: {error}"));
        }
    }
}

/// Where sums are largest, and where there is nothing.
#[test]
fn extremes_are_as_llama_computes_them() {
    if !packed::can() {
        return;
    }
    crate::runtime::llama::devices();
    for kind in KINDS {
        for byte in [0, 0x7f, 0x80, 0xff] {
            for token in [-1.0, 0.0, 1.0] {
                let mut case = Case::random(kind, [1, 2, 3], vec![], 1);
                for block in case.weights.chunks_exact_mut(kind.block().1) {
                    let halves = 2 * halves(kind).start..2 * halves(kind).end;
                    let others = block.iter_mut().enumerate();
                    let others = others.filter(|(at, _)| !halves.contains(at));
                    others.for_each(|(_, value)| *value = byte);
                }
                for values in &mut case.tokens {
                    values.fill(token);
                    // What is largest is 127 in size, and all others nearly as much the other way.
                    values
                        .iter_mut()
                        .step_by(kind.block().0)
                        .for_each(|it| *it *= -1.001);
                }
                case.check().expect("the same");
            }
        }
    }
}

//! F16 and Q8_0 in rows.

use proptest::prelude::*;

use super::*;
use crate::ggml::{Q8_0_BYTES, QK8_0};
use crate::mul_mat::TOKENS;

unsafe extern "C" {
    /// ggml's product of one row and one token.
    fn ggml_vec_dot_q8_0_q8_0(
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

/// A matrix with a few bytes between its rows.
#[derive(Debug)]
struct Bytes {
    bytes: Vec<u8>,
    stride: usize,
}

impl Bytes {
    fn matrix(&self) -> Matrix {
        Matrix {
            data: self.bytes.as_ptr(),
            stride: self.stride,
        }
    }

    fn row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.stride..]
    }
}

/// A type of values.
#[derive(Clone, Copy)]
enum Format {
    F16,
    F32,
    Q8_0,
}

impl Format {
    /// Those of the weights and of the activations.
    fn of(layout: Layout) -> [Self; 2] {
        match layout {
            Layout::F16 => [Self::F16, Self::F16],
            Layout::AmxF16 => [Self::F16, Self::F32],
            Layout::Q8_0 => [Self::Q8_0, Self::Q8_0],
            _ => unreachable!("not in blocks of one row"),
        }
    }
}

#[derive(Debug)]
struct Case {
    shape: MulMat,
    weights: Bytes,
    tokens: Bytes,
    /// Floats between the results of tokens.
    between: usize,
    /// Where chunks end.
    cuts: Vec<usize>,
}

impl Case {
    /// Random rows. Bytes are at least `least`: ggml never quantizes activations to -128.
    fn random(
        format: Format,
        least: i8,
        rows: usize,
        row_len: usize,
        between: usize,
        random: &mut fastrand::Rng,
    ) -> Bytes {
        let used = match format {
            Format::F16 => 2 * row_len,
            Format::F32 => 4 * row_len,
            Format::Q8_0 => row_len / QK8_0 * Q8_0_BYTES,
        };
        let stride = used + between;
        let mut bytes = vec![0xff; rows * stride];
        for row in bytes.chunks_exact_mut(stride) {
            match format {
                Format::F32 => {
                    for value in row[..used].chunks_exact_mut(4) {
                        value.copy_from_slice(&(random.f32() - 0.5).to_le_bytes());
                    }
                }
                Format::F16 => {
                    for value in row[..used].chunks_exact_mut(2) {
                        value.copy_from_slice(&half(random.f32() - 0.5).to_le_bytes());
                    }
                }
                Format::Q8_0 => {
                    for block in row[..used].chunks_exact_mut(Q8_0_BYTES) {
                        block[..2].copy_from_slice(
                            &half((random.f32() - 0.5) / 4.0 * f32::from(random.u8(..) != 0))
                                .to_le_bytes(),
                        );
                        block[2..].fill_with(|| random.i8(least..) as u8);
                    }
                }
            }
        }
        Bytes { bytes, stride }
    }

    /// All results, computed chunk by chunk. Floats that are not results keep their NaN.
    fn compute(&self, isa: Isa) -> Vec<f32> {
        let MulMat {
            groups: rows,
            tokens,
            ..
        } = self.shape;
        let stride = rows + self.between;
        let mut results = vec![f32::NAN; tokens * stride];
        let job = Job {
            shape: self.shape,
            weights: self.weights.matrix(),
            activations: self.tokens.matrix(),
            output: Output {
                data: results.as_mut_ptr(),
                stride,
            },
        };
        let chunks: Vec<_> = chunks(&self.cuts, rows).collect();
        // One thread computes every second chunk.
        for thread in 0..2 {
            let mut chunks = chunks.iter().skip(thread).step_by(2).cloned();
            // SAFETY: the processor has the instructions, and the operands have the shape.
            unsafe { job.compute(isa, &mut chunks) }
        }
        results
    }

    /// Checks each result: instruction set, row, token and result.
    fn check_all(
        &self,
        check: impl Fn(Isa, usize, usize, f32) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        let MulMat {
            groups: rows,
            tokens,
            ..
        } = self.shape;
        for isa in all_isas() {
            let results = self.compute(isa);
            for (at, result) in results.into_iter().enumerate() {
                let (token, row) = (at / (rows + self.between), at % (rows + self.between));
                if row >= rows {
                    prop_assert!(result.is_nan(), "wrote behind the rows");
                    continue;
                }
                prop_assert!(token < tokens);
                check(isa, row, token, result)?;
            }
        }
        Ok(())
    }

    /// The sum in double precision, and the sum of the absolute values.
    fn exact_f16(&self, row: usize, token: usize) -> (f64, f64) {
        let row_len = self.shape.row_len;
        let halves = |bytes| -> Vec<f64> { halves(bytes).take(row_len).map(f64::from).collect() };
        let singles = |bytes: &[u8]| -> Vec<f64> {
            let singles = bytes.chunks_exact(4).take(row_len);
            singles
                .map(|four| f64::from(f32::from_le_bytes(four.try_into().expect("four"))))
                .collect()
        };
        let (a, b) = (self.weights.row(row), self.tokens.row(token));
        let (a, b) = match self.shape.layout {
            Layout::AmxF16 => (halves(a), singles(b)),
            _ => (halves(a), halves(b)),
        };
        let products = a.iter().zip(&b).map(|(a, b)| a * b);
        (products.clone().sum(), products.map(f64::abs).sum())
    }

    /// What ggml computes for one token.
    fn by_ggml(&self, row: usize, token: usize) -> f32 {
        init();
        let mut result = 0.0;
        // SAFETY: both have `row_len` values.
        unsafe {
            ggml_vec_dot_q8_0_q8_0(
                self.shape.row_len as c_int,
                &mut result,
                0,
                self.weights.row(row).as_ptr().cast(),
                0,
                self.tokens.row(token).as_ptr().cast(),
                0,
                1,
            );
        }
        result
    }
}

fn cases(layout: Layout) -> impl Strategy<Value = Case> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (
        1..40_usize,
        1..6_usize,
        1..3 * TOKENS,
        0..3_usize,
        cuts,
        any::<u64>(),
    )
        .prop_map(move |(rows, steps, tokens, between, cuts, seed)| {
            let row_len = steps * layout.step();
            let [weights, values] = Format::of(layout);
            let mut random = fastrand::Rng::with_seed(seed);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(rows + 1)).collect();
            cuts.sort_unstable();
            Case {
                shape: MulMat {
                    layout,
                    groups: rows,
                    row_len,
                    tokens,
                },
                weights: Case::random(weights, -128, rows, row_len, 2 * between, &mut random),
                tokens: Case::random(values, -127, tokens, row_len, 4 * between, &mut random),
                between,
                cuts,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn f16_is_as_exact_as_single_precision_allows(
        case in prop_oneof![cases(Layout::F16), cases(Layout::AmxF16)],
    ) {
        case.check_all(|isa, row, token, result| {
            let (sum, sizes) = case.exact_f16(row, token);
            let error = (f64::from(result) - sum).abs();
            let what = format!("{isa:?}, row {row}, token {token}: {result} for {sum}");
            prop_assert!(error <= sizes * 1e-6, "{what}");
            Ok(())
        })?;
    }

    #[test]
    fn q8_0_is_bit_for_bit_what_ggml_computes_for_one_token(case in cases(Layout::Q8_0)) {
        case.check_all(|isa, row, token, result| {
            let expected = case.by_ggml(row, token);
            let what = format!("{isa:?}, row {row}, token {token}: {result} for {expected}");
            prop_assert!(result.to_bits() == expected.to_bits(), "{what}");
            Ok(())
        })?;
    }
}

/// Extremes of eight bits, where sums of pairs are largest.
#[test]
fn q8_0_does_not_overflow() {
    for (weight, value) in [(-128_i8, -127_i8), (-128, 127), (127, -127), (127, 127)] {
        let (rows, row_len, tokens) = (4, Layout::Q8_0.step(), 3);
        let matrix = |rows: usize, value: i8| {
            let mut block = half(1.0).to_le_bytes().to_vec();
            block.extend([value as u8; QK8_0]);
            let stride = row_len / QK8_0 * Q8_0_BYTES;
            let bytes = block.repeat(rows * row_len / QK8_0);
            Bytes { bytes, stride }
        };
        let case = Case {
            shape: MulMat {
                layout: Layout::Q8_0,
                groups: rows,
                row_len,
                tokens,
            },
            weights: matrix(rows, weight),
            tokens: matrix(tokens, value),
            between: 0,
            cuts: vec![],
        };
        let expected = (i32::from(weight) * i32::from(value) * row_len as i32) as f32;
        for isa in all_isas() {
            assert!(
                case.compute(isa).iter().all(|&result| result == expected),
                "{isa:?}"
            );
        }
    }
}

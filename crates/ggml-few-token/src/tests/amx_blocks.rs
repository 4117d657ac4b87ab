//! Q8_0 and Q4_0 in the layout of the AMX buffer, made here: on any processor with VNNI.

use proptest::prelude::*;

use super::*;
use crate::ggml::{Q8_0_BYTES, QK8_0, quantize_q8_0};
use crate::mul_mat::Op;

/// Rows of blocks, and tokens.
#[derive(Debug)]
struct Packed {
    shape: MulMat,
    /// Of each row, the scale and values of each block.
    weights: Vec<Vec<(u16, Vec<i8>)>>,
    tokens: Vec<Vec<f32>>,
    between: usize,
    cuts: Vec<usize>,
}

impl Packed {
    fn random(
        layout: Layout,
        [groups, blocks, tokens, between]: [usize; 4],
        cuts: Vec<usize>,
        seed: u64,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let values = match layout {
            Layout::AmxQ4_0 => -8..=7,
            _ => -128..=127,
        };
        let mut block = || {
            let scale = half((random.f32() - 0.5) / 4.0);
            let values = std::iter::repeat_with(|| random.i8(values.clone()));
            (scale, values.take(QK8_0).collect())
        };
        let mut row = || (0..blocks).map(|_| block()).collect();
        let weights = (0..groups * AMX_ROWS).map(|_| row()).collect();
        let mut random = fastrand::Rng::with_seed(seed + 1);
        let mut token = || (0..blocks * QK8_0).map(|_| random.f32() - 0.5).collect();
        Self {
            shape: MulMat {
                layout,
                groups,
                row_len: blocks * QK8_0,
                tokens,
            },
            weights,
            tokens: (0..tokens).map(|_| token()).collect(),
            between,
            cuts,
        }
    }

    /// The weights as the AMX buffer has them.
    fn weights_in_layout(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for rows in self.weights.chunks_exact(AMX_ROWS) {
            for block in 0..self.shape.row_len / QK8_0 {
                let of = |row: usize| &rows[row][block];
                let fours: Vec<Vec<u8>> = (0..QK8_0 / 4)
                    .map(|four| {
                        let values =
                            (0..AMX_ROWS).flat_map(|row| of(row).1[4 * four..][..4].to_vec());
                        values.map(|value| value as u8).collect()
                    })
                    .collect();
                if self.shape.layout == Layout::AmxQ4_0 {
                    for two in fours.chunks_exact(2) {
                        let both = two[0].iter().zip(&two[1]);
                        let nibble = |value: &u8| value.wrapping_add(8) & 0xf;
                        bytes.extend(both.map(|(low, high)| nibble(low) | nibble(high) << 4));
                    }
                } else {
                    bytes.extend(fours.concat());
                }
                bytes.extend((0..AMX_ROWS).flat_map(|row| of(row).0.to_le_bytes()));
                if self.shape.layout == Layout::AmxQ8_0 {
                    // Sums for ggml's kernels, not used here.
                    bytes.extend([0xff; 4 * AMX_ROWS]);
                }
            }
        }
        bytes
    }

    fn compute(&self) -> Vec<f32> {
        let weights = self.weights_in_layout();
        packed::compute(self.shape, &weights, &self.tokens, self.between, &self.cuts)
    }

    /// One result as ggml's kernel for one token computes it: exact sums of blocks, added in order.
    fn expected(&self, row: usize, token: usize) -> f32 {
        let token = &self.tokens[token];
        let mut rounded = vec![0; token.len() / QK8_0 * Q8_0_BYTES];
        quantize_q8_0(token, &mut rounded);
        let blocks = self.weights[row]
            .iter()
            .zip(rounded.chunks_exact(Q8_0_BYTES));
        blocks.fold(0.0, |sum, ((scale, weights), block)| {
            let values = weights.iter().zip(&block[2..]);
            let products =
                values.map(|(&weight, &value)| i32::from(weight) * i32::from(value as i8));
            let of_token = from_half(u16::from_le_bytes([block[0], block[1]]));
            let scales = from_half(*scale) * of_token;
            (products.sum::<i32>() as f32).mul_add(scales, sum)
        })
    }

    fn check(&self) -> Result<(), TestCaseError> {
        self.check_all(self.compute())
    }

    fn check_all(&self, results: Vec<f32>) -> Result<(), TestCaseError> {
        let stride = self.shape.groups * AMX_ROWS + self.between;
        for (at, result) in results.into_iter().enumerate() {
            let (token, row) = (at / stride, at % stride);
            if row >= self.shape.groups * AMX_ROWS {
                prop_assert!(result.is_nan(), "wrote behind the rows");
                continue;
            }
            let expected = self.expected(row, token);
            prop_assert_eq!(
                result.to_bits(),
                expected.to_bits(),
                "row {}, token {}: {} for {}",
                row,
                token,
                result,
                expected
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn weights_are_multiplied_block_by_block(
        q4_0: bool,
        groups in 1..6_usize,
        blocks in 1..7_usize,
        tokens in 1..70_usize,
        between in 0..3_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        seed: u32,
    ) {
        require!(Isa::has_vnni_kernels(), "AVX-512 VNNI", Ok(()));
        init();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(groups + 1)).collect();
        cuts.sort_unstable();
        let layout = if q4_0 { Layout::AmxQ4_0 } else { Layout::AmxQ8_0 };
        let sizes = [groups, blocks, tokens, between];
        Packed::random(layout, sizes, cuts, seed.into()).check()?;
    }
}

/// Every number of tokens has code of its own.
#[test]
fn each_number_of_tokens_is_computed() {
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    init();
    for tokens in 1..=35 {
        for layout in [Layout::AmxQ8_0, Layout::AmxQ4_0] {
            let packed = Packed::random(layout, [3, 5, tokens, 1], vec![], tokens as u64);
            packed
                .check()
                .unwrap_or_else(|error| panic!("{layout:?}, {tokens} tokens: {error}"));
        }
    }
}

/// Where sums of bytes are largest.
#[test]
fn extremes_do_not_overflow() {
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    init();
    for (layout, weights) in [(Layout::AmxQ8_0, [-128, 127]), (Layout::AmxQ4_0, [-8, 7])] {
        for weight in weights {
            for value in [-1.0, 1.0] {
                let mut packed = Packed::random(layout, [1, 2, 2, 0], vec![], 0);
                for (_, values) in packed.weights.iter_mut().flatten() {
                    values.fill(weight);
                }
                for token in &mut packed.tokens {
                    token.fill(value);
                }
                packed.check().expect("the same");
            }
        }
    }
}

/// As ggml calls it where it has AMX, on one thread.
#[test]
fn operations_in_the_amx_layout_are_computed_without_amx_too() {
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    init();
    let thread = OneThread::new();
    for (layout, ty) in [
        (Layout::AmxQ8_0, sys::GGML_TYPE_Q8_0),
        (Layout::AmxQ4_0, sys::GGML_TYPE_Q4_0),
    ] {
        let packed = Packed::random(layout, [20, 8, 19, 0], vec![], 5);
        let (rows, row_len, tokens) = (20 * AMX_ROWS, 8 * QK8_0, 19);
        let weights = packed.weights_in_layout();
        let values = packed.tokens.concat();
        let mut results = vec![f32::NAN; rows * tokens];
        let f32 = sys::GGML_TYPE_F32;
        let mut src0 = tensor(ty, [row_len, rows], weights.as_ptr().cast());
        let mut src1 = tensor(f32, [row_len, tokens], values.as_ptr().cast());
        let mut dst = tensor(f32, [rows, tokens], results.as_mut_ptr().cast());
        dst.src[..2].copy_from_slice(&[&raw mut src0, &raw mut src1]);
        let mut work = [0; 1];
        let params = thread.params(&mut work);
        // SAFETY: the operands are in memory, and the thread is alone.
        unsafe {
            let op = Op::new(&params, &dst);
            let (shape, isa) = op.shape_in(layout).expect("there is a kernel");
            op.compute(shape, isa);
        }
        packed.check_all(results).expect("the same");
        let is_taken = |dst: &sys::ggml_tensor| {
            // SAFETY: as above.
            unsafe { Op::new(&params, dst) }.shape_in(layout).is_some()
        };
        dst.ne[2] = 2;
        assert!(!is_taken(&dst), "two batches");
        (dst.ne[1], dst.ne[2]) = (1, 1);
        assert!(!is_taken(&dst), "a single token");
        (dst.ne[1], dst.op_params[1]) = (19, sys::GGML_HINT_SRC0_IS_HADAMARD as i32);
        assert!(!is_taken(&dst), "a Hadamard matrix");
        dst.op_params[1] = 0;
        assert!(is_taken(&dst));
    }
}

/// A matrix of ggml's in memory of the test.
fn tensor(ty: sys::ggml_type, [len, rows]: [usize; 2], data: *const c_void) -> sys::ggml_tensor {
    // SAFETY: nothing but numbers and pointers, of which all may be zero.
    let mut tensor: sys::ggml_tensor = unsafe { std::mem::zeroed() };
    tensor.type_ = ty;
    tensor.ne = [len as i64, rows as i64, 1, 1];
    // SAFETY: takes a type.
    let first = unsafe { sys::ggml_type_size(ty) };
    let row = crate::ggml::row_size(ty, len as i64);
    tensor.nb = [first, row, row * rows, row * rows];
    tensor.data = data.cast_mut();
    tensor
}

//! Weights in AMX's layout, packed here by hand, on any processor with VNNI.

use super::*;
use q8_0::BLOCK;
use threads::Call;

/// Rows of whole numbers with a scale for each block of 32, and tokens.
#[derive(Debug)]
struct Packed {
    product: Product,
    /// Of each row, each block's scale and values.
    weights: Vec<Vec<(u16, Vec<i8>)>>,
    tokens: Vec<Vec<f32>>,
    between: usize,
    cuts: Vec<usize>,
}

impl Packed {
    fn random(
        kind: Kind,
        [groups, blocks, tokens, between]: [usize; 4],
        cuts: Vec<usize>,
        seed: u64,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let values = match kind {
            Kind::PackedQ4_0 => -8..=7,
            _ => -128..=127,
        };
        let mut block = || {
            let scale = half((random.f32() - 0.5) / 4.0);
            let values = std::iter::repeat_with(|| random.i8(values.clone()));
            (scale, values.take(BLOCK).collect())
        };
        let mut row = || (0..blocks).map(|_| block()).collect();
        let weights = (0..groups * GROUP).map(|_| row()).collect();
        let mut random = fastrand::Rng::with_seed(seed + 1);
        let mut token = || (0..blocks * BLOCK).map(|_| random.f32() - 0.5).collect();
        Self {
            product: Product {
                kind,
                rows: groups,
                length: blocks * BLOCK,
                tokens,
            },
            weights,
            tokens: (0..tokens).map(|_| token()).collect(),
            between,
            cuts,
        }
    }

    /// The weights as llama.cpp lays them out.
    fn layout(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for rows in self.weights.chunks_exact(GROUP) {
            for block in 0..self.product.length / BLOCK {
                let of = |row: usize| &rows[row][block];
                let fours: Vec<Vec<u8>> = (0..BLOCK / 4)
                    .map(|four| {
                        let values = (0..GROUP).flat_map(|row| of(row).1[4 * four..][..4].to_vec());
                        values.map(|value| value as u8).collect()
                    })
                    .collect();
                if self.product.kind == Kind::PackedQ4_0 {
                    for two in fours.chunks_exact(2) {
                        let both = two[0].iter().zip(&two[1]);
                        let nibble = |value: &u8| value.wrapping_add(8) & 0xf;
                        bytes.extend(both.map(|(low, high)| nibble(low) | nibble(high) << 4));
                    }
                } else {
                    bytes.extend(fours.concat());
                }
                bytes.extend((0..GROUP).flat_map(|row| of(row).0.to_le_bytes()));
                if self.product.kind == Kind::PackedQ8_0 {
                    // What llama.cpp's kernels want: not looked at.
                    bytes.extend([0xff; 4 * GROUP]);
                }
            }
        }
        bytes
    }

    fn compute(&self) -> Vec<f32> {
        let weights = self.layout();
        laid::compute(
            self.product,
            &weights,
            &self.tokens,
            self.between,
            &self.cuts,
        )
    }

    /// One result as llama.cpp's kernel for one token comes to it: of each block an exact sum, all
    /// added in order.
    fn expected(&self, row: usize, token: usize) -> f32 {
        let token = &self.tokens[token];
        let mut rounded = vec![0; token.len() / BLOCK * q8_0::BYTES];
        packed::round(token, &mut rounded);
        let blocks = self.weights[row]
            .iter()
            .zip(rounded.chunks_exact(q8_0::BYTES));
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
        let stride = self.product.rows * GROUP + self.between;
        for (at, result) in results.into_iter().enumerate() {
            let (token, row) = (at / stride, at % stride);
            if row >= self.product.rows * GROUP {
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
    fn packed_weights_are_multiplied_block_by_block(
        q4_0: bool,
        groups in 1..6_usize,
        blocks in 1..7_usize,
        tokens in 1..70_usize,
        between in 0..3_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        seed: u32,
    ) {
        if !packed::can() {
            return Ok(());
        }
        crate::runtime::llama::devices();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(groups + 1)).collect();
        cuts.sort_unstable();
        let kind = if q4_0 { Kind::PackedQ4_0 } else { Kind::PackedQ8_0 };
        let sizes = [groups, blocks, tokens, between];
        Packed::random(kind, sizes, cuts, seed.into()).check()?;
    }
}

/// Every number of tokens has code of its own.
#[test]
fn each_number_of_tokens_is_computed() {
    if !packed::can() {
        return;
    }
    crate::runtime::llama::devices();
    for tokens in 1..=35 {
        for kind in [Kind::PackedQ8_0, Kind::PackedQ4_0] {
            let packed = Packed::random(kind, [3, 5, tokens, 1], vec![], tokens as u64);
            packed
                .check()
                .unwrap_or_else(|error| panic!("{kind:?}, {tokens} tokens: {error}"));
        }
    }
}

/// Where sums of bytes are largest.
#[test]
fn packed_extremes_do_not_overflow() {
    if !packed::can() {
        return;
    }
    crate::runtime::llama::devices();
    for (kind, weights) in [(Kind::PackedQ8_0, [-128, 127]), (Kind::PackedQ4_0, [-8, 7])] {
        for weight in weights {
            for value in [-1.0, 1.0] {
                let mut packed = Packed::random(kind, [1, 2, 2, 0], vec![], 0);
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

/// A tensor of llama.cpp's in memory of ours.
fn tensor(kind: sys::ggml_type, ne: [usize; 4], data: *const c_void) -> sys::ggml_tensor {
    // SAFETY: nothing but numbers and pointers, of which all may be nothing.
    let mut tensor: sys::ggml_tensor = unsafe { std::mem::zeroed() };
    tensor.type_ = kind;
    tensor.ne = ne.map(|n| n as i64);
    tensor.nb = [4, 4 * ne[0], 4 * ne[0] * ne[1], 4 * ne[0] * ne[1] * ne[2]];
    tensor.data = data.cast_mut();
    tensor
}

/// As llama.cpp would call it where it has AMX, on one thread.
#[test]
fn a_call_is_answered_without_amx_too() {
    if !packed::can() {
        return;
    }
    crate::runtime::llama::devices();
    let threadpool = {
        // SAFETY: llama.cpp's own defaults, for one thread.
        unsafe {
            let mut params = sys::ggml_threadpool_params_default(1);
            sys::ggml_threadpool_new(&mut params)
        }
    };
    for (kind, of_llama) in [
        (Kind::PackedQ8_0, sys::GGML_TYPE_Q8_0),
        (Kind::PackedQ4_0, sys::GGML_TYPE_Q4_0),
    ] {
        let packed = Packed::random(kind, [20, 8, 19, 0], vec![], 5);
        let (rows, length, tokens) = (20 * GROUP, 8 * BLOCK, 19);
        let bytes = packed.layout();
        let values = packed.tokens.concat();
        let results = vec![f32::NAN; rows * tokens];
        let mut room = [0_u64; 1];
        let call = Call {
            wsize: size_of_val(&room),
            wdata: room.as_mut_ptr().cast(),
            threadpool: threadpool.cast(),
            ..Call::alone()
        };
        let mut weights = tensor(of_llama, [length, rows, 1, 1], bytes.as_ptr().cast());
        let single = sys::GGML_TYPE_F32;
        let mut values = tensor(single, [length, tokens, 1, 1], values.as_ptr().cast());
        let mut result = tensor(single, [rows, tokens, 1, 1], results.as_ptr().cast());
        result.src[..2].copy_from_slice(&[&raw mut weights, &raw mut values]);
        // SAFETY: all is there, and the thread is alone.
        assert!(unsafe { amx::product(&call, &result) });
        packed.check_all(results).expect("the same");
        result.ne[2] = 2;
        // SAFETY: nothing is looked at but shapes.
        assert!(!unsafe { amx::product(&call, &result) }, "two batches");
        (result.ne[1], result.ne[2]) = (1, 1);
        // SAFETY: as above.
        assert!(!unsafe { amx::product(&call, &result) }, "a single token");
    }
    // SAFETY: it is not used any more.
    unsafe { sys::ggml_threadpool_free(threadpool) }
}

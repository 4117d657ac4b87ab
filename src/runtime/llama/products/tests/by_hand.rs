//! Weights in AMX's layout, packed here by hand, on any processor with VNNI.

use super::*;
use packed::{BLOCK, GROUP, Laid, Tokens};

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
        let Product {
            rows,
            tokens,
            length,
            kind,
        } = self.product;
        let stride = rows * GROUP + self.between;
        let mut results = vec![f32::NAN; tokens * stride];
        let mut laid = vec![Laid::default(); tokens * length / BLOCK];
        let to = Tokens {
            start: laid.as_mut_ptr(),
            count: tokens,
        };
        for (at, token) in self.tokens.iter().enumerate() {
            // SAFETY: there is room.
            unsafe { to.lay_out(kind, at, token) }
        }
        let bytes = self.layout();
        let job = Job {
            product: self.product,
            weights: Matrix {
                start: bytes.as_ptr(),
                stride: kind.row_bytes(length),
            },
            tokens: Matrix {
                start: laid.as_ptr().cast(),
                stride: 0,
            },
            results: Results {
                start: results.as_mut_ptr(),
                stride,
            },
        };
        let ends = self.cuts.iter().copied().chain([rows]);
        let starts = [0].into_iter().chain(self.cuts.iter().copied());
        let mut pieces = starts.zip(ends).map(|(start, end)| start..end);
        // SAFETY: the processor can, the matrices have what the product says.
        unsafe { job.compute(Instructions::Vnni, &mut pieces) }
        results
    }

    /// One result as llama.cpp's kernel for one token comes to it: of each block an exact sum, all added in order.
    fn expected(&self, row: usize, token: usize) -> f32 {
        let token = &self.tokens[token];
        let mut rounded = vec![0; token.len() / BLOCK * q8_0::BYTES];
        // SAFETY: there is room for so many blocks.
        unsafe { packed::round(token, &mut rounded) }
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
        let stride = self.product.rows * GROUP + self.between;
        for (at, result) in self.compute().into_iter().enumerate() {
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
    fn packed_weights_are_bit_for_bit_what_llama_computes_for_one_token(
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

//! K-quants in the layout of the AMX buffer, made here: on any processor with VNNI.

use proptest::prelude::*;

use super::*;
use crate::ggml::{QK_K, quantize_q8_k};

/// Values of a sub-block of Q4_K and Q5_K.
const SUB_BLOCK: usize = 32;

/// A super-block of a row.
#[derive(Clone, Debug)]
struct Block {
    /// `d` and `dmin`.
    d: [u16; 2],
    scales: Vec<i8>,
    mins: Vec<i8>,
    /// As they are stored.
    values: Vec<u8>,
}

/// Rows of blocks, and tokens.
#[derive(Debug)]
struct Packed {
    shape: MulMat,
    weights: Vec<Vec<Block>>,
    tokens: Vec<Vec<f32>>,
    cuts: Vec<usize>,
}

const LAYOUTS: [Layout; 3] = [Layout::AmxQ4K, Layout::AmxQ5K, Layout::AmxQ6K];

impl Packed {
    fn random(
        layout: Layout,
        [groups, blocks, tokens]: [usize; 3],
        cuts: Vec<usize>,
        seed: u64,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (bits, signed) = match layout {
            Layout::AmxQ4K => (4, false),
            Layout::AmxQ5K => (5, false),
            _ => (6, true),
        };
        let mut block = || {
            let d = [(); 2].map(|()| half((random.f32() - 0.5) / 64.0));
            let values = (0..QK_K).map(|_| random.u8(0..1 << bits)).collect();
            let mut scale = || match signed {
                true => random.i8(..),
                false => random.i8(0..64),
            };
            let sub_blocks = if signed { 16 } else { 8 };
            Block {
                d,
                values,
                scales: (0..sub_blocks).map(|_| scale()).collect(),
                mins: (0..sub_blocks).map(|_| scale()).collect(),
            }
        };
        let mut row = || (0..blocks).map(|_| block()).collect();
        let weights = (0..groups * AMX_ROWS).map(|_| row()).collect();
        let mut token = || (0..blocks * QK_K).map(|_| random.f32() - 0.5).collect();
        Self {
            shape: MulMat {
                layout,
                groups,
                row_len: blocks * QK_K,
                tokens,
            },
            weights,
            tokens: (0..tokens).map(|_| token()).collect(),
            cuts,
        }
    }

    /// The weights as the AMX buffer has them.
    fn weights_in_layout(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for rows in self.weights.chunks_exact(AMX_ROWS) {
            for block in 0..self.shape.row_len / QK_K {
                let rows: Vec<_> = rows.iter().map(|row| &row[block]).collect();
                // Some bits of the values of a four, for each row.
                let four = |number: usize, bits: fn(u8) -> u8| -> Vec<u8> {
                    let of = |row: &&Block| row.values[4 * number..][..4].to_vec();
                    rows.iter().flat_map(of).map(bits).collect()
                };
                // Several fours in the same bytes, each shifted by `by` bits more than the last.
                let mut put = |number: usize, together: usize, by: usize, bits: fn(u8) -> u8| {
                    let mut all = vec![0; 4 * AMX_ROWS];
                    for at in 0..together {
                        let four = four(number * together + at, bits);
                        let both = all.iter_mut().zip(four);
                        both.for_each(|(byte, bits)| *byte |= bits << (at * by));
                    }
                    bytes.extend(all);
                };
                (0..QK_K / 8).for_each(|number| put(number, 2, 4, |value| value & 0xf));
                match self.shape.layout {
                    Layout::AmxQ5K => {
                        (0..QK_K / 32).for_each(|number| put(number, 8, 1, |value| value >> 4));
                    }
                    Layout::AmxQ6K => {
                        (0..QK_K / 16).for_each(|number| put(number, 4, 2, |value| value >> 4));
                    }
                    _ => {}
                }
                for number in 0..rows[0].scales.len() {
                    bytes.extend(rows.iter().map(|row| row.scales[number] as u8));
                }
                let has_mins = self.shape.layout != Layout::AmxQ6K;
                if has_mins {
                    for pair in 0..QK_K / SUB_BLOCK / 2 {
                        let of = |row: &&Block| [0, 1].map(|at| row.mins[2 * pair + at] as u8);
                        bytes.extend(rows.iter().flat_map(of));
                    }
                }
                for number in 0..1 + usize::from(has_mins) {
                    bytes.extend(rows.iter().flat_map(|row| row.d[number].to_le_bytes()));
                }
            }
        }
        bytes
    }

    fn compute(&self) -> Vec<f32> {
        packed::compute(
            self.shape,
            &self.weights_in_layout(),
            &self.tokens,
            0,
            &self.cuts,
        )
    }

    /// One result as ggml's kernel for one token computes it: exact sums of super-blocks and of
    /// their minima, added in order.
    fn expected(&self, row: usize, token: usize) -> f32 {
        let mut rounded = Vec::new();
        quantize_q8_k(&self.tokens[token], &mut rounded);
        let blocks = self.weights[row].iter().zip(&rounded);
        blocks.fold(0.0, |sum, (weights, token)| {
            let len = QK_K / weights.scales.len();
            let (less, has_mins) = match self.shape.layout {
                Layout::AmxQ6K => (32, false),
                _ => (0, true),
            };
            let (mut whole, mut mins) = (0_i32, 0_i32);
            for number in 0..weights.scales.len() {
                let values = number * len..(number + 1) * len;
                let of_token = token.qs[values.clone()]
                    .iter()
                    .map(|&value| i32::from(value));
                let of_weights = weights.values[values]
                    .iter()
                    .map(|&value| i32::from(value) - less);
                let products = of_weights.zip(of_token.clone()).map(|(a, b)| a * b);
                whole += i32::from(weights.scales[number]) * products.sum::<i32>();
                mins += i32::from(weights.mins[number]) * of_token.sum::<i32>();
            }
            let [scale, of_mins] = weights.d.map(|half| from_half(half) * token.d);
            let sum = (whole as f32).mul_add(scale, sum);
            match has_mins {
                true => (-mins as f32).mul_add(of_mins, sum),
                false => sum,
            }
        })
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let rows = self.shape.groups * AMX_ROWS;
        for (at, result) in self.compute().into_iter().enumerate() {
            let (token, row) = (at / rows, at % rows);
            let expected = self.expected(row, token);
            prop_assert_eq!(
                result.to_bits(),
                expected.to_bits(),
                "{:?}, row {}, token {}: {} for {}",
                self.shape.layout,
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
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn weights_are_multiplied_block_by_block(
        layout in prop::sample::select(&LAYOUTS[..]),
        groups in 1..5_usize,
        blocks in 1..4_usize,
        tokens in 1..70_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        seed: u32,
    ) {
        require!(Isa::has_vnni_kernels(), "AVX-512 VNNI", Ok(()));
        init();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(groups + 1)).collect();
        cuts.sort_unstable();
        Packed::random(layout, [groups, blocks, tokens], cuts, seed.into()).check()?;
    }
}

/// Every number of tokens has code of its own.
#[test]
fn each_number_of_tokens_is_computed() {
    require!(Isa::has_vnni_kernels(), "AVX-512 VNNI");
    init();
    for tokens in 1..=18 {
        for layout in LAYOUTS {
            let packed = Packed::random(layout, [2, 2, tokens], vec![], tokens as u64);
            packed
                .check()
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
        let (most, scales) = match layout {
            Layout::AmxQ4K => (15, [0, 63]),
            Layout::AmxQ5K => (31, [0, 63]),
            _ => (63, [-128, 127]),
        };
        for (value, scale, token) in [0, most]
            .into_iter()
            .flat_map(|value| scales.map(|scale| (value, scale)))
            .flat_map(|(value, scale)| [-1.0, 0.0, 1.0].map(|token| (value, scale, token)))
        {
            let mut packed = Packed::random(layout, [1, 2, 2], vec![], 1);
            for block in packed.weights.iter_mut().flatten() {
                block.values.fill(value);
                block.scales.fill(scale);
                block.mins.fill(scale);
            }
            packed.tokens.iter_mut().for_each(|it| it.fill(token));
            packed.check().expect("the same");
        }
    }
}

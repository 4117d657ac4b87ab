//! K-quants in AMX's layout, packed here by hand, on any processor with VNNI.

use super::*;
use packed::Rounded;

/// Values of a block, and of the runs that it has.
const BLOCK: usize = 256;
const RUN: usize = 32;

/// A row's block.
#[derive(Clone, Debug)]
struct Block {
    /// What scales the scales, and the minima.
    halves: [u16; 2],
    scales: Vec<i8>,
    minima: Vec<i8>,
    /// As they are stored.
    values: Vec<u8>,
}

/// Rows of blocks, and tokens.
#[derive(Debug)]
struct Packed {
    product: Product,
    weights: Vec<Vec<Block>>,
    tokens: Vec<Vec<f32>>,
    cuts: Vec<usize>,
}

const KINDS: [Kind; 3] = [Kind::PackedQ4K, Kind::PackedQ5K, Kind::PackedQ6K];

impl Packed {
    fn random(
        kind: Kind,
        [groups, blocks, tokens]: [usize; 3],
        cuts: Vec<usize>,
        seed: u64,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (bits, signed) = match kind {
            Kind::PackedQ4K => (4, false),
            Kind::PackedQ5K => (5, false),
            _ => (6, true),
        };
        let mut block = || {
            let halves = [(); 2].map(|()| half((random.f32() - 0.5) / 64.0));
            let values = (0..BLOCK).map(|_| random.u8(0..1 << bits)).collect();
            let mut scale = || match signed {
                true => random.i8(..),
                false => random.i8(0..64),
            };
            let runs = if signed { 16 } else { 8 };
            Block {
                halves,
                values,
                scales: (0..runs).map(|_| scale()).collect(),
                minima: (0..runs).map(|_| scale()).collect(),
            }
        };
        let mut row = || (0..blocks).map(|_| block()).collect();
        let weights = (0..groups * GROUP).map(|_| row()).collect();
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
            cuts,
        }
    }

    /// The weights as llama.cpp lays them out.
    fn layout(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for rows in self.weights.chunks_exact(GROUP) {
            for block in 0..self.product.length / BLOCK {
                let rows: Vec<_> = rows.iter().map(|row| &row[block]).collect();
                // Of the four of that number, each row's values, and only some of their bits.
                let four = |number: usize, bits: fn(u8) -> u8| -> Vec<u8> {
                    let of = |row: &&Block| row.values[4 * number..][..4].to_vec();
                    rows.iter().flat_map(of).map(bits).collect()
                };
                // Several fours in the same bytes, each shifted by so many bits more than the one
                // before.
                let mut put = |number: usize, together: usize, by: usize, bits: fn(u8) -> u8| {
                    let mut all = vec![0; 4 * GROUP];
                    for at in 0..together {
                        let four = four(number * together + at, bits);
                        let both = all.iter_mut().zip(four);
                        both.for_each(|(byte, bits)| *byte |= bits << (at * by));
                    }
                    bytes.extend(all);
                };
                (0..BLOCK / 8).for_each(|number| put(number, 2, 4, |value| value & 0xf));
                match self.product.kind {
                    Kind::PackedQ5K => {
                        (0..BLOCK / 32).for_each(|number| put(number, 8, 1, |value| value >> 4));
                    }
                    Kind::PackedQ6K => {
                        (0..BLOCK / 16).for_each(|number| put(number, 4, 2, |value| value >> 4));
                    }
                    _ => {}
                }
                for run in 0..rows[0].scales.len() {
                    bytes.extend(rows.iter().map(|row| row.scales[run] as u8));
                }
                let has_minima = self.product.kind != Kind::PackedQ6K;
                if has_minima {
                    for pair in 0..BLOCK / RUN / 2 {
                        let of = |row: &&Block| [0, 1].map(|at| row.minima[2 * pair + at] as u8);
                        bytes.extend(rows.iter().flat_map(of));
                    }
                }
                for number in 0..1 + usize::from(has_minima) {
                    bytes.extend(rows.iter().flat_map(|row| row.halves[number].to_le_bytes()));
                }
            }
        }
        bytes
    }

    fn compute(&self) -> Vec<f32> {
        laid::compute(self.product, &self.layout(), &self.tokens, 0, &self.cuts)
    }

    /// One result as llama.cpp's kernel for one token comes to it: of each block an exact sum, and
    /// one of minima, all added in order.
    fn expected(&self, row: usize, token: usize) -> f32 {
        let mut rounded = Vec::new();
        Rounded::of(&self.tokens[token], &mut rounded);
        let blocks = self.weights[row].iter().zip(&rounded);
        blocks.fold(0.0, |sum, (weights, token)| {
            let run = BLOCK / weights.scales.len();
            let (less, has_minima) = match self.product.kind {
                Kind::PackedQ6K => (32, false),
                _ => (0, true),
            };
            let (mut whole, mut minima) = (0_i32, 0_i32);
            for number in 0..weights.scales.len() {
                let run = number * run..(number + 1) * run;
                let of_token = token.values[run.clone()]
                    .iter()
                    .map(|&value| i32::from(value));
                let of_weights = weights.values[run]
                    .iter()
                    .map(|&value| i32::from(value) - less);
                let products = of_weights.zip(of_token.clone()).map(|(a, b)| a * b);
                whole += i32::from(weights.scales[number]) * products.sum::<i32>();
                minima += i32::from(weights.minima[number]) * of_token.sum::<i32>();
            }
            let [scale, of_minima] = weights.halves.map(|half| from_half(half) * token.scale);
            let sum = (whole as f32).mul_add(scale, sum);
            match has_minima {
                true => (-minima as f32).mul_add(of_minima, sum),
                false => sum,
            }
        })
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let rows = self.product.rows * GROUP;
        for (at, result) in self.compute().into_iter().enumerate() {
            let (token, row) = (at / rows, at % rows);
            let expected = self.expected(row, token);
            prop_assert_eq!(
                result.to_bits(),
                expected.to_bits(),
                "{:?}, row {}, token {}: {} for {}",
                self.product.kind,
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
    fn k_quants_are_multiplied_block_by_block(
        kind in prop::sample::select(&KINDS[..]),
        groups in 1..5_usize,
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
        Packed::random(kind, [groups, blocks, tokens], cuts, seed.into()).check()?;
    }
}

/// Every number of tokens has code of its own.
#[test]
fn each_number_of_tokens_has_its_k_quants() {
    if !packed::can() {
        return;
    }
    crate::runtime::llama::devices();
    for tokens in 1..=18 {
        for kind in KINDS {
            let packed = Packed::random(kind, [2, 2, tokens], vec![], tokens as u64);
            packed
                .check()
                .unwrap_or_else(|error| panic!("{tokens} tokens: {error}"));
        }
    }
}

/// Where sums are largest, and where there is nothing.
#[test]
fn extremes_of_k_quants_do_not_overflow() {
    if !packed::can() {
        return;
    }
    crate::runtime::llama::devices();
    for kind in KINDS {
        let (most, scales) = match kind {
            Kind::PackedQ4K => (15, [0, 63]),
            Kind::PackedQ5K => (31, [0, 63]),
            _ => (63, [-128, 127]),
        };
        for (value, scale, token) in [0, most]
            .into_iter()
            .flat_map(|value| scales.map(|scale| (value, scale)))
            .flat_map(|(value, scale)| [-1.0, 0.0, 1.0].map(|token| (value, scale, token)))
        {
            let mut packed = Packed::random(kind, [1, 2, 2], vec![], 1);
            for block in packed.weights.iter_mut().flatten() {
                block.values.fill(value);
                block.scales.fill(scale);
                block.minima.fill(scale);
            }
            packed.tokens.iter_mut().for_each(|it| it.fill(token));
            packed.check().expect("the same");
        }
    }
}

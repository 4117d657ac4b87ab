//! The kernels against a plain sum, and against llama.cpp's own.

mod asking;
mod by_hand;
mod by_hand_k;
mod by_llama;
mod graph;
mod laid;

use std::ffi::c_void;

use proptest::prelude::*;

pub(super) use self::graph::count;
use super::*;

unsafe extern "C" {
    /// llama.cpp's product of one row and one token.
    fn ggml_vec_dot_q8_0_q8_0(
        n: c_int,
        result: *mut f32,
        result_stride: usize,
        a: *const c_void,
        a_stride: usize,
        b: *const c_void,
        b_stride: usize,
        columns: c_int,
    );
}

/// What this processor can run: the kernels for lesser ones, too.
fn all_instructions() -> Vec<Instructions> {
    let all = [Instructions::Avx2, Instructions::Avx512, Instructions::Vnni];
    let best = all.into_iter().position(|one| instructions() == Some(one));
    // A processor of the last ten years, and llama.cpp built for it: something has to be tested.
    assert!(best.is_some() || !is_x86_feature_detected!("avx2") || !built_for_avx2());
    all[..best.map_or(0, |best| best + 1)].to_vec()
}

fn built_for_avx2() -> bool {
    // SAFETY: takes nothing.
    unsafe { sys::ggml_cpu_has_avx2() != 0 }
}

/// Half precision of a float that it can hold.
fn half(value: f32) -> u16 {
    // SAFETY: takes a float, gives its half.
    unsafe { sys::ggml_fp32_to_fp16(value) }
}

fn from_half(value: u16) -> f32 {
    // SAFETY: takes a half, gives the float.
    unsafe { sys::ggml_fp16_to_fp32(value) }
}

/// Floats written in half precision.
fn halves(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let halves = bytes.chunks_exact(2);
    halves.map(|two| from_half(u16::from_le_bytes([two[0], two[1]])))
}

/// All `rows`, cut in pieces.
fn pieces(cuts: &[usize], rows: usize) -> impl Iterator<Item = Range<usize>> {
    let ends = cuts.iter().copied().chain([rows]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| start..end)
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
            start: self.bytes.as_ptr(),
            stride: self.stride,
        }
    }

    fn row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.stride..]
    }
}

/// Rows that lie together in AMX's layout.
const GROUP: usize = 16;

/// What numbers are written in.
#[derive(Clone, Copy)]
enum Format {
    Half,
    Single,
    Q8_0,
}

impl Format {
    /// That of a product's weights, and that of its tokens.
    fn of(kind: Kind) -> [Self; 2] {
        match kind {
            Kind::F16 => [Self::Half, Self::Half],
            Kind::F16F32 => [Self::Half, Self::Single],
            Kind::Q8_0 => [Self::Q8_0, Self::Q8_0],
            _ => unreachable!("tested by hand"),
        }
    }
}

#[derive(Debug)]
struct Case {
    product: Product,
    weights: Bytes,
    tokens: Bytes,
    /// Results lie so many floats further apart than they need to.
    between: usize,
    /// Where a thread stops and another goes on.
    cuts: Vec<usize>,
}

impl Case {
    /// Random numbers laid out as weights, or as tokens, of which none of eight bits is smaller
    /// than `least`: llama.cpp rounds tokens so that -128 never comes up.
    fn random(
        format: Format,
        least: i8,
        rows: usize,
        length: usize,
        between: usize,
        random: &mut fastrand::Rng,
    ) -> Bytes {
        let used = match format {
            Format::Half => 2 * length,
            Format::Single => 4 * length,
            Format::Q8_0 => length / q8_0::BLOCK * q8_0::BYTES,
        };
        let stride = used + between;
        let mut bytes = vec![0xff; rows * stride];
        for row in bytes.chunks_exact_mut(stride) {
            match format {
                Format::Single => {
                    for value in row[..used].chunks_exact_mut(4) {
                        value.copy_from_slice(&(random.f32() - 0.5).to_le_bytes());
                    }
                }
                Format::Half => {
                    for value in row[..used].chunks_exact_mut(2) {
                        value.copy_from_slice(&half(random.f32() - 0.5).to_le_bytes());
                    }
                }
                Format::Q8_0 => {
                    for block in row[..used].chunks_exact_mut(q8_0::BYTES) {
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

    /// All results, of which each piece was computed on its own. What is nobody's keeps its NaN.
    fn compute(&self, instructions: Instructions) -> Vec<f32> {
        let Product { rows, tokens, .. } = self.product;
        let stride = rows + self.between;
        let mut results = vec![f32::NAN; tokens * stride];
        let job = Job {
            product: self.product,
            weights: self.weights.matrix(),
            tokens: self.tokens.matrix(),
            results: Results {
                start: results.as_mut_ptr(),
                stride,
            },
        };
        let pieces: Vec<_> = pieces(&self.cuts, rows).collect();
        // A thread for every second piece.
        for thread in 0..2 {
            let mut pieces = pieces.iter().skip(thread).step_by(2).cloned();
            // SAFETY: the processor has the instructions, the matrices have what the product says.
            unsafe { job.compute(instructions, &mut pieces) }
        }
        results
    }

    /// Has `check` look at each result: the instructions, row, token and what came of them.
    fn check_all(
        &self,
        check: impl Fn(Instructions, usize, usize, f32) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        let Product { rows, tokens, .. } = self.product;
        for instructions in all_instructions() {
            let results = self.compute(instructions);
            for (at, result) in results.into_iter().enumerate() {
                let (token, row) = (at / (rows + self.between), at % (rows + self.between));
                if row >= rows {
                    prop_assert!(result.is_nan(), "wrote behind the rows");
                    continue;
                }
                prop_assert!(token < tokens);
                check(instructions, row, token, result)?;
            }
        }
        Ok(())
    }

    /// The sum in double precision, and the sum of the sizes of what is summed.
    fn exact_f16(&self, row: usize, token: usize) -> (f64, f64) {
        let length = self.product.length;
        let halves = |bytes| -> Vec<f64> { halves(bytes).take(length).map(f64::from).collect() };
        let singles = |bytes: &[u8]| -> Vec<f64> {
            let singles = bytes.chunks_exact(4).take(length);
            singles
                .map(|four| f64::from(f32::from_le_bytes(four.try_into().expect("four"))))
                .collect()
        };
        let (a, b) = (self.weights.row(row), self.tokens.row(token));
        let (a, b) = match self.product.kind {
            Kind::F16F32 => (halves(a), singles(b)),
            _ => (halves(a), halves(b)),
        };
        let products = a.iter().zip(&b).map(|(a, b)| a * b);
        (products.clone().sum(), products.map(f64::abs).sum())
    }

    /// What llama.cpp computes for one token.
    fn by_llama(&self, row: usize, token: usize) -> f32 {
        // Which makes its table of half precision.
        crate::runtime::llama::devices();
        let mut result = 0.0;
        // SAFETY: both have `length` values.
        unsafe {
            ggml_vec_dot_q8_0_q8_0(
                self.product.length as c_int,
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

fn cases(kind: Kind) -> impl Strategy<Value = Case> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (
        1..40_usize,
        1..6_usize,
        1..3 * tiles::TOKENS,
        0..3_usize,
        cuts,
        any::<u64>(),
    )
        .prop_map(move |(rows, steps, tokens, between, cuts, seed)| {
            let length = steps * kind.step();
            let [weights, values] = Format::of(kind);
            let mut random = fastrand::Rng::with_seed(seed);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(rows + 1)).collect();
            cuts.sort_unstable();
            Case {
                product: Product {
                    kind,
                    rows,
                    length,
                    tokens,
                },
                weights: Case::random(weights, -128, rows, length, 2 * between, &mut random),
                tokens: Case::random(values, -127, tokens, length, 4 * between, &mut random),
                between,
                cuts,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn half_precision_is_summed_as_well_as_single_precision_can(
        case in prop_oneof![cases(Kind::F16), cases(Kind::F16F32)],
    ) {
        case.check_all(|instructions, row, token, result| {
            let (sum, sizes) = case.exact_f16(row, token);
            let error = (f64::from(result) - sum).abs();
            prop_assert!(error <= sizes * 1e-6, "{instructions:?}, row {row}, token {token}: {result} for {sum}");
            Ok(())
        })?;
    }

    #[test]
    fn q8_0_is_bit_for_bit_what_llama_computes_for_one_token(case in cases(Kind::Q8_0)) {
        case.check_all(|instructions, row, token, result| {
            let expected = case.by_llama(row, token);
            prop_assert_eq!(result.to_bits(), expected.to_bits(), "{:?}, row {}, token {}", instructions, row, token);
            Ok(())
        })?;
    }
}

/// What these kernels are not made for goes on to llama.cpp's, which takes this in Q8_0.
#[test]
fn few_rows_go_on_to_llama() {
    // On lesser processors it takes none.
    if instructions().is_none() {
        return;
    }
    crate::runtime::llama::devices();
    let (kind, rows, length, tokens) = (Kind::Q8_0, 8, 512, 65);
    let mut random = fastrand::Rng::with_seed(3);
    let case = Case {
        product: Product {
            kind,
            rows,
            length,
            tokens,
        },
        weights: Case::random(Format::Q8_0, -127, rows, length, 0, &mut random),
        tokens: Case::random(Format::Q8_0, -127, tokens, length, 0, &mut random),
        between: 0,
        cuts: vec![],
    };
    let mut results = vec![f32::NAN; rows * tokens];
    let blocks = (length / q8_0::BLOCK) as i64;
    let q8_0 = sys::GGML_TYPE_Q8_0 as c_int;
    // SAFETY: there are as many rows and tokens of so many blocks, and room for the results. There
    // is one thread.
    let computed = unsafe {
        sgemm::llamafile_sgemm(
            &threads::Call::alone(),
            rows as i64,
            tokens as i64,
            blocks,
            case.weights.matrix().start.cast(),
            blocks,
            case.tokens.matrix().start.cast(),
            blocks,
            results.as_mut_ptr().cast(),
            rows as i64,
            q8_0,
            q8_0,
            sys::GGML_TYPE_F32 as c_int,
        )
    };
    assert!(computed);
    for (at, result) in results.into_iter().enumerate() {
        let expected = case.by_llama(at % rows, at / rows);
        assert!(
            (result - expected).abs() <= 1e-3 * expected.abs().max(1e3),
            "{result} for {expected}"
        );
    }
}

/// Extremes of eight bits, where sums of pairs are largest.
#[test]
fn q8_0_does_not_overflow() {
    for (weight, value) in [(-128_i8, -127_i8), (-128, 127), (127, -127), (127, 127)] {
        let (rows, length, tokens) = (4, q8_0::STEP, 3);
        let matrix = |rows: usize, value: i8| {
            let mut block = half(1.0).to_le_bytes().to_vec();
            block.extend([value as u8; q8_0::BLOCK]);
            let stride = length / q8_0::BLOCK * q8_0::BYTES;
            let bytes = block.repeat(rows * length / q8_0::BLOCK);
            Bytes { bytes, stride }
        };
        let case = Case {
            product: Product {
                kind: Kind::Q8_0,
                rows,
                length,
                tokens,
            },
            weights: matrix(rows, weight),
            tokens: matrix(tokens, value),
            between: 0,
            cuts: vec![],
        };
        let expected = (i32::from(weight) * i32::from(value) * length as i32) as f32;
        for instructions in all_instructions() {
            assert!(
                case.compute(instructions)
                    .iter()
                    .all(|&result| result == expected),
                "{instructions:?}"
            );
        }
    }
}

#[test]
fn only_products_of_weights_with_more_than_a_token_are_taken() {
    let [f32, f16, q8_0, q4_0] = [
        sys::GGML_TYPE_F32,
        sys::GGML_TYPE_F16,
        sys::GGML_TYPE_Q8_0,
        sys::GGML_TYPE_Q4_0,
    ]
    .map(|kind| kind as c_int);
    let taken =
        |m, n, k, types| Product::of(m, n, k, types).map(|product| (product.kind, product.length));
    let half = [f16, f16, f32];
    assert_eq!(taken(2048, 2, 2048, half), Some((Kind::F16, 2048)));
    assert_eq!(taken(32_000, 512, 5632, half), Some((Kind::F16, 5632)));
    assert_eq!(
        taken(256, 3, 64, [q8_0, q8_0, f32]),
        Some((Kind::Q8_0, 2048))
    );
    assert_eq!(taken(2048, 1, 2048, half), None);
    // Attention: keys (length of a head), values (as many rows).
    assert_eq!(taken(1024, 8, 128, half), None);
    assert_eq!(taken(128, 8, 1024, half), None);
    // Rows that do not come out even, other types, tokens that are not rounded yet.
    assert_eq!(taken(2048, 2, 2040, half), None);
    assert_eq!(taken(2048, 2, 60, [q8_0, q8_0, f32]), None);
    assert_eq!(taken(2048, 2, 64, [q4_0, q8_0, f32]), None);
    assert_eq!(taken(2048, 2, 2048, [f16, f32, f32]), None);
    assert_eq!(taken(-1, 2, 2048, half), None);
}

#[test]
fn of_amx_s_layout_whole_groups_are_taken_and_prompts_too() {
    let taken = |kind, rows, length, tokens| {
        Product::of_amx(kind, [length, rows, 1, 1], tokens)
            .map(|product| (product.kind, product.rows, product.tokens))
    };
    let f16 = sys::GGML_TYPE_F16;
    let expected = Some((Kind::F16F32, 2048, 300));
    assert_eq!(taken(f16, 2048, 2048, 300), expected);
    assert_eq!(taken(f16, 2048, 2048, 1), None);
    assert_eq!(
        taken(f16, 2048, 2064, 2),
        None,
        "lines that do not come out even"
    );
    assert_eq!(taken(f16, 128, 2048, 2), None, "so little is in the caches");
    assert_eq!(taken(sys::GGML_TYPE_Q4_1, 2048, 2048, 2), None);
    if packed::can() {
        let expected = Some((Kind::PackedQ8_0, 128, 2));
        assert_eq!(taken(sys::GGML_TYPE_Q8_0, 2048, 2048, 2), expected);
        let expected = Some((Kind::PackedQ4_0, 128, 300));
        assert_eq!(taken(sys::GGML_TYPE_Q4_0, 2048, 2080, 300), expected);
        assert_eq!(taken(sys::GGML_TYPE_Q4_0, 2056, 2048, 2), None);
        assert_eq!(taken(sys::GGML_TYPE_Q4_0, 2048, 2048, 1), None);
        let expected = Some((Kind::PackedQ4K, 128, 2));
        assert_eq!(taken(sys::GGML_TYPE_Q4_K, 2048, 2048, 2), expected);
        assert_eq!(
            taken(sys::GGML_TYPE_Q4_K, 2048, 2080, 2),
            None,
            "half a block"
        );
    }
}

#[test]
fn pieces_are_a_few_for_each_thread_and_not_too_small() {
    let product = |rows, length| Product {
        kind: Kind::F16,
        rows,
        length,
        tokens: 2,
    };
    for (rows, length, threads, piece) in [
        (2048, 2048, 2, 128),
        (32_000, 2048, 2, 2000),
        (2048, 2048, 16, 64),
        (2048, 2048, 24, 88),
        (2048, 2048, 31, 68),
        (2048, 2048, 64, 32),
        (256, 256, 2, 128),
        (2050, 2048, 2, 132),
    ] {
        let what = format!("{rows} rows of {length}, {threads} threads");
        assert_eq!(product(rows, length).piece(threads), piece, "{what}");
        assert_eq!(piece % ROWS, 0);
    }
}

#[test]
fn who_computes_is_settled_once() {
    assert!(!are_left_to_llama(false));
    assert!(!are_left_to_llama(true));
}

#[test]
fn what_computes_a_model_is_told() {
    crate::runtime::llama::devices();
    let amx = amx::layout().is_some();
    let any = instructions().is_some();
    let eights = amx || packed::can() && plain::layout().is_some();
    for (quantization, length, expected) in [
        ("F16", 2048, any),
        ("F16", 2064, false),
        ("Q8_0", 2048, any),
        // Rows that are no multiple of 256.
        ("Q8_0", 896, any && amx),
        ("Q4_0", 2048, eights),
        ("Q4_K_M", 2048, eights),
        ("Q4_K_M", 2080, false),
        ("Q5_K_S", 2048, any && amx),
        ("Q6_K", 2048, packed::can()),
        ("Q2_K", 2048, false),
        ("BF16", 2048, false),
    ] {
        let kernels = in_use(quantization, length);
        let what = format!("{quantization}, {length}: {kernels:?}");
        assert_eq!(kernels.is_some_and(|it| it.most), expected, "{what}");
    }
    // The output of most quantized models is in Q6_K.
    for quantization in ["Q2_K", "Q4_0", "Q5_K_M", "IQ4_XS"] {
        assert_eq!(
            in_use(quantization, 2048).is_some(),
            packed::can(),
            "{quantization}"
        );
    }
    assert_eq!(in_use("BF16", 2048), None);
}

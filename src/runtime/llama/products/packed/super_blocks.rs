//! K-quants: blocks of 256 values. Runs of 32 or 16 of them have a whole number for a scale, and
//! the block has a scale of those in half precision; in Q4_K and Q5_K something is taken from all
//! values of a run (its minimum), for which there are such numbers, too.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ffi::c_void;
use std::marker::PhantomData;

use super::super::{Results, ahead::LINE};
use super::blocks::nibbles;
use super::{Few, Format, GROUP, MOST, RUN, for_each_token, store};

/// Values of a block.
pub(super) const VALUES: usize = 256;
/// Runs of a block.
pub(super) const RUNS: usize = VALUES / RUN;

/// Weights in such blocks.
pub(super) struct SuperBlocks<R>(PhantomData<R>);

/// The weights of a block.
///
/// # Safety
/// All methods: the processor has VNNI, and `from` points to a block of 16 rows.
pub(super) trait Runs {
    /// Where in a block the scales of runs are.
    const SCALES: usize;
    /// Where the minima of runs are, if there are any. Without, values are 32 larger than they
    /// mean.
    const MINIMA: Option<usize>;
    /// Where the scales of those are, in half precision: of scales, then of minima.
    const HALVES: usize;
    /// Bytes of all that belongs to a block.
    const BYTES: usize;
    /// Scales of 32 values: two if each is of 16.
    const SCALES_OF_RUN: usize;

    /// The values of a run.
    unsafe fn values(from: *const u8, run: usize) -> [__m512i; RUN / 4];
}

pub(super) struct Q4K;

impl Runs for Q4K {
    const SCALES: usize = GROUP * VALUES / 2;
    const MINIMA: Option<usize> = Some(Self::SCALES + GROUP * RUNS);
    const HALVES: usize = Self::SCALES + 2 * GROUP * RUNS;
    const BYTES: usize = Self::HALVES + 2 * GROUP * 2;
    const SCALES_OF_RUN: usize = 1;

    #[inline(always)]
    unsafe fn values(from: *const u8, run: usize) -> [__m512i; RUN / 4] {
        // SAFETY: the caller's promises.
        unsafe { nibbles(from.add(run * GROUP * RUN / 2)) }
    }
}

/// As in Q4_K, with a fifth bit each, those of all eight fours of a run in a byte.
pub(super) struct Q5K;

impl Q5K {
    const BITS: usize = GROUP * VALUES / 2;
}

impl Runs for Q5K {
    const SCALES: usize = Self::BITS + GROUP * VALUES / 8;
    const MINIMA: Option<usize> = Some(Self::SCALES + GROUP * RUNS);
    const HALVES: usize = Self::SCALES + 2 * GROUP * RUNS;
    const BYTES: usize = Self::HALVES + 2 * GROUP * 2;
    const SCALES_OF_RUN: usize = 1;

    #[inline(always)]
    unsafe fn values(from: *const u8, run: usize) -> [__m512i; RUN / 4] {
        // SAFETY: the caller's promises.
        unsafe {
            let mut all = nibbles(from.add(run * GROUP * RUN / 2));
            let bits = _mm512_loadu_si512(from.add(Self::BITS + run * LINE).cast());
            let fifth = _mm512_set1_epi8(0x10);
            for four in 0..RUN / 4 {
                // Shifted by as many as brings its bit to the fifth place.
                let by = _mm512_set1_epi16((four as i16 - 4).abs());
                let shifted = match four < 4 {
                    true => _mm512_sllv_epi16(bits, by),
                    false => _mm512_srlv_epi16(bits, by),
                };
                all[four] = _mm512_or_si512(all[four], _mm512_and_si512(shifted, fifth));
            }
            all
        }
    }
}

/// Values of six bits, which are 32 larger than they mean: four bits as in Q4_K, the others of four
/// fours in a byte.
pub(super) struct Q6K;

impl Q6K {
    const BITS: usize = GROUP * VALUES / 2;
}

impl Runs for Q6K {
    const SCALES: usize = Self::BITS + GROUP * VALUES / 4;
    const MINIMA: Option<usize> = None;
    const HALVES: usize = Self::SCALES + 2 * GROUP * RUNS;
    const BYTES: usize = Self::HALVES + GROUP * 2;
    const SCALES_OF_RUN: usize = 2;

    #[inline(always)]
    unsafe fn values(from: *const u8, run: usize) -> [__m512i; RUN / 4] {
        // SAFETY: the caller's promises.
        unsafe {
            let mut all = nibbles(from.add(run * GROUP * RUN / 2));
            let high = _mm512_set1_epi8(0x30);
            for four in 0..RUN / 4 {
                let at = Self::BITS + (2 * run + four / 4) * LINE;
                let bits = _mm512_loadu_si512(from.add(at).cast());
                // Shifted by as many as brings its bits to the fifth and sixth place.
                let by = (4 - 2 * (four % 4) as i16).abs();
                let shifted = match four % 4 < 2 {
                    true => _mm512_sllv_epi16(bits, _mm512_set1_epi16(by)),
                    false => _mm512_srlv_epi16(bits, _mm512_set1_epi16(by)),
                };
                all[four] = _mm512_or_si512(all[four], _mm512_and_si512(shifted, high));
            }
            all
        }
    }
}

/// A token's block.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Token {
    /// Its values, four and four.
    pub(super) values: [i32; VALUES / 4],
    /// What its sums are for: with minima, the sums of two runs' values in each of the first four,
    /// in 16 bits; otherwise, what has to be added to take back the 32 in each weight, for every 16
    /// values.
    pub(super) sums: [i32; 2 * RUNS],
    pub(super) scale: f32,
}

/// A block of values rounded to Q8_K, as llama.cpp has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(in super::super) struct Rounded {
    pub(in super::super) scale: f32,
    pub(in super::super) values: [i8; VALUES],
    /// Of each 16.
    pub(in super::super) sums: [i16; VALUES / 16],
}

unsafe extern "C" {
    /// llama.cpp's way to round `length` values to Q8_K.
    #[allow(non_snake_case)]
    fn quantize_row_q8_K_ref(from: *const f32, to: *mut c_void, length: i64);
}

impl Rounded {
    /// Rounds values, as llama.cpp does, whose number is a multiple of a block's.
    pub(in super::super) fn of(values: &[f32], to: &mut Vec<Self>) {
        let zero = Self {
            scale: 0.0,
            values: [0; VALUES],
            sums: [0; VALUES / 16],
        };
        to.clear();
        // Sums of nothing but zeros are left as they were.
        to.resize(values.len() / VALUES, zero);
        let length = (to.len() * VALUES) as i64;
        // SAFETY: there is room.
        unsafe { quantize_row_q8_K_ref(values.as_ptr(), to.as_mut_ptr().cast(), length) }
    }
}

/// Rounds a token's values and tells each block, with its number.
pub(super) fn each_block(values: &[f32], mut tell: impl FnMut(usize, &Rounded)) {
    thread_local! {
        static ROUNDED: RefCell<Vec<Rounded>> = const { RefCell::new(Vec::new()) };
    }
    ROUNDED.with_borrow_mut(|rounded| {
        Rounded::of(values, rounded);
        for (number, block) in rounded.iter().enumerate() {
            tell(number, block);
        }
    });
}

impl Token {
    pub(super) fn of(block: &Rounded, minima: bool) -> Self {
        let mut token = Self {
            values: [0; VALUES / 4],
            sums: [0; 2 * RUNS],
            scale: block.scale,
        };
        for (to, four) in token.values.iter_mut().zip(block.values.chunks_exact(4)) {
            *to = i32::from_le_bytes([four[0], four[1], four[2], four[3]].map(|it| it as u8));
        }
        if minima {
            for (to, of) in token.sums.iter_mut().zip(block.sums.chunks_exact(4)) {
                let [first, second] = [of[0] + of[1], of[2] + of[3]].map(|sum| sum as u16);
                *to = (u32::from(second) << 16 | u32::from(first)) as i32;
            }
        } else {
            for (to, &sum) in token.sums.iter_mut().zip(&block.sums) {
                *to = -32 * i32::from(sum);
            }
        }
        token
    }
}

impl<R: Runs> Format for SuperBlocks<R> {
    const BLOCK: usize = VALUES;
    const BYTES: usize = R::BYTES;
    const STEPS: usize = RUNS;
    type Token = Token;

    unsafe fn lay_out(values: &[f32], mut tell: impl FnMut(usize, Token)) {
        each_block(values, |number, block| {
            tell(number, Token::of(block, R::MINIMA.is_some()));
        });
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(few: &Few<Token>, results: Results) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); N];
            let mut share = few.share;
            for block in 0..few.blocks {
                let at = few.weights.add(block * R::BYTES);
                let tokens = few.tokens.add(block * N);
                let mut whole = [_mm512_setzero_si512(); N];
                for run in 0..RUNS {
                    let weights = R::values(at, run);
                    let scales = scales::<R>(at, run);
                    for_each_token!(N, token, {
                        let sum = &mut whole[token];
                        *sum = add_run::<R>(&weights, &scales, &*tokens.add(token), run, *sum);
                    });
                    share.ask::<1>(block * RUNS + run, R::BYTES / RUNS, 0);
                }
                let scale = halves::<R>(at, 0);
                for_each_token!(N, token, {
                    let scale = _mm512_mul_ps(scale, _mm512_set1_ps((*tokens.add(token)).scale));
                    let sum = &mut sums[token];
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[token]), scale, *sum);
                });
                if let Some(minima) = R::MINIMA {
                    let minima = pairs(at.add(minima));
                    let scale = halves::<R>(at, 1);
                    for_each_token!(N, token, {
                        let of_token = &*tokens.add(token);
                        let scale = _mm512_mul_ps(scale, _mm512_set1_ps(of_token.scale));
                        let minima = times_sums(&minima, of_token);
                        let sum = &mut sums[token];
                        *sum = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(minima), scale, *sum);
                    });
                }
            }
            store(&sums, results);
        }
    }
}

/// The scales of a run, one or two of each of 16 rows.
///
/// # Safety
/// As for [`Runs`].
#[inline(always)]
unsafe fn scales<R: Runs>(from: *const u8, run: usize) -> [__m512i; 2] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut all = [_mm512_setzero_si512(); 2];
        for number in 0..R::SCALES_OF_RUN {
            let at = R::SCALES + (run * R::SCALES_OF_RUN + number) * GROUP;
            all[number] = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.add(at).cast()));
        }
        all
    }
}

/// What scales those of the whole block, or the minima of runs.
///
/// # Safety
/// As for [`Runs`].
#[inline(always)]
unsafe fn halves<R: Runs>(from: *const u8, number: usize) -> __m512 {
    // SAFETY: the caller's promises.
    unsafe {
        let at = from.add(R::HALVES + number * GROUP * 2);
        _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()))
    }
}

/// Adds the products of a token's run to the sums of 16 rows.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_run<R: Runs>(
    weights: &[__m512i; RUN / 4],
    scales: &[__m512i; 2],
    token: &Token,
    run: usize,
    mut sums: __m512i,
) -> __m512i {
    let fours = RUN / 4 / R::SCALES_OF_RUN;
    for number in 0..R::SCALES_OF_RUN {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = match R::MINIMA {
                Some(_) => _mm512_setzero_si512(),
                None => _mm512_set1_epi32(token.sums[run * R::SCALES_OF_RUN + number]),
            };
            for four in number * fours..(number + 1) * fours {
                let values = _mm512_set1_epi32(token.values[run * RUN / 4 + four]);
                sum = _mm512_dpbusd_epi32(sum, weights[four], values);
            }
            sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(sum, scales[number]));
        }
    }
    sums
}

/// The minima of 16 rows, of two runs at a time in 16 bits.
///
/// # Safety
/// The processor has AVX-512 with bytes and words, and `from` points to the minima.
#[inline(always)]
unsafe fn pairs(from: *const u8) -> [__m512i; RUNS / 2] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut all = [_mm512_setzero_si512(); RUNS / 2];
        for pair in 0..RUNS / 2 {
            let bytes = _mm256_loadu_si256(from.add(pair * 2 * GROUP).cast());
            all[pair] = _mm512_cvtepi8_epi16(bytes);
        }
        all
    }
}

/// The minima of 16 rows, times the sums of a token's runs.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn times_sums(minima: &[__m512i; RUNS / 2], token: &Token) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = _mm512_setzero_si512();
        for pair in 0..RUNS / 2 {
            let sums = _mm512_set1_epi32(token.sums[pair]);
            sum = _mm512_dpwssd_epi32(sum, sums, minima[pair]);
        }
        sum
    }
}

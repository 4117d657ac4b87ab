//! `FLASH_ATTN_EXT`: attention that gives a token the same bits whatever else is in the pass.
//!
//! ggml has three kernels for it, picks one by the number of tokens and threads, and each adds in
//! another order. Here a token's result depends on its query and on the keys and values that it
//! sees, in the order of their cells, and on nothing else: not on the cells that it does not see,
//! other tokens, or threads. All sums are in single precision.
//!
//! For each head of each token: all scores, their maximum, `exp(score - maximum)`, and the sum of
//! the values weighted by that. Heads that share keys and values are computed together, so that
//! each key and value is read and converted once for all of them.

// The loops whose trip count is a constant are those that the compiler unrolls, so that all sums
// stay in registers.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::{__m256, __m512};
use std::cell::RefCell;
use std::ops::Range;

use llama_cpp_sys_2 as sys;

use crate::Isa;
use crate::ggml::ComputeParams;
use crate::simd::F32Vector;

/// Heads that are computed together.
const HEADS: usize = 4;
/// Vectors of a head's values that are summed up at once.
const VECTORS: usize = 4;
/// Each thread computes its part in about as many chunks.
const CHUNKS_PER_THREAD: usize = 8;
/// Lanes of the sums over cells. A fixed number, so that the order does not depend on the
/// processor's vectors.
const LANES: usize = 16;

/// A mask of minus infinity, in F16: the token does not see the cell.
const HIDDEN: u16 = 0xfc00;

/// Computes this thread's part of a `FLASH_ATTN_EXT`. `false` if ggml has to.
///
/// # Safety
/// As for [`crate::forward`].
pub(crate) unsafe fn forward(params: &ComputeParams, op: &sys::ggml_tensor) -> bool {
    // SAFETY: the caller's promises.
    unsafe {
        let Some((attention, isa)) = Attention::new(op).zip(Isa::best()) else {
            return false;
        };
        params.start_chunks();
        let groups = attention.groups(params.nth as usize);
        let units = groups.len() * attention.tokens;
        let size = units.div_ceil(CHUNKS_PER_THREAD * params.nth as usize);
        let chunks = params.chunks().map(|chunk| chunk * size);
        let chunks = chunks.take_while(|&first| first < units);
        for first in chunks {
            for unit in first..units.min(first + size) {
                // Neighbouring tokens read the same keys and values.
                let heads = groups[unit / attention.tokens].clone();
                attention.compute(isa, unit % attention.tokens, heads);
            }
        }
    }
    true
}

/// A `FLASH_ATTN_EXT` that there is a kernel for: F16 keys and values.
struct Attention<'a> {
    q: &'a sys::ggml_tensor,
    k: &'a sys::ggml_tensor,
    v: &'a sys::ggml_tensor,
    mask: Option<&'a sys::ggml_tensor>,
    /// For each head, a score without a value.
    sinks: Option<&'a sys::ggml_tensor>,
    dst: &'a sys::ggml_tensor,
    scale: f32,
    /// Scores are bent to stay below it; 0 for no limit.
    softcap: f32,
    /// How fast the mask's slope falls from head to head (ALiBi); 0 where it is the same for all.
    max_bias: f32,
    tokens: usize,
    heads: usize,
    /// Heads that share keys and values.
    shared: usize,
    cells: usize,
    key_len: usize,
    value_len: usize,
}

/// The cells that a token sees, the scores of its heads, and their queries: kept for the next
/// token.
#[derive(Default)]
struct Scratch {
    runs: Vec<Range<usize>>,
    scores: Vec<f32>,
}

impl<'a> Attention<'a> {
    /// `None` if there is no kernel for it.
    ///
    /// # Safety
    /// `dst` is a `FLASH_ATTN_EXT` of ggml's.
    unsafe fn new(dst: &'a sys::ggml_tensor) -> Option<Self> {
        // SAFETY: the caller's promise; it has these sources, of which the last two may be missing.
        let [q, k, v] = unsafe { [&*dst.src[0], &*dst.src[1], &*dst.src[2]] };
        // SAFETY: the same.
        let [mask, sinks] = unsafe { [dst.src[3].as_ref(), dst.src[4].as_ref()] };
        let [scale, max_bias, softcap] =
            [0, 1, 2].map(|at| f32::from_bits(dst.op_params[at] as u32));
        let is_f16 = |it: &sys::ggml_tensor| {
            it.type_ == sys::GGML_TYPE_F16 && it.nb[0] == size_of::<u16>() && it.ne[3] == 1
        };
        let is_f32 = |it: &sys::ggml_tensor| {
            it.type_ == sys::GGML_TYPE_F32 && it.nb[0] == size_of::<f32>() && it.ne[3] == 1
        };
        let covers = |mask: &sys::ggml_tensor| mask.ne[0] >= k.ne[1] && mask.ne[1] >= q.ne[1];
        let masks = mask.is_none_or(|mask| is_f16(mask) && mask.ne[2] == 1 && covers(mask));
        let [key_len, value_len] = [k.ne[0], v.ne[0]].map(|len| len as usize);
        let fits = is_f32(q)
            && is_f32(dst)
            && is_f16(k)
            && is_f16(v)
            && masks
            && sinks.is_none_or(is_f32)
            && k.ne[2] == v.ne[2]
            && v.ne[1] >= k.ne[1]
            && q.ne[2] % k.ne[2] == 0
            && [key_len, value_len]
                .iter()
                .all(|len| len.is_multiple_of(LANES));
        fits.then_some(Self {
            q,
            k,
            v,
            mask,
            sinks,
            dst,
            scale: if softcap == 0.0 {
                scale
            } else {
                scale / softcap
            },
            softcap,
            max_bias,
            tokens: q.ne[1] as usize,
            heads: q.ne[2] as usize,
            shared: (q.ne[2] / k.ne[2]) as usize,
            cells: k.ne[1] as usize,
            key_len,
            value_len,
        })
    }

    /// Heads to compute together: those that share keys and values, unless that leaves threads
    /// without work.
    fn groups(&self, threads: usize) -> Vec<Range<usize>> {
        let enough = self.heads / self.shared * self.tokens >= 4 * threads;
        let most = if enough { HEADS } else { 1 };
        let of_shared = |first: usize| {
            let end = first + self.shared;
            (first..end)
                .step_by(most)
                .map(move |at| at..end.min(at + most))
        };
        (0..self.heads)
            .step_by(self.shared)
            .flat_map(of_shared)
            .collect()
    }

    /// Computes some heads of a token, which share keys and values.
    ///
    /// # Safety
    /// The tensors are in memory, and nobody else computes these heads.
    unsafe fn compute(&self, isa: Isa, token: usize, heads: Range<usize>) {
        thread_local! {
            static SCRATCH: RefCell<Scratch> = RefCell::default();
        }
        // SAFETY: the caller's promises; the processor has `isa`.
        SCRATCH.with_borrow_mut(|scratch| unsafe {
            match isa {
                Isa::Avx512 | Isa::Vnni => self.avx512(token, heads, scratch),
                Isa::Avx2 => self.avx2(token, heads, scratch),
            }
        });
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn avx512(&self, token: usize, heads: Range<usize>, scratch: &mut Scratch) {
        // SAFETY: the caller's promises.
        unsafe { self.compute_with::<__m512>(token, heads, scratch) }
    }

    #[target_feature(enable = "avx2,f16c,fma")]
    unsafe fn avx2(&self, token: usize, heads: Range<usize>, scratch: &mut Scratch) {
        // SAFETY: the caller's promises.
        unsafe { self.compute_with::<__m256>(token, heads, scratch) }
    }

    #[inline(always)]
    unsafe fn compute_with<V: F32Vector>(
        &self,
        token: usize,
        heads: Range<usize>,
        scratch: &mut Scratch,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            match heads.len() {
                1 => self.compute_heads::<V, 1>(token, heads.start, scratch),
                2 => self.compute_heads::<V, 2>(token, heads.start, scratch),
                3 => self.compute_heads::<V, 3>(token, heads.start, scratch),
                _ => self.compute_heads::<V, HEADS>(token, heads.start, scratch),
            }
        }
    }

    /// Computes `N` heads of a token from `first` on.
    #[inline(always)]
    unsafe fn compute_heads<V: F32Vector, const N: usize>(
        &self,
        token: usize,
        first: usize,
        scratch: &mut Scratch,
    ) {
        // SAFETY: the caller's promises; `token` and the heads are there.
        unsafe {
            let mask = self.mask.map(|mask| {
                let row = mask.data.cast::<u8>().add(token * mask.nb[1]);
                std::slice::from_raw_parts(row.cast::<u16>(), self.cells)
            });
            scratch.runs.clear();
            match mask {
                Some(mask) => visible(mask, &mut scratch.runs),
                None => scratch.runs.push(0..self.cells),
            }
            let seen = scratch.runs.iter().map(Range::len).sum::<usize>();
            scratch.scores.clear();
            scratch.scores.resize(N * seen, 0.0);
            self.scores::<V, N>(token, first, mask, scratch, seen);
            let mut totals = [0.0; N];
            for head in 0..N {
                let scores = &mut scratch.scores[head * seen..(head + 1) * seen];
                let sink = |sinks: &sys::ggml_tensor| *sinks.data.cast::<f32>().add(first + head);
                totals[head] = softmax(scores, self.sinks.map_or(f32::NEG_INFINITY, sink));
            }
            self.values::<V, N>(token, first, scratch, seen, totals);
        }
    }

    /// What a head multiplies the mask by.
    fn slope(&self, head: usize) -> f32 {
        if self.max_bias == 0.0 {
            return 1.0;
        }
        let regular = 1 << self.heads.ilog2();
        let base = |bias: f32| 2f32.powf(-bias / regular as f32);
        match head < regular {
            true => base(self.max_bias).powi(head as i32 + 1),
            false => base(self.max_bias / 2.0).powi(2 * (head - regular) as i32 + 1),
        }
    }

    /// The scores of all cells that the token sees.
    #[inline(always)]
    unsafe fn scores<V: F32Vector, const N: usize>(
        &self,
        token: usize,
        first: usize,
        mask: Option<&[u16]>,
        scratch: &mut Scratch,
        seen: usize,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            let keys = self
                .k
                .data
                .cast::<u8>()
                .add(first / self.shared * self.k.nb[2]);
            let query = |head: usize| {
                let row = token * self.q.nb[1] + (first + head) * self.q.nb[2];
                self.q.data.cast::<u8>().add(row).cast::<f32>()
            };
            let queries: [*const f32; N] = std::array::from_fn(|head| query(head).cast_const());
            let slopes: [f32; N] = std::array::from_fn(|head| self.slope(first + head));
            for (at, cell) in scratch.runs.iter().cloned().flatten().enumerate() {
                let key = keys.add(cell * self.k.nb[1]).cast::<u16>();
                let mut sums = [V::zero(); N];
                for i in (0..self.key_len).step_by(V::LANES) {
                    let key = V::load_f16(key.add(i));
                    for head in 0..N {
                        sums[head] = key.mul_add(V::load(queries[head].add(i)), sums[head]);
                    }
                }
                let bias = mask.map_or(0, |mask| mask[cell]);
                for head in 0..N {
                    let mut score = sums[head].reduce() * self.scale;
                    if self.softcap != 0.0 {
                        score = self.softcap * score.tanh();
                    }
                    if bias != 0 {
                        score += slopes[head] * crate::simd::from_f16(bias);
                    }
                    scratch.scores[head * seen + at] = score;
                }
            }
        }
    }

    /// Writes the sums of the values, weighted by the scores. `totals` are the sums of the scores.
    #[inline(always)]
    unsafe fn values<V: F32Vector, const N: usize>(
        &self,
        token: usize,
        first: usize,
        scratch: &Scratch,
        seen: usize,
        totals: [f32; N],
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            let values = self
                .v
                .data
                .cast::<u8>()
                .add(first / self.shared * self.v.nb[2]);
            let mut start = 0;
            while start < self.value_len {
                let vectors = ((self.value_len - start) / V::LANES).min(VECTORS);
                let mut sums = [[V::zero(); VECTORS]; N];
                for (at, cell) in scratch.runs.iter().cloned().flatten().enumerate() {
                    let value = values.add(cell * self.v.nb[1]).cast::<u16>().add(start);
                    let weights: [V; N] = std::array::from_fn(|head| {
                        V::splat(*scratch.scores.get_unchecked(head * seen + at))
                    });
                    if vectors == VECTORS {
                        for i in 0..VECTORS {
                            let value = V::load_f16(value.add(i * V::LANES));
                            for head in 0..N {
                                sums[head][i] = value.mul_add(weights[head], sums[head][i]);
                            }
                        }
                    } else {
                        for i in 0..vectors {
                            let value = V::load_f16(value.add(i * V::LANES));
                            for head in 0..N {
                                sums[head][i] = value.mul_add(weights[head], sums[head][i]);
                            }
                        }
                    }
                }
                for head in 0..N {
                    let row = (first + head) * self.dst.nb[1] + token * self.dst.nb[2];
                    let to = self.dst.data.cast::<u8>().add(row).cast::<f32>().add(start);
                    let factor = if totals[head] > 0.0 {
                        1.0 / totals[head]
                    } else {
                        0.0
                    };
                    for i in 0..vectors {
                        let sum = V::splat(factor).mul_add(sums[head][i], V::zero());
                        sum.store(to.add(i * V::LANES));
                    }
                }
                start += vectors * V::LANES;
            }
        }
    }
}

/// The runs of cells that a row of the mask does not hide.
fn visible(mask: &[u16], runs: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while at < mask.len() {
        // Long stretches of either kind are the rule.
        while mask[at..].len() >= LANES && mask[at..at + LANES].iter().all(|&it| it == HIDDEN) {
            at += LANES;
        }
        let hidden = mask[at..].iter().take_while(|&&it| it == HIDDEN).count();
        let start = at + hidden;
        at = start;
        while mask[at..].len() >= LANES && mask[at..at + LANES].iter().all(|&it| it != HIDDEN) {
            at += LANES;
        }
        at += mask[at..].iter().take_while(|&&it| it != HIDDEN).count();
        if start < at {
            runs.push(start..at);
        }
    }
}

/// Replaces scores by `exp(score - maximum)` and returns their sum. The sink counts as a score.
#[inline(always)]
fn softmax(scores: &mut [f32], sink: f32) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut largest = [f32::NEG_INFINITY; LANES];
    let mut chunks = scores.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (largest, &score) in largest.iter_mut().zip(chunk) {
            *largest = larger(*largest, score);
        }
    }
    for (largest, &score) in largest.iter_mut().zip(chunks.remainder()) {
        *largest = larger(*largest, score);
    }
    let largest = largest.into_iter().fold(sink, larger);
    let mut sums = [0.0; LANES];
    for chunk in scores.chunks_mut(LANES) {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            *score = exp(*score - largest);
            *sum += *score;
        }
    }
    sums.into_iter().sum::<f32>() + exp(sink - largest)
}

/// `e^x` for `x` of at most 0, to about one unit in the last place; 0 below -87. Without branches,
/// so that compilers make vectors of it, and without fused operations, so that a vector and a
/// single value round alike. The method is the one of Cephes: `2^n · e^r` with a polynomial for
/// `|r| <= ln(2) / 2`.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut polynomial = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        polynomial = polynomial * r + coefficient;
    }
    let power = polynomial * r * r + r + 1.0;
    // The integer is in the low bits of `rounded`.
    let bits = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    let scale = f32::from_bits(bits.wrapping_add(127) << 23);
    let value = power * scale;
    // A score of minus infinity, or NaN where nothing is finite.
    if x < -87.0 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_as_exact_as_single_precision() {
        for step in 0..200_000 {
            let x = -87.0 * (step as f32 / 200_000.0);
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2e-7, "exp({x}) is off by {error}");
        }
        assert_eq!(
            [exp(0.0), exp(-100.0), exp(f32::NEG_INFINITY)],
            [1.0, 0.0, 0.0]
        );
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn runs_are_those_of_a_scan() {
        let mut random = fastrand::Rng::with_seed(1);
        for len in [0, 1, 15, 16, 17, 64, 300] {
            for _ in 0..200 {
                let stay = random.f32();
                let mut hidden = random.bool();
                let mut mask = Vec::new();
                for _ in 0..len {
                    hidden ^= random.f32() < stay * stay * 0.5;
                    mask.push(if hidden { HIDDEN } else { 0 });
                }
                let mut runs = Vec::new();
                visible(&mask, &mut runs);
                let seen: Vec<_> = runs.iter().cloned().flatten().collect();
                let scan: Vec<_> = (0..len).filter(|&at| mask[at] != HIDDEN).collect();
                assert_eq!(seen, scan);
                assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}

//! Activations quantized to eight bits, as the kernels read them.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::SUB_BLOCK;
use crate::ggml::{BlockQ8K, Q8_0_BYTES, QK_K, QK8_0, quantize_q8_0, quantize_q8_k};

/// A block of Q8_0.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct PackedQ8_0 {
    /// Its values, four in each.
    pub(super) qs: [i32; SUB_BLOCK / 4],
    /// VNNI takes unsigned weights, so a number is added to all of them. This takes back what that
    /// adds to a sum.
    pub(super) offset: i32,
    pub(super) d: f32,
}

impl PackedQ8_0 {
    /// Quantizes values and emits their blocks, for weights to which `added` was added.
    ///
    /// # Safety
    /// The processor has F16C.
    pub(super) unsafe fn pack(values: &[f32], added: i32, mut emit: impl FnMut(usize, Self)) {
        thread_local! {
            static Q8_0: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        Q8_0.with_borrow_mut(|blocks| {
            blocks.resize(values.len() / QK8_0 * Q8_0_BYTES, 0);
            quantize_q8_0(values, blocks);
            for (number, block) in blocks.chunks_exact(Q8_0_BYTES).enumerate() {
                let (d, qs) = block.split_at(2);
                let sum: i32 = qs.iter().map(|&value| i32::from(value as i8)).sum();
                let d = i16::from_le_bytes([d[0], d[1]]);
                let mut block = Self {
                    offset: -added * sum,
                    // SAFETY: the caller's promise.
                    d: unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(d))) },
                    ..Self::default()
                };
                for (to, four) in block.qs.iter_mut().zip(qs.chunks_exact(4)) {
                    *to = i32::from_le_bytes([four[0], four[1], four[2], four[3]]);
                }
                emit(number, block);
            }
        });
    }
}

/// A super-block of Q8_K.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct PackedQ8K {
    /// Its values, four in each.
    pub(super) qs: [i32; QK_K / 4],
    /// For weights with minima, the sums of sub-blocks in the first four, two of 16 bits in each.
    /// For others, of every 16 values what takes back the 32 that is added to each weight.
    pub(super) bsums: [i32; QK_K / 16],
    pub(super) d: f32,
}

impl PackedQ8K {
    pub(super) fn new(block: &BlockQ8K, mins: bool) -> Self {
        let mut packed = Self {
            qs: [0; QK_K / 4],
            bsums: [0; QK_K / 16],
            d: block.d,
        };
        for (to, four) in packed.qs.iter_mut().zip(block.qs.chunks_exact(4)) {
            *to = i32::from_le_bytes([four[0], four[1], four[2], four[3]].map(|it| it as u8));
        }
        if mins {
            for (to, of) in packed.bsums.iter_mut().zip(block.bsums.chunks_exact(4)) {
                let [first, second] = [of[0] + of[1], of[2] + of[3]].map(|sum| sum as u16);
                *to = (u32::from(second) << 16 | u32::from(first)) as i32;
            }
        } else {
            for (to, &sum) in packed.bsums.iter_mut().zip(&block.bsums) {
                *to = -32 * i32::from(sum);
            }
        }
        packed
    }
}

/// Quantizes values to Q8_K and emits their super-blocks.
pub(super) fn for_each_q8_k(values: &[f32], mut emit: impl FnMut(usize, &BlockQ8K)) {
    thread_local! {
        static Q8_K: RefCell<Vec<BlockQ8K>> = const { RefCell::new(Vec::new()) };
    }
    Q8_K.with_borrow_mut(|blocks| {
        quantize_q8_k(values, blocks);
        for (number, block) in blocks.iter().enumerate() {
            emit(number, block);
        }
    });
}

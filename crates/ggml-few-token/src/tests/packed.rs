//! Products of packed activations.

use super::*;
use crate::mul_mat::{pack, packed_words};

/// All results of `weights`, which are in the shape's layout, and `tokens`. Those of one token are
/// followed by `between` floats. The chunks that `cuts` makes are computed one by one. Floats that
/// are not results keep their NaN.
pub(super) fn compute(
    shape: MulMat,
    weights: &[u8],
    tokens: &[Vec<f32>],
    between: usize,
    cuts: &[usize],
) -> Vec<f32> {
    let MulMat {
        layout,
        groups,
        row_len,
        ..
    } = shape;
    let bytes = layout.group_bytes(row_len);
    assert_eq!(
        (weights.len(), tokens.len()),
        (groups * bytes, shape.tokens)
    );
    let stride = groups * layout.interleaved_rows() + between;
    let mut results = vec![f32::NAN; tokens.len() * stride];
    let mut activations = vec![0; packed_words(shape)];
    for (at, token) in tokens.iter().enumerate() {
        // SAFETY: there is room.
        unsafe { pack(shape, at, token, activations.as_mut_ptr()) }
    }
    let job = Job {
        shape,
        weights: Matrix {
            data: weights.as_ptr(),
            stride: bytes,
        },
        activations: Matrix {
            data: activations.as_ptr().cast(),
            stride: 0,
        },
        output: Output {
            data: results.as_mut_ptr(),
            stride,
        },
    };
    let mut chunks = chunks(cuts, groups);
    // SAFETY: the callers have looked at the processor; the operands have the shape.
    unsafe { job.compute(Isa::Vnni, &mut chunks) }
    results
}

//! Products whose tokens are laid out first.

use super::*;

/// All results of `weights`, which lie as the product's kind says, and `tokens`; those for one
/// token are followed by `between` others. Each of the pieces that `cuts` makes is computed on its
/// own. What is nobody's keeps its NaN.
pub(super) fn compute(
    product: Product,
    weights: &[u8],
    tokens: &[Vec<f32>],
    between: usize,
    cuts: &[usize],
) -> Vec<f32> {
    let Product {
        kind, rows, length, ..
    } = product;
    let bytes = kind.row_bytes(length);
    assert_eq!(
        (weights.len(), tokens.len()),
        (rows * bytes, product.tokens)
    );
    let stride = rows * kind.group() + between;
    let mut results = vec![f32::NAN; tokens.len() * stride];
    let mut laid = vec![0; packed::room(product)];
    for (at, token) in tokens.iter().enumerate() {
        // SAFETY: there is room.
        unsafe { packed::lay_out(product, at, token, laid.as_mut_ptr()) }
    }
    let job = Job {
        product,
        weights: Matrix {
            start: weights.as_ptr(),
            stride: bytes,
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
    let mut pieces = pieces(cuts, rows);
    // SAFETY: the processor can, the matrices have what the product says.
    unsafe { job.compute(Instructions::Vnni, &mut pieces) }
    results
}

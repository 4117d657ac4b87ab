//! In place of `products`, where there are no kernels but llama.cpp's: see `build.rs`.

use super::kernels::Kernels;

pub(super) fn are_left_to_llama(leave: bool) -> bool {
    leave
}

pub(super) fn in_use(_quantization: &str, _embedding_length: u32) -> Option<Kernels> {
    None
}

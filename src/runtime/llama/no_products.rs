//! In place of `products`, where there are no kernels but llama.cpp's: see `build.rs`.

use crate::runtime::llama::info::ModelInfo;

pub(super) fn are_left_to_llama(leave: bool) -> bool {
    leave
}

pub(super) fn in_use(_model: &ModelInfo) -> Option<String> {
    None
}

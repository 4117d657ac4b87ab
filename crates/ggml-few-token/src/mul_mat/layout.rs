//! Types of weights, and how their rows lie in memory.

use std::ffi::CStr;

use llama_cpp_sys_2 as sys;

use super::{MIN_ROW_LEN, MIN_TOKENS, f16, q8_0, vnni};
use crate::Isa;
use crate::ggml::{self, Q8_0_BYTES, QK8_0};

/// ggml's extra buffers, by the names of their types.
const AMX: &CStr = c"AMX";
const CPU_REPACK: &CStr = c"CPU_REPACK";

/// Weights that there are kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    F16,
    Q8_0,
    Q6K,
    /// `block_q4_0x8` of the `CPU_REPACK` buffer: eight rows interleaved.
    Q4_0x8,
    /// `block_q4_Kx8`.
    Q4Kx8,
    /// The `AMX` buffer leaves F16 as it is.
    AmxF16,
    /// The others have 16 rows interleaved in it, in the order that VNNI and tiles read.
    AmxQ8_0,
    AmxQ4_0,
    AmxQ4K,
    AmxQ5K,
    AmxQ6K,
}

/// The format in which a kernel takes activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activations {
    /// As they are in the graph.
    F32,
    /// Converted to the type that ggml multiplies the weights by, F16 or Q8_0.
    Converted,
    /// Quantized to eight bits and [packed](super::vnni::pack).
    Packed,
}

impl Layout {
    /// The layout of a tensor, by its type and its buffer.
    ///
    /// # Safety
    /// The tensor is ggml's.
    pub(crate) unsafe fn of(weights: &sys::ggml_tensor) -> Option<Self> {
        // SAFETY: the caller's promise.
        let (buffer, is_host) = unsafe { (ggml::extra_buffer(weights), ggml::is_host(weights)) };
        match buffer {
            Some(name) if name == AMX => Self::in_amx(weights.type_),
            Some(name) if name == CPU_REPACK => Self::in_repack(weights.type_),
            _ if is_host => Self::in_host(weights.type_),
            _ => None,
        }
    }

    fn in_amx(weights: sys::ggml_type) -> Option<Self> {
        match weights {
            sys::GGML_TYPE_F16 => Some(Self::AmxF16),
            sys::GGML_TYPE_Q8_0 => Some(Self::AmxQ8_0),
            sys::GGML_TYPE_Q4_0 => Some(Self::AmxQ4_0),
            sys::GGML_TYPE_Q4_K => Some(Self::AmxQ4K),
            sys::GGML_TYPE_Q5_K => Some(Self::AmxQ5K),
            sys::GGML_TYPE_Q6_K => Some(Self::AmxQ6K),
            _ => None,
        }
    }

    fn in_repack(weights: sys::ggml_type) -> Option<Self> {
        match weights {
            sys::GGML_TYPE_Q4_0 => Some(Self::Q4_0x8),
            sys::GGML_TYPE_Q4_K => Some(Self::Q4Kx8),
            _ => None,
        }
    }

    fn in_host(weights: sys::ggml_type) -> Option<Self> {
        match weights {
            sys::GGML_TYPE_F16 => Some(Self::F16),
            sys::GGML_TYPE_Q8_0 => Some(Self::Q8_0),
            sys::GGML_TYPE_Q6_K => Some(Self::Q6K),
            _ => None,
        }
    }

    /// The layout that llama.cpp loads weights of a type in on this machine: it prefers the `AMX`
    /// buffer, then `CPU_REPACK`.
    fn preferred(weights: sys::ggml_type) -> Option<Self> {
        let amx = ggml::extra_buffer_type(AMX).and_then(|_| Self::in_amx(weights));
        let repack = || ggml::extra_buffer_type(CPU_REPACK).and_then(|_| Self::in_repack(weights));
        amx.or_else(repack).or_else(|| Self::in_host(weights))
    }

    pub(crate) fn activations(self) -> Activations {
        match self {
            Self::AmxF16 => Activations::F32,
            Self::F16 | Self::Q8_0 => Activations::Converted,
            _ => Activations::Packed,
        }
    }

    pub(crate) fn is_packed(self) -> bool {
        self.activations() == Activations::Packed
    }

    /// Fewer tokens are left to ggml. Its kernel for one token adds F16 in another order than the
    /// one here, so batch-invariant passes take the one here for all of them.
    pub(crate) fn min_tokens(self) -> usize {
        match self {
            Self::F16 if crate::is_batch_invariant() => 1,
            _ => MIN_TOKENS,
        }
    }

    /// The instruction set of its kernel, if this processor has one that the kernel can use.
    pub(crate) fn isa(self) -> Option<Isa> {
        match self.is_packed() {
            true => Isa::has_vnni_kernels().then_some(Isa::Vnni),
            false => Isa::best(),
        }
    }

    /// Rows of a group.
    pub(crate) fn interleaved_rows(self) -> usize {
        match self.is_packed() {
            true => vnni::interleaved_rows(self),
            false => 1,
        }
    }

    /// Values of a block, and bytes of the blocks of a group.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Self::F16 | Self::AmxF16 => (1, size_of::<u16>()),
            Self::Q8_0 => (QK8_0, Q8_0_BYTES),
            _ => vnni::block(self),
        }
    }

    /// Rows are a multiple of so many values.
    pub(crate) fn step(self) -> usize {
        match self {
            Self::F16 | Self::AmxF16 => f16::STEP,
            Self::Q8_0 => q8_0::STEP,
            _ => vnni::block(self).0,
        }
    }

    /// Bytes of a group of rows.
    pub(crate) fn group_bytes(self, row_len: usize) -> usize {
        let (values, bytes) = self.block();
        row_len / values * bytes
    }

    pub(crate) fn supports_row_len(self, row_len: usize) -> bool {
        row_len >= MIN_ROW_LEN && row_len.is_multiple_of(self.step())
    }
}

/// See [`crate::isa_for`].
pub(crate) fn isa_for(weights: sys::ggml_type, row_len: usize) -> Option<Isa> {
    let layout = Layout::preferred(weights)?;
    layout.isa().filter(|_| layout.supports_row_len(row_len))
}

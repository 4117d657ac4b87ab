//! Options of models and contexts.

use std::str::FromStr;

use llama_cpp_2::context::params::KvCacheType;

use crate::runtime::llama::devices::DeviceOptions;

/// Options for loading a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOptions {
    /// Layers to put on devices. `None` puts all of them there, if there is a device.
    pub n_gpu_layers: Option<u32>,
    /// Which devices.
    pub devices: DeviceOptions,
    /// Map the file into memory instead of reading it.
    pub use_mmap: bool,
    /// Use llama.cpp's kernels for passes of two tokens and more, even where this crate has its own
    /// ([`Model::few_token_kernels`](super::Model::few_token_kernels)). All models of a process
    /// must have the same setting.
    pub llama_kernels: bool,
    /// Whether answers are to be bit for bit those of plain decoding. All models of a process must
    /// have the same setting.
    pub exact: Exact,
    /// The context that the model is loaded for: refuse to load it where the memory is not enough.
    pub fits: Option<ContextOptions>,
    /// Put fewer layers on devices where their memory holds no more.
    pub fewer_layers: bool,
    /// Read only the header, for [`Model::info`](super::Model::info). Such a model has no contexts.
    pub info_only: bool,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            n_gpu_layers: None,
            devices: DeviceOptions::default(),
            use_mmap: true,
            llama_kernels: false,
            exact: Exact::Auto,
            fits: None,
            fewer_layers: false,
            info_only: false,
        }
    }
}

/// Whether answers are to be bit for bit those of plain decoding, however they are drafted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exact {
    /// Where that costs little: on processors.
    #[default]
    Auto,
    /// As far as the device allows.
    On,
    /// Whatever is fastest.
    Off,
}

/// Whether to use flash attention, a fused kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlashAttention {
    /// If it is faster ([`Model::flash_attention`](super::Model::flash_attention)).
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Data type of the keys or values in the KV cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CacheType(pub(super) KvCacheType);

impl Default for CacheType {
    fn default() -> Self {
        Self::F16
    }
}

impl CacheType {
    /// 16-bit floats, the default.
    pub const F16: Self = Self(KvCacheType::F16);

    const NAMES: [(&'static str, KvCacheType); 9] = [
        ("f32", KvCacheType::F32),
        ("f16", KvCacheType::F16),
        ("bf16", KvCacheType::BF16),
        ("q8_0", KvCacheType::Q8_0),
        ("q5_1", KvCacheType::Q5_1),
        ("q5_0", KvCacheType::Q5_0),
        ("q4_1", KvCacheType::Q4_1),
        ("q4_0", KvCacheType::Q4_0),
        ("iq4_nl", KvCacheType::IQ4_NL),
    ];

    /// Bytes of an element, on average.
    pub(super) fn bytes(&self) -> f64 {
        match self.0 {
            KvCacheType::F32 => 4.0,
            KvCacheType::Q8_0 => 34.0 / 32.0,
            KvCacheType::Q5_1 => 24.0 / 32.0,
            KvCacheType::Q5_0 => 22.0 / 32.0,
            KvCacheType::Q4_1 => 20.0 / 32.0,
            KvCacheType::Q4_0 | KvCacheType::IQ4_NL => 18.0 / 32.0,
            _ => 2.0,
        }
    }

    /// Whether this is a floating-point type.
    pub fn is_unquantized(&self) -> bool {
        matches!(
            self.0,
            KvCacheType::F32 | KvCacheType::F16 | KvCacheType::BF16
        )
    }
}

impl FromStr for CacheType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, kind)| Self(kind))
            .ok_or_else(|| {
                format!(
                    "choose one of {}",
                    Self::NAMES.map(|(name, _)| name).join(", ")
                )
            })
    }
}

impl std::fmt::Display for CacheType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::NAMES.iter().find(|(_, kind)| *kind == self.0);
        f.write_str(name.map_or("other", |(name, _)| name))
    }
}

/// Options of a context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContextOptions {
    /// Tokens in the KV cache. `None` for the model's training length.
    pub n_ctx: Option<u32>,
    /// Most tokens of one batch. A full draft tree always fits.
    pub n_batch: u32,
    /// Most tokens computed at once. `None` for the device's default
    /// ([`Model::n_ubatch`](super::Model::n_ubatch)).
    pub n_ubatch: Option<u32>,
    /// Threads. `None` for one per core.
    pub threads: Option<u32>,
    /// Flash attention.
    pub flash_attention: FlashAttention,
    /// Data type of keys.
    pub cache_type_k: CacheType,
    /// Data type of values.
    pub cache_type_v: CacheType,
    /// Whether models with sliding-window attention get a full-size cache. The small cache cannot
    /// be
    /// truncated, so nothing can be drafted with it.
    pub swa_full: bool,
    /// Most nodes of a draft tree, including the root.
    pub draft_tree_capacity: usize,
    /// Texts that the cache holds side by side. Each gets a share of the sequences for its tree.
    pub slots: usize,
}

impl Default for ContextOptions {
    fn default() -> Self {
        Self {
            n_ctx: None,
            n_batch: 2048,
            n_ubatch: None,
            threads: None,
            flash_attention: FlashAttention::Auto,
            cache_type_k: CacheType::default(),
            cache_type_v: CacheType::default(),
            swa_full: true,
            draft_tree_capacity: 64,
            slots: 1,
        }
    }
}

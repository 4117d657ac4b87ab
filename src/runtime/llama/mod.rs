//! llama.cpp, through `llama-cpp-2`: the only module that names it.

mod abort;
mod build;
mod devices;
mod faults;
mod fit;
mod header;
mod info;
mod kernels;
mod load;
mod log;
mod lora;
mod memory;
mod model;
mod openmp;
mod options;
mod quantize;
#[cfg(feature = "rpc")]
pub mod rpc;
mod stack;
mod target;
mod vocab;

pub use abort::{Abort, set_abort_handler};
pub use build::{build, default_threads, devices, system};
pub use devices::{
    Device, DeviceError, DeviceKind, DeviceOptions, SplitMode, TensorOverride, visible_devices,
};
pub use fit::Fit;
pub use info::ModelInfo;
pub use load::in_a_thread_of_its_own;
pub use log::set_verbose;
pub use lora::{Lora, LoraError};
pub use memory::Need;
pub use model::{LoadError, Model};
pub use openmp::{bound_spinning, leave_spinning_alone};
pub use options::{CacheType, ContextOptions, Exact, FlashAttention, ModelOptions};
pub use quantize::{QuantizeError, quantize, quantize_types};
pub use target::LlamaTarget;
pub use vocab::{FillIn, Vocabulary};

//! LoRA adapters.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use llama_cpp_sys_2 as sys;

use crate::runtime::llama::log;

/// A LoRA adapter in a GGUF file.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// The file.
    pub path: PathBuf,
    /// How strongly it is applied; 1 is as it was trained.
    pub scale: f32,
}

/// Why an adapter could not be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot use the LoRA adapter {path:?}: {cause}")]
pub struct LoraError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub cause: String,
}

/// The adapters of a model, which frees them.
pub(super) struct Adapters(Vec<(LlamaLoraAdapter, f32)>);

impl Adapters {
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Loads adapters for `model`.
    pub(super) fn load(model: &mut LlamaModel, adapters: &[Lora]) -> Result<Self, LoraError> {
        let load = |lora: &Lora| {
            let failed = |cause: String| LoraError {
                path: lora.path.clone(),
                cause,
            };
            check_readable(&lora.path).map_err(failed)?;
            log::take_errors();
            let adapter = model.lora_adapter_init(&lora.path);
            let adapter = adapter.map_err(|error| {
                let logged = log::take_errors().into_iter().find(|line| !line.is_empty());
                failed(logged.map_or(error.to_string(), |line| line.replace('\n', " ")))
            })?;
            Ok((adapter, lora.scale))
        };
        adapters
            .iter()
            .map(load)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Applies them to a context.
    pub(super) fn apply(&self, context: &mut LlamaContext<'_>) {
        if self.0.is_empty() {
            return;
        }
        let raw = |(adapter, _): &(LlamaLoraAdapter, f32)| {
            let adapter: *const LlamaLoraAdapter = adapter;
            // SAFETY: `LlamaLoraAdapter` is transparent over a pointer to the adapter.
            unsafe { *adapter.cast::<*mut sys::llama_adapter_lora>() }
        };
        let mut raw: Vec<_> = self.0.iter().map(raw).collect();
        let mut scales: Vec<f32> = self.0.iter().map(|(_, scale)| *scale).collect();
        // SAFETY: the context is borrowed for writing, and the model that it is of owns the
        // adapters, so they outlive it.
        let code = unsafe {
            sys::llama_set_adapters_lora(
                pointer(context),
                raw.as_mut_ptr(),
                raw.len(),
                scales.as_mut_ptr(),
            )
        };
        assert_eq!(
            code, 0,
            "llama.cpp takes any adapters of the context's model"
        );
    }
}

/// The pointer within the wrapper, which sets one adapter at a time and takes the others away. Its
/// debug output shows the pointer; its version is fixed in Cargo.toml.
fn pointer(context: &mut LlamaContext<'_>) -> *mut sys::llama_context {
    let shown = format!("{context:?}");
    let digits = shown.split_once("0x").map(|(_, rest)| rest);
    let digits = digits.and_then(|rest| rest.split(|it: char| !it.is_ascii_hexdigit()).next());
    let address = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    std::ptr::with_exposed_provenance_mut(address.expect("the wrapper shows its pointer"))
}

fn check_readable(path: &Path) -> Result<(), String> {
    let opened = std::fs::File::open(path);
    let kind = opened
        .and_then(|file| file.metadata())
        .map_err(|error| error.to_string())?;
    match kind.is_file() {
        true => Ok(()),
        false => Err("it is no file".to_owned()),
    }
}

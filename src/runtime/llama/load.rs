//! Loads a model's file.
//!
//! The binding cannot set the shares of devices, nor memory of other devices than the processor, so
//! this calls llama.cpp itself.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_sys_2 as sys;

use crate::runtime::llama::devices::{Device, DeviceOptions, SplitMode, handle, visible_devices};
use crate::runtime::llama::options::ModelOptions;

/// Runs `load` in a thread that ends. llama.cpp's threads are OpenMP's, and those that help to load
/// a model would stay for as long as the thread that they helped: with more threads than
/// processors, OpenMP's sleep whenever they wait for each other, and a pass waits hundreds of
/// times. A model that is used by another thread than loaded it would be slow
/// (docs/decisions/018-loading-thread.md).
pub(super) fn in_a_thread_of_its_own<T: Send>(load: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(load).join() {
        Ok(loaded) => loaded,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Loads a file, with layers on `devices`. `None` if llama.cpp does not: its log says why.
pub(super) fn load_file(
    path: &Path,
    options: &ModelOptions,
    devices: &[Device],
) -> Option<LlamaModel> {
    let path = CString::new(path.to_str()?).ok()?;
    let parts = Parts::of(&options.devices, devices);
    // SAFETY: It only fills in a struct.
    let mut params = unsafe { sys::llama_model_default_params() };
    parts.put_into(&mut params, &options.devices);
    params.load_mode = match options.use_mmap && !options.info_only {
        true => sys::LLAMA_LOAD_MODE_MMAP,
        false => sys::LLAMA_LOAD_MODE_NONE,
    };
    params.no_alloc = options.info_only;
    if let Some(layers) = options.n_gpu_layers {
        params.n_gpu_layers = i32::try_from(layers).unwrap_or(i32::MAX);
    }
    // SAFETY: What `params` points to is in `parts`, which outlives the call. llama.cpp keeps none
    // of it: of the shares it makes a copy.
    let model = unsafe { sys::llama_model_load_from_file(path.as_ptr(), params) };
    let model = NonNull::new(model)?;
    // SAFETY: `LlamaModel` is a transparent wrapper around such a pointer, which nobody else has.
    Some(unsafe { std::mem::transmute::<NonNull<sys::llama_model>, LlamaModel>(model) })
}

/// What the parameters of a model point to.
struct Parts {
    /// Ends with null.
    devices: Vec<sys::ggml_backend_dev_t>,
    /// One share for each device that llama.cpp may use.
    shares: Vec<f32>,
    patterns: Vec<CString>,
    /// Ends with null.
    overrides: Vec<sys::llama_model_tensor_buft_override>,
}

impl Parts {
    fn of(options: &DeviceOptions, devices: &[Device]) -> Self {
        // SAFETY: It takes nothing.
        let most = unsafe { sys::llama_max_devices() };
        let mut shares = vec![0.0; most];
        for (share, &given) in shares.iter_mut().zip(&options.tensor_split) {
            *share = given;
        }
        let devices = devices.iter().map(|device| handle(device.index));
        let all = match options.overrides.is_empty() {
            true => Vec::new(),
            false => visible_devices(),
        };
        let patterns = options.overrides.iter();
        let patterns: Vec<CString> = patterns
            .map(|it| CString::new(it.pattern.as_str()).unwrap_or_default())
            .collect();
        let places = options.overrides.iter().zip(&patterns);
        let overrides = places.filter_map(|(it, pattern)| {
            let device = all.iter().find(|device| device.buffer == it.buffer)?;
            Some(sys::llama_model_tensor_buft_override {
                pattern: pattern.as_ptr(),
                // SAFETY: The device lives as long as the process.
                buft: unsafe { sys::ggml_backend_dev_buffer_type(handle(device.index)) },
            })
        });
        let end = sys::llama_model_tensor_buft_override {
            pattern: std::ptr::null(),
            buft: std::ptr::null_mut(),
        };
        Self {
            overrides: overrides.chain([end]).collect(),
            devices: devices.chain([std::ptr::null_mut()]).collect(),
            shares,
            patterns,
        }
    }

    fn put_into(&self, params: &mut sys::llama_model_params, options: &DeviceOptions) {
        debug_assert_eq!(self.patterns.len() + 1, self.overrides.len());
        params.devices = self.devices.as_ptr().cast_mut();
        params.tensor_buft_overrides = self.overrides.as_ptr();
        params.tensor_split = self.shares.as_ptr();
        (params.split_mode, params.main_gpu) = match options.split_mode {
            // The device is already chosen.
            SplitMode::None => (sys::LLAMA_SPLIT_MODE_LAYER, 0),
            SplitMode::Layer => (sys::LLAMA_SPLIT_MODE_LAYER, options.main_gpu),
            SplitMode::Row => (sys::LLAMA_SPLIT_MODE_ROW, options.main_gpu),
            SplitMode::Tensor => (sys::LLAMA_SPLIT_MODE_TENSOR, options.main_gpu),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::in_a_thread_of_its_own;

    #[test]
    fn what_loads_ends_with_its_thread() {
        let here = std::thread::current().id();
        let there = in_a_thread_of_its_own(|| std::thread::current().id());
        assert_ne!(here, there);
        let panic = std::panic::catch_unwind(|| in_a_thread_of_its_own(|| panic!("inside")));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"inside"));
    }
}

//! Loads a model's file.
//!
//! The binding cannot set the shares of devices, nor memory of other devices than the processor, so
//! this calls llama.cpp itself.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io::Read;
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_sys_2 as sys;

use crate::files::MappedFile;
use crate::runtime::llama::devices::{
    Device, DeviceError, DeviceOptions, SplitMode, handle, visible_devices,
};
use crate::runtime::llama::faults::fault;
use crate::runtime::llama::header::Header;
use crate::runtime::llama::log;
use crate::runtime::llama::model::LoadError;
use crate::runtime::llama::options::ModelOptions;

/// Runs `work`, which computes with llama.cpp, in a thread that ends. llama.cpp's threads are
/// OpenMP's, and those that help with it would stay for as long as the thread that they helped.
/// With more threads than processors, OpenMP's sleep whenever they wait for each other, and a pass
/// waits hundreds of times. A model would be slow in another thread than the one that loaded it or
/// measured its passes (docs/decisions/018-loading-thread.md).
pub fn in_a_thread_of_its_own<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
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

/// Says what is wrong with a path before llama.cpp fails on it in its own words.
pub(super) fn check_magic(path: &Path) -> Result<(), LoadError> {
    let unreadable = |error| LoadError::Unreadable {
        path: path.into(),
        error,
    };
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if kind.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    if !kind.is_file() {
        // A pipe may never have anything to read.
        return Err(LoadError::NotGguf { path: path.into() });
    }
    let mut magic = [0; 4];
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(unreadable(error)),
        _ => Err(LoadError::NotGguf { path: path.into() }),
    }
}

/// Refuses metadata on which llama.cpp would end the process.
pub(super) fn check_metadata(path: &Path) -> Result<(), LoadError> {
    // What cannot be read here, llama.cpp reports.
    let file = MappedFile::open(path).ok();
    let header = file.as_ref().and_then(|file| Header::read(file.as_ref()));
    match header.as_ref().and_then(fault) {
        None => Ok(()),
        Some(reason) => Err(LoadError::Metadata {
            path: path.into(),
            reason,
        }),
    }
}

/// Why llama.cpp did not load a file.
pub(super) fn not_loaded(path: &Path, options: &ModelOptions) -> LoadError {
    let cause = cause(&"it gives no reason");
    // What C++ says of a regular expression.
    if !options.devices.overrides.is_empty() && cause.contains("expression") {
        return DeviceError::Pattern { cause }.into();
    }
    let path = path.into();
    LoadError::Model { path, cause }
}

/// What llama.cpp logged as an error, without its function names; else what the binding says.
pub(super) fn cause(error: &dyn std::fmt::Display) -> String {
    let errors = log::take_errors();
    // The loader's summary names the cause, except where reading the header failed: then the first
    // line does.
    let summary = errors
        .iter()
        .filter_map(|line| line.split_once("error loading model: "))
        .map(|(_, cause)| cause.to_owned())
        .find(|cause| !cause.contains("failed to load model from"));
    summary
        .or_else(|| {
            let first = errors.iter().find(|line| !line.is_empty())?;
            let rest = first.split_once(": ").map_or(&**first, |(_, rest)| rest);
            Some(rest.to_owned())
        })
        .unwrap_or_else(|| error.to_string())
        .trim()
        .replace('\n', " ")
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

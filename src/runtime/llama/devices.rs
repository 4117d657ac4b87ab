//! The devices that llama.cpp sees, and which of them a model uses.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};

use llama_cpp_sys_2 as sys;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A library that computes for the processor, such as BLAS.
    Accelerator,
    /// A graphics processor.
    Gpu,
    /// A graphics processor that shares the machine's memory.
    IntegratedGpu,
    /// A device of another machine, or another process, through llama.cpp's RPC backend.
    Worker,
}

impl DeviceKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Accelerator => "accelerator",
            Self::Gpu => "GPU",
            Self::IntegratedGpu => "integrated GPU",
            Self::Worker => "worker",
        }
    }
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its place in ggml's registry.
    pub(super) index: usize,
    /// Its name, such as `CUDA0`.
    pub name: String,
    /// What it says it is; of a worker, the address.
    pub description: String,
    /// What it is.
    pub kind: DeviceKind,
    /// The same for the same hardware, whatever backend shows it.
    id: Option<String>,
    /// Name of the buffers in its memory.
    pub buffer: String,
    /// Bytes that are free.
    pub memory_free: u64,
    /// Bytes in all.
    pub memory_total: u64,
}

#[cfg(test)]
impl Device {
    /// A device that is not there.
    pub(super) fn of_test(name: &str, kind: DeviceKind, memory: u64) -> Self {
        Self {
            index: 0,
            name: name.into(),
            description: String::new(),
            kind,
            id: None,
            buffer: name.into(),
            memory_free: memory,
            memory_total: memory,
        }
    }
}

/// All devices of this build. Asks workers for their memory.
pub fn visible_devices() -> Vec<Device> {
    super::model::backend();
    // SAFETY: The registry was filled when the backend was made.
    let count = unsafe { sys::ggml_backend_dev_count() };
    (0..count).map(device).collect()
}

/// The same devices, with the memory that is free now.
pub(super) fn looked_at_again(devices: &[Device]) -> Vec<Device> {
    devices.iter().map(|it| device(it.index)).collect()
}

/// The device at a place in ggml's registry, which never shrinks.
pub(super) fn handle(index: usize) -> sys::ggml_backend_dev_t {
    // SAFETY: `index` is that of a device that was there.
    unsafe { sys::ggml_backend_dev_get(index) }
}

fn device(index: usize) -> Device {
    let device = handle(index);
    // SAFETY: The device lives as long as the process, and so do its names.
    let (props, backend, buffer) = unsafe {
        let mut props: sys::ggml_backend_dev_props = std::mem::zeroed();
        sys::ggml_backend_dev_get_props(device, &raw mut props);
        let backend = sys::ggml_backend_reg_name(sys::ggml_backend_dev_backend_reg(device));
        let buffer = sys::ggml_backend_dev_buffer_type(device);
        let name = match buffer.is_null() {
            true => std::ptr::null(),
            false => sys::ggml_backend_buft_name(buffer),
        };
        (props, backend, name)
    };
    Device {
        index,
        name: text(props.name),
        description: text(props.description),
        kind: match props.type_ {
            _ if text(backend) == "RPC" => DeviceKind::Worker,
            sys::GGML_BACKEND_DEVICE_TYPE_GPU => DeviceKind::Gpu,
            sys::GGML_BACKEND_DEVICE_TYPE_IGPU => DeviceKind::IntegratedGpu,
            sys::GGML_BACKEND_DEVICE_TYPE_CPU => DeviceKind::Cpu,
            _ => DeviceKind::Accelerator,
        },
        id: (!props.device_id.is_null()).then(|| text(props.device_id)),
        buffer: text(buffer),
        memory_free: props.memory_free as u64,
        memory_total: props.memory_total as u64,
    }
}

fn text(text: *const c_char) -> String {
    match text.is_null() {
        true => String::new(),
        // SAFETY: ggml gives out C strings that stay.
        false => unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .trim()
            .to_owned(),
    }
}

/// How a model is split among devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitMode {
    /// One device has all of it.
    None,
    /// Each device has some of the layers, and their part of the cache.
    #[default]
    Layer,
    /// Each device has some rows of every matrix.
    Row,
    /// As rows, and the cache too. llama.cpp calls it experimental.
    Tensor,
}

/// Puts tensors into other memory than that of their layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorOverride {
    /// A regular expression (of C++) that is found in their names.
    pub pattern: String,
    /// Name of the buffer, such as `CPU` or `CUDA0`: [`Device::buffer`].
    pub buffer: String,
}

/// Which devices a model uses, and for what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceOptions {
    /// Names of the devices to put layers on; `None` for all graphics processors and workers.
    pub names: Option<Vec<String>>,
    /// Only the first so many of them.
    pub count: Option<usize>,
    /// How the model is split among them.
    pub split_mode: SplitMode,
    /// The only device used without a split: its place among them. -1 for the processor.
    pub main_gpu: i32,
    /// Shares of the devices; empty for shares by free memory.
    pub tensor_split: Vec<f32>,
    /// Tensors that lie elsewhere.
    pub overrides: Vec<TensorOverride>,
}

/// Why there are no such devices.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DeviceError {
    /// No device has this name.
    #[error("no device {name:?} to put layers on: {}", listed(known))]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// There are fewer.
    #[error("{asked} of the devices to put layers on are asked for, but there {}", are(*visible))]
    TooFew {
        /// Number asked for.
        asked: usize,
        /// Number of those that there are.
        visible: usize,
    },
    /// The main device is none of them.
    #[error("the main device is number {index}, but there {}, counted from 0", are(*devices))]
    Main {
        /// Its number.
        index: i32,
        /// Number of devices.
        devices: usize,
    },
    /// More shares than devices.
    #[error("{shares} shares of the model are given, but there {}", are(*devices))]
    Shares {
        /// Number of shares.
        shares: usize,
        /// Number of devices.
        devices: usize,
    },
    /// A split over tensors without a device.
    #[error("tensors cannot be split without a device to put them on")]
    NothingToSplit,
    /// A pattern for tensors cannot be read.
    #[error("a pattern for tensors cannot be read: {cause}")]
    Pattern {
        /// What is wrong with it.
        cause: String,
    },
    /// No device has such buffers.
    #[error("no memory is named {buffer:?}: {}", listed(known))]
    Buffer {
        /// The name.
        buffer: String,
        /// Those that there are.
        known: Vec<String>,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "this build sees none".into(),
        names => format!("choose from {}", names.join(", ")),
    }
}

fn are(count: usize) -> String {
    match count {
        0 => "are none".into(),
        1 => "is 1".into(),
        count => format!("are {count}"),
    }
}

impl DeviceOptions {
    /// The devices of `all` that these options choose, in llama.cpp's order.
    pub(super) fn choose(&self, all: &[Device]) -> Result<Vec<Device>, DeviceError> {
        let mut chosen = match &self.names {
            None => usual(all),
            Some(names) => names
                .iter()
                .map(|name| named(all, name))
                .collect::<Result<_, _>>()?,
        };
        if let Some(asked) = self.count {
            let visible = chosen.len();
            if asked > visible {
                return Err(DeviceError::TooFew { asked, visible });
            }
            chosen.truncate(asked);
        }
        let devices = chosen.len();
        match self.split_mode {
            SplitMode::Tensor if devices == 0 => return Err(DeviceError::NothingToSplit),
            SplitMode::None => match usize::try_from(self.main_gpu) {
                Err(_) => chosen.clear(),
                Ok(0) if devices == 0 => {}
                Ok(main) if main < devices => chosen = vec![chosen.swap_remove(main)],
                Ok(_) => {
                    let index = self.main_gpu;
                    return Err(DeviceError::Main { index, devices });
                }
            },
            _ if self.main_gpu != 0
                && usize::try_from(self.main_gpu).is_ok_and(|it| it >= devices) =>
            {
                let index = self.main_gpu;
                return Err(DeviceError::Main { index, devices });
            }
            _ => {}
        }
        let shares = self.tensor_split.len();
        if shares > devices.max(1) {
            return Err(DeviceError::Shares { shares, devices });
        }
        self.check_buffers(all)?;
        Ok(chosen)
    }

    fn check_buffers(&self, all: &[Device]) -> Result<(), DeviceError> {
        let unknown = |it: &&TensorOverride| all.iter().all(|device| device.buffer != it.buffer);
        match self.overrides.iter().find(unknown) {
            None => Ok(()),
            Some(it) => Err(DeviceError::Buffer {
                buffer: it.buffer.clone(),
                known: all.iter().map(|device| device.buffer.clone()).collect(),
            }),
        }
    }
}

/// The device of a name, if layers can be put on it. As in llama.cpp, letters may be small.
fn named(all: &[Device], name: &str) -> Result<Device, DeviceError> {
    let mut devices = all.iter().filter(|it| it.kind != DeviceKind::Cpu);
    let found = devices
        .clone()
        .find(|it| it.name.eq_ignore_ascii_case(name));
    found.cloned().ok_or_else(|| DeviceError::Unknown {
        name: name.into(),
        known: devices.by_ref().map(|it| it.name.clone()).collect(),
    })
}

/// The devices that llama.cpp uses by itself: workers first, which keeps what is sent small, then
/// graphics processors, and without these integrated ones. Each only once, though two backends may
/// see it.
fn usual(all: &[Device]) -> Vec<Device> {
    let of = |kind| all.iter().filter(move |it| it.kind == kind).cloned();
    let mut gpus: Vec<Device> = Vec::new();
    for gpu in of(DeviceKind::Gpu) {
        if gpu.id.is_none() || gpus.iter().all(|it| it.id != gpu.id) {
            gpus.push(gpu);
        }
    }
    if gpus.is_empty() {
        gpus.extend(of(DeviceKind::IntegratedGpu));
    }
    of(DeviceKind::Worker).chain(gpus).collect()
}

#[cfg(test)]
mod tests;

//! How much memory a model needs, before it is loaded.
//!
//! Layers go to devices as llama.cpp puts them there. What is computed in between is a guess, a
//! little above what llama.cpp takes for models of the usual shapes.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::files::MappedFile;
use crate::runtime::llama::devices::{Device, TensorOverride};
use crate::runtime::llama::header::{Header, Value};
use crate::runtime::llama::options::CacheType;

/// What is needed in the memory of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Its name.
    pub device: String,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of the cache.
    pub cache: u64,
    /// Bytes to compute in, rows of logits among them.
    pub compute: u64,
    /// Bytes that are free.
    pub free: u64,
}

impl Need {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.cache + self.compute
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of the memory of {} (",
            bytes(self.total()),
            self.device
        )?;
        if self.weights > 0 {
            write!(f, "{} for weights, ", bytes(self.weights))?;
        }
        write!(
            f,
            "{} for the cache, {} to compute in), of which {} are free",
            bytes(self.cache),
            bytes(self.compute),
            bytes(self.free)
        )
    }
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    const MIB: f64 = (1_u64 << 20) as f64;
    match count as f64 / MIB {
        mib if mib < 1024.0 => format!("{mib:.0} MiB"),
        mib => format!("{:.1} GiB", mib / 1024.0),
    }
}

/// What a context holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub n_ctx: u64,
    pub n_ubatch: u64,
    /// Rows of logits that are read after a pass.
    pub rows: u64,
    pub cache_types: [CacheType; 2],
}

/// Where layers go.
#[derive(Clone, Debug)]
pub(super) struct Placement<'p> {
    /// Layers on devices, the output layer counted; `None` for all.
    pub gpu_layers: Option<u32>,
    /// Devices, in order.
    pub devices: &'p [Device],
    /// Shares of the devices; if all are 0, by free memory.
    pub shares: &'p [f32],
}

/// What of a model takes memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// Bytes of the layers' weights.
    layers: Vec<u64>,
    /// Bytes of the weights before and behind the layers.
    input: u64,
    output: u64,
    /// Bytes of the weights that lie in memory of this name instead.
    moved: Vec<(String, u64)>,
    /// Elements of keys and of values of one token in one layer. 0 where layers are not alike.
    cache_elements: [u64; 2],
    /// Elements of a token's activations that are kept at once, and of a row.
    width: u64,
    row: u64,
}

impl Shape {
    /// Reads it off a file, and off the other files if the model is split. `None` if they do not
    /// say, or if a pattern is none of Rust's.
    pub(super) fn of(path: &Path, overrides: &[TensorOverride]) -> Option<Self> {
        let file = MappedFile::open(path).ok()?;
        let header = Header::read(file.as_ref())?;
        let mut shape = Self::of_metadata(&header)?;
        let patterns = overrides.iter().map(|it| Regex::new(&it.pattern));
        let patterns = patterns.collect::<Result<Vec<_>, _>>().ok()?;
        shape.moved = overrides.iter().map(|it| (it.buffer.clone(), 0)).collect();
        shape.add(&header, &patterns)?;
        for part in other_parts(path, number(&header, "split.count").unwrap_or(1)) {
            let file = MappedFile::open(&part).ok()?;
            shape.add(&Header::read(file.as_ref())?, &patterns)?;
        }
        if shape.output == 0 {
            // The output is the input once more.
            shape.output = shape.input;
        }
        Some(shape)
    }

    fn of_metadata(header: &Header<'_>) -> Option<Self> {
        let Some(Value::Text(architecture)) = header.get("general.architecture") else {
            return None;
        };
        let architecture = std::str::from_utf8(architecture).ok()?;
        let of = |key: &str| number(header, &format!("{architecture}.{key}"));
        let layers = usize::try_from(of("block_count")?).ok()?;
        let embedding = of("embedding_length")?;
        let heads = of("attention.head_count").unwrap_or(0);
        let head = embedding / heads.max(1);
        let kv_heads = of("attention.head_count_kv").unwrap_or(heads);
        let row = match header.get("tokenizer.ggml.tokens") {
            Some(Value::Array(tokens)) => tokens.len(),
            _ => 0,
        };
        let has_state = |(key, _): (&str, Value<'_>)| {
            let key = key.strip_prefix(architecture).unwrap_or_default();
            key.starts_with(".ssm.") || key == ".full_attention_interval"
        };
        let alike = !header.iter().any(has_state);
        Some(Self {
            layers: vec![0; layers],
            cache_elements: ["key", "value"].map(|part| {
                let size = of(&format!("attention.{part}_length")).unwrap_or(head);
                kv_heads.saturating_mul(size) * u64::from(alike)
            }),
            width: 12 * embedding + 4 * of("feed_forward_length").unwrap_or(0),
            row,
            ..Self::default()
        })
    }

    /// Adds the tensors of a file.
    fn add(&mut self, header: &Header<'_>, patterns: &[Regex]) -> Option<()> {
        for (name, size) in header.tensors()? {
            if let Some(index) = patterns.iter().position(|it| it.is_match(name)) {
                self.moved[index].1 += size;
                continue;
            }
            let layer = name
                .strip_prefix("blk.")
                .and_then(|rest| rest.split_once('.'));
            let layer = layer.and_then(|(number, _)| number.parse::<usize>().ok());
            match layer.and_then(|layer| self.layers.get_mut(layer)) {
                Some(of_layer) => *of_layer += size,
                None if name.starts_with("output") => self.output += size,
                None => self.input += size,
            }
        }
        Some(())
    }

    /// The most layers that can be put on devices, the output counted.
    pub(super) fn all_layers(&self) -> u32 {
        u32::try_from(self.layers.len() + 1).unwrap_or(u32::MAX)
    }

    /// Bytes of the cache in one layer.
    fn cache_of_layer(&self, sizes: &Sizes) -> u64 {
        let parts = self.cache_elements.iter().zip(sizes.cache_types);
        let per_token: f64 = parts.map(|(&it, kind)| it as f64 * kind.bytes()).sum();
        (per_token * sizes.n_ctx as f64) as u64
    }

    /// What is needed on each device, and last by the processor.
    pub(super) fn needs(&self, placement: &Placement<'_>, sizes: &Sizes) -> Vec<Need> {
        let of_device = |device: &Device| Need {
            device: device.name.clone(),
            free: device.memory_free,
            ..Need::default()
        };
        let host = Need {
            device: "this machine".into(),
            free: available(),
            weights: self.input,
            compute: 4 * sizes.rows * self.row,
            ..Need::default()
        };
        let mut needs: Vec<Need> = placement.devices.iter().map(of_device).collect();
        needs.push(host);
        let cache = self.cache_of_layer(sizes);
        let home = placement.home(self.layers.len());
        for (layer, &weights) in self.layers.iter().chain([&self.output]).enumerate() {
            let need = &mut needs[home(layer)];
            need.weights += weights;
            if layer < self.layers.len() {
                need.cache += cache;
            }
            let row = if layer < self.layers.len() {
                0
            } else {
                self.row
            };
            // Activations, and for each cell whether a token sees it.
            let of_token = 4 * (self.width + row) + 8 * sizes.n_ctx;
            need.compute = need.compute.max(sizes.n_ubatch * of_token);
        }
        for (buffer, weights) in &self.moved {
            let mut devices = placement.devices.iter();
            let index = devices.position(|device| device.buffer == *buffer);
            needs[index.unwrap_or(placement.devices.len())].weights += weights;
        }
        needs
    }
}

impl Placement<'_> {
    /// The place of each layer, and of the output behind the last: a device, or the processor
    /// behind the last device.
    fn home(&self, layers: usize) -> impl Fn(usize) -> usize {
        let count = self.devices.len();
        let all = layers + 1;
        let on_devices = self.gpu_layers.map_or(all, |it| (it as usize).min(all));
        let on_devices = if count == 0 { 0 } else { on_devices };
        let start = all - on_devices;
        let given = (0..count).map(|index| self.shares.get(index).copied().unwrap_or(0.0));
        let mut shares: Vec<f32> = given.collect();
        if shares.iter().all(|&share| share == 0.0) {
            shares = self
                .devices
                .iter()
                .map(|it| it.memory_free as f32)
                .collect();
        }
        let sum: f32 = shares.iter().sum();
        let mut border = 0.0;
        for share in &mut shares {
            border += *share / sum.max(f32::MIN_POSITIVE);
            *share = border;
        }
        move |layer| match layer.checked_sub(start) {
            None => count,
            Some(on_device) => {
                let place = on_device as f32 / on_devices as f32;
                let borders = shares.iter().take_while(|&&border| border <= place);
                borders.count().min(count - 1)
            }
        }
    }
}

fn number(header: &Header<'_>, key: &str) -> Option<u64> {
    let integer = |value| match value {
        Value::Integer(number) => u64::try_from(number).ok(),
        _ => None,
    };
    match header.get(key)? {
        Value::Array(array) => array.iter().filter_map(integer).max(),
        value => integer(value),
    }
}

/// The other files of a split model: `NAME-00001-of-00003.gguf` names the first of three.
fn other_parts(path: &Path, count: u64) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let first = format!("-00001-of-{count:05}.gguf");
    let Some(stem) = name.strip_suffix(&first).filter(|_| count > 1) else {
        return Vec::new();
    };
    let part = |index| path.with_file_name(format!("{stem}-{index:05}-of-{count:05}.gguf"));
    (2..=count).map(part).collect()
}

/// Bytes that this process can still take: what the machine has left, or what the limit of its
/// control group does.
pub(super) fn available() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let of_machine = read("/proc/meminfo").and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
    });
    let of_group = || {
        let number = |name: &str| {
            let text = read(&format!("/sys/fs/cgroup/memory.{name}"))?;
            text.trim().parse::<u64>().ok()
        };
        let stat = read("/sys/fs/cgroup/memory.stat").unwrap_or_default();
        let cached = stat
            .lines()
            .find_map(|line| line.strip_prefix("inactive_file "));
        let cached: u64 = cached.and_then(|it| it.parse().ok()).unwrap_or(0);
        Some((number("max")? + cached).saturating_sub(number("current")?))
    };
    let least = of_machine.into_iter().chain(of_group()).min();
    // Elsewhere nothing is known.
    least.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::llama::devices::DeviceKind;

    fn device(name: &str, free: u64) -> Device {
        Device::of_test(name, DeviceKind::Gpu, free)
    }

    fn shape() -> Shape {
        Shape {
            layers: vec![100; 4],
            input: 30,
            output: 50,
            moved: Vec::new(),
            cache_elements: [2, 2],
            width: 10,
            row: 20,
        }
    }

    const SIZES: Sizes = Sizes {
        n_ctx: 5,
        n_ubatch: 1,
        rows: 2,
        cache_types: [CacheType::F16, CacheType::F16],
    };

    fn weights(gpu_layers: Option<u32>, devices: &[Device], shares: &[f32]) -> Vec<u64> {
        let placement = Placement {
            gpu_layers,
            devices,
            shares,
        };
        let needs = shape().needs(&placement, &SIZES);
        needs.iter().map(|need| need.weights).collect()
    }

    #[test]
    fn layers_go_where_llama_cpp_puts_them() {
        let two = [device("A", 300), device("B", 100)];
        assert_eq!(weights(None, &[], &[]), [480]);
        assert_eq!(weights(None, &two[..1], &[]), [450, 30]);
        // Borders at 3/4 of the five: layers 0 to 3 lie below.
        assert_eq!(weights(None, &two, &[]), [400, 50, 30]);
        assert_eq!(weights(None, &two, &[1.0, 1.0]), [300, 150, 30]);
        assert_eq!(weights(Some(2), &two, &[1.0, 1.0]), [100, 50, 330]);
        assert_eq!(weights(Some(0), &two, &[]), [0, 0, 480]);
        assert_eq!(weights(Some(99), &two, &[0.0, 1.0]), [0, 450, 30]);
    }

    #[test]
    fn cache_and_rows_are_counted() {
        let one = [device("A", 300)];
        let placement = Placement {
            gpu_layers: Some(3),
            devices: &one,
            shares: &[],
        };
        let needs = shape().needs(&placement, &SIZES);
        // Two of four layers with their cache of 5 tokens, 4 elements of 2 bytes each.
        assert_eq!((needs[0].weights, needs[0].cache), (250, 80));
        assert_eq!((needs[1].weights, needs[1].cache), (230, 80));
        assert_eq!((needs[0].compute, needs[1].compute), (160, 160));
        assert_eq!(needs[0].total(), 490);
        let told = needs[0].to_string();
        assert!(
            told.starts_with("0 MiB of the memory of A (0 MiB for weights"),
            "{told}"
        );
    }

    #[test]
    fn a_split_model_has_other_files() {
        let first = Path::new("/m/big-00001-of-00003.gguf");
        let rest = ["/m/big-00002-of-00003.gguf", "/m/big-00003-of-00003.gguf"];
        assert_eq!(other_parts(first, 3), rest.map(PathBuf::from));
        assert!(other_parts(Path::new("/m/big.gguf"), 3).is_empty());
        assert!(other_parts(first, 1).is_empty());
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available() > 1 << 20);
    }
}

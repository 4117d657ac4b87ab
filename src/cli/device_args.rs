//! The flags that choose devices. Names and meaning are llama.cpp's.

use clap::{Args, ValueEnum};

use crate::runtime::llama::{DeviceOptions, SplitMode, TensorOverride};

/// The expert weights of mixture-of-experts layers.
const EXPERTS: &str = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps";

/// The buffers of the processor.
const CPU: &str = "CPU";

/// Which devices compute what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct DeviceArgs {
    /// Number of layers to put on devices; all for all of them; auto or -1 for as many as their
    /// memory holds [default: auto]
    #[arg(
        long = "n-gpu-layers",
        visible_alias = "ngl",
        alias = "n_gpu_layers",
        value_name = "N",
        value_parser = gpu_layers
    )]
    n_gpu_layers: Option<GpuLayers>,

    /// Devices to put layers on, as logitspec devices names them; none for the processor alone
    /// [default: all GPUs and workers]
    #[arg(long, visible_alias = "dev", value_name = "DEVICE,...", value_parser = names)]
    device: Option<Names>,

    /// Use only the first N of the devices
    #[arg(
        long,
        alias = "num_gpus_per_model",
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    num_gpus_per_model: Option<u16>,

    /// How to split a model among several devices. none: use one; layer: layers and their cache;
    /// row: rows of each matrix; tensor: rows and the cache (experimental)
    #[arg(
        long,
        visible_alias = "sm",
        alias = "split_mode",
        value_enum,
        default_value_t,
        value_name = "MODE"
    )]
    split_mode: Split,

    /// Shares of the model for each device, such as 3,1 [default: by free memory]
    #[arg(
        long,
        visible_alias = "ts",
        alias = "tensor_split",
        value_name = "N,...",
        value_parser = shares
    )]
    tensor_split: Option<Shares>,

    /// The device to use with --split-mode none, and for intermediate results with row, counted
    /// from 0
    #[arg(
        long,
        visible_alias = "mg",
        alias = "main_gpu",
        default_value_t = 0,
        value_name = "INDEX",
        value_parser = clap::value_parser!(i32).range(-1..)
    )]
    main_gpu: i32,

    /// Put the tensors whose names match a regular expression into a device's memory, such as
    /// 'ffn_down=CPU'
    #[arg(
        long,
        visible_alias = "ot",
        alias = "override_tensor",
        value_delimiter = ',',
        value_name = "PATTERN=DEVICE,...",
        value_parser = tensor_override
    )]
    override_tensor: Vec<TensorOverride>,

    /// Keep the weights of all experts with the processor
    #[arg(long, visible_alias = "cmoe", alias = "cpu_moe")]
    cpu_moe: bool,

    /// Keep the weights of the experts of the first N layers with the processor
    #[arg(
        long,
        visible_alias = "ncmoe",
        alias = "n_cpu_moe",
        default_value_t = 0,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(..=512)
    )]
    n_cpu_moe: u16,

    /// Workers on other machines (logitspec rpc-server), whose devices to use, too
    #[cfg(feature = "rpc")]
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,...")]
    rpc: Vec<String>,
}

/// How many layers go to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GpuLayers {
    Auto,
    All,
    Count(u32),
}

/// Names of devices.
#[derive(Clone, Debug)]
struct Names(Vec<String>);

/// Shares of devices.
#[derive(Clone, Debug)]
struct Shares(Vec<f32>);

/// How to split a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Split {
    None,
    #[default]
    Layer,
    Row,
    Tensor,
}

impl DeviceArgs {
    /// Makes the devices of workers visible.
    pub(super) fn connect(&self) -> anyhow::Result<()> {
        #[cfg(feature = "rpc")]
        crate::runtime::llama::rpc::add_workers(&self.rpc)?;
        Ok(())
    }

    /// The workers.
    #[cfg(feature = "rpc")]
    pub(super) fn workers(&self) -> &[String] {
        &self.rpc
    }

    /// The number of layers to put on devices; `None` for all of them, or as many as fit.
    pub(super) fn n_gpu_layers(&self) -> Option<u32> {
        match self.n_gpu_layers? {
            GpuLayers::Auto | GpuLayers::All => None,
            GpuLayers::Count(count) => Some(count),
        }
    }

    /// Whether fewer layers may be put on devices than asked for.
    pub(super) fn may_use_fewer_layers(&self) -> bool {
        matches!(self.n_gpu_layers, None | Some(GpuLayers::Auto))
    }

    /// Which devices, and for what.
    pub(super) fn options(&self) -> DeviceOptions {
        let to_cpu = |pattern: String| TensorOverride {
            pattern,
            buffer: CPU.into(),
        };
        let all = self.cpu_moe.then(|| to_cpu(EXPERTS.into()));
        let some = (0..self.n_cpu_moe).map(|layer| to_cpu(format!(r"blk\.{layer}{EXPERTS}")));
        DeviceOptions {
            names: self.device.as_ref().map(|names| names.0.clone()),
            count: self.num_gpus_per_model.map(usize::from),
            split_mode: match self.split_mode {
                Split::None => SplitMode::None,
                Split::Layer => SplitMode::Layer,
                Split::Row => SplitMode::Row,
                Split::Tensor => SplitMode::Tensor,
            },
            main_gpu: self.main_gpu,
            tensor_split: self
                .tensor_split
                .as_ref()
                .map_or(Vec::new(), |it| it.0.clone()),
            overrides: self
                .override_tensor
                .iter()
                .cloned()
                .chain(all)
                .chain(some)
                .collect(),
        }
    }

    /// The flags that were given, as llama-server takes them.
    pub(super) fn llama_flags(&self) -> Vec<(&'static str, String)> {
        let mut flags = Vec::new();
        let mut flag = |name, value: Option<String>| flags.extend(value.map(|it| (name, it)));
        let layers = self.n_gpu_layers();
        flag("--n-gpu-layers", layers.map(|it| it.to_string()));
        let names = self.device.as_ref().map(|names| match names.0.as_slice() {
            [] => "none".to_owned(),
            names => names.join(","),
        });
        flag("--device", names);
        let mode = self.split_mode.to_possible_value();
        let mode = mode.filter(|_| self.split_mode != Split::default());
        flag("--split-mode", mode.map(|mode| mode.get_name().to_owned()));
        let shares = self.tensor_split.as_ref().map(|it| {
            let shares: Vec<String> = it.0.iter().map(f32::to_string).collect();
            shares.join(",")
        });
        flag("--tensor-split", shares);
        let main = (self.main_gpu != 0).then(|| self.main_gpu.to_string());
        flag("--main-gpu", main);
        let overrides = self.options().overrides;
        let overrides = overrides
            .iter()
            .map(|it| format!("{}={}", it.pattern, it.buffer));
        let overrides = overrides.collect::<Vec<_>>().join(",");
        flag(
            "--override-tensor",
            Some(overrides).filter(|it| !it.is_empty()),
        );
        #[cfg(feature = "rpc")]
        flag(
            "--rpc",
            Some(self.rpc.join(",")).filter(|it| !it.is_empty()),
        );
        flags
    }
}

fn gpu_layers(text: &str) -> Result<GpuLayers, String> {
    match text {
        "-1" | "auto" => Ok(GpuLayers::Auto),
        "all" => Ok(GpuLayers::All),
        _ => text
            .parse()
            .map(GpuLayers::Count)
            .map_err(|_| "give a whole number, auto, or all".into()),
    }
}

fn names(text: &str) -> Result<Names, String> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    match names.iter().any(String::is_empty) {
        true => Err("give names of devices, or none".into()),
        false if names == ["none"] => Ok(Names(Vec::new())),
        false => Ok(Names(names)),
    }
}

fn shares(text: &str) -> Result<Shares, String> {
    let share = |text: &str| {
        text.trim()
            .parse()
            .ok()
            .filter(|it: &f32| it.is_finite() && *it >= 0.0)
    };
    let shares: Option<Vec<f32>> = text.split([',', '/']).map(share).collect();
    shares
        .filter(|shares| shares.iter().any(|&it| it > 0.0))
        .map(Shares)
        .ok_or_else(|| "give a number of at least 0 for each device, such as 3,1".into())
}

fn tensor_override(text: &str) -> Result<TensorOverride, String> {
    match text.split_once('=') {
        Some((pattern, buffer)) if !pattern.is_empty() && !buffer.is_empty() => {
            Ok(TensorOverride {
                pattern: pattern.into(),
                buffer: buffer.into(),
            })
        }
        _ => Err("give PATTERN=DEVICE, such as ffn_down=CPU".into()),
    }
}

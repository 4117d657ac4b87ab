//! The flags that choose a model and set up its context.

use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};

use crate::cli::device_args::DeviceArgs;
use crate::cli::exit::user_error;
use crate::cli::model::{ModelSource, note_odd_context};
use crate::runtime::llama::{
    CacheType, ContextOptions, Exact, FlashAttention, Lora, Model, ModelOptions,
};

/// Maximum number of threads: ggml's own limit, above which it crashes.
pub(super) const MAX_THREADS: u32 = 512;

/// Which model, and how to run it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArgs {
    #[command(flatten)]
    pub source: ModelSource,

    /// Context size in tokens, prompt and answer together; 0 for the size the model was trained
    /// with [default: what this run can need, up to the trained size]
    #[arg(
        short = 'c',
        long = "ctx-size",
        alias = "ctx_size",
        value_name = "N",
        value_parser = context_size
    )]
    pub ctx_size: Option<u32>,

    /// Number of CPU threads [default: one per core]
    #[arg(
        short = 't',
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_THREADS))
    )]
    pub threads: Option<u32>,

    /// Flash attention
    #[arg(
        long = "flash-attn",
        visible_alias = "fa",
        alias = "flash_attn",
        value_enum,
        default_value_t,
        value_name = "WHEN",
        num_args = 0..=1,
        default_missing_value = "on"
    )]
    pub flash_attn: When,

    /// Logical batch size: maximum number of prompt tokens per call of llama.cpp
    #[arg(
        short = 'b',
        long = "batch-size",
        alias = "batch_size",
        default_value_t = 2048,
        value_name = "N",
        value_parser = at_least_one
    )]
    pub batch_size: u32,

    /// Physical batch size: maximum number of tokens per forward pass [default: 256, on a GPU 512]
    #[arg(
        long = "ubatch-size",
        visible_alias = "ub",
        alias = "ubatch_size",
        value_name = "N",
        value_parser = at_least_one
    )]
    pub ubatch_size: Option<u32>,

    /// KV cache type for keys: f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl
    #[arg(
        long = "cache-type-k",
        visible_alias = "ctk",
        alias = "cache_type_k",
        default_value = "f16",
        value_name = "TYPE"
    )]
    pub cache_type_k: CacheType,

    /// KV cache type for values, one of the same
    #[arg(
        long = "cache-type-v",
        visible_alias = "ctv",
        alias = "cache_type_v",
        default_value = "f16",
        value_name = "TYPE"
    )]
    pub cache_type_v: CacheType,

    /// Use a small cache for models with sliding-window attention. They then decode without drafts
    #[arg(long, alias = "no_swa_full")]
    pub no_swa_full: bool,

    /// Load the whole model into memory instead of memory-mapping the file
    #[arg(long, alias = "no_mmap")]
    pub no_mmap: bool,

    /// Apply a LoRA adapter, a GGUF file, scaled by SCALE [default: 1]; may be given several times
    #[arg(
        long,
        alias = "lora-scaled",
        value_delimiter = ',',
        value_name = "FILE[:SCALE]",
        value_parser = lora
    )]
    pub lora: Vec<Lora>,

    /// Use llama.cpp's kernels only. By default, logitspec's own kernels compute passes of two or
    /// more tokens on x86 Linux: for F16 and Q8_0 weights, with AVX-512 VNNI also for Q4_0, Q4_K
    /// and Q6_K, and with AMX also for Q5_K
    #[arg(long, alias = "llama_kernels")]
    pub llama_kernels: bool,

    /// Answer bit for bit as plain decoding does. auto: on processors and workers, where it costs
    /// little; on: everywhere, as far as the device allows; off: what is fastest
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        num_args = 0..=1,
        default_value_t,
        default_missing_value = "on"
    )]
    pub exact: When,

    /// Print llama.cpp's log to standard error
    #[arg(short = 'v', long)]
    pub verbose: bool,

    #[command(flatten)]
    pub devices: DeviceArgs,
}

/// A switch with an automatic setting.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum When {
    /// Use it where it helps
    #[default]
    Auto,
    /// Always use it
    On,
    /// Never use it
    Off,
}

impl ModelArgs {
    /// Loads the model; downloads it first if necessary. Stops when Ctrl-C raises `interrupted`.
    pub(super) fn load(&self, interrupted: &AtomicBool) -> anyhow::Result<Model> {
        self.check_cache_types()?;
        crate::runtime::llama::set_verbose(self.verbose);
        let path = self.source.locate(None, interrupted)?;
        self.devices.connect()?;
        let options = ModelOptions {
            n_gpu_layers: self.devices.n_gpu_layers(),
            devices: self.devices.options(),
            use_mmap: !self.no_mmap,
            llama_kernels: self.llama_kernels,
            exact: match self.exact {
                When::Auto => Exact::Auto,
                When::On => Exact::On,
                When::Off => Exact::Off,
            },
            fits: Some(ContextOptions {
                n_ctx: self.ctx_size.filter(|&size| size > 0),
                ..self.context_of(None)
            }),
            fewer_layers: self.devices.may_use_fewer_layers(),
            info_only: false,
        };
        let model = Model::load(&path, &options)?.with_adapters(&self.lora)?;
        note_odd_context(&model);
        note_tight_memory(&model);
        Ok(model)
    }

    /// llama.cpp reads quantized values only with flash attention.
    fn check_cache_types(&self) -> anyhow::Result<()> {
        let kind = self.cache_type_v;
        if !kind.is_unquantized() && matches!(self.flash_attn, When::Off) {
            return Err(user_error(format!(
                "-ctv {kind} needs flash attention, but -fa off disables it: \
                 give -fa on (or auto), or -ctv f16"
            )));
        }
        Ok(())
    }

    /// The context that these flags ask for. Without -c it holds `needed` tokens, up to the trained
    /// context.
    pub(super) fn context(&self, model: &Model, needed: usize) -> ContextOptions {
        let trained = model.n_ctx_train();
        let needed = u32::try_from(needed).unwrap_or(u32::MAX);
        let context = self.context_of(Some(match self.ctx_size {
            Some(0) => trained,
            Some(size) => size,
            None => needed.min(trained),
        }));
        match (model.most_context(&context), context.n_ctx) {
            (Some(most @ 1..), Some(asked)) if self.ctx_size.is_none() && most < asked => {
                tell_line!(
                    "note: the context holds {most} tokens, as the memory has no room for \
                     {asked}; -c/--ctx-size sets its size"
                );
                self.context_of(Some(most))
            }
            _ => context,
        }
    }

    /// The context of so many tokens.
    fn context_of(&self, n_ctx: Option<u32>) -> ContextOptions {
        ContextOptions {
            n_ctx,
            n_batch: self.batch_size,
            n_ubatch: self.ubatch_size,
            threads: self.threads,
            flash_attention: match self.flash_attn {
                When::Auto => FlashAttention::Auto,
                When::On => FlashAttention::On,
                When::Off => FlashAttention::Off,
            },
            cache_type_k: self.cache_type_k,
            cache_type_v: self.cache_type_v,
            swa_full: !self.no_swa_full,
            ..ContextOptions::default()
        }
    }
}

/// Prints a note if the model was fitted into the memory, or is larger.
fn note_tight_memory(model: &Model) {
    let fit = model.fit();
    if let (Some(lacking), Some(layers)) = (&fit.lacking, fit.gpu_layers) {
        tell_line!(
            "note: {layers} of {} layers are on devices, as all need {lacking}; -ngl sets their \
             number",
            fit.all_layers
        );
    }
    if let Some(need) = &fit.paged {
        tell_line!(
            "note: the model needs {need}; the rest is read from the file again and again: take a \
             smaller quantization if it is slow"
        );
    }
}

/// A file, and behind a colon its scale.
fn lora(text: &str) -> Result<Lora, &'static str> {
    if let Some((path, Ok(scale))) = text.rsplit_once(':').map(|(path, it)| (path, it.parse())) {
        return match f32::is_finite(scale) && !path.is_empty() {
            true => Ok(Lora {
                path: path.into(),
                scale,
            }),
            false => Err("give a file and a finite scale, for example style.gguf:0.5"),
        };
    }
    Ok(Lora {
        path: text.into(),
        scale: 1.0,
    })
}

fn at_least_one(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("give a number of at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("give a whole number of at least 1".into()),
    }
}

fn context_size(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        "give a whole number of tokens, or 0 for as many as the model was trained with".into()
    })
}

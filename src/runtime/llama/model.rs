//! A loaded model.

mod context;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;

use crate::runtime::llama::abort::Loading;
use crate::runtime::llama::devices::{
    Device, DeviceError, DeviceKind, DeviceOptions, looked_at_again, visible_devices,
};
use crate::runtime::llama::fit::{Fit, Room};
use crate::runtime::llama::info::ModelInfo;
use crate::runtime::llama::kernels::{self, Kernels};
use crate::runtime::llama::load::{
    check_magic, check_metadata, in_a_thread_of_its_own, load_file, not_loaded,
};
use crate::runtime::llama::log;
use crate::runtime::llama::lora::{Adapters, Lora, LoraError};
use crate::runtime::llama::memory::{Need, Shape, Sizes};
use crate::runtime::llama::options::{ContextOptions, Exact, ModelOptions};
#[cfg(feature = "grammar")]
use crate::runtime::llama::vocab::tokens_behind_text;
use crate::runtime::llama::vocab::{LazyControlTokens, Vocabulary};
#[cfg(feature = "grammar")]
use crate::verify::{GrammarError, GrammarVocabulary};

pub(super) use context::cores;

/// Why a model or a context could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No such file, or not readable.
    #[error("cannot read the model {path:?}: {error}")]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Some other kind of file.
    #[error(
        "{path:?} is not a GGUF file; convert the model with llama.cpp's convert_hf_to_gguf.py or \
         download a .gguf"
    )]
    NotGguf {
        /// The path.
        path: PathBuf,
    },
    /// A GGUF that llama.cpp cannot load.
    #[error(
        "llama.cpp cannot load {path:?}: {cause}; if the file is damaged or truncated, download it \
         again"
    )]
    Model {
        /// The path.
        path: PathBuf,
        /// What llama.cpp logged.
        cause: String,
    },
    /// Metadata that cannot be right.
    #[error(
        "{path:?} cannot be loaded: {reason}; download the file again, or convert the model again"
    )]
    Metadata {
        /// The path.
        path: PathBuf,
        /// Which value is wrong.
        reason: String,
    },
    /// A model that does not generate text.
    #[error("{path:?} is not a generative language model: {reason}")]
    NotALanguageModel {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Not enough memory.
    #[error("{path:?} needs {need}")]
    Memory {
        /// The path.
        path: PathBuf,
        /// What it needs where.
        need: Need,
    },
    /// There are no such devices.
    #[error(transparent)]
    Devices(#[from] DeviceError),
    /// Another model of this process wants other kernels.
    #[error(
        "{path:?} cannot be loaded beside a model with other kernels: give all models of a process \
         the same `llama_kernels` and `exact`"
    )]
    Kernels {
        /// The path.
        path: PathBuf,
    },
    /// No context could be made.
    #[error("llama.cpp cannot make a context of {n_ctx} tokens: {cause}")]
    Context {
        /// Tokens asked for.
        n_ctx: u32,
        /// What llama.cpp logged.
        cause: String,
    },
}

/// The longest context: llama.cpp counts positions in 31 bits, and rounds contexts up to multiples
/// of 256.
const MAX_CTX: u32 = i32::MAX.cast_unsigned() / 256 * 256;

/// A model loaded by llama.cpp, from which contexts are made.
pub struct Model {
    model: Arc<LlamaModel>,
    adapters: Adapters,
    path: PathBuf,
    load_time: Duration,
    gpu_layers: Option<u32>,
    devices: Vec<Device>,
    device_options: DeviceOptions,
    shape: Option<Shape>,
    fit: Fit,
    exact: Exact,
    rounding_noise: OnceLock<f32>,
    control: LazyControlTokens,
    #[cfg(feature = "grammar")]
    grammars: OnceLock<Result<GrammarVocabulary, GrammarError>>,
}

pub(super) fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        log::install();
        #[cfg(feature = "dynamic-backends")]
        llama_cpp_2::llama_backend::load_backends();
        LlamaBackend::init().expect("nobody else initializes llama.cpp")
    })
}

impl Model {
    /// Loads a model.
    ///
    /// # Errors
    /// If the file is missing, no GGUF, damaged, or not a language model.
    pub fn load(path: &Path, options: &ModelOptions) -> Result<Self, LoadError> {
        let start = Instant::now();
        backend();
        check_magic(path)?;
        check_metadata(path)?;
        let _loading = Loading::of(path);
        log::take_errors();
        let mut devices = match options.n_gpu_layers {
            Some(0) => Vec::new(),
            _ => options.devices.choose(&visible_devices())?,
        };
        let shape = Shape::of(path, &options.devices.overrides);
        let fit = Fit::of(path, options, &devices, shape.as_ref())?;
        let options = &ModelOptions {
            n_gpu_layers: fit.gpu_layers,
            ..options.clone()
        };
        if fit.gpu_layers == Some(0) {
            devices.clear();
        }
        let model = in_a_thread_of_its_own(|| load_file(path, options, &devices));
        let model = model.ok_or_else(|| not_loaded(path, options))?;
        let engine = Self {
            model: Arc::new(model),
            adapters: Adapters::none(),
            path: path.into(),
            load_time: start.elapsed(),
            gpu_layers: options.n_gpu_layers,
            devices,
            device_options: options.devices.clone(),
            shape,
            fit,
            exact: options.exact,
            rounding_noise: OnceLock::new(),
            control: LazyControlTokens::new(),
            #[cfg(feature = "grammar")]
            grammars: OnceLock::new(),
        };
        match engine.not_a_language_model() {
            Some(reason) if !options.info_only => Err(LoadError::NotALanguageModel {
                path: path.into(),
                reason,
            }),
            None if options.info_only => Ok(engine),
            // Last, so that only a model that was loaded decides.
            _ if engine.settles_kernels(options) => Ok(engine),
            _ => Err(LoadError::Kernels { path: path.into() }),
        }
    }

    /// Applies LoRA adapters in all contexts that are made from now on, instead of those before.
    ///
    /// # Errors
    /// If a file cannot be read, or is no adapter for this model.
    pub fn with_adapters(mut self, adapters: &[Lora]) -> Result<Self, LoraError> {
        let model = Arc::get_mut(&mut self.model).expect("nobody else has it yet");
        self.adapters = Adapters::load(model, adapters)?;
        Ok(self)
    }

    /// Whether this process uses the kernels that `options` ask for. The first model decides, when
    /// it is loaded, or when this is asked of one of which only the header is loaded.
    pub fn settles_kernels(&self, options: &ModelOptions) -> bool {
        let invariant = options.exact != Exact::Off;
        kernels::llama_only_or_init(options.llama_kernels) == options.llama_kernels
            && kernels::batch_invariant_or_init(invariant) == invariant
    }

    /// Whether sessions keep the cache in the order of plain decoding.
    pub fn is_exact(&self) -> bool {
        match self.exact {
            // To a worker, a few more tokens in a pass cost less than the way there.
            Exact::Auto => self.devices.iter().all(|it| it.kind == DeviceKind::Worker),
            Exact::On => true,
            Exact::Off => false,
        }
    }

    /// Whether a token gets the same bits whatever else is in the pass, so that answers are bit for
    /// bit those of plain decoding.
    pub fn is_batch_invariant(&self) -> bool {
        self.is_exact() && !self.is_on_gpu() && kernels::is_batch_invariant()
    }

    /// Where the model was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Layers that were asked to be put on a graphics processor; `None` for all.
    pub fn gpu_layers(&self) -> Option<u32> {
        self.gpu_layers
    }

    /// How long loading took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> Vocabulary<'_> {
        Vocabulary::new(&self.model, &self.control)
    }

    /// The vocabulary, prepared for grammars. The first call takes some tens of milliseconds.
    ///
    /// # Errors
    /// If the vocabulary is not fit for grammars.
    #[cfg(feature = "grammar")]
    pub fn grammars(&self) -> Result<&GrammarVocabulary, GrammarError> {
        let made = self.grammars.get_or_init(|| {
            let vocabulary = self.vocabulary();
            let mut ends = vocabulary.ends();
            // First the token that the model itself ends answers with.
            let own = vocabulary.end();
            ends.sort_by_key(|&token| Some(token) != own);
            let model = Arc::clone(&self.model);
            let tokenize = move |text: &[u8]| tokens_behind_text(&model, text);
            GrammarVocabulary::new(&vocabulary.token_bytes(false), &ends, tokenize)
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// The facts about the model.
    pub fn info(&self) -> ModelInfo {
        let cannot_draft = self
            .not_a_language_model()
            .or_else(|| self.memory_cannot_be_cut(true));
        let context_length = self.context_length();
        ModelInfo::of(&self.model, self.vocabulary(), context_length, cannot_draft)
    }

    /// Tokens in the longest text the model was trained on. If the file says 0 or more than a
    /// context can hold, as many as a context can hold; see [`odd_context`](Self::odd_context).
    pub fn n_ctx_train(&self) -> u32 {
        match self.context_length() {
            0 => MAX_CTX,
            length => length.min(MAX_CTX),
        }
    }

    /// A note if the file's trained context cannot be right.
    pub fn odd_context(&self) -> Option<String> {
        let length = self.context_length();
        (!(1..=MAX_CTX).contains(&length)).then(|| {
            format!(
                "{:?} gives a trained context of {length} tokens, which cannot be right; it is not \
                 used",
                self.path
            )
        })
    }

    /// The trained context, as the file says it.
    fn context_length(&self) -> u32 {
        // The binding's getter panics on large numbers.
        let length = self.arch_meta("context_length");
        length.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The model's own chat template in Jinja, if it has one. A blank one counts as none.
    pub fn chat_template(&self) -> Option<String> {
        let template = self.model.chat_template(None).ok()?;
        let template = template.to_string().ok()?;
        Some(template).filter(|template| !template.trim().is_empty())
    }

    /// Whether some of it is computed on a graphics processor, or by a worker.
    pub fn is_on_gpu(&self) -> bool {
        !self.devices.is_empty()
    }

    /// The devices that layers are put on, besides the processor.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// What was found out about its memory before it was loaded.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }

    /// The most tokens that a context with these options can hold in the memory that is free. With
    /// too few even for one token, 0. `None` where one cannot say.
    pub fn most_context(&self, options: &ContextOptions) -> Option<u32> {
        self.room(options)?.most_tokens()
    }

    /// The memory for a context with these options.
    fn room(&self, options: &ContextOptions) -> Option<Room<'_>> {
        let is_usual = !self.model.is_recurrent() && !self.model.is_hybrid() && options.swa_full;
        let shape = self.shape.as_ref().filter(|_| is_usual)?;
        let n_ubatch = self.n_ubatch(options);
        let n_ctx = options.n_ctx.unwrap_or(self.n_ctx_train());
        Some(Room {
            shape,
            sizes: Sizes::of(options, n_ctx, n_ubatch),
            gpu_layers: self.gpu_layers,
            devices: looked_at_again(&self.devices),
            shares: &self.device_options.tensor_split,
        })
    }

    /// How these devices were chosen.
    pub fn device_options(&self) -> &DeviceOptions {
        &self.device_options
    }

    /// The kernels of this crate that compute passes of two tokens and more, which decides what
    /// they cost; `None` if llama.cpp's do. They are for weights in F16, Q8_0, Q4_0, Q4_K and Q6_K,
    /// and with AMX in Q5_K, on processors, in programs that are linked as this crate's own are
    /// (docs/decisions/013-few-token-kernels.md).
    pub fn few_token_kernels(&self) -> Option<String> {
        self.kernels().map(|kernels| kernels.name)
    }

    fn kernels(&self) -> Option<Kernels> {
        if self.is_on_gpu() {
            return None;
        }
        let info = self.info();
        kernels::in_use(&info.quantization, info.embedding_length)
    }

    /// Whether most weights are stored in fewer than 16 bits.
    pub fn is_quantized(&self) -> bool {
        !["F32", "F16", "BF16"].contains(&self.info().quantization.as_str())
    }

    /// Whether most of the model's products are computed by the few-token kernels.
    pub fn uses_few_token_kernels(&self) -> bool {
        self.kernels().is_some_and(|kernels| kernels.most)
    }

    fn meta(&self, key: &str) -> Option<String> {
        self.model.meta_val_str(key).ok()
    }

    fn arch_meta(&self, key: &str) -> Option<String> {
        self.meta(&format!("{}.{key}", self.architecture()))
    }

    fn architecture(&self) -> String {
        self.meta("general.architecture").unwrap_or_default()
    }

    fn not_a_language_model(&self) -> Option<String> {
        let architecture = self.architecture();
        if self.vocabulary().is_empty() {
            Some("it has no vocabulary".into())
        } else if self.arch_meta("attention.causal").as_deref() == Some("false") {
            Some(format!(
                "{architecture} reads text in both directions (an embedding or diffusion model)"
            ))
        } else if architecture.starts_with("t5") {
            Some(format!(
                "{architecture} is an encoder-decoder, which is not supported"
            ))
        } else {
            None
        }
    }

    fn memory_cannot_be_cut(&self, swa_full: bool) -> Option<String> {
        if self.model.is_recurrent() || self.model.is_hybrid() {
            return Some(format!(
                "{} models keep a state that cannot be taken back",
                self.architecture()
            ));
        }
        if swa_full {
            return None;
        }
        let window = self.arch_meta("attention.sliding_window");
        let said = window.as_ref().is_some_and(|window| window != "0");
        let architecture = self.architecture();
        (said || WINDOWED.contains(&architecture.as_str())).then(|| {
            format!("the sliding-window cache of {architecture} models cannot drop tokens")
        })
    }
}

/// Architectures whose window llama.cpp knows where the file does not say.
const WINDOWED: [&str; 5] = ["exaone-moe", "exaone4", "gemma2", "llama4", "smallthinker"];

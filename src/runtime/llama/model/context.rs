//! Contexts: a model with a cache, ready to decode.

use std::num::NonZeroU32;
use std::sync::Mutex;

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_sys_2 as sys;

use crate::runtime::llama::abort::Loading;
use crate::runtime::llama::kernels;
use crate::runtime::llama::load::cause;
use crate::runtime::llama::log;
use crate::runtime::llama::model::{LoadError, Model, backend};
use crate::runtime::llama::options::{CacheType, ContextOptions, Exact, FlashAttention};
use crate::runtime::llama::target::LlamaTarget;
use crate::runtime::rounding_noise;
use crate::runtime::slots::{MAX_SLOTS, SlotCache};

/// llama.cpp allows no more sequences (`LLAMA_MAX_SEQ`).
const MAX_SEQUENCES: usize = 256;

impl Model {
    /// Why drafts cannot be verified with these options, if so: the model then decodes plainly.
    pub fn cannot_draft(&self, options: &ContextOptions) -> Option<String> {
        self.memory_cannot_be_cut(options.swa_full)
    }

    /// Whether attention is computed in one fused kernel, for these options:
    /// [`FlashAttention::Auto`] is left to llama.cpp on a graphics processor, and decided here on
    /// others.
    ///
    /// Our own fused kernel for processors is the fastest one. Fused kernels also do not add up
    /// cells of other slots, so there the slots' answers do not depend on each other. llama.cpp's
    /// reads the whole cache once for every head of every token of a small pass. Its plain kernels
    /// read it once for the pass, which makes a draft's tokens cheaper the longer the text is. They
    /// take a few calls more, which shows beside tiny models only, and room for all scores of a
    /// layer.
    pub fn flash_attention(&self, options: &ContextOptions) -> FlashAttention {
        const TINY: u64 = 256 << 20;
        const MOST_SCORES: u64 = 1 << 30;
        let n_ctx = options.n_ctx.unwrap_or(self.n_ctx_train());
        let rows = u64::from(self.n_ubatch(options)).saturating_mul(self.model.n_head().into());
        let scores = rows.saturating_mul(4 * u64::from(n_ctx));
        let cache = [options.cache_type_k, options.cache_type_v];
        let plain = cache.iter().all(CacheType::is_unquantized);
        match options.flash_attention {
            FlashAttention::Auto
                if !self.is_on_gpu() && (kernels::has_attention() || options.slots > 1) =>
            {
                FlashAttention::On
            }
            FlashAttention::Auto
                if !self.is_on_gpu()
                    && plain
                    && scores <= MOST_SCORES
                    && self.model.size() >= TINY =>
            {
                FlashAttention::Off
            }
            chosen => chosen,
        }
    }

    /// Most tokens computed at once, with these options: if they don't say, llama.cpp's own 512 on
    /// a graphics processor and 256 on others, where 512 is slower for prompts with AMX and brought
    /// nothing elsewhere (docs/decisions/019-defaults-on-processors.md).
    pub fn n_ubatch(&self, options: &ContextOptions) -> u32 {
        let suits = if self.is_on_gpu() { 512 } else { 256 };
        let most = options.n_batch.max(1);
        options.n_ubatch.unwrap_or(suits).clamp(1, most)
    }

    /// A context with an empty cache.
    ///
    /// # Errors
    /// If there is not enough memory, or llama.cpp refuses the options.
    pub fn context(&self, options: &ContextOptions) -> Result<LlamaTarget<'_>, LoadError> {
        let n_ctx = options.n_ctx.unwrap_or(self.n_ctx_train()).max(1);
        let capacity = options.draft_tree_capacity.max(1);
        let batch = options.n_batch.max(1).max(small(capacity));
        // One sequence per leaf, and no tree has more leaves than drafted nodes. llama.cpp also
        // wants to be able to give out a row for each sequence, and gives out no more rows than a
        // batch has tokens.
        let rows = n_ctx.min(batch) as usize;
        let slots = options.slots.clamp(1, MAX_SLOTS.min(rows / 2).max(1));
        let leaves = match self.cannot_draft(options) {
            Some(_) => 0,
            None => (capacity - 1).clamp(1, SlotCache::most_leaves(slots, MAX_SEQUENCES.min(rows))),
        };
        let sequences = SlotCache::sequence_ids(slots, leaves);
        let threads = options
            .threads
            .map_or_else(cores, |t| t.max(1))
            .cast_signed();
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(n_ctx))
            .with_n_batch(batch)
            .with_n_ubatch(self.n_ubatch(options))
            .with_n_seq_max(small(sequences))
            .with_kv_unified(true)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_swa_full(options.swa_full)
            .with_type_k(options.cache_type_k.0)
            .with_type_v(options.cache_type_v.0)
            .with_flash_attention_policy(match self.flash_attention(options) {
                FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
                FlashAttention::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
                FlashAttention::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
            });
        if let Some(need) = self.room(options).and_then(|room| room.lacking()) {
            return Err(LoadError::Memory {
                path: self.path.clone(),
                need,
            });
        }
        // llama.cpp writes to the model while it makes a context, so one at a time.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let _loading = Loading::of(&self.path);
        log::take_errors();
        let mut context =
            self.model
                .new_context(backend(), params)
                .map_err(|error| LoadError::Context {
                    n_ctx,
                    cause: cause(&error),
                })?;
        self.adapters.apply(&mut context);
        let vocabulary = self.vocabulary();
        let mut target = LlamaTarget::new(context, vocabulary, n_ctx as usize, slots, leaves);
        let noise = self.rounding_noise(&mut target);
        Ok(target.with_rounding_noise(noise))
    }

    /// Measured once, if exact answers were asked for where passes round differently.
    fn rounding_noise(&self, target: &mut LlamaTarget<'_>) -> f32 {
        if self.exact != Exact::On || self.is_batch_invariant() {
            return 0.0;
        }
        // If it cannot be measured, every choice is a near tie.
        let measure = || rounding_noise(target).unwrap_or(f32::INFINITY);
        *self.rounding_noise.get_or_init(measure)
    }
}

/// One thread per core that this process may use.
pub(in crate::runtime::llama) fn cores() -> u32 {
    let logical = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Hyper-threads only get in each other's way here.
    small(logical.min(num_cpus::get_physical()).max(1))
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

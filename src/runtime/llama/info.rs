//! The facts about a GGUF file.

use llama_cpp_2::model::LlamaModel;
use serde::Serialize;

use crate::runtime::llama::vocab::Vocabulary;

/// The facts about a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Architecture, as llama.cpp names it.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Size of the weights in bytes.
    pub size: u64,
    /// File type of the weights, such as `Q4_K_M`.
    pub quantization: String,
    /// Context length it was trained with, in tokens.
    pub context_length: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Size of the hidden state.
    pub embedding_length: u32,
    /// Attention heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Bytes of one token in a 16-bit KV cache.
    pub kv_bytes_per_token: u64,
    /// Number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// Type of the tokenizer.
    pub tokenizer: &'static str,
    /// Chat template in Jinja, if there is one.
    pub chat_template: Option<String>,
    /// Why draft trees cannot be verified. `None` if they can.
    pub cannot_draft: Option<String>,
}

impl ModelInfo {
    pub(super) fn of(
        model: &LlamaModel,
        vocabulary: Vocabulary<'_>,
        context_length: u32,
        cannot_draft: Option<String>,
    ) -> Self {
        let text = |key: &str| model.meta_val_str(key).ok().filter(|v| !v.is_empty());
        let architecture = text("general.architecture").unwrap_or_default();
        let number = |key: &str| -> Option<u64> {
            text(&format!("{architecture}.{key}")).and_then(|value| value.parse().ok())
        };
        let width = u32::try_from(model.n_embd()).unwrap_or(0);
        let (heads, kv_heads) = (model.n_head(), model.n_head_kv());
        let head_size = u64::from(width) / u64::from(heads.max(1));
        let key_size = number("attention.key_length").unwrap_or(head_size);
        let value_size = number("attention.value_length").unwrap_or(head_size);
        Self {
            name: text("general.name"),
            parameters: model.n_params(),
            size: model.size(),
            quantization: quantization(text("general.file_type")),
            context_length,
            layers: model.n_layer(),
            embedding_length: width,
            heads,
            kv_heads,
            kv_bytes_per_token: (2 * u64::from(model.n_layer()))
                .saturating_mul(kv_heads.into())
                .saturating_mul(key_size.saturating_add(value_size)),
            vocabulary: vocabulary.len(),
            tokenizer: vocabulary.kind(),
            chat_template: text("tokenizer.chat_template").filter(|it| !it.trim().is_empty()),
            architecture,
            cannot_draft,
        }
    }
}

/// The name of a GGUF file type (`enum llama_ftype` of llama.cpp's llama.h).
fn quantization(file_type: Option<String>) -> String {
    const NAMES: [(u32, &str); 36] = [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (7, "Q8_0"),
        (8, "Q5_0"),
        (9, "Q5_1"),
        (10, "Q2_K"),
        (11, "Q3_K_S"),
        (12, "Q3_K_M"),
        (13, "Q3_K_L"),
        (14, "Q4_K_S"),
        (15, "Q4_K_M"),
        (16, "Q5_K_S"),
        (17, "Q5_K_M"),
        (18, "Q6_K"),
        (19, "IQ2_XXS"),
        (20, "IQ2_XS"),
        (21, "Q2_K_S"),
        (22, "IQ3_XS"),
        (23, "IQ3_XXS"),
        (24, "IQ1_S"),
        (25, "IQ4_NL"),
        (26, "IQ3_S"),
        (27, "IQ3_M"),
        (28, "IQ2_S"),
        (29, "IQ2_M"),
        (30, "IQ4_XS"),
        (31, "IQ1_M"),
        (32, "BF16"),
        (36, "TQ1_0"),
        (37, "TQ2_0"),
        (38, "MXFP4"),
        (39, "NVFP4"),
        (40, "Q1_0"),
        (41, "Q2_0"),
    ];
    let Some(number) = file_type else {
        return "unknown".into();
    };
    NAMES
        .iter()
        .find(|(value, _)| number.parse() == Ok(*value))
        .map_or(format!("file type {number}"), |(_, name)| (*name).into())
}

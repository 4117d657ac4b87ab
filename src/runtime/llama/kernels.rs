//! Which kernels compute a model's passes of two tokens and more: those of the crate
//! `ggml-few-token`, or llama.cpp's.

use llama_cpp_sys_2 as sys;

#[cfg(feature = "kernels")]
use ggml_few_token as few_token;

/// In place of the crate.
#[cfg(not(feature = "kernels"))]
mod few_token {
    pub(super) const VERSION: u32 = 0;

    pub(super) fn enabled_or_init(enabled: bool) -> bool {
        enabled
    }

    pub(super) fn is_batch_invariant() -> bool {
        false
    }

    pub(super) fn is_linked() -> bool {
        false
    }

    pub(super) fn has_attention() -> bool {
        false
    }

    pub(super) fn batch_invariant_or_init(invariant: bool) -> bool {
        invariant
    }

    pub(super) fn isa_for(_: super::sys::ggml_type, _: usize) -> Option<&'static str> {
        None
    }
}

/// Kernels for some of a model's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernels {
    /// Their name in calibrations and manifests, which depend on what passes cost.
    pub(super) name: String,
    /// Whether they compute most of the model, and not only the matrices in Q6_K.
    pub(super) most: bool,
}

/// Whether llama.cpp's kernels compute everything, in the whole process. The first call decides.
pub(super) fn llama_only_or_init(llama_only: bool) -> bool {
    !few_token::enabled_or_init(!llama_only)
}

/// Whether operations are asked to give a token the same bits whatever else is in the pass. The
/// first call decides, for the whole process.
pub(super) fn batch_invariant_or_init(invariant: bool) -> bool {
    few_token::batch_invariant_or_init(invariant)
}

/// Whether they do: the hook into ggml is linked.
pub(super) fn is_batch_invariant() -> bool {
    few_token::is_batch_invariant() && few_token::is_linked()
}

/// Whether there is a kernel for fused attention.
pub(super) fn has_attention() -> bool {
    few_token::has_attention()
}

/// The kernels for a model of a file type, with rows as long as its embeddings. `None` if
/// llama.cpp's compute all of it.
pub(super) fn in_use(quantization: &str, embedding_length: u32) -> Option<Kernels> {
    let row_len = usize::try_from(embedding_length).ok()?;
    let most = match quantization {
        "F16" => Some(sys::GGML_TYPE_F16),
        "Q8_0" => Some(sys::GGML_TYPE_Q8_0),
        "Q4_0" => Some(sys::GGML_TYPE_Q4_0),
        "Q4_K_S" | "Q4_K_M" => Some(sys::GGML_TYPE_Q4_K),
        "Q5_K_S" | "Q5_K_M" => Some(sys::GGML_TYPE_Q5_K),
        "Q6_K" => Some(sys::GGML_TYPE_Q6_K),
        _ => None,
    };
    let version = few_token::VERSION;
    if let Some(isa) = most.and_then(|weights| few_token::isa_for(weights, row_len)) {
        let name = format!("logitspec {version} ({isa:?})");
        return Some(Kernels { name, most: true });
    }
    // llama.cpp's quantizer writes the output of quantized models, and some other matrices, in
    // Q6_K.
    let has_q6_k = quantization.starts_with(['Q', 'I']);
    let isa = few_token::isa_for(sys::GGML_TYPE_Q6_K, row_len).filter(|_| has_q6_k)?;
    let name = format!("logitspec {version} ({isa:?}) for Q6_K");
    Some(Kernels { name, most: false })
}

#[cfg(all(test, few_token_kernels))]
mod tests {
    use super::*;

    /// Which weights have kernels on this machine is tested in the crate.
    #[test]
    fn kernels_are_named_and_most_is_what_the_file_type_says() {
        crate::runtime::llama::devices();
        let isa_of_q6_k = ggml_few_token::isa_for(sys::GGML_TYPE_Q6_K, 2048);
        for (quantization, weights) in [
            ("F16", sys::GGML_TYPE_F16),
            ("Q8_0", sys::GGML_TYPE_Q8_0),
            ("Q4_0", sys::GGML_TYPE_Q4_0),
            ("Q4_K_M", sys::GGML_TYPE_Q4_K),
            ("Q5_K_S", sys::GGML_TYPE_Q5_K),
            ("Q6_K", sys::GGML_TYPE_Q6_K),
        ] {
            let kernels = in_use(quantization, 2048);
            let most = kernels.as_ref().filter(|it| it.most);
            let expected = ggml_few_token::isa_for(weights, 2048)
                .map(|isa| format!("logitspec {} ({isa:?})", ggml_few_token::VERSION));
            assert_eq!(most.map(|it| it.name.clone()), expected, "{quantization}");
        }
        for quantization in ["Q2_K", "IQ4_XS"] {
            let expected = isa_of_q6_k.map(|isa| Kernels {
                name: format!("logitspec {} ({isa:?}) for Q6_K", ggml_few_token::VERSION),
                most: false,
            });
            assert_eq!(in_use(quantization, 2048), expected);
        }
        assert_eq!(in_use("BF16", 2048), None);
        assert_eq!(in_use("F16", 2064), None);
        assert_eq!(in_use("Q2_K", 2064), None);
    }

    #[test]
    fn the_first_model_decides() {
        assert!(!llama_only_or_init(false));
        assert!(!llama_only_or_init(true));
    }
}

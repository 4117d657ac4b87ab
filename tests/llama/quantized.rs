//! Quantized weights. llama.cpp has different kernels for them, for one token and for a tree, and
//! for each type of processor.

use logitspec::runtime::llama::quantize;
use tempfile::TempDir;

use super::*;

/// The demo model with weights of another type. The matrices of the tiny models are too narrow for
/// that. Some of the demo model are too narrow for K-quants, so llama.cpp uses another type for
/// them.
pub(super) fn quantized(folder: &TempDir, name: &str) -> Model {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models/logitspec-demo.gguf");
    let path = folder.path().join(format!("{name}.gguf"));
    quantize(&source, &path, name, 1).unwrap();
    let model = Model::load(&path, &ModelOptions::default()).unwrap();
    assert!(model.info().quantization.starts_with(name));
    model
}

#[test]
fn an_unknown_type_is_refused_by_name() {
    let error = quantize("in".as_ref(), "out".as_ref(), "Q9_0", 1).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("Q9_0") && text.contains("Q4_K_M"), "{text}");
    let missing = quantize("no such file".as_ref(), "out".as_ref(), "Q8_0", 1);
    assert!(missing.unwrap_err().to_string().contains("no such file"));
}

#[test]
fn quantized_models_give_the_tokens_of_plain_decoding() {
    let folder = TempDir::new().unwrap();
    for name in ["Q8_0", "Q4_0", "Q4_K_M"] {
        let model = quantized(&folder, name);
        for text in PROMPTS {
            let prompt = model.vocabulary().tokenize(text).unwrap();
            let expected = plain_answer(&model, &prompt, 80);
            for capacity in [2, 8, 64] {
                let options = options(Method::Logitspec, capacity);
                let what = format!("{name}, {capacity} tokens, on {text:?}");
                assert_session_gives(&model, &CONTEXT, options, &prompt, 80, &expected, &what);
            }
        }
    }
}

//! Quantized weights. llama.cpp has different kernels for them, for one token and for a tree, and
//! for
//! each type of processor.
#![allow(unsafe_code)]

use std::ffi::CString;

use llama_cpp_sys_2 as llama;
use tempfile::TempDir;

use super::*;

const KINDS: [(&str, llama::llama_ftype); 3] = [
    ("Q8_0", llama::LLAMA_FTYPE_MOSTLY_Q8_0),
    ("Q4_0", llama::LLAMA_FTYPE_MOSTLY_Q4_0),
    ("Q4_K_M", llama::LLAMA_FTYPE_MOSTLY_Q4_K_M),
];

/// The demo model, quantized. The matrices of the tiny models are too narrow for that. Some of the
/// demo model are too narrow for Q4_K, so llama.cpp uses another type for them.
fn quantized(folder: &TempDir, name: &str, kind: llama::llama_ftype) -> Model {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models/logitspec-demo.gguf");
    let path = folder.path().join(format!("{name}.gguf"));
    let c_string = |path: &Path| CString::new(path.to_str().unwrap()).unwrap();
    // Starts llama.cpp's backends.
    let _ = load("tiny-llama.gguf");
    // SAFETY: The parameters are llama.cpp's defaults, and both names outlive the call.
    let failed = unsafe {
        let mut params = llama::llama_model_quantize_default_params();
        params.ftype = kind;
        params.nthread = 1;
        llama::llama_model_quantize(
            c_string(&source).as_ptr(),
            c_string(&path).as_ptr(),
            &params,
        )
    };
    assert_eq!(failed, 0, "{name}");
    let model = Model::load(&path, &ModelOptions::default()).unwrap();
    assert!(model.info().quantization.starts_with(name));
    model
}

#[test]
fn quantized_models_give_the_tokens_of_plain_decoding() {
    let folder = TempDir::new().unwrap();
    for (name, kind) in KINDS {
        let model = quantized(&folder, name, kind);
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

//! Changing the type of a model's weights.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::path::Path;

use llama_cpp_sys_2 as sys;

use super::log;
use super::model::backend;

/// The types of weights that [`quantize`] writes, by llama.cpp's names.
const TYPES: [(&str, sys::llama_ftype); 16] = [
    ("F32", sys::LLAMA_FTYPE_ALL_F32),
    ("F16", sys::LLAMA_FTYPE_MOSTLY_F16),
    ("BF16", sys::LLAMA_FTYPE_MOSTLY_BF16),
    ("Q8_0", sys::LLAMA_FTYPE_MOSTLY_Q8_0),
    ("Q6_K", sys::LLAMA_FTYPE_MOSTLY_Q6_K),
    ("Q5_K_M", sys::LLAMA_FTYPE_MOSTLY_Q5_K_M),
    ("Q5_K_S", sys::LLAMA_FTYPE_MOSTLY_Q5_K_S),
    ("Q5_1", sys::LLAMA_FTYPE_MOSTLY_Q5_1),
    ("Q5_0", sys::LLAMA_FTYPE_MOSTLY_Q5_0),
    ("Q4_K_M", sys::LLAMA_FTYPE_MOSTLY_Q4_K_M),
    ("Q4_K_S", sys::LLAMA_FTYPE_MOSTLY_Q4_K_S),
    ("Q4_1", sys::LLAMA_FTYPE_MOSTLY_Q4_1),
    ("Q4_0", sys::LLAMA_FTYPE_MOSTLY_Q4_0),
    ("IQ4_NL", sys::LLAMA_FTYPE_MOSTLY_IQ4_NL),
    ("Q3_K_M", sys::LLAMA_FTYPE_MOSTLY_Q3_K_M),
    ("Q2_K", sys::LLAMA_FTYPE_MOSTLY_Q2_K),
];

/// Why a model was not quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// No type of this name.
    #[error("unknown type {0:?}: choose one of {names}", names = TYPES.map(|it| it.0).join(", "))]
    UnknownType(String),
    /// A path that C cannot read.
    #[error("{0:?} is not a path that llama.cpp can read")]
    Path(String),
    /// llama.cpp failed.
    #[error("llama.cpp cannot quantize {path:?}: {cause}")]
    Failed {
        /// The model.
        path: String,
        /// What llama.cpp logged.
        cause: String,
    },
}

/// The types of weights that [`quantize`] writes, by llama.cpp's names.
pub fn quantize_types() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|it| it.0)
}

/// Writes the model `from` to `to`, with weights of the named type, by llama.cpp's own function. A
/// model that is quantized already is quantized again.
///
/// # Errors
/// See [`QuantizeError`].
pub fn quantize(from: &Path, to: &Path, name: &str, threads: u32) -> Result<(), QuantizeError> {
    let known = TYPES.iter().find(|it| it.0.eq_ignore_ascii_case(name));
    let Some(&(_, ftype)) = known else {
        return Err(QuantizeError::UnknownType(name.into()));
    };
    let c_string = |path: &Path| {
        let text = path.to_str().and_then(|path| CString::new(path).ok());
        text.ok_or_else(|| QuantizeError::Path(path.display().to_string()))
    };
    let (source, target) = (c_string(from)?, c_string(to)?);
    let _ = backend();
    log::take_errors();
    // SAFETY: the parameters are llama.cpp's own defaults, and both names outlive the call.
    let code = unsafe {
        let mut params = sys::llama_model_quantize_default_params();
        params.ftype = ftype;
        params.nthread = threads.max(1).cast_signed();
        params.allow_requantize = true;
        sys::llama_model_quantize(source.as_ptr(), target.as_ptr(), &params)
    };
    if code == 0 {
        return Ok(());
    }
    let cause = log::take_errors().join("; ");
    Err(QuantizeError::Failed {
        path: from.display().to_string(),
        cause,
    })
}

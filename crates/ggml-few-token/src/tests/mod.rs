//! The kernels against plain sums, and against ggml's own.
#![allow(clippy::needless_range_loop)]

mod amx_blocks;
mod amx_k_quants;
mod graph;
mod headers;
mod host;
mod one_token;
mod packed;
mod prefetch;
mod shapes;

use std::ffi::{c_char, c_int, c_void};
use std::io::Write;
use std::ops::Range;
use std::sync::Once;

use llama_cpp_sys_2 as sys;

pub(crate) use self::graph::count;
use crate::Isa;
use crate::mul_mat::{Job, Layout, Matrix, MulMat, Output};

/// Rows that the AMX buffer interleaves.
const AMX_ROWS: usize = 16;

/// Ends a test on a machine that lacks what it needs, and says so.
macro_rules! require {
    ($has:expr, $needs:literal $(, $result:expr)?) => {
        if !$has {
            static SAID: std::sync::Once = std::sync::Once::new();
            SAID.call_once(|| $crate::tests::say_skipped($needs));
            return $($result)?;
        }
    };
}
use require;

/// Says that a test was skipped. Not with `eprintln`, which the test runner hides if the test
/// passes.
fn say_skipped(needs: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "skipped {test}: it needs {needs}");
}

/// Makes ggml ready: its tables, and the backend with its buffer types. Without its log, which
/// names every tensor that it repacks.
fn init() {
    unsafe extern "C" fn no_log(_: sys::ggml_log_level, _: *const c_char, _: *mut c_void) {}
    // SAFETY: these may be called again.
    unsafe {
        sys::ggml_log_set(Some(no_log), std::ptr::null_mut());
        sys::ggml_cpu_init();
        sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
    }
}

/// The instruction sets of this processor that there are kernels for. Says so if it lacks some.
fn all_isas() -> Vec<Isa> {
    static SAID: Once = Once::new();
    let all = [Isa::Avx2, Isa::Avx512, Isa::Vnni];
    let best = all.into_iter().position(|isa| Isa::best() == Some(isa));
    let (here, others) = all.split_at(best.map_or(0, |best| best + 1));
    if !others.is_empty() {
        SAID.call_once(|| say_skipped(&format!("{others:?} for some of its kernels")));
    }
    here.to_vec()
}

/// F16 of a float that it can represent.
fn half(value: f32) -> u16 {
    // SAFETY: takes a float.
    unsafe { sys::ggml_fp32_to_fp16(value) }
}

fn from_half(value: u16) -> f32 {
    // SAFETY: takes a number.
    unsafe { sys::ggml_fp16_to_fp32(value) }
}

/// The floats of values in F16.
fn halves(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let halves = bytes.chunks_exact(2);
    halves.map(|two| from_half(u16::from_le_bytes([two[0], two[1]])))
}

/// All `rows`, cut into chunks.
fn chunks(cuts: &[usize], rows: usize) -> impl Iterator<Item = Range<usize>> {
    let ends = cuts.iter().copied().chain([rows]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| start..end)
}

fn bits(results: &[f32]) -> Vec<u32> {
    results.iter().map(|result| result.to_bits()).collect()
}

/// Random activations of `count` tokens.
fn random_tokens(row_len: usize, count: usize, random: &mut fastrand::Rng) -> Vec<Vec<f32>> {
    let mut token = || (0..row_len).map(|_| random.f32() - 0.5).collect();
    (0..count).map(|_| token()).collect()
}

/// A thread pool of ggml's with one thread.
struct OneThread(*mut sys::ggml_threadpool);

impl OneThread {
    fn new() -> Self {
        // SAFETY: ggml's own defaults.
        Self(unsafe {
            let mut params = sys::ggml_threadpool_params_default(1);
            sys::ggml_threadpool_new(&mut params)
        })
    }

    /// What ggml tells the thread.
    fn params(&self, work: &mut [u64]) -> crate::ComputeParams {
        crate::ComputeParams {
            ith: 0,
            nth: 1,
            wsize: size_of_val(work),
            wdata: work.as_mut_ptr().cast(),
            threadpool: self.0,
            use_ref: false,
        }
    }
}

impl Drop for OneThread {
    fn drop(&mut self) {
        // SAFETY: it is not used any more.
        unsafe { sys::ggml_threadpool_free(self.0) }
    }
}

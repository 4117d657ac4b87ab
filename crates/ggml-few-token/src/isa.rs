//! The instruction sets of this processor.

use std::sync::LazyLock;

use llama_cpp_sys_2 as sys;

use crate::Isa;

impl Isa {
    /// The best one that the processor has and ggml was built for. ggml adds up in vectors of that
    /// width, and another width would round differently.
    pub(crate) fn best() -> Option<Self> {
        static BEST: LazyLock<Option<Isa>> = LazyLock::new(|| {
            // SAFETY: these take nothing, and say what ggml was built for.
            let [avx2, f16c, fma, avx512] = unsafe {
                [
                    sys::ggml_cpu_has_avx2(),
                    sys::ggml_cpu_has_f16c(),
                    sys::ggml_cpu_has_fma(),
                    sys::ggml_cpu_has_avx512(),
                ]
            }
            .map(|has| has != 0);
            let has_avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("fma");
            let has_avx512 =
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            if !(avx2 && f16c && fma && has_avx2) {
                None
            } else if !avx512 {
                Some(Isa::Avx2)
            } else if !has_avx512 {
                None
            } else if is_x86_feature_detected!("avx512vnni") {
                Some(Isa::Vnni)
            } else {
                Some(Isa::Avx512)
            }
        });
        *BEST
    }

    /// Whether the kernels in `mul_mat/vnni` can run: they also need AVX-512 BW.
    pub(crate) fn has_vnni_kernels() -> bool {
        Self::best() == Some(Self::Vnni) && is_x86_feature_detected!("avx512bw")
    }
}

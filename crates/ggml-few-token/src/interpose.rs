//! The hook: calls of ggml's `ggml_cpu_extra_compute_forward`, which the linker redirects to
//! `__wrap_ggml_cpu_extra_compute_forward`.

use std::ffi::c_void;

// Calls `forward`. If that declines, jumps to ggml's own function with the same arguments.
//
// In assembly, because ggml's function is a weak symbol here (it has no address if the program was
// linked without the argument), which Rust does not have, and because the symbol is hidden: Rust
// would export it from every shared library that this crate is part of.
std::arch::global_asm!(
    ".pushsection .text.__wrap_ggml_cpu_extra_compute_forward, \"ax\", @progbits",
    ".weak __real_ggml_cpu_extra_compute_forward",
    ".globl __wrap_ggml_cpu_extra_compute_forward",
    ".hidden __wrap_ggml_cpu_extra_compute_forward",
    ".type __wrap_ggml_cpu_extra_compute_forward, @function",
    "__wrap_ggml_cpu_extra_compute_forward:",
    ".cfi_startproc",
    // Two arguments, and eight bytes to align the stack.
    "push rdi",
    ".cfi_adjust_cfa_offset 8",
    "push rsi",
    ".cfi_adjust_cfa_offset 8",
    "sub rsp, 8",
    ".cfi_adjust_cfa_offset 8",
    "call {forward}",
    "add rsp, 8",
    ".cfi_adjust_cfa_offset -8",
    "pop rsi",
    ".cfi_adjust_cfa_offset -8",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    "test al, al",
    "jne 2f",
    "jmp [rip + __real_ggml_cpu_extra_compute_forward@GOTPCREL]",
    "2: ret",
    ".cfi_endproc",
    ".size __wrap_ggml_cpu_extra_compute_forward, . - __wrap_ggml_cpu_extra_compute_forward",
    ".popsection",
    forward = sym crate::forward,
);

// In a section of its own, so that asking for the address does not link the kernels in.
std::arch::global_asm!(
    ".pushsection .text.ggml_few_token_real_forward, \"ax\", @progbits",
    ".weak __real_ggml_cpu_extra_compute_forward",
    ".globl ggml_few_token_real_forward",
    ".hidden ggml_few_token_real_forward",
    ".type ggml_few_token_real_forward, @function",
    "ggml_few_token_real_forward:",
    "mov rax, [rip + __real_ggml_cpu_extra_compute_forward@GOTPCREL]",
    "ret",
    ".size ggml_few_token_real_forward, . - ggml_few_token_real_forward",
    ".popsection",
);

unsafe extern "C" {
    /// The address of ggml's own function, or null.
    safe fn ggml_few_token_real_forward() -> *const c_void;
}

/// Whether the linker redirects ggml's calls to the hook.
pub(crate) fn is_linked() -> bool {
    !ggml_few_token_real_forward().is_null()
}

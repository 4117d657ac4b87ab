//! Functions of llama.cpp that the linker leads here, where they may answer no.

/// Names a function of llama.cpp, where the linker leads calls of it, and what kind of function
/// that is: it takes the same, at most five numbers and addresses (more are not kept for
/// llama.cpp's own), and says whether it did what was asked. If it did not, llama.cpp's own does
/// it. Declares a function that gives the address of that, or null where it is not there or calls
/// of it are not led here.
///
/// A weak symbol that is not there has no address. Rust has no weak symbols, so this is not in
/// Rust; and hidden, since Rust's own way to export a function would put it among the symbols of
/// every shared library that this crate is in.
macro_rules! led {
    ($name:literal to $function:path: $kind:ty; $(#[$about:meta])* $address:ident) => {
        const _: $kind = $function;

        std::arch::global_asm!(
            concat!(".pushsection .text.__wrap_", $name, ", \"ax\", @progbits"),
            concat!(".weak __real_", $name),
            concat!(".globl __wrap_", $name),
            concat!(".hidden __wrap_", $name),
            concat!(".type __wrap_", $name, ", @function"),
            concat!("__wrap_", $name, ":"),
            ".cfi_startproc",
            "push rdi",
            ".cfi_adjust_cfa_offset 8",
            "push rsi",
            ".cfi_adjust_cfa_offset 8",
            "push rdx",
            ".cfi_adjust_cfa_offset 8",
            "push rcx",
            ".cfi_adjust_cfa_offset 8",
            "push r8",
            ".cfi_adjust_cfa_offset 8",
            "call {function}",
            "pop r8",
            ".cfi_adjust_cfa_offset -8",
            "pop rcx",
            ".cfi_adjust_cfa_offset -8",
            "pop rdx",
            ".cfi_adjust_cfa_offset -8",
            "pop rsi",
            ".cfi_adjust_cfa_offset -8",
            "pop rdi",
            ".cfi_adjust_cfa_offset -8",
            "test al, al",
            "jne 2f",
            concat!("jmp [rip + __real_", $name, "@GOTPCREL]"),
            "2: ret",
            ".cfi_endproc",
            concat!(".size __wrap_", $name, ", . - __wrap_", $name),
            ".popsection",
            function = sym $function,
        );

        // In a section of its own: who uses this does not have the kernels linked in by it.
        std::arch::global_asm!(
            concat!(".pushsection .text.", stringify!($address), ", \"ax\", @progbits"),
            concat!(".weak __real_", $name),
            concat!(".globl ", stringify!($address)),
            concat!(".hidden ", stringify!($address)),
            concat!(".type ", stringify!($address), ", @function"),
            concat!(stringify!($address), ":"),
            concat!("mov rax, [rip + __real_", $name, "@GOTPCREL]"),
            "ret",
            concat!(".size ", stringify!($address), ", . - ", stringify!($address)),
            ".popsection",
        );

        unsafe extern "C" {
            $(#[$about])*
            safe fn $address() -> *const c_void;
        }
    };
}
pub(in crate::runtime::llama) use led;

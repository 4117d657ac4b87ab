//! Enough stack for llama.cpp's tokenizers.
//!
//! llama.cpp splits text with `std::regex` for many byte-level BPE vocabularies. `std::regex` calls
//! itself once for every character of a match, and running out of stack ends the process. So long
//! texts are tokenized in a thread with a stack of their size.

use std::io;
use std::thread;

/// Bytes of stack for each byte of a match. 316 were measured on x86-64 with GCC's library, with
/// the patterns of gpt-4o, tekken, deepseek-v3, exaone-moe, superbpe and of unnamed vocabularies.
const PER_BYTE: usize = 1 << 10;

/// Bytes of stack for everything else.
const BASE: usize = 1 << 20;

/// Most bytes of stack that are asked for.
const MOST: usize = 4 << 30;

/// Texts of up to this many bytes are tokenized on the caller's stack. They take a third of a
/// mebibyte of it.
const SHORT: usize = 1 << 10;

/// Runs `tokenize`, which tokenizes `text`, on a stack that is large enough.
///
/// # Errors
/// If the system has no such stack.
pub(super) fn with_stack_for<T: Send>(
    text: &str,
    tokenize: impl Fn() -> T + Sync,
) -> io::Result<T> {
    if text.len() <= SHORT {
        return Ok(tokenize());
    }
    // No match is longer than the text. If that asks for too much, look closer.
    match in_a_thread(text.len(), &tokenize) {
        Err(_) => in_a_thread(longest_match(text), &tokenize),
        done => done,
    }
}

/// Runs `tokenize` in a thread with stack for a match of this many bytes.
fn in_a_thread<T: Send>(longest: usize, tokenize: &(impl Fn() -> T + Sync)) -> io::Result<T> {
    let stack = longest.saturating_mul(PER_BYTE).saturating_add(BASE);
    if stack > MOST {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .stack_size(stack)
            .spawn_scoped(scope, tokenize)?;
        match thread.join() {
            Ok(done) => Ok(done),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A bound for the bytes of a match: the longest part of the text between line ends.
///
/// No pattern of llama.cpp goes on behind a line end with anything but white space and slashes
/// (`llm_tokenizer_bpe` in llama-vocab.cpp).
pub(super) fn longest_match(text: &str) -> usize {
    let mut longest = 0;
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', text.as_bytes()) {
        let next = text[end + 1..].chars().next();
        if next.is_some_and(|c| !c.is_whitespace() && c != '/') {
            longest = longest.max(end + 1 - begin);
            // A match may begin with the line end.
            begin = end;
        }
    }
    longest.max(text.len() - begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_ends_with_its_line() {
        assert_eq!(longest_match(""), 0);
        assert_eq!(longest_match("one two"), 7);
        assert_eq!(longest_match("a\nlong line\nb"), "\nlong line\n".len());
        // White space and slashes may belong to the match.
        assert_eq!(longest_match("a\n \n\n/\nb"), "a\n \n\n/\n".len());
    }

    #[test]
    fn only_long_texts_get_a_thread() {
        let here = thread::current().id();
        let thread_of = |bytes: usize| {
            let text = "x".repeat(bytes);
            with_stack_for(&text, || thread::current().id()).unwrap()
        };
        assert_eq!(thread_of(SHORT), here);
        assert_ne!(thread_of(SHORT + 1), here);
    }

    #[test]
    fn a_stack_that_no_system_has_is_refused() {
        // 8 MiB in one line would take 8 GiB of stack, and in short lines takes next to nothing.
        let line = "x".repeat(8 << 20);
        assert!(with_stack_for(&line, || ()).is_err());
        let lines = "x\n".repeat(4 << 20);
        assert!(with_stack_for(&lines, || ()).is_ok());
    }
}

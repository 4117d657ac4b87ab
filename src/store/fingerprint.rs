//! The fingerprint of a vocabulary.

use std::fmt;

use sha2::{Digest, Sha256};

/// Identifies a vocabulary: a SHA-256 over the text of its tokens in order, and their number.
///
/// A vocabulary has the same fingerprint in a GGUF file and in a `tokenizer.json`. Converters to
/// GGUF
/// add fillers at the end (`[PAD32000]`, `[PAD32001]`, …). These do not count.
///
/// ```
/// use logitspec::store::VocabFingerprint;
///
/// let of = |tokens: &[&str]| VocabFingerprint::of(tokens);
/// assert_eq!(of(&["a", "b", "[PAD2]"]), of(&["a", "b"]));
/// assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
/// ```
#[derive(Clone, Copy)]
pub struct VocabFingerprint {
    sha256: [u8; 32],
    n_vocab: usize,
}

impl VocabFingerprint {
    /// The fingerprint of tokens in the order of their numbers.
    pub fn of<T: AsRef<[u8]>>(tokens: impl IntoIterator<Item = T>) -> Self {
        let mut hash = Sha256::new();
        let mut count = |token: &[u8]| {
            hash.update((token.len() as u64).to_le_bytes());
            hash.update(token);
        };
        // Fillers count only if another token follows.
        let mut held_back = Vec::new();
        let mut n_vocab = 0;
        for token in tokens {
            let filler = format!("[PAD{n_vocab}]");
            if token.as_ref() == filler.as_bytes() {
                held_back.push(filler);
            } else {
                held_back
                    .drain(..)
                    .for_each(|filler| count(filler.as_bytes()));
                count(token.as_ref());
            }
            n_vocab += 1;
        }
        Self {
            sha256: hash.finalize().into(),
            n_vocab,
        }
    }

    /// A fingerprint from the fields of a file.
    pub(super) fn from_parts(sha256: [u8; 32], n_vocab: usize) -> Self {
        Self { sha256, n_vocab }
    }

    /// The digest.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Number of tokens, including fillers. All token ids are smaller.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// The first 12 digits, for messages.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl PartialEq for VocabFingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl Eq for VocabFingerprint {}

impl fmt::Display for VocabFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sha256
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VocabFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VocabFingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_and_its_position_count() {
        let of = |tokens: &[&str]| VocabFingerprint::of(tokens);
        let some = of(&["a", "bc", ""]);
        assert_eq!(some, of(&["a", "bc", ""]));
        for other in [
            &["a", "bc"][..],
            &["ab", "c", ""],
            &["bc", "a", ""],
            &["a", "bc", "", ""],
        ] {
            assert_ne!(some, of(other));
        }
        assert_eq!(some.to_string().len(), 64);
    }

    #[test]
    fn fillers_at_the_end_do_not_count() {
        let of = |tokens: &[&str]| VocabFingerprint::of(tokens);
        assert_eq!(of(&["a", "[PAD1]", "[PAD2]"]), of(&["a"]));
        assert_ne!(of(&["a", "[PAD2]"]), of(&["a"]));
        assert_ne!(of(&["a", "[PAD1]", "b"]), of(&["a", "b"]));
    }
}

//! Tokens become text.

/// Joins the bytes of tokens into text without ever splitting a character.
///
/// A token may hold part of a UTF-8 character. Its bytes wait until the rest has come; bytes that
/// can never become a character are replaced by U+FFFD, as [`String::from_utf8_lossy`] does.
///
/// ```
/// use logitspec::engine::TextStream;
///
/// let mut stream = TextStream::default();
/// assert_eq!(stream.push(b"caf\xc3"), "caf");
/// assert_eq!(stream.push(b"\xa9!"), "é!");
/// assert_eq!(stream.push(b"\xe2\x82"), "");
/// assert_eq!(stream.finish(), "\u{fffd}");
/// ```
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// Adds bytes and returns the text that is complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            // An incomplete character at the very end may yet be completed.
            let at_end = done + invalid.len() == self.pending.len();
            if at_end && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none()) {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                done += invalid.len();
            }
        }
        self.pending.drain(..done);
        text
    }

    /// The text of whatever is still waiting; the stream is then empty.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_the_same_text(
            text in "\\PC{0,12}",
            noise in prop::collection::vec(any::<u8>(), 0..6),
            cuts in prop::collection::vec(0usize..64, 0..6),
        ) {
            let mut bytes = text.into_bytes();
            bytes.extend(noise);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut stream = TextStream::default();
            let mut joined: String = cuts
                .windows(2)
                .map(|cut| stream.push(&bytes[cut[0]..cut[1]]))
                .collect();
            joined += &stream.finish();
            prop_assert_eq!(joined, String::from_utf8_lossy(&bytes));
        }
    }
}

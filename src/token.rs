//! The smallest thing that text is made of here.

/// A token's number in the model's vocabulary.
pub type TokenId = u32;

/// The bytes of every token of a vocabulary. Tokens that are not shown, as control tokens, have
/// none.
///
/// ```
/// use logitspec::TokenBytes;
///
/// let bytes: TokenBytes = [&b"caf\xc3"[..], b"\xa9"].into_iter().collect();
/// assert_eq!(bytes.of(1), b"\xa9");
/// assert_eq!(bytes.of(7), b"", "no such token");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBytes {
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<usize>,
}

impl TokenBytes {
    /// The bytes of `token`.
    pub fn of(&self, token: TokenId) -> &[u8] {
        let token = token as usize;
        let start = token.checked_sub(1).map_or(Some(0), |before| {
            // A token beyond the vocabulary has no bytes.
            self.ends.get(before).copied()
        });
        match (start, self.ends.get(token)) {
            (Some(start), Some(&end)) => &self.bytes[start..end],
            _ => &[],
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all tokens, in order.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for TokenBytes {
    fn from_iter<I: IntoIterator<Item = T>>(tokens: I) -> Self {
        let mut all = Self::default();
        for token in tokens {
            all.bytes.extend_from_slice(token.as_ref());
            all.ends.push(all.bytes.len());
        }
        all
    }
}

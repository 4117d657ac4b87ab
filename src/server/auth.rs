//! API keys.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// The keys that let clients in; everybody is let in if there are none.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<String>);

impl Keys {
    /// These keys; empty ones are left out.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self(keys.into_iter().filter(|key| !key.is_empty()).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request with these headers is let in: with `Authorization: Bearer KEY`, or with
    /// `X-Api-Key: KEY`. How long it takes does not depend on how much of a key is right.
    pub fn let_in(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let bearer = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let bearer = bearer.and_then(|value| {
            let (scheme, key) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
        });
        let plain = headers.get("x-api-key").map(|value| value.as_bytes());
        let Some(given) = bearer.or(plain) else {
            return false;
        };
        let mut is_known = subtle::Choice::from(0);
        for key in &self.0 {
            is_known |= key.as_bytes().ct_eq(given);
        }
        is_known.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn let_in(keys: &[&str], name: &'static str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Keys::new(keys.iter().map(|&key| key.to_owned())).let_in(&headers)
    }

    #[test]
    fn only_whole_keys_open() {
        let keys = ["one", "zwei"];
        for (header, value) in [
            ("authorization", "Bearer one"),
            ("authorization", "bearer zwei"),
            ("x-api-key", "one"),
        ] {
            assert!(let_in(&keys, header, value), "{value}");
        }
        for (header, value) in [
            ("authorization", "Bearer on"),
            ("authorization", "Bearer onezwei"),
            ("authorization", "Bearer "),
            ("authorization", "one"),
            ("x-api-key", "ONE"),
            ("cookie", "one"),
        ] {
            assert!(!let_in(&keys, header, value), "{value}");
        }
        assert!(let_in(&[], "cookie", ""));
    }
}

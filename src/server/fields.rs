//! The fields of a request's JSON object.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::server::error::ApiError;

/// A JSON object of a request. `null` counts as absent, as in OpenAI's API.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// What messages put before names.
    within: &'a str,
}

impl<'a> Fields<'a> {
    /// The fields of the whole request.
    pub fn new(object: &'a Map<String, Value>) -> Self {
        Self { object, within: "" }
    }

    /// The fields of an object in a request; `within` is its name and a point.
    pub fn within(object: &'a Map<String, Value>, within: &'a str) -> Self {
        Self { object, within }
    }

    /// A field, whatever it is.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The error for a field.
    pub fn wrong(&self, name: &str, message: impl std::fmt::Display) -> ApiError {
        ApiError::of_field(&format!("{}{name}", self.within), message)
    }

    fn typed<T>(
        &self,
        name: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(name, format!("give {wanted}"))),
        }
    }

    /// A number in a range.
    pub fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let (low, high) = (range.start(), range.end());
        let wanted = format!("a number from {low} to {high}");
        self.typed(name, &wanted, |value| {
            value.as_f64().filter(|number| range.contains(number))
        })
    }

    /// A whole number in a range.
    pub fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let (low, high) = (range.start(), range.end());
        let wanted = format!("a whole number from {low} to {high}");
        self.typed(name, &wanted, |value| {
            value.as_i64().filter(|number| range.contains(number))
        })
    }

    /// A number of something: a whole number in a range.
    pub fn count(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let (low, high) = (range.start(), range.end());
        let wanted = format!("a whole number from {low} to {high}");
        self.typed(name, &wanted, |value| {
            let number = usize::try_from(value.as_u64()?).ok()?;
            Some(number).filter(|number| range.contains(number))
        })
    }

    /// Most tokens of an answer; `usize::MAX` for -1. One token is the least, unless `or_none`.
    pub fn tokens(&self, name: &str, or_none: bool) -> Result<Option<usize>, ApiError> {
        let least = i64::from(!or_none);
        let wanted = format!("a whole number of tokens, at least {least}, or -1 for no limit");
        self.typed(name, &wanted, |value| match value.as_i64()? {
            -1 => Some(usize::MAX),
            number if number >= least => usize::try_from(number).ok(),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub fn switch(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(name, "a text", Value::as_str)
    }

    /// A list.
    pub fn list(&self, name: &str) -> Result<Option<&'a Vec<Value>>, ApiError> {
        self.typed(name, "a list", Value::as_array)
    }

    /// An object.
    pub fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, ApiError> {
        self.typed(name, "an object", Value::as_object)
    }

    /// A list of texts, or one text.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        self.typed(name, "a text or a list of texts", |value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect()
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_other_types_or_out_of_range_are_refused_by_name() {
        let object = json!({
            "a": 1.5, "b": "x", "c": [1], "d": null, "e": -1, "f": true,
        });
        let fields = Fields::within(object.as_object().unwrap(), "in.");
        assert_eq!(fields.number("a", 0.0..=2.0).unwrap(), Some(1.5));
        assert_eq!(fields.number("d", 0.0..=2.0).unwrap(), None);
        assert_eq!(fields.tokens("e", false).unwrap(), Some(usize::MAX));
        assert_eq!(fields.switch("f").unwrap(), Some(true));
        assert_eq!(fields.texts("b").unwrap(), Some(vec!["x".to_owned()]));
        for wrong in [
            fields.number("a", 0.0..=1.0).err(),
            fields.integer("a", 0..=9).err(),
            fields.count("e", 0..=9).err(),
            fields.switch("b").err(),
            fields.text("c").err(),
            fields.texts("c").err(),
            fields.object("c").err(),
        ] {
            let body = wrong.expect("refused").body();
            let param = body["error"]["param"].as_str().unwrap();
            assert!(param.starts_with("in."), "{body}");
        }
    }
}

//! Numbers as other tools write them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// Reads a whole number, which some tools write as `3.0`.
pub(crate) fn whole<'de, D: Deserializer<'de>, N: FromWhole>(from: D) -> Result<N, D::Error> {
    Whole::deserialize(from).map(|Whole(number)| number)
}

/// Reads a list of whole numbers.
pub(super) fn wholes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    let numbers: Vec<Whole<u64>> = Vec::deserialize(from)?;
    Ok(numbers.into_iter().map(|Whole(number)| number).collect())
}

/// Reads a list of whole numbers that is not empty: an empty list means that there was no key.
pub(super) fn some_wholes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    not_empty::<_, D>(wholes(from)?)
}

/// Reads a list of seconds that is not empty.
pub(super) fn some_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    not_empty::<_, D>(Vec::deserialize(from)?)
}

fn not_empty<'de, T, D: Deserializer<'de>>(list: Vec<T>) -> Result<Vec<T>, D::Error> {
    match list.is_empty() {
        true => Err(D::Error::invalid_length(0, &"one entry for each turn")),
        false => Ok(list),
    }
}

/// Number types for [`whole`].
pub(crate) trait FromWhole: TryFrom<i128> {}

impl FromWhole for i64 {}
impl FromWhole for u32 {}
impl FromWhole for u64 {}

struct Whole<N>(N);

impl<'de, N: FromWhole> Deserialize<'de> for Whole<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(WholeVisitor(PhantomData))
    }
}

struct WholeVisitor<N>(PhantomData<N>);

impl<N: FromWhole> Visitor<'_> for WholeVisitor<N> {
    type Value = Whole<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number within its limits")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        let fits = N::try_from(number.into());
        fits.map(Whole)
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let fits = N::try_from(number.into());
        fits.map(Whole)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        // A float converts to the nearest number of the other type, so check the way back.
        let near = number as i128;
        let fits = (near as f64 == number).then(|| N::try_from(near).ok());
        fits.flatten()
            .map(Whole)
            .ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

//! The metadata of a GGUF file, read before llama.cpp reads it.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

/// The metadata of a GGUF file.
pub(super) struct Header<'a> {
    values: HashMap<&'a [u8], Value<'a>, FxBuildHasher>,
    /// The descriptions of so many tensors, and what follows them.
    tensors: (u64, Bytes<'a>),
}

/// A metadata value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Integer(i128),
    Float(f64),
    Text(&'a [u8]),
    Array(Array<'a>),
}

/// An array of values of one type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Array<'a> {
    kind: u32,
    len: u64,
    bytes: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the metadata. `None` if the file is damaged, which llama.cpp reports.
    pub(super) fn read(file: &'a [u8]) -> Option<Self> {
        let mut rest = Bytes(file.strip_prefix(b"GGUF")?);
        // Version 1 had other lengths. Big-endian files have a huge version.
        let version = rest.u32()?;
        if !(2..=0xffff).contains(&version) {
            return None;
        }
        let tensors = rest.u64()?;
        let count = rest.u64()?;
        let mut values = HashMap::default();
        for _ in 0..count {
            let key = rest.text()?;
            let kind = rest.u32()?;
            values.insert(key, rest.value(kind)?);
        }
        Some(Self {
            values,
            tensors: (tensors, rest),
        })
    }

    /// The tensors, each with its bytes in the file. `None` if the file is damaged.
    pub(super) fn tensors(&self) -> Option<Vec<(&'a str, u64)>> {
        let (count, mut rest) = self.tensors;
        let mut begins = Vec::new();
        for _ in 0..count {
            let name = std::str::from_utf8(rest.text()?).ok()?;
            let dimensions = rest.u32()?;
            rest.take(u64::from(dimensions).checked_mul(8)?)?;
            let _kind = rest.u32()?;
            begins.push((rest.u64()?, name));
        }
        begins.sort_unstable();
        // Each ends where the next one begins, and the last with the file.
        let ends = begins.iter().skip(1).map(|&(begin, _)| begin);
        let ends: Vec<u64> = ends.chain([rest.0.len() as u64]).collect();
        let sized = begins.iter().zip(ends);
        Some(
            sized
                .map(|(&(begin, name), end)| (name, end.saturating_sub(begin)))
                .collect(),
        )
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.values.get(key.as_bytes()).copied()
    }

    /// The keys that are text, with their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + '_ {
        let entries = self.values.iter();
        entries.filter_map(|(key, value)| Some((std::str::from_utf8(key).ok()?, *value)))
    }
}

impl<'a> Array<'a> {
    /// Number of values.
    pub(super) fn len(self) -> u64 {
        self.len
    }

    /// The values, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let mut rest = Bytes(self.bytes);
        (0..self.len).map_while(move |_| rest.value(self.kind))
    }
}

/// What is left of a file.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N as u64)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.u64()?;
        self.take(len)
    }

    /// A value of a type of `enum gguf_type`.
    fn value(&mut self, kind: u32) -> Option<Value<'a>> {
        Some(match kind {
            0 | 7 => Value::Integer(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            8 => Value::Text(self.text()?),
            9 => Value::Array(self.values()?),
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => return None,
        })
    }

    fn values(&mut self) -> Option<Array<'a>> {
        let kind = self.u32()?;
        let len = self.u64()?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 => (*self).texts(len)?,
            10..=12 => 8,
            _ => return None,
        };
        let bytes = match kind {
            8 => self.take(size)?,
            _ => self.take(len.checked_mul(size)?)?,
        };
        Some(Array { kind, len, bytes })
    }

    /// Number of bytes of `len` texts.
    fn texts(mut self, len: u64) -> Option<u64> {
        let before = self.0.len();
        for _ in 0..len {
            self.text()?;
        }
        Some((before - self.0.len()) as u64)
    }
}

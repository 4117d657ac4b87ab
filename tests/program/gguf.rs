//! Copies of GGUF files with other metadata or weights.

use std::path::Path;

/// A GGUF file, taken apart.
pub struct Gguf {
    /// Keys with their types and values, as bytes.
    entries: Vec<(String, Vec<u8>)>,
    tensors: Vec<Tensor>,
    data: Vec<u8>,
}

struct Tensor {
    name: String,
    /// Shape, type and offset, as bytes.
    info: Vec<u8>,
    offset: usize,
}

/// A metadata value.
pub enum Value<'a> {
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
    Bool(bool),
    Text(&'a str),
    Texts(&'a [&'a str]),
}

const ALIGNMENT: usize = 32;

impl Gguf {
    pub fn read(path: impl AsRef<Path>) -> Self {
        let file = std::fs::read(path).unwrap();
        let mut rest = Bytes { file: &file, at: 8 };
        let (tensor_count, entry_count) = (rest.number(8), rest.number(8));
        let entries = (0..entry_count).map(|_| (rest.text(), rest.value()));
        let entries = entries.collect();
        let tensors = (0..tensor_count).map(|_| rest.tensor()).collect();
        let data = file[rest.at.next_multiple_of(ALIGNMENT)..].to_vec();
        Self {
            entries,
            tensors,
            data,
        }
    }

    /// Changes or adds a key.
    pub fn set(mut self, key: &str, value: Value<'_>) -> Self {
        let bytes = value.bytes();
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some((_, value)) => *value = bytes,
            None => self.entries.push((key.into(), bytes)),
        }
        self
    }

    /// Fills the first `count` numbers of a tensor of 32-bit floats.
    pub fn fill(mut self, tensor: &str, count: usize, number: f32) -> Self {
        let found = self.tensors.iter().find(|it| it.name == tensor).unwrap();
        let end = found.offset + 4 * count;
        for place in self.data[found.offset..end].chunks_mut(4) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        self
    }

    pub fn write(&self, path: impl AsRef<Path>) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            push_text(&mut file, key);
            file.extend(value);
        }
        for tensor in &self.tensors {
            push_text(&mut file, &tensor.name);
            file.extend(&tensor.info);
        }
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        file.extend(&self.data);
        std::fs::write(path, file).unwrap();
    }
}

impl Value<'_> {
    /// Its type and itself.
    fn bytes(&self) -> Vec<u8> {
        let of = |kind: u32, value: &[u8]| [&kind.to_le_bytes(), value].concat();
        match self {
            Self::U32(number) => of(4, &number.to_le_bytes()),
            Self::I32(number) => of(5, &number.to_le_bytes()),
            Self::F32(number) => of(6, &number.to_le_bytes()),
            Self::Bool(yes) => of(7, &[u8::from(*yes)]),
            Self::U64(number) => of(10, &number.to_le_bytes()),
            Self::Text(text) => {
                let mut value = Vec::new();
                push_text(&mut value, text);
                of(8, &value)
            }
            Self::Texts(texts) => {
                let mut value = 8u32.to_le_bytes().to_vec();
                value.extend((texts.len() as u64).to_le_bytes());
                texts.iter().for_each(|text| push_text(&mut value, text));
                of(9, &value)
            }
        }
    }
}

fn push_text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

/// What is left of a file.
struct Bytes<'a> {
    file: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn number(&mut self, bytes: usize) -> usize {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&self.file[self.at..self.at + bytes]);
        self.at += bytes;
        u64::from_le_bytes(number).try_into().unwrap()
    }

    fn text(&mut self) -> String {
        let len = self.number(8);
        self.at += len;
        String::from_utf8(self.file[self.at - len..self.at].to_vec()).unwrap()
    }

    /// A value with its type, as bytes.
    fn value(&mut self) -> Vec<u8> {
        let start = self.at;
        let kind = self.number(4);
        let (kind, count) = match kind {
            9 => (self.number(4), self.number(8)),
            kind => (kind, 1),
        };
        for _ in 0..count {
            match kind {
                8 => _ = self.text(),
                0 | 1 | 7 => self.at += 1,
                2 | 3 => self.at += 2,
                4..=6 => self.at += 4,
                _ => self.at += 8,
            }
        }
        self.file[start..self.at].to_vec()
    }

    fn tensor(&mut self) -> Tensor {
        let name = self.text();
        let start = self.at;
        let dimensions = self.number(4);
        self.at += 8 * dimensions + 4;
        let offset = self.number(8);
        Tensor {
            name,
            info: self.file[start..self.at].to_vec(),
            offset,
        }
    }
}

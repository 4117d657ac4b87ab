//! Copies GGUF files with changed metadata, to make models that behave like those in bug reports.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// A value of a GGUF file's metadata.
pub enum Value<'v> {
    Bool(bool),
    U32(u32),
    Text(&'v str),
    Texts(Vec<String>),
    Integers(Vec<i32>),
}

const U32: u32 = 4;
const I32: u32 = 5;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// The tensors begin at a multiple of this.
const ALIGNMENT: usize = 32;

/// Types of tokens.
pub const NORMAL: i32 = 1;
pub const CONTROL: i32 = 3;

/// The path of a bundled model.
pub fn bundled(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match name {
        "logitspec-demo.gguf" => root.join("data/models").join(name),
        _ => root.join("tests/models").join(name),
    }
}

/// Copies `source` to `target` with these changes.
pub fn edit(source: &Path, target: &Path, changes: &[(&str, Value<'_>)]) {
    let bytes = fs::read(source).unwrap();
    let mut reader = Reader {
        bytes: &bytes,
        at: 8,
    };
    let (tensors, entries) = (reader.u64(), reader.u64());
    let mut metadata = Vec::new();
    let mut count = changes.len() as u64;
    for _ in 0..entries {
        let begin = reader.at;
        let key = reader.text().to_owned();
        let kind = reader.u32();
        reader.skip_value(kind);
        if changes.iter().all(|(changed, _)| *changed != key) {
            metadata.extend_from_slice(&bytes[begin..reader.at]);
            count += 1;
        }
    }
    for (key, value) in changes {
        write_text(&mut metadata, key);
        write_value(&mut metadata, value);
    }
    let begin = reader.at;
    for _ in 0..tensors {
        reader.text();
        let dimensions = reader.u32() as usize;
        reader.at += 8 * dimensions + 4 + 8;
    }
    let mut out = [&bytes[..16], &count.to_le_bytes(), &metadata].concat();
    out.extend_from_slice(&bytes[begin..reader.at]);
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out.extend_from_slice(&bytes[reader.at.next_multiple_of(ALIGNMENT)..]);
    fs::write(target, out).unwrap();
}

/// The texts of a list in a file's metadata.
pub fn texts(path: &Path, key: &str) -> Vec<String> {
    list(path, key, TEXT, |reader| reader.text().to_owned())
}

/// The numbers of a list in a file's metadata.
pub fn integers(path: &Path, key: &str) -> Vec<i32> {
    list(path, key, I32, |reader| reader.u32().cast_signed())
}

fn list<T>(path: &Path, key: &str, kind: u32, next: impl Fn(&mut Reader<'_>) -> T) -> Vec<T> {
    let bytes = fs::read(path).unwrap();
    let mut reader = Reader {
        bytes: &bytes,
        at: 16,
    };
    for _ in 0..reader.u64() {
        let found = reader.text() == key;
        let type_ = reader.u32();
        if !found {
            reader.skip_value(type_);
            continue;
        }
        assert_eq!((type_, reader.u32()), (ARRAY, kind), "{key}");
        let count = reader.u64();
        return (0..count).map(|_| next(&mut reader)).collect();
    }
    panic!("{} has no {key}", path.display());
}

/// A tensor of two dimensions, the fastest first.
pub type Matrix<'m> = (&'m str, [usize; 2], &'m [f32]);

/// Writes a LoRA adapter for models of an architecture.
pub fn write_lora(target: &Path, architecture: &str, alpha: f32, tensors: &[Matrix<'_>]) {
    const F32: u32 = 6;
    let mut out = b"GGUF\x03\x00\x00\x00".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(4u64.to_le_bytes());
    let texts = [
        ("general.architecture", architecture),
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
    ];
    for (key, text) in texts {
        write_text(&mut out, key);
        write_value(&mut out, &Value::Text(text));
    }
    write_text(&mut out, "adapter.lora.alpha");
    out.extend(F32.to_le_bytes());
    out.extend(alpha.to_le_bytes());
    let mut offset = 0u64;
    for (name, sizes, values) in tensors {
        write_text(&mut out, name);
        out.extend(2u32.to_le_bytes());
        sizes
            .iter()
            .for_each(|&size| out.extend((size as u64).to_le_bytes()));
        // 32-bit numbers.
        out.extend(0u32.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += (4 * values.len()).next_multiple_of(ALIGNMENT) as u64;
    }
    for (_, _, values) in tensors {
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        values
            .iter()
            .for_each(|value| out.extend(value.to_le_bytes()));
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    fs::write(target, out).unwrap();
}

/// The tokens of a byte-level vocabulary, padded to `count`, and their types. Token 0 is unknown,
/// 1 begins a text and 2 ends it.
pub fn byte_level(pre: &str, count: usize) -> Vec<(&'static str, Value<'_>)> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    tokens.extend((0..=255u8).map(|byte| byte_as_char(byte).to_string()));
    tokens.extend((tokens.len()..count).map(|number| format!("[PAD{number}]")));
    let types = (0..count).map(|at| if at < 3 { CONTROL } else { NORMAL });
    vec![
        (
            "tokenizer.ggml.token_type",
            Value::Integers(types.collect()),
        ),
        ("tokenizer.ggml.tokens", Value::Texts(tokens)),
        ("tokenizer.ggml.merges", Value::Texts(Vec::new())),
        ("tokenizer.ggml.model", Value::Text("gpt2")),
        ("tokenizer.ggml.pre", Value::Text(pre)),
    ]
}

/// The character that stands for a byte in GPT-2's vocabulary.
fn byte_as_char(byte: u8) -> char {
    let is_shown = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_shown(byte) {
        return char::from(byte);
    }
    let hidden = (0..byte).filter(|&it| !is_shown(it)).count();
    char::from_u32(0x100 + u32::try_from(hidden).unwrap()).unwrap()
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        self.at += count;
        &self.bytes[self.at - count..self.at]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> &str {
        let length = usize::try_from(self.u64()).unwrap();
        std::str::from_utf8(self.take(length)).unwrap()
    }

    fn skip_value(&mut self, kind: u32) {
        match kind {
            0 | 1 | 7 => self.at += 1,
            2 | 3 => self.at += 2,
            4..=6 => self.at += 4,
            10..=12 => self.at += 8,
            TEXT => {
                self.text();
            }
            ARRAY => {
                let kind = self.u32();
                for _ in 0..self.u64() {
                    self.skip_value(kind);
                }
            }
            _ => panic!("GGUF has no type {kind}"),
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn write_value(out: &mut Vec<u8>, value: &Value<'_>) {
    let mut begin = |kind: u32| out.extend(kind.to_le_bytes());
    match value {
        Value::Bool(yes) => {
            begin(BOOL);
            out.push(u8::from(*yes));
        }
        Value::U32(number) => {
            begin(U32);
            out.extend(number.to_le_bytes());
        }
        Value::Text(text) => {
            begin(TEXT);
            write_text(out, text);
        }
        Value::Texts(texts) => {
            begin(ARRAY);
            out.extend(TEXT.to_le_bytes());
            out.extend((texts.len() as u64).to_le_bytes());
            texts.iter().for_each(|text| write_text(out, text));
        }
        Value::Integers(numbers) => {
            begin(ARRAY);
            out.extend(I32.to_le_bytes());
            out.extend((numbers.len() as u64).to_le_bytes());
            numbers.iter().for_each(|it| out.extend(it.to_le_bytes()));
        }
    }
}

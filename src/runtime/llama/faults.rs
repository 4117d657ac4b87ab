//! Metadata that llama.cpp cannot survive.
//!
//! llama.cpp reports most mistakes in a file. But it checks some numbers with `GGML_ASSERT`, which
//! ends the process, and others not at all. These are checked here, before it reads the file.

use std::ops::RangeInclusive;

use rustc_hash::FxHashSet;

use crate::runtime::llama::header::{Header, Value};

/// `LLAMA_MAX_LAYERS`.
const MAX_LAYERS: i128 = 512;
/// `LLAMA_MAX_EXPERTS`.
const MAX_EXPERTS: i128 = 1024;
/// llama.cpp returns numbers as `int32_t`.
const MAX: i128 = i32::MAX as i128;

/// The scaling types that llama.cpp knows.
const SCALING: [&str; 4] = ["none", "linear", "yarn", "longrope"];

/// What is wrong with the metadata of a file, if llama.cpp would not report it.
pub(super) fn fault(header: &Header<'_>) -> Option<String> {
    let Some(Value::Text(architecture)) = header.get("general.architecture") else {
        return None;
    };
    let model = Facts {
        header,
        architecture: std::str::from_utf8(architecture).ok()?,
    };
    model
        .layers()
        .or_else(|| model.sizes())
        .or_else(|| model.experts())
        .or_else(|| model.rope())
        .or_else(|| epsilon(header))
        .or_else(|| twice_the_same_token(header))
}

struct Facts<'a> {
    header: &'a Header<'a>,
    architecture: &'a str,
}

impl Facts<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A number, or the largest of an array of numbers.
    fn number(&self, name: &str) -> Option<i128> {
        match self.header.get(&self.key(name))? {
            Value::Integer(number) => Some(number),
            Value::Array(array) => {
                let integer = |value| match value {
                    Value::Integer(number) => Some(number),
                    _ => None,
                };
                array.iter().filter_map(integer).max()
            }
            _ => None,
        }
    }

    /// The fault of a number that is not within `range`. A missing number has none.
    fn unless_within(&self, name: &str, range: RangeInclusive<i128>) -> Option<String> {
        let number = self.number(name)?;
        (!range.contains(&number)).then(|| {
            let (key, least, most) = (self.key(name), range.start(), range.end());
            match least == most {
                true => format!("{key} is {number}, but must be {least}"),
                false => format!("{key} is {number}, but must be from {least} to {most}"),
            }
        })
    }

    fn layers(&self) -> Option<String> {
        let layers = self.number("block_count")?;
        self.unless_within("block_count", 1..=MAX_LAYERS)
            .or_else(|| self.unless_within("nextn_predict_layers", 0..=layers))
    }

    fn sizes(&self) -> Option<String> {
        [
            "embedding_length",
            "attention.head_count",
            "attention.head_count_kv",
        ]
        .into_iter()
        .find_map(|name| self.unless_within(name, 0..=MAX))
    }

    fn experts(&self) -> Option<String> {
        let experts = self.number("expert_count").unwrap_or(0);
        // llama.cpp sees no experts here.
        if self.architecture.starts_with("hunyuan") && experts <= 1 {
            return None;
        }
        let groups = self.number("expert_group_count").unwrap_or(0);
        let used = self.number("expert_used_count").unwrap_or(0);
        if experts > 0 && used == 0 {
            let (all, of_them) = (self.key("expert_count"), self.key("expert_used_count"));
            return Some(format!("{all} is {experts}, but {of_them} is 0"));
        }
        let in_groups = || {
            let (experts_key, groups_key) =
                (self.key("expert_count"), self.key("expert_group_count"));
            if experts % groups != 0 {
                return Some(format!(
                    "{experts_key} is {experts}, which is no multiple of {groups_key}, {groups}"
                ));
            }
            if self.number("expert_group_used_count").is_none() {
                let key = self.key("expert_group_used_count");
                return Some(format!("{key} is missing, though {groups_key} is {groups}"));
            }
            self.unless_within("expert_group_used_count", 1..=groups - 1)
        };
        self.unless_within("expert_count", 0..=MAX_EXPERTS)
            .or_else(|| self.unless_within("expert_used_count", 0..=experts))
            .or_else(|| self.unless_within("expert_group_count", 0..=(experts - 1).max(0)))
            .or_else(|| (groups > 1).then(in_groups).flatten())
    }

    fn rope(&self) -> Option<String> {
        let key = self.key("rope.scaling.type");
        if let Some(Value::Text(name)) = self.header.get(&key)
            && !SCALING.iter().any(|known| known.as_bytes() == name)
        {
            return Some(format!(
                "{key} is {:?}, but must be one of {}",
                String::from_utf8_lossy(name),
                SCALING.join(", ")
            ));
        }
        let name = "rope.dimension_count";
        let (dimensions, key) = (self.number(name)?, self.key(name));
        if dimensions % 2 != 0 {
            return Some(format!("{key} is {dimensions}, but must be even"));
        }
        let most = self.head_size().filter(|&size| size > 1)?;
        self.unless_within(name, 2..=most)
    }

    /// Width of a head's keys, if there are heads and all are alike.
    fn head_size(&self) -> Option<i128> {
        let heads = self.number("attention.head_count").filter(|&it| it > 0)?;
        let width = self.number("embedding_length")?;
        Some(self.number("attention.key_length").unwrap_or(width / heads))
    }
}

/// What is added to a variance before its root is taken cannot be negative.
fn epsilon(header: &Header<'_>) -> Option<String> {
    header.iter().find_map(|(key, value)| match value {
        Value::Float(epsilon)
            if key.ends_with("epsilon") && (epsilon.is_nan() || epsilon < 0.0) =>
        {
            Some(format!("{key} is {epsilon}, but must be at least 0"))
        }
        _ => None,
    })
}

fn twice_the_same_token(header: &Header<'_>) -> Option<String> {
    const KEY: &str = "tokenizer.ggml.tokens";
    // Such a vocabulary may have equal texts.
    if header.get("tokenizer.ggml.model") == Some(Value::Text(b"hybriddna")) {
        return None;
    }
    let Some(Value::Array(tokens)) = header.get(KEY) else {
        return None;
    };
    let mut seen: FxHashSet<&[u8]> = FxHashSet::default();
    tokens.iter().find_map(|token| match token {
        // llama.cpp makes up names for empty ones.
        Value::Text(text) if !text.is_empty() && !seen.insert(text) => {
            let text = String::from_utf8_lossy(text);
            Some(format!("{KEY} has the token {text:?} twice"))
        }
        _ => None,
    })
}

//! Calls of tools, in the forms that models write them.

use serde_json::{Deserializer, Value};

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// Its arguments as JSON.
    pub arguments: String,
}

/// One call in the form of Hermes and Qwen: `{"name": …, "arguments": …}`, between tags.
pub fn hermes(text: &str) -> Vec<ToolCall> {
    serde_json::from_str(text)
        .ok()
        .and_then(|value| call(&value))
        .into_iter()
        .collect()
}

/// Calls in the form of Llama 3: objects with `name` and `parameters`, perhaps with semicolons
/// between.
pub fn llama(text: &str) -> Vec<ToolCall> {
    let mut calls = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut values = Deserializer::from_str(rest).into_iter::<Value>();
        match values.next().and_then(Result::ok).as_ref().and_then(call) {
            Some(call) => calls.push(call),
            None => return Vec::new(),
        }
        rest = rest[values.byte_offset()..]
            .trim_start()
            .trim_start_matches(';')
            .trim_start();
    }
    calls
}

/// Calls in Mistral's forms, behind their mark: a list of objects, or `name[ARGS]{…}` with marks
/// between.
pub fn mistral(text: &str) -> Vec<ToolCall> {
    if let Ok(Value::Array(items)) = serde_json::from_str(text.trim()) {
        let calls: Option<Vec<ToolCall>> = items.iter().map(call).collect();
        return calls.unwrap_or_default();
    }
    let named = |one: &str| {
        let begin = one.find('{')?;
        let name = one[..begin].trim().trim_end_matches("[ARGS]").trim();
        let arguments: Value = serde_json::from_str(one[begin..].trim()).ok()?;
        (!name.is_empty()).then(|| ToolCall {
            name: name.to_owned(),
            arguments: arguments.to_string(),
        })
    };
    let calls: Option<Vec<ToolCall>> = text.split("[TOOL_CALLS]").map(named).collect();
    calls.unwrap_or_default()
}

/// The call that an object describes.
fn call(value: &Value) -> Option<ToolCall> {
    let name = value.get("name")?.as_str()?;
    let arguments = value.get("arguments").or_else(|| value.get("parameters"));
    Some(ToolCall {
        name: name.to_owned(),
        arguments: match arguments {
            None | Some(Value::Null) => "{}".to_owned(),
            // Some models write JSON in a text.
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        },
    })
}

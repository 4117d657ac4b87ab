//! Messages and tools of a conversation, and the prompt that they make.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::runtime::{ChatEncoder, Message, Prompt, Role};
use crate::server::answers::Reading;
use crate::server::app::{App, prompt_error};
use crate::server::asks::Grammar;
use crate::server::error::ApiError;
use crate::server::fields::Fields;
use crate::server::params::text_of_parts;

/// A conversation, ready for its template.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
    /// Descriptions of the tools.
    pub tools: Vec<Value>,
    /// More variables for the template.
    pub variables: Map<String, Value>,
    /// Whether more than one call is passed on.
    pub parallel_calls: bool,
}

impl Conversation {
    /// Reads the fields of a chat.
    ///
    /// # Errors
    /// If one is wrong.
    pub fn read(fields: Fields<'_>) -> Result<Self, ApiError> {
        let Some(list) = fields.list("messages")? else {
            return Err(fields.wrong("messages", "is missing: give a list of messages"));
        };
        if list.is_empty() {
            return Err(fields.wrong("messages", "is empty: give at least one message"));
        }
        let messages = list.iter().enumerate();
        let messages: Result<_, _> = messages.map(|(at, it)| message(at, it)).collect();
        let mut variables = Map::new();
        if let Some(effort) = fields.text("reasoning_effort")? {
            variables.insert("reasoning_effort".into(), effort.into());
        }
        if let Some(more) = fields.object("chat_template_kwargs")? {
            variables.extend(more.clone());
        }
        let mut tools = tools(&fields)?;
        if fields
            .get("tool_choice")
            .is_some_and(|choice| choice == "none")
        {
            tools.clear();
        }
        Ok(Self {
            messages: messages?,
            tools,
            variables,
            parallel_calls: fields.switch("parallel_tool_calls")?.unwrap_or(true),
        })
    }

    /// The prompt, and how to read the answer.
    ///
    /// # Errors
    /// If the template fails on this conversation.
    pub fn prompt(mut self, app: &App) -> Result<(Prompt, Reading), ApiError> {
        let names = self
            .tools
            .iter()
            .map(|tool| tool_name(tool).unwrap_or_default().to_owned());
        let tools: Vec<String> = names.collect();
        let template = app.template.as_ref();
        let has_place = template.is_some_and(|template| template.takes_tools());
        match has_place {
            true if !self.tools.is_empty() => {
                self.variables
                    .insert("tools".into(), std::mem::take(&mut self.tools).into());
            }
            true => {}
            false => self.tell_of_tools(),
        }
        self.check_marks()?;
        let vocabulary = app.model.vocabulary();
        let encoder = ChatEncoder {
            tokenizer: &vocabulary,
            template,
            parse_special: app.parse_special,
        };
        let prompt = encoder.whole_with(&self.messages, &self.variables);
        let prompt = prompt.map_err(|error| prompt_error(&error))?;
        let reasons = prompt.text.trim_end().ends_with("<think>");
        let parallel_calls = self.parallel_calls;
        Ok((
            prompt,
            Reading {
                tools,
                reasons,
                parallel_calls,
            },
        ))
    }

    /// Spellings of control tokens are hidden behind private characters of Unicode, some of which
    /// must be free for that.
    fn check_marks(&self) -> Result<(), ApiError> {
        const MOST: usize = 100_000;
        let messages = self.messages.iter();
        let fields = messages
            .clone()
            .map(|message| Value::Object(message.fields.clone()));
        let variables = Value::Object(self.variables.clone());
        let texts = messages.map(|message| message.content.clone());
        let texts = texts.chain(fields.chain([variables]).map(|value| value.to_string()));
        let texts: Vec<String> = texts.filter(|text| text.len() > MOST).collect();
        let letters = texts.iter().flat_map(|text| text.chars());
        let private: HashSet<char> = letters.filter(|&letter| letter >= '\u{F0000}').collect();
        match private.len() <= MOST {
            true => Ok(()),
            false => Err(ApiError::of_field(
                "messages",
                "too many private characters",
            )),
        }
    }

    /// For templates that know no tools: describes them in the system message, and writes calls and
    /// what they returned as text.
    fn tell_of_tools(&mut self) {
        for message in &mut self.messages {
            if let Some(Value::Array(calls)) = message.fields.remove("tool_calls") {
                for call in calls {
                    let text = call["function"].to_string();
                    message.content += &format!("<tool_call>\n{text}\n</tool_call>\n");
                }
            }
            if message.role == Role::Tool {
                let content = std::mem::take(&mut message.content);
                let content = format!("<tool_response>\n{content}\n</tool_response>");
                *message = Message::new(Role::User, content);
            }
        }
        if self.tools.is_empty() {
            return;
        }
        let mut text = String::from(
            "You may call these tools. To call one, answer with a JSON object of its name and its \
             arguments between <tool_call> and </tool_call>, such as <tool_call>\n{\"name\": \
             \"NAME\", \"arguments\": {}}\n</tool_call>. The tools:",
        );
        for tool in self.tools.drain(..) {
            text += &format!("\n{}", tool["function"]);
        }
        match self
            .messages
            .first_mut()
            .filter(|first| first.role == Role::System)
        {
            Some(system) => system.content += &format!("\n\n{text}"),
            None => self.messages.insert(0, Message::new(Role::System, text)),
        }
    }
}

fn message(at: usize, value: &Value) -> Result<Message, ApiError> {
    let place = format!("messages[{at}]");
    let Value::Object(object) = value else {
        return Err(ApiError::of_field(&place, "give an object"));
    };
    let within = format!("{place}.");
    let fields = Fields::within(object, &within);
    let role = match fields.text("role")? {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        _ => {
            let roles = "give system, developer, user, assistant or tool";
            return Err(fields.wrong("role", roles));
        }
    };
    let calls = match role {
        Role::Assistant => tool_calls(&fields)?,
        _ => None,
    };
    let content = match fields.get("content") {
        Some(content) => text_of_parts(content).ok_or_else(|| {
            fields.wrong(
                "content",
                "give a text or a list of text parts; only text is supported",
            )
        })?,
        None if role == Role::Assistant => String::new(),
        None => return Err(fields.wrong("content", "is missing: give a text")),
    };
    let mut message = Message::new(role, content);
    if let Some(calls) = calls {
        message.fields.insert("tool_calls".into(), calls.into());
    }
    for name in ["name", "tool_call_id", "reasoning_content"] {
        if let Some(text) = fields.text(name)? {
            message.fields.insert(name.into(), text.into());
        }
    }
    Ok(message)
}

/// The calls in a message, with their arguments as templates want them: not as text.
fn tool_calls(fields: &Fields<'_>) -> Result<Option<Vec<Value>>, ApiError> {
    let Some(list) = fields.list("tool_calls")?.filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    let wrong = || {
        let wanted = "give a list of {\"function\": {\"name\": …, \"arguments\": \"JSON\"}}";
        fields.wrong("tool_calls", wanted)
    };
    let call = |call: &Value| {
        let function = call.get("function").ok_or_else(wrong)?;
        let name = function
            .get("name")
            .and_then(Value::as_str)
            .ok_or_else(wrong)?;
        let arguments = match function.get("arguments") {
            None => json!({}),
            Some(Value::String(text)) => {
                serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
            }
            Some(other) => other.clone(),
        };
        let mut call = call.clone();
        call["type"] = "function".into();
        call["function"] = json!({"name": name, "arguments": arguments});
        Ok(call)
    };
    list.iter().map(call).collect::<Result<_, _>>().map(Some)
}

fn tool_name(tool: &Value) -> Option<&str> {
    tool.get("function")?.get("name")?.as_str()
}

fn tools(fields: &Fields<'_>) -> Result<Vec<Value>, ApiError> {
    let tools = fields.list("tools")?.cloned().unwrap_or_default();
    for tool in &tools {
        let is_function = tool.get("type").is_none_or(|kind| kind == "function");
        if !is_function || tool_name(tool).is_none_or(str::is_empty) {
            let wanted = "give a list of {\"type\": \"function\", \"function\": {\"name\": …}}";
            return Err(fields.wrong("tools", wanted));
        }
    }
    Ok(tools)
}

/// What the answer must follow to be a call, if it must be one: a schema of an object with the name
/// of a tool and its arguments.
///
/// # Errors
/// If the field is wrong, or names no tool.
pub fn tool_choice(fields: Fields<'_>) -> Result<Option<Grammar>, ApiError> {
    let name = match fields.get("tool_choice") {
        None => return Ok(None),
        Some(Value::String(choice)) if ["none", "auto"].contains(&choice.as_str()) => {
            return Ok(None);
        }
        Some(Value::String(choice)) if choice == "required" => None,
        Some(choice) => Some(tool_name(choice).ok_or_else(|| {
            let wanted = "give none, auto, required, or an object that names a function";
            fields.wrong("tool_choice", wanted)
        })?),
    };
    let tools = tools(&fields)?;
    let is_meant = |tool: &&Value| name.is_none() || tool_name(tool) == name;
    let meant = tools.iter().filter(is_meant).enumerate();
    let calls: Vec<Value> = meant.map(|(at, tool)| call_schema(at, tool)).collect();
    match calls.is_empty() {
        true => Err(fields.wrong("tool_choice", "names no function of \"tools\"")),
        false => Ok(Some(Grammar::JsonSchema(json!({"anyOf": calls})))),
    }
}

/// The schema of a call of a tool, as one of several that a call may follow.
fn call_schema(at: usize, tool: &Value) -> Value {
    let mut parameters = match &tool["function"]["parameters"] {
        Value::Null => json!({"type": "object"}),
        schema => schema.clone(),
    };
    move_references(
        &mut parameters,
        &format!("#/anyOf/{at}/properties/arguments"),
    );
    json!({
        "type": "object",
        "properties": {"name": {"const": tool_name(tool)}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": false,
    })
}

/// References within a schema that becomes part of another one, at `place`.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        *target = format!("{place}{}", &target[1..]);
                    }
                    value => move_references(value, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|it| move_references(it, place)),
        _ => {}
    }
}

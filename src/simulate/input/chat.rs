//! Chats as OpenAI's API logs them: `messages`, and the answer among them or beside them.

use serde_json::Value;

use super::{InputError, RecordedChoice, RequestEncoder, single_turn};
use crate::runtime::{ChatEncoder, Message, Role};
use crate::simulate::Request;

/// A logged chat.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Chat {
    /// The system messages.
    system: Vec<String>,
    /// The user's turns.
    turns: Vec<String>,
    /// The answers, from the first turn on: one for each turn, or one less.
    answers: Vec<String>,
    /// The answer beside the messages.
    last: Option<String>,
    /// Whether a part of it cannot be replayed: a tool call or its result, or an answer without
    /// text.
    pub is_cut: bool,
}

/// The messages of a line: behind `messages`, or behind the key of the prompt, of the line or of
/// its `request`.
pub(super) fn messages<'l>(line: &'l Value, prompt: &str) -> Option<&'l Vec<Value>> {
    let of = |object: &'l Value| {
        let keys = ["messages", prompt];
        let mut arrays = keys.iter().filter_map(|key| object.get(key)?.as_array());
        arrays.find(|messages| messages.iter().any(Value::is_object))
    };
    of(line).or_else(|| of(line.get("request")?))
}

/// The text of an answer: a string, a message, or the first of `choices`.
fn answer_text(value: &Value) -> Option<String> {
    if let Some(choices) = value.get("choices").and_then(Value::as_array) {
        return answer_text(choices.first()?);
    }
    let content = value.get("message").unwrap_or(value);
    let content = content
        .get("content")
        .or(content.get("text"))
        .unwrap_or(content);
    text(content).filter(|text| !text.is_empty())
}

/// The text of a message's content: a string, or typed parts.
fn text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts
            .iter()
            .map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        _ => None,
    }
}

impl Chat {
    /// Reads a line that has these messages.
    pub(super) fn read(line: &Value, messages: &[Value], response: &str) -> Self {
        let mut chat = Self::default();
        chat.is_cut = messages
            .iter()
            .any(|message| chat.message(message).is_none());
        let beside = line.get(response).or(line.get("response"));
        let beside = beside.or(line.get("choices").map(|_| line));
        if let (Some(beside), false) = (beside, chat.is_cut) {
            chat.last = answer_text(beside);
            chat.is_cut = chat.last.is_none();
        }
        chat
    }

    /// Adds a message; `None` if nothing from here on can be replayed.
    fn message(&mut self, message: &Value) -> Option<()> {
        let content = text(message.get("content")?);
        let waits = self.turns.len() > self.answers.len();
        match message.get("role")?.as_str()? {
            "system" | "developer" if self.turns.is_empty() => self.system.push(content?),
            "user" if waits => {
                let turn = self.turns.last_mut()?;
                *turn = format!("{turn}\n\n{}", content?);
            }
            "user" => self.turns.push(content?),
            "assistant" if waits => {
                self.answers.push(content.filter(|text| !text.is_empty())?);
            }
            _ => return None,
        }
        Some(())
    }

    /// The request of this chat; `None` if it has no answer. Of a chat with an answer beside its
    /// messages, only that one is replayed: the others are the history that it was made with.
    pub(super) fn request(
        &self,
        encoder: &RequestEncoder<'_>,
        category: &str,
    ) -> Result<Option<Request>, InputError> {
        let opening = match self.system.as_slice() {
            [] => encoder.opening.clone(),
            own => vec![Message::new(Role::System, own.join("\n\n"))],
        };
        let encoder = RequestEncoder {
            opening,
            ..*encoder
        };
        let Some(answer) = &self.last else {
            let choice = RecordedChoice {
                turns: self.answers.clone(),
                token_ids: None,
                ranked: None,
            };
            let request = || encoder.request(category, &self.turns, &choice);
            return (!self.answers.is_empty()).then(request).transpose();
        };
        let mut messages = encoder.opening.clone();
        for (number, turn) in self.turns.iter().enumerate() {
            messages.push(Message::new(Role::User, turn.as_str()));
            let said = self.answers.get(number);
            messages.extend(said.map(|text| Message::new(Role::Assistant, text.as_str())));
        }
        if self.turns.len() == self.answers.len() {
            return Ok(None);
        }
        let prompt = ChatEncoder {
            tokenizer: encoder.tokenizer,
            template: encoder.template,
            parse_special: encoder.parse_special,
        };
        let prompt = prompt.first(&messages)?;
        let turn = encoder.turn_from_text(prompt, answer)?;
        Ok(Some(single_turn(category, turn)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(line: &Value) -> Chat {
        let messages = messages(line, "prompt").unwrap();
        Chat::read(line, messages, "response")
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    fn assistant(text: &str) -> Value {
        json!({"role": "assistant", "content": text})
    }

    #[test]
    fn a_chat_with_its_answers_has_a_turn_for_each() {
        let system = json!({"role": "system", "content": "Be brief."});
        let parts = json!([{"type": "text", "text": "And "}, {"type": "text", "text": "you?"}]);
        let second = json!({"role": "user", "content": parts});
        let chat = read(&json!({"messages": [
            system, user("Who?"), assistant("Me."), second, assistant("You."), user("open")
        ]}));
        assert_eq!(chat.system, ["Be brief."]);
        assert_eq!(chat.turns, ["Who?", "And you?", "open"]);
        assert_eq!(chat.answers, ["Me.", "You."]);
        assert!(!chat.is_cut && chat.last.is_none());
        let chat = read(&json!({"messages": [user("One."), user("Two."), assistant("Yes.")]}));
        assert_eq!(
            (&chat.turns[..], chat.is_cut),
            (&["One.\n\nTwo.".to_owned()][..], false)
        );
    }

    #[test]
    fn the_answer_may_stand_beside_the_messages_in_every_usual_way() {
        let asked = json!([user("Who?")]);
        let answer = json!({"choices": [{"message": assistant("Me.")}]});
        for line in [
            json!({"messages": asked, "response": "Me."}),
            json!({"prompt": asked, "response": answer}),
            json!({"prompt": asked, "choices": [{"text": "Me."}]}),
            json!({"request": {"messages": asked}, "response": answer}),
            json!({"messages": asked, "response": assistant("Me.")}),
        ] {
            let chat = read(&line);
            assert_eq!(
                (chat.last.as_deref(), chat.is_cut),
                (Some("Me."), false),
                "{line}"
            );
        }
        assert!(
            messages(&json!({"prompt": [1, 2, 3]}), "prompt").is_none(),
            "token ids"
        );
        assert!(messages(&json!({"prompt": "text"}), "prompt").is_none());
    }

    #[test]
    fn what_cannot_be_replayed_cuts_the_chat() {
        let call = json!({"role": "assistant", "content": null, "tool_calls": [{}]});
        let tool = json!({"role": "tool", "content": "42"});
        for (messages, answers) in [
            (
                vec![user("Who?"), call.clone(), tool.clone(), assistant("42.")],
                0,
            ),
            (
                vec![user("Who?"), assistant("Me."), tool, assistant("42.")],
                1,
            ),
            (vec![assistant("Hello!"), user("Who?"), assistant("Me.")], 0),
        ] {
            let chat = read(&json!({"messages": messages}));
            assert!(chat.is_cut, "{messages:?}");
            assert_eq!(chat.answers.len(), answers, "{messages:?}");
        }
        let chat = read(&json!({"messages": [user("Who?")], "choices": [{"message": call}]}));
        assert!(chat.is_cut && chat.last.is_none());
    }
}

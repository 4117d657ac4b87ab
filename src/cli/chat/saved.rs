//! Conversations in files.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::exit::user_error;
use crate::files::{FOR_OWNER, write_atomically_with};
use crate::runtime::{Message, Role};

/// The path that a user typed: `~` is the home folder.
pub(super) fn typed_path(typed: &str) -> PathBuf {
    match (typed.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => typed.into(),
    }
}

/// Writes a conversation as one line of JSON, as OpenAI's API has it. `simulate` reads it, too.
///
/// # Errors
/// If it cannot be written, or would replace a file that is no conversation.
pub(super) fn save(path: &Path, messages: &[Message]) -> anyhow::Result<()> {
    if path.exists() && load(path).is_err() {
        return Err(user_error(format!(
            "{} exists and is not a conversation: name another file",
            path.display()
        )));
    }
    let messages: Vec<Value> = messages
        .iter()
        .map(|message| json!({"role": name(message.role), "content": message.content}))
        .collect();
    let line = format!("{}\n", json!({ "messages": messages }));
    write_atomically_with(path, FOR_OWNER, |file| file.write_all(line.as_bytes()))
        .map_err(|error| user_error(format!("cannot write {}: {error}", path.display())))
}

/// Reads a conversation, which ends with an answer.
///
/// # Errors
/// If there is none in the file, or one that cannot be gone on with.
pub(super) fn load(path: &Path) -> anyhow::Result<Vec<Message>> {
    let wrong = |why: String| user_error(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|error| user_error(format!("cannot read {}: {error}", path.display())))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("is not one conversation in JSON: {error}")))?;
    let list = value.get("messages").unwrap_or(&value).as_array();
    let list = list.ok_or_else(|| wrong("has no list \"messages\"".into()))?;
    let messages = list.iter().enumerate().map(|(number, it)| {
        message(it).ok_or_else(|| {
            wrong(format!(
                "message {} is not a text of a system, user or assistant",
                number + 1
            ))
        })
    });
    let messages = messages.collect::<anyhow::Result<Vec<Message>>>()?;
    check(&messages).map_err(wrong)?;
    Ok(messages)
}

fn name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn message(value: &Value) -> Option<Message> {
    let role = match value.get("role")?.as_str()? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return None,
    };
    Some(Message::new(role, value.get("content")?.as_str()?))
}

/// Questions and answers in turn, perhaps behind a system prompt.
fn check(messages: &[Message]) -> Result<(), String> {
    let turns = match messages {
        [first, rest @ ..] if first.role == Role::System => rest,
        all => all,
    };
    let is_turn = |turn: &[Message]| {
        let roles: Vec<Role> = turn.iter().map(|it| it.role).collect();
        roles == [Role::User, Role::Assistant]
    };
    match turns.chunks(2).all(is_turn) {
        true => Ok(()),
        false => Err("is not questions and answers in turn, the last one answered".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> anyhow::Result<Vec<Message>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(file.path())
    }

    #[test]
    fn a_saved_conversation_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        let messages = [
            Message::new(Role::System, "Be brief."),
            Message::new(Role::User, "Who\nare \"you\"?"),
            Message::new(Role::Assistant, "Me."),
        ];
        for length in [3, 1, 0] {
            save(&path, &messages[..length]).unwrap();
            assert_eq!(load(&path).unwrap(), messages[..length]);
        }
        let other = folder.path().join("notes.txt");
        std::fs::write(&other, "my notes").unwrap();
        let error = save(&other, &messages).unwrap_err().to_string();
        assert!(error.contains("notes.txt exists and is not"), "{error}");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "my notes");
    }

    #[test]
    fn what_cannot_be_gone_on_with_is_refused() {
        let user = r#"{"role": "user", "content": "Who?"}"#;
        let tool = r#"{"role": "tool", "content": "42"}"#;
        for (text, why) in [
            ("Who?", "is not one conversation"),
            ("{}", "no list"),
            (&format!("[{user}]"), "the last one answered"),
            (&format!("{{\"messages\": [{user}, {tool}]}}"), "message 2"),
        ] {
            let error = loaded(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

//! The prompts of a comparison.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::bench::compare::Prompt;
use crate::bench::{QuestionError, read_questions};
use crate::cli::exit::user_error;
use crate::cli::prompt::text_of_bytes;

/// The prompts that come with the program.
const BUILT_IN: &str = include_str!("prompts.jsonl");

/// The flags for the prompts.
#[derive(Debug, Args)]
pub(super) struct PromptsArgs {
    /// A prompt; may be given several times
    #[arg(short = 'p', long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Vec<String>,

    /// A file with a prompt; may be given several times
    #[arg(short = 'f', long, value_name = "FILE", num_args = 1..)]
    file: Vec<PathBuf>,

    /// A question file, as logitspec bench takes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "file"])]
    questions: Option<PathBuf>,
}

impl PromptsArgs {
    /// The prompts that the flags name, or those that come with the program.
    ///
    /// # Errors
    /// If one cannot be read, or is empty.
    pub(super) fn read(&self) -> anyhow::Result<Vec<Prompt>> {
        if let Some(file) = &self.questions {
            return of_question_file(file);
        }
        if self.prompt.is_empty() && self.file.is_empty() {
            return Ok(built_in());
        }
        let typed = self.prompt.iter().map(|text| single("-p", text.clone()));
        let files = self.file.iter().map(|path| {
            let bytes = std::fs::read(path).map_err(|error| {
                user_error(format!(
                    "cannot read the prompt file {path:?}: {error}; check -f"
                ))
            })?;
            let name = path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy();
            single(&name, text_of_bytes(bytes, &format!("{path:?}")))
        });
        typed.chain(files).collect()
    }
}

fn single(name: &str, text: String) -> anyhow::Result<Prompt> {
    if text.trim().is_empty() {
        return Err(user_error(format!(
            "the prompt {name} is empty: give some text"
        )));
    }
    Ok(Prompt {
        name: name.into(),
        turns: vec![text],
    })
}

fn of_question_file(file: &Path) -> anyhow::Result<Vec<Prompt>> {
    let set = read_questions(file).map_err(|error| match error {
        QuestionError::Read { .. } => user_error(format!("{error}; check --questions")),
        _ => error.into(),
    })?;
    for skipped in &set.skipped {
        tell_line!("note: {skipped}");
    }
    let prompts = set.questions.into_iter().map(|question| Prompt {
        name: format!("{} {}", question.category, question.question_id),
        turns: question.turns,
    });
    Ok(prompts.collect())
}

/// The prompts that come with the program.
fn built_in() -> Vec<Prompt> {
    #[derive(Deserialize)]
    struct Line {
        name: String,
        turns: Vec<String>,
    }
    let prompt = |line: &str| {
        let Line { name, turns } = serde_json::from_str(line).expect("our own prompts are JSON");
        Prompt { name, turns }
    };
    BUILT_IN.lines().map(prompt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_tasks_come_with_the_program() {
        let prompts = built_in();
        let names: Vec<&str> = prompts.iter().map(|prompt| prompt.name.as_str()).collect();
        assert_eq!(names, ["edit", "summary", "chat", "translation"]);
        assert!(
            prompts
                .iter()
                .flat_map(|it| &it.turns)
                .all(|turn| turn.len() > 40)
        );
        assert_eq!(prompts[2].turns.len(), 2);
    }
}

//! The question set of a benchmark.

use std::path::{Path, PathBuf};

use super::BenchArgs;
use crate::bench::{QuestionError, QuestionSet, read_questions};
use crate::cli::exit::user_error;
use crate::cli::model::data_folders;

impl BenchArgs {
    pub(super) fn question_file(&self) -> anyhow::Result<PathBuf> {
        match (&self.questions, &self.bench_name) {
            (Some(file), _) => Ok(file.clone()),
            (None, Some(name)) => Ok(self.question_set(name)),
            (None, None) => Err(user_error(
                "no questions: name a set with --bench-name NAME, or a file with --questions FILE",
            )),
        }
    }

    /// The question file of a named set: in the data folder here, or in the source tree.
    fn question_set(&self, name: &str) -> PathBuf {
        let file = |folder: PathBuf| folder.join(name).join("question.jsonl");
        let here = file(self.data_dir());
        if self.data_dir.is_some() || here.exists() {
            return here;
        }
        let program = std::env::current_exe().ok();
        let mut built = data_folders(program.as_deref()).into_iter().map(file);
        built.find(|file| file.is_file()).unwrap_or(here)
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| "data".into())
    }

    /// Reads the question set and prints a note for each skipped question.
    pub(super) fn read_questions(&self, file: &Path) -> anyhow::Result<QuestionSet> {
        let set = read_questions(file).map_err(|error| match (&error, &self.bench_name) {
            (QuestionError::Read { .. }, Some(name)) => {
                let elsewhere = match self.data_dir {
                    Some(_) => "",
                    None => ", or where the program was built",
                };
                user_error(format!(
                    "{error}; is there a question set {name} in --data-dir {}{elsewhere}? \
                     (scripts/fetch_data.sh downloads those that papers use)",
                    self.data_dir().display(),
                ))
            }
            (QuestionError::Read { .. }, None) => user_error(format!("{error}; check --questions")),
            _ => error.into(),
        })?;
        for skipped in &set.skipped {
            tell_line!("note: {skipped}");
        }
        Ok(set)
    }

    /// Keeps the questions that the flags select.
    pub(super) fn slice(&self, set: &mut QuestionSet) -> anyhow::Result<()> {
        let all = set.questions.len();
        set.slice(self.question_begin, self.question_end);
        if set.questions.is_empty() {
            return Err(user_error(format!(
                "no question is left: --question-begin {} and --question-end {} leave none of the \
                 {all} in the file",
                self.question_begin.unwrap_or(0),
                self.question_end.unwrap_or(all)
            )));
        }
        Ok(())
    }
}

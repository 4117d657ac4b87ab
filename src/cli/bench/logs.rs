//! The answer logs of a benchmark: their paths, and what to know before a run appends to them.

use std::path::{Path, PathBuf};

use super::BenchArgs;
use super::contestants::Contestant;
use super::settings::Settings;
use crate::bench::run::{AnswerLog, RunError, Skip};
use crate::bench::{QuestionSet, check_replaceable};
use crate::cli::exit::user_error;
use crate::engine::SessionOptions;
use crate::files::is_same_file;

/// The place of one answer log.
struct Place {
    contestant: usize,
    repeat: u32,
    path: PathBuf,
}

impl BenchArgs {
    /// Opens the answer log of every contestant and repeat, and prints notes about them.
    pub(super) fn open_logs(
        &self,
        contestants: &[Contestant],
        question_file: &Path,
        set: &QuestionSet,
        model_id: &str,
        settings: &Settings,
        options: SessionOptions,
    ) -> anyhow::Result<Vec<AnswerLog>> {
        let places = self.places(contestants, question_file, model_id);
        // Check all files before opening any: an error in one must not cost the answers in another.
        for place in &places {
            self.check(place, question_file)?;
        }
        let mut logs = Vec::new();
        for place in places {
            let manifest = settings.manifest(&contestants[place.contestant], options);
            let mut log = AnswerLog::open(
                &place.path,
                &manifest,
                self.overwrite,
                place.contestant,
                place.repeat,
            )?;
            for skipped in &set.skipped {
                log.skip(Skip::from(skipped))?;
            }
            self.print_notes(&log, &place.path);
            logs.push(log);
        }
        Ok(logs)
    }

    fn places(
        &self,
        contestants: &[Contestant],
        question_file: &Path,
        model_id: &str,
    ) -> Vec<Place> {
        let beside = self.answers_beside(question_file);
        let repeats = 0..self.repeat;
        let all = repeats.flat_map(|repeat| (0..contestants.len()).map(move |it| (repeat, it)));
        all.map(|(repeat, contestant)| {
            let name = contestants[contestant].name();
            Place {
                contestant,
                repeat,
                path: self.answer_path(&beside, model_id, &name, repeat),
            }
        })
        .collect()
    }

    fn check(&self, place: &Place, question_file: &Path) -> anyhow::Result<()> {
        if is_same_file(&place.path, question_file) {
            return Err(user_error(format!(
                "--answer-file {}: that is the question file; name another",
                place.path.display()
            )));
        }
        if self.overwrite {
            check_replaceable(&place.path).map_err(RunError::from)?;
        }
        Ok(())
    }

    fn print_notes(&self, log: &AnswerLog, path: &Path) {
        if self.history.history && log.answered() > 0 {
            tell_line!(
                "note: {}: the questions answered before are not in the history; --overwrite asks \
                 them again",
                path.display()
            );
        }
        for notice in &log.notices {
            tell_line!("note: {notice}");
        }
        if let Some(commit) = &log.other_commit {
            tell_line!("note: {}: resumed although {commit}", path.display());
        }
    }

    /// The file that the default answer folder lies beside. For a named set this is its file in the
    /// data folder here, even if its questions were found elsewhere.
    fn answers_beside(&self, question_file: &Path) -> PathBuf {
        match (&self.questions, &self.bench_name) {
            (None, Some(name)) => self.data_dir().join(name).join("question.jsonl"),
            _ => question_file.into(),
        }
    }

    /// `data/<bench>/model_answer/<model-id>-<method>-temp-<t>.jsonl`. Repeats after the first get
    /// a number.
    fn answer_path(&self, questions: &Path, model_id: &str, method: &str, repeat: u32) -> PathBuf {
        let file = match &self.answer_file {
            Some(file) => file.clone(),
            None => {
                let folder = self.answer_dir.clone();
                let beside = || questions.with_file_name("model_answer");
                // A name from the Hub has a slash.
                let model_id = model_id.replace(['/', '\\'], "-");
                let temperature = self.sampling.temperature;
                folder
                    .unwrap_or_else(beside)
                    .join(format!("{model_id}-{method}-temp-{temperature:?}.jsonl"))
            }
        };
        if repeat == 0 {
            return file;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(".jsonl").unwrap_or(&name);
        file.with_file_name(format!("{stem}-repeat-{repeat}.jsonl"))
    }
}

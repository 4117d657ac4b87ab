//! Reads answer files into methods and runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::bench::run::{Skip, skips_beside};
use crate::bench::{Answer, Choice, Manifest, read_answers};

use super::ReportError;

/// The answers of one method.
pub(super) struct Method {
    /// Its name in the report; see `names`.
    pub name: String,
    pub model_id: String,
    /// The `method` key of its records.
    pub method: Option<String>,
    pub files: Vec<PathBuf>,
    /// One run, or repeated runs over the same questions.
    pub runs: Vec<Run>,
    /// The manifest of each file, if it has one.
    pub manifests: Vec<Option<Manifest>>,
}

/// The answers of one run, by question.
pub(super) type Run = BTreeMap<i64, Entry>;

/// One answer in a run.
pub(super) struct Entry {
    pub answer: Answer,
    /// The index of its file.
    pub file: usize,
    /// Its number of tokens, as the original evaluation counts them; `None` if they are not
    /// recorded.
    pub counted_tokens: Option<u64>,
}

impl Entry {
    /// The choice that the figures are of.
    pub fn choice(&self) -> &Choice {
        &self.answer.choices[0]
    }

    /// Tokens per second by the original's count; `None` if no time or no tokens were recorded.
    pub fn speed(&self) -> Option<f64> {
        let seconds = self.choice().total_wall_time();
        let tokens = self.counted_tokens.filter(|_| seconds > 0.0)?;
        Some(tokens as f64 / seconds)
    }
}

impl Method {
    /// The questions that any run answered.
    pub fn question_ids(&self) -> BTreeSet<i64> {
        self.runs.iter().flat_map(BTreeMap::keys).copied().collect()
    }

    /// The manifest of its first file.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifests.first()?.as_ref()
    }

    /// The SHA-256 of the question file that one of its files answers, if known.
    pub fn question_set(&self, file: usize) -> Option<&str> {
        let flags = &self.manifests[file].as_ref()?.flags;
        flags.get("questions-sha256")?.as_str()
    }

    /// All answers of all runs.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.runs.iter().flat_map(BTreeMap::values)
    }

    /// The run to compare with another method's run `index`. A single run is compared with all.
    pub fn run_beside(&self, index: usize) -> &Run {
        &self.runs[if self.runs.len() == 1 { 0 } else { index }]
    }
}

/// Reads the files of any number of methods, and groups them by method.
pub(super) fn methods(
    paths: &[PathBuf],
    mean_report: bool,
    notices: &mut Vec<String>,
) -> Result<Vec<Method>, ReportError> {
    let mut methods: Vec<Method> = Vec::new();
    // A pattern such as `answers/*` also matches the files beside the answers.
    let mut files: Vec<&PathBuf> = paths.iter().filter(|path| !lies_beside(path)).collect();
    if files.is_empty() {
        files = paths.iter().collect();
    }
    for path in files {
        let log = read_answers(path)?;
        notices.extend(log.notices.iter().map(ToString::to_string));
        notices.extend(left_out(path, &skips_beside(path)?));
        let first = log
            .answers
            .first()
            .ok_or_else(|| ReportError::Empty { path: path.clone() })?;
        let mut others = log.answers.iter();
        let is_other = |a: &&Answer| (&a.model_id, &a.method) != (&first.model_id, &first.method);
        if let Some(other) = others.find(is_other) {
            return Err(ReportError::MixedFile {
                path: path.clone(),
                first: label(&first.model_id, first.method.as_deref()),
                second: label(&other.model_id, other.method.as_deref()),
            });
        }
        let (method, repeat) = (first.method.clone(), first.repeat);
        // Without a model's name, each file is a method of its own.
        let file_stem = || path.file_stem().unwrap_or_default().to_string_lossy();
        let model_id = match first.model_id.is_empty() {
            true => file_stem().into_owned(),
            false => first.model_id.clone(),
        };
        let known = methods
            .iter()
            .position(|known| (&known.model_id, &known.method) == (&model_id, &method));
        let index = known.unwrap_or(methods.len());
        let manifest = Manifest::read(Manifest::path_beside(path))?;
        if let Some(known) = known {
            notices.extend(methods[known].made_otherwise(path, manifest.as_ref()));
        } else {
            let name = label(&model_id, method.as_deref());
            methods.push(Method {
                name,
                model_id,
                method,
                files: Vec::new(),
                runs: Vec::new(),
                manifests: Vec::new(),
            });
        }
        methods[index].add(path, log.answers, repeat, mean_report)?;
        methods[index].manifests.push(manifest);
    }
    Ok(methods)
}

/// Whether a run wrote the file beside an answer file: a manifest, or a list of skipped questions.
fn lies_beside(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".manifest.json", ".skipped.json"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// A notice about the skipped questions of a run. It lists only the first few.
fn left_out(path: &Path, skips: &[Skip]) -> Option<String> {
    const SHOWN: usize = 3;
    let said = |skip: &Skip| format!("question {}: {}", skip.question_id, skip.reason);
    let mut all: Vec<String> = skips.iter().take(SHOWN).map(said).collect();
    if skips.len() > SHOWN {
        all.push(format!("and {} more", skips.len() - SHOWN));
    }
    let count = skips.len();
    (count > 0).then(|| format!("{}: {count} left out: {}", path.display(), all.join("; ")))
}

/// Reads the files of the base, which all methods are compared with.
pub(super) fn base(
    paths: &[PathBuf],
    mean_report: bool,
    notices: &mut Vec<String>,
) -> Result<Method, ReportError> {
    let mut found = methods(paths, mean_report, notices)?;
    if let Some(second) = found.get(1) {
        return Err(ReportError::TwoBases {
            path: second.files[0].clone(),
            first: found[0].name.clone(),
            second: second.name.clone(),
        });
    }
    found.pop().ok_or(ReportError::NoFiles("base"))
}

impl Method {
    /// A notice if the settings of another file differ from those of the first one. `None` also if
    /// one of them has no manifest.
    fn made_otherwise(&self, path: &Path, manifest: Option<&Manifest>) -> Option<String> {
        let differences = self.manifest()?.differences(manifest?);
        let said: Vec<String> = differences.iter().map(ToString::to_string).collect();
        (!said.is_empty()).then(|| {
            format!(
                "{} has other settings than {}, though both are of {}: {}",
                path.display(),
                self.files[0].display(),
                self.name,
                said.join(", ")
            )
        })
    }

    /// Adds a file to its run.
    ///
    /// The records may name their repeat. If they do not, the file joins the first run that has
    /// none of its questions, so that `a1 b1 a2 b2` and `a1 a2 b1 b2` both make two runs of `a` and
    /// `b`.
    fn add(
        &mut self,
        path: &Path,
        answers: Vec<Answer>,
        repeat: Option<u32>,
        mean_report: bool,
    ) -> Result<(), ReportError> {
        let shared = |run: &Run| {
            answers
                .iter()
                .find(|answer| run.contains_key(&answer.question_id))
        };
        let index = if !mean_report {
            0
        } else if let Some(repeat) = repeat {
            // Runs get new numbers, so that a large number in a record makes no empty runs.
            let same = |run: &Run| {
                run.values()
                    .next()
                    .is_some_and(|entry| entry.answer.repeat == Some(repeat))
            };
            self.runs.iter().position(same).unwrap_or(self.runs.len())
        } else {
            self.runs
                .iter()
                .position(|run| shared(run).is_none())
                .unwrap_or(self.runs.len())
        };
        if index == self.runs.len() {
            self.runs.push(Run::new());
        }
        let run = &mut self.runs[index];
        if let Some(answer) = shared(run) {
            let question_id = answer.question_id;
            return Err(ReportError::Overlap {
                path: path.into(),
                other: self.files[run[&question_id].file].clone(),
                question_id,
                method: self.name.clone(),
            });
        }
        let file = self.files.len();
        self.files.push(path.into());
        run.extend(answers.into_iter().map(|answer| {
            let choice = &answer.choices[0];
            let is_counted = !choice.new_tokens.is_empty();
            let counted_tokens = is_counted.then(|| choice.total_new_tokens());
            (
                answer.question_id,
                Entry {
                    answer,
                    file,
                    counted_tokens,
                },
            )
        }));
        Ok(())
    }
}

/// Gives answers without a category the category of another answer to the same question: some tools
/// write none.
pub(super) fn share_categories(methods: &mut [Method], base: &mut Method) {
    let all = || methods.iter().chain([&*base]).flat_map(Method::entries);
    let known = |entry: &&Entry| !entry.answer.category.is_empty();
    let category = |entry: &Entry| (entry.answer.question_id, entry.answer.category.clone());
    let categories: BTreeMap<i64, String> = all().filter(known).map(category).collect();
    for method in methods.iter_mut().chain([base]) {
        for entry in method.runs.iter_mut().flat_map(BTreeMap::values_mut) {
            let answer = &mut entry.answer;
            if let Some(category) = categories.get(&answer.question_id)
                && answer.category.is_empty()
            {
                answer.category.clone_from(category);
            }
        }
    }
}

fn label(model_id: &str, method: Option<&str>) -> String {
    method.unwrap_or(model_id).to_string()
}

//! Statistics of answer files: speed, accepted tokens, identical answers and time.
//!
//! [`Report::new`] reads the answer files of some methods and of plain decoding (the *base*), and
//! computes all figures. The other modules render a report: [`table`] for a terminal, [`markdown`],
//! [`csv`], and [`html`] for a self-contained page. The JSON of a report comes from
//! `serde::Serialize`.
//!
//! There are two kinds of figures:
//!
//! * The figures of Spec-Bench's own evaluation, to compare with published ones: the mean of all
//!   accept lengths, the mean over questions of tokens per second, and the ratio of two such means.
//! * Figures for noisy machines: the speedup over questions that both methods answered, with a 95 %
//!   bootstrap interval over questions, and medians. They use the recorded token counts of both
//!   sides.
//!
//! ```
//! use logitspec::report::{Options, Report, table};
//! # use logitspec::bench::{Answer, AnswerFile, Choice};
//! # let folder = tempfile::tempdir()?;
//! # let file = |name: &str, seconds| -> Result<std::path::PathBuf, Box<dyn std::error::Error>> {
//! #     let path = folder.path().join(name);
//! #     let mut file = AnswerFile::create(&path)?;
//! #     let choice = Choice {
//! #         turns: vec!["Hello.".into()], decoding_steps: vec![2], new_tokens: vec![4],
//! #         wall_time: vec![seconds], accept_lengths: vec![3, 1], ..Choice::default()
//! #     };
//! #     let model_id = name.into();
//! #     let category = "qa".into();
//! #     let choices = vec![choice];
//! #     file.append(&Answer { category, model_id, choices, ..Answer::default() })?;
//! #     Ok(path)
//! # };
//! # let (logitspec, baseline) = (file("logitspec", 0.5)?, file("baseline", 1.0)?);
//! let report = Report::new(&[logitspec], &[baseline], &Options::default())?;
//! let overall = report.methods[0].categories.last().unwrap();
//! assert_eq!(overall.category, "overall");
//! assert_eq!(overall.speedup, Some(2.0));
//! assert_eq!(overall.mean_accepted_tokens, Some(2.0));
//! println!("{}", table::render(&report));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::bench::{Manifest, SourceTokens};

pub mod category;
pub mod csv;
pub mod find;
pub mod html;
pub mod identity;
pub mod markdown;
pub mod paired;
pub mod table;
pub mod timing;

mod compare;
mod error;
mod load;
mod made_with;
mod names;
mod plot;
mod sections;
mod stats;
mod tokens;

pub use error::ReportError;

use category::CategoryReport;
use identity::Identity;
use load::Method;
use timing::{AcceptLength, ContextSpeed, TimeReport};

/// The options of a report.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A `tokenizer.json` to count the base's tokens with, without the beginning-of-sequence token
    /// of each turn, as the original evaluation does. If `None`, the recorded counts are used.
    pub tokenizer: Option<PathBuf>,
    /// Whether files over the same questions are repeated runs, reported as mean and sample
    /// standard deviation.
    pub mean_report: bool,
}

/// All figures of some answer files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The tokenizer that counted the base's tokens; `None` if the recorded counts are used.
    pub tokenizer: Option<PathBuf>,
    /// Whether the figures are means over repeated runs.
    pub mean_report: bool,
    /// Plain decoding, which the methods are compared with.
    pub base: MethodReport,
    /// The methods, in the order of their files.
    pub methods: Vec<MethodReport>,
    /// Notices about the files, one line each.
    pub notices: Vec<String>,
}

/// All figures of one method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodReport {
    /// Its name.
    pub name: String,
    /// The `model_id` of its records.
    pub model_id: String,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// The manifest of its first file; `None` if there is none.
    pub manifest: Option<Manifest>,
    /// Number of repeated runs.
    pub runs: usize,
    /// Number of answered questions.
    pub questions: usize,
    /// Its figures per category. Categories without a question are left out; `overall` is last.
    pub categories: Vec<CategoryReport>,
    /// The comparison of its answers with the base's; `None` for the base itself.
    pub identity: Option<Identity>,
    /// Histogram of accept lengths over decode steps.
    pub accept_lengths: Vec<AcceptLength>,
    /// Drafted and accepted tokens by source; empty if not recorded or if nothing was drafted.
    pub sources: BTreeMap<String, SourceTokens>,
    /// The parts of the time; `None` if not recorded.
    pub time: Option<TimeReport>,
    /// Decoding speed by context length; empty if not recorded.
    pub context: Vec<ContextSpeed>,
}

impl Report {
    /// Reads answer files and computes all figures.
    ///
    /// Several files of one method count as parts of one run, or with [`Options::mean_report`] as
    /// repeated runs if they hold the same questions. As in the original evaluation, figures cover
    /// the first choice of each answer.
    ///
    /// # Errors
    /// A file that cannot be read or is not an answer file, or files that do not belong together.
    pub fn new(
        answers: &[PathBuf],
        base: &[PathBuf],
        options: &Options,
    ) -> Result<Self, ReportError> {
        if answers.is_empty() {
            return Err(ReportError::NoFiles("answers"));
        }
        let mut notices = Vec::new();
        let mut methods = load::methods(answers, options.mean_report, &mut notices)?;
        let mut base = load::base(base, options.mean_report, &mut notices)?;
        names::assign(&mut methods, &mut base);
        load::share_categories(&mut methods, &mut base);
        if let Some(path) = &options.tokenizer {
            tokens::count_again(&mut base, path, &mut notices)?;
        }
        for method in &methods {
            compare::check(method, &base, &mut notices)?;
            if options.mean_report && method.runs.len() == 1 {
                notices.push(format!(
                    "{} has one run: there is no deviation, which needs files of several runs over \
                     the same questions",
                    method.name
                ));
            }
        }
        let width = timing::context_width(methods.iter().chain([&base]));
        Ok(Self {
            tokenizer: options.tokenizer.clone(),
            mean_report: options.mean_report,
            methods: methods
                .iter()
                .map(|method| MethodReport::new(method, Some(&base), width))
                .collect(),
            base: MethodReport::new(&base, None, width),
            notices,
        })
    }
}

impl MethodReport {
    fn new(method: &Method, base: Option<&Method>, context_width: u64) -> Self {
        Self {
            name: method.name.clone(),
            model_id: method.model_id.clone(),
            files: method.files.clone(),
            manifest: method.manifest().cloned(),
            runs: method.runs.len(),
            questions: method.question_ids().len(),
            categories: category::reports(method, base),
            identity: base.map(|base| Identity::new(method, base)),
            accept_lengths: timing::accept_lengths(method),
            sources: timing::sources(method),
            time: TimeReport::new(method),
            context: timing::context(method, context_width),
        }
    }
}

//! What answer files say: speed, accepted tokens, equal answers and where the time went.
//!
//! [`Report::new`] reads the answer files of some methods and of the plain decoder (the *base*),
//! and computes everything. The other functions render a report: [`table`] for a terminal,
//! [`markdown`], [`csv`], and [`html`] for one page that needs nothing else. The report itself is
//! `serde::Serialize`, which is its JSON.
//!
//! Two kinds of figures stand side by side:
//!
//! * Those that Spec-Bench's own evaluation prints, so that they can be set beside published ones:
//!   the mean of all accept lengths, the mean over questions of tokens per second, and the ratio of
//!   two such means.
//! * Those that a noisy machine asks for: the speedup over questions that both methods answered,
//!   with a 95 % interval from a bootstrap over questions, and medians. They use the recorded token
//!   counts of both sides.
//!
//! ```
//! use logitspec::report::{Options, Report, table};
//! # use logitspec::bench::{Answer, AnswerFile, Choice};
//! # let folder = tempfile::tempdir()?;
//! # let file = |name: &str, seconds| -> Result<std::path::PathBuf, Box<dyn std::error::Error>> {
//! #     let path = folder.path().join(name);
//! #     let mut file = AnswerFile::create(&path)?;
//! #     let choice = Choice {
//! #         turns: vec!["Hello.".into()], decoding_steps: vec![2], new_tokens: vec![4], wall_time: vec![seconds],
//! #         accept_lengths: vec![3, 1], ..Choice::default()
//! #     };
//! #     let model_id = name.into();
//! #     file.append(&Answer { category: "qa".into(), model_id, choices: vec![choice], ..Answer::default() })?;
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

/// What to compute a report with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A `tokenizer.json`: the base's tokens are counted by tokenizing its answers again, less the
    /// begin-of-sequence token of each turn, as the original evaluation does. Without it its
    /// recorded counts serve.
    pub tokenizer: Option<PathBuf>,
    /// Whether files over the same questions are repeated runs, to be reported as mean and sample
    /// standard deviation.
    pub mean_report: bool,
}

/// Everything that some answer files say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The tokenizer that counted the base's tokens; `None` where the recorded counts serve.
    pub tokenizer: Option<PathBuf>,
    /// Whether the figures are means over repeated runs.
    pub mean_report: bool,
    /// The plain decoder.
    pub base: MethodReport,
    /// The methods, in the order of their files.
    pub methods: Vec<MethodReport>,
    /// What the reader should know about the files, one line each.
    pub notices: Vec<String>,
}

/// What the files of one method say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodReport {
    /// Its name.
    pub name: String,
    /// The `model_id` of its records.
    pub model_id: String,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// What the first of its files was made with; `None` where it has no manifest.
    pub manifest: Option<Manifest>,
    /// How many repeated runs they hold.
    pub runs: usize,
    /// How many questions it answered.
    pub questions: usize,
    /// Its figures per category, those of the base's categories that hold no question left out;
    /// `overall` is last.
    pub categories: Vec<CategoryReport>,
    /// Whether its answers are the base's; `None` for the base itself.
    pub identity: Option<Identity>,
    /// How many decode steps had which accept length.
    pub accept_lengths: Vec<AcceptLength>,
    /// What each source of drafts gave; empty where no record says, or nothing was drafted.
    pub sources: BTreeMap<String, SourceTokens>,
    /// Where the time went; `None` where no record says.
    pub time: Option<TimeReport>,
    /// The speed of decoding at growing context lengths; empty where no record says.
    pub context: Vec<ContextSpeed>,
}

impl Report {
    /// Reads answer files and computes everything.
    ///
    /// Several files of one method are taken as slices of one run, or with [`Options::mean_report`]
    /// as repeated runs where they hold the same questions. Figures are of each answer's first
    /// choice, as the original's are.
    ///
    /// # Errors
    /// A file that cannot be read or is no answer file, or files that do not belong together.
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
        names::give(&mut methods, &mut base);
        if let Some(path) = &options.tokenizer {
            tokens::count_again(&mut base, path, &mut notices)?;
        }
        for method in &methods {
            compare::sets(method, &base, &mut notices)?;
            if options.mean_report && method.runs.len() == 1 {
                notices.push(format!(
                    "{} has one run: there is no deviation, which takes files of several runs over the same questions",
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

//! `logitspec report`: compares answer files, as a table, JSON, CSV, Markdown or HTML.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::exit::{Outcome, user_error};
use crate::cli::stdout::stdout;
use crate::files::{is_same_place, start_of};
use crate::report::find::{Found, answer_files, sort};
use crate::report::{Options, Report, csv, html, markdown, table};

/// Compare answer files with those of plain decoding
///
/// Prints the figures of the original evaluation for each category: mean accepted tokens, tokens/s
/// and speedup. Adds the speedup over paired questions with a 95 % confidence interval, medians,
/// the number of identical answers with the first differences, accept lengths, and a breakdown of
/// the time.
#[derive(Debug, clap::Args)]
// In this order, since --base takes all files that follow it.
#[command(override_usage = "logitspec report [OPTIONS] <ANSWERS>... [--base <BASE>...]")]
pub(super) struct ReportArgs {
    /// Answer files, or folders of such. Several files of one method count as parts of one run
    #[arg(value_name = "ANSWERS", required = true)]
    answers: Vec<PathBuf>,

    /// Answer files of plain decoding, to compare with [default: those among ANSWERS whose method
    /// is baseline]
    #[arg(
        long,
        alias = "base_path",
        alias = "base-path",
        value_name = "BASE",
        num_args = 1..
    )]
    base: Vec<PathBuf>,

    /// Count the base's tokens by tokenizing its answers with this tokenizer.json, as the original
    /// evaluation does
    #[arg(long, alias = "tokenizer_path", value_name = "FILE")]
    tokenizer_path: Option<PathBuf>,

    /// Treat files over the same questions as repeated runs, and report mean and standard deviation
    #[arg(long, alias = "mean_report")]
    mean_report: bool,

    /// Print one JSON object
    #[arg(long, group = "output")]
    json: bool,

    /// Print CSV, one row per method and category
    #[arg(long, group = "output")]
    csv: bool,

    /// Print Markdown tables
    #[arg(long, group = "output")]
    markdown: bool,

    /// Also write a self-contained HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Prints the report to standard output and notices to standard error.
pub(super) fn run(args: &ReportArgs) -> anyhow::Result<Outcome> {
    let found = args.files()?;
    let options = Options {
        tokenizer: args.tokenizer_path.clone(),
        mean_report: args.mean_report || found.is_repeated,
    };
    if let Some(path) = &args.html
        && !may_be_replaced(path)
    {
        return Err(user_error(format!(
            "--html {}: exists and is not an HTML page; name another file, or remove it",
            path.display()
        )));
    }
    let report = Report::new(&found.answers, &found.base, &options)?;
    for notice in &report.notices {
        tell_line!("note: {}", table::printable(notice));
    }
    let text = if args.json {
        serde_json::to_string_pretty(&report).context("the report has no JSON")? + "\n"
    } else if args.csv {
        csv::render(&report)
    } else if args.markdown {
        markdown::render(&report)
    } else {
        table::render(&report)
    };
    let printed = stdout().write_all(text.as_bytes());
    // After the table, which is printed even if the page cannot be written. A table that nobody
    // reads to its end does not stop the page.
    if let Some(path) = &args.html {
        std::fs::write(path, html::render(&report)).map_err(|error| {
            user_error(format!(
                "--html {}: cannot write the page: {error}; name another file",
                path.display()
            ))
        })?;
    }
    printed?;
    Ok(Outcome::Done)
}

impl ReportArgs {
    /// The files that are named, and those in folders that are named.
    fn files(&self) -> anyhow::Result<Found> {
        let mut files = Vec::new();
        for path in &self.answers {
            match path.is_dir() {
                true => files.extend(answer_files(path)?),
                false => files.push(path.clone()),
            }
        }
        if self.base.is_empty() {
            return Ok(sort(&files)?);
        }
        let is_base = |file: &PathBuf| self.base.iter().any(|base| is_same_place(base, file));
        let has_folder = self.answers.iter().any(|path| path.is_dir());
        files.retain(|file| !has_folder || !is_base(file));
        Ok(Found {
            answers: files,
            base: self.base.clone(),
            is_repeated: false,
        })
    }
}

/// Whether a page may replace this path: there is no file, an empty one, or an older page.
fn may_be_replaced(path: &Path) -> bool {
    const PAGE: &[u8] = b"<!doctype html";
    let start = start_of(path, PAGE.len() as u64).unwrap_or_default();
    start.is_empty() || start == PAGE
}

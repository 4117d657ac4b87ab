//! `logitspec corpus`: builds and describes corpora, which drafts copy from.

mod kinds;
mod texts;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;

use crate::TokenId;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::progress::bar;
use crate::cli::stdout::{print_json, stdout};
use crate::cli::tokenizer::{AnyTokenizer, TokenizerArgs};
use crate::corpus::{Corpus, CorpusBuilder, CorpusInfo};
use crate::files::folder_of;
use crate::store::{Kind, begins_as};
use texts::{Piece, Texts};

/// Build and inspect corpora: text that drafts are copied from
///
/// A corpus holds documentation, source code or recorded answers, tokenized and sorted for search.
/// It belongs to one vocabulary. Models with the same vocabulary can share it.
#[derive(Debug, Args)]
pub(super) struct CorpusArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(BuildArgs),
    #[command(visible_alias = "inspect")]
    Info(InfoArgs),
}

/// Build a corpus from text files, JSONL files and source trees
///
/// Folders are searched for text files. Hidden files, files that a .gitignore names, logs, minified
/// files and files that are not text are left out unless they are named. Each file is one document;
/// in *.jsonl and *.ndjson files, each line is.
#[derive(Debug, Args)]
struct BuildArgs {
    /// Text files, JSONL files or folders
    #[arg(value_name = "TEXT", required = true)]
    texts: Vec<PathBuf>,

    /// The corpus file to write
    #[arg(short = 'o', long, value_name = "FILE")]
    output: PathBuf,

    /// The key of the text in JSONL lines: a string, or a list of strings, one document each
    #[arg(long, default_value = "text", value_name = "NAME")]
    field: String,

    #[command(flatten)]
    tokenizer: TokenizerArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Show what a corpus holds, and check that it is not damaged
#[derive(Debug, Args)]
struct InfoArgs {
    /// The corpus
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CorpusArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::Build(args) => build(args),
        Command::Info(args) => {
            let corpus = Corpus::open(&args.file, None)?;
            Described::new(&args.file, corpus.info()).print(args.json)
        }
    }
}

fn build(args: &BuildArgs) -> anyhow::Result<Outcome> {
    check_output(&args.output)?;
    let mut texts = Texts::gather(&args.texts, &args.field, &args.output)?;
    let tokenizer = AnyTokenizer::open(&args.tokenizer)?;
    let kinds = texts.kinds();
    for line in kinds.lines() {
        tell_line!("{line}");
    }
    let begun = Instant::now();
    let (builder, left_out) = tokenize(texts, &tokenizer)?;
    let tokenize_seconds = begun.elapsed().as_secs_f64();
    for (path, wrong) in &left_out {
        tell_line!("note: {}: left out: {wrong}", path.display());
    }
    if builder.documents() == 0 {
        return Err(user_error(
            "no text found; name text files, JSONL files, or folders that hold some",
        ));
    }
    let begun = Instant::now();
    let bar =
        ProgressBar::new_spinner().with_message(format!("sorting {} tokens", builder.tokens()));
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let info = builder.write(&args.output, &tokenizer.fingerprint())?;
    bar.finish_and_clear();
    let described = Described {
        left_out: Some(left_out.len() + kinds.left_out()),
        tokenize_seconds: Some(tokenize_seconds),
        sort_seconds: Some(begun.elapsed().as_secs_f64()),
        ..Described::new(&args.output, &info)
    };
    described.print(args.json)
}

/// Refuses an output file that could not be written, before the work starts.
fn check_output(output: &Path) -> anyhow::Result<()> {
    if output.is_dir() || !folder_of(output).is_dir() {
        return Err(user_error(format!(
            "{}: cannot be written; give -o/--output a file in a folder that exists",
            output.display()
        )));
    }
    // Any other file, perhaps a model, must not be replaced. A pipe is not opened: that would wait
    // for its writer.
    let is_corpus = || output.is_file() && begins_as(output, Kind::Corpus).unwrap_or(false);
    if output.exists() && !is_corpus() {
        return Err(user_error(format!(
            "{}: exists and is not a corpus; give -o/--output another name, or remove it",
            output.display()
        )));
    }
    Ok(())
}

/// All documents as tokens, and the files that were left out. All cores tokenize a batch of pieces
/// at a time.
fn tokenize(
    mut texts: Texts,
    tokenizer: &AnyTokenizer,
) -> anyhow::Result<(CorpusBuilder, Vec<(PathBuf, String)>)> {
    let bar = bar(
        texts.size(),
        "tokenizing {bar:24} {bytes} of {total_bytes}, {eta} left  {msg}",
    );
    let mut builder = CorpusBuilder::default();
    let mut document: Vec<TokenId> = Vec::new();
    let mut batch = Vec::new();
    while texts.next_batch(&mut batch)? {
        let tokenized: Vec<_> = batch
            .par_iter()
            .map(|piece: &Piece| tokenizer.tokenize(&piece.text, piece.starts_document))
            .collect();
        for (piece, tokens) in batch.iter().zip(tokenized) {
            if piece.starts_document {
                builder.add(&document);
                document.clear();
            }
            match tokens {
                Ok(tokens) => document.extend(tokens),
                // One text does not end the work on all of them.
                Err(error) => texts.leave_out(&piece.path, error.to_string()),
            }
        }
        bar.set_position(texts.done());
        bar.set_message(format!("{} tokens", builder.tokens()));
    }
    builder.add(&document);
    bar.finish_and_clear();
    Ok((builder, texts.left_out()))
}

/// The description of a corpus, as text or JSON.
#[derive(Debug, Serialize)]
struct Described<'a> {
    file: &'a Path,
    tokens: u64,
    documents: u64,
    file_size: u64,
    vocabulary: String,
    n_vocab: usize,
    /// Number of files that are not text, as a whole or in part.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenize_seconds: Option<f64>,
    /// Seconds for sorting and writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_seconds: Option<f64>,
}

impl<'a> Described<'a> {
    fn new(file: &'a Path, info: &CorpusInfo) -> Self {
        Self {
            file,
            tokens: info.tokens,
            documents: info.documents,
            file_size: info.file_size,
            vocabulary: info.vocabulary.to_string(),
            n_vocab: info.vocabulary.n_vocab(),
            left_out: None,
            tokenize_seconds: None,
            sort_seconds: None,
        }
    }

    fn print(&self, json: bool) -> anyhow::Result<Outcome> {
        if json {
            print_json(self)?;
            return Ok(Outcome::Done);
        }
        let mut out = stdout();
        let mib = self.file_size as f64 / f64::from(1 << 20);
        writeln!(out, "corpus      {}", self.file.display())?;
        writeln!(out, "tokens      {}", self.tokens)?;
        writeln!(out, "documents   {}", self.documents)?;
        writeln!(out, "size        {mib:.2} MiB")?;
        writeln!(
            out,
            "vocabulary  {} tokens, fingerprint {}",
            self.n_vocab,
            &self.vocabulary[..12]
        )?;
        if let (Some(tokenize), Some(sort)) = (self.tokenize_seconds, self.sort_seconds) {
            writeln!(
                out,
                "built in    {tokenize:.1} s tokenizing, {sort:.1} s sorting and writing"
            )?;
        }
        Ok(Outcome::Done)
    }
}

//! What a generation prints.

use std::io::{self, IsTerminal, Write};

use crate::TokenId;
use crate::engine::{Generation, Method, Step, TextStream};
use crate::runtime::llama::Vocabulary;

/// Prints an answer as it comes, and keeps its text.
pub(super) struct AnswerPrinter<'a> {
    vocabulary: Vocabulary<'a>,
    stream: TextStream,
    /// Everything printed so far.
    text: String,
    /// Leave out white space before the first word: chat templates end where a space would follow.
    trim_start: bool,
    silent: bool,
    color_drafts: bool,
}

/// Accepted draft tokens: green. What the model was asked for one by one stays as it is.
const DRAFTED: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

impl<'a> AnswerPrinter<'a> {
    pub(super) fn new(vocabulary: Vocabulary<'a>) -> Self {
        Self {
            vocabulary,
            stream: TextStream::default(),
            text: String::new(),
            trim_start: false,
            silent: false,
            color_drafts: false,
        }
    }

    pub(super) fn trim_start(mut self, yes: bool) -> Self {
        self.trim_start = yes;
        self
    }

    pub(super) fn silent(mut self, yes: bool) -> Self {
        self.silent = yes;
        self
    }

    pub(super) fn color_drafts(mut self, yes: bool) -> Self {
        self.color_drafts = yes;
        self
    }

    /// Prints what a step committed.
    pub(super) fn step(&mut self, step: &Step) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for (index, &token) in step.accepted.iter().enumerate() {
            let bytes = self.vocabulary.bytes(token);
            let piece = self.stream.push(&bytes);
            self.print(&mut out, &piece, index > 0)?;
        }
        out.flush()
    }

    /// Prints what was waiting for the rest of a character; returns the whole text.
    pub(super) fn finish(mut self) -> io::Result<String> {
        let rest = self.stream.finish();
        let mut out = io::stdout().lock();
        self.print(&mut out, &rest, false)?;
        if !self.silent && !self.text.ends_with('\n') {
            writeln!(out)?;
        }
        out.flush()?;
        Ok(self.text)
    }

    fn print(&mut self, out: &mut impl Write, piece: &str, drafted: bool) -> io::Result<()> {
        let piece = if self.trim_start && self.text.is_empty() {
            piece.trim_start()
        } else {
            piece
        };
        self.text += piece;
        if self.silent || piece.is_empty() {
            Ok(())
        } else if self.color_drafts && drafted {
            write!(out, "{DRAFTED}{piece}{PLAIN}")
        } else {
            write!(out, "{piece}")
        }
    }
}

/// The statistics block, for standard error.
pub(super) fn statistics(
    answer: &Generation,
    prompt_tokens: usize,
    method: Method,
    load: f64,
) -> String {
    let timings = &answer.timings;
    let steps = answer.accept_lengths.len();
    let looped = timings.draft + timings.decode + timings.verify + timings.commit;
    let share = |part: f64| 100.0 * part / looped.max(f64::MIN_POSITIVE);
    let per_step = |part: f64| 1e3 * part / steps.max(1) as f64;
    let rate = |count: usize, time: f64| count as f64 / time.max(f64::MIN_POSITIVE);
    let parts = [
        ("draft", timings.draft),
        ("decode", timings.decode),
        ("verify", timings.verify),
        ("commit", timings.commit),
    ]
    .map(|(name, part)| format!("{name} {:.3} ms ({:.1} %)", per_step(part), share(part)))
    .join(", ");
    let sources = answer.sources;
    let from = sources.drafted.iter().map(|(source, drafted)| {
        let accepted = sources.accepted.of(source);
        format!("{} {accepted} of {drafted}", source.name())
    });
    let from = from.collect::<Vec<_>>().join(", ");
    let from = match from.is_empty() {
        true => from,
        false => format!("from      {from}\n"),
    };
    format!(
        "method    {method}\n\
         load      {load:.2} s\n\
         prefill   {prompt_tokens} tokens in {:.2} s, {:.1} tokens/s\n\
         decode    {} tokens in {looped:.2} s, {:.1} tokens/s, {steps} steps\n\
         accepted  {:.2} tokens per step on average, {} drafted\n\
         {from}\
         per step  {parts}\n",
        timings.prefill,
        rate(prompt_tokens, timings.prefill),
        answer.tokens.len(),
        rate(answer.tokens.len(), looped),
        answer.mean_accepted_tokens(),
        answer.drafted,
    )
}

/// Whether to use colours on standard output: a terminal, and nobody objects (<https://no-color.org>).
pub(super) fn stdout_has_color() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text of tokens.
pub(super) fn text_of(vocabulary: Vocabulary<'_>, tokens: &[TokenId]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|&t| vocabulary.bytes(t)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

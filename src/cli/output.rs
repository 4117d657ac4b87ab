//! Prints an answer while it is generated, and its statistics afterwards.

use std::io::{self, Write};

use crate::TokenId;
use crate::cli::args::NO_LIMIT;
use crate::cli::colors::painted;
use crate::engine::{FinishReason, Generation, HeldBack, Method, StepView, Stops, TextStream};
use crate::tree::Source;

/// Prints an answer token by token, and keeps its text.
pub(super) struct AnswerPrinter<'a, W> {
    out: W,
    /// The bytes of a token.
    bytes: Box<dyn Fn(TokenId) -> Vec<u8> + 'a>,
    stream: TextStream,
    /// Holds back what may begin a stop, if there are stops.
    held: Option<HeldBack<Option<Source>>>,
    /// Everything printed so far.
    text: String,
    /// Skip white space before the first word: chat templates end just before it.
    trim_start: bool,
    silent: bool,
    color_drafts: bool,
}

impl<'a, W: Write> AnswerPrinter<'a, W> {
    /// Prints to `out`. `bytes` returns the bytes of a token.
    pub(super) fn new(bytes: impl Fn(TokenId) -> Vec<u8> + 'a, out: W) -> Self {
        Self {
            out,
            bytes: Box::new(bytes),
            stream: TextStream::default(),
            held: None,
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

    /// Leaves out the text from a stop on.
    pub(super) fn stops(mut self, stops: Stops) -> Self {
        self.held = (!stops.is_empty()).then(|| HeldBack::new(stops));
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

    /// Prints the tokens that a step committed.
    pub(super) fn step(&mut self, view: &StepView<'_>) -> io::Result<()> {
        self.tokens(view.step.accepted.iter().copied().zip(view.origins()))
    }

    /// Prints tokens, each with its draft source if it was drafted.
    fn tokens(
        &mut self,
        tokens: impl Iterator<Item = (TokenId, Option<Source>)>,
    ) -> io::Result<()> {
        for (token, source) in tokens {
            match &mut self.held {
                Some(held) => {
                    let released = held.push(token, source);
                    self.bytes(released)?;
                }
                None => {
                    let bytes = (self.bytes)(token);
                    self.bytes([(bytes, source)])?;
                }
            }
        }
        self.out.flush()
    }

    /// Prints bytes, each with the source of its token.
    fn bytes(
        &mut self,
        pieces: impl IntoIterator<Item = (Vec<u8>, Option<Source>)>,
    ) -> io::Result<()> {
        for (bytes, source) in pieces {
            let piece = self.stream.push(&bytes);
            self.print(&piece, source)?;
        }
        Ok(())
    }

    /// Prints what was held back, with the bytes of an incomplete character, and returns the whole
    /// text.
    pub(super) fn finish(mut self) -> io::Result<String> {
        let held = self.held.as_mut().map(HeldBack::finish);
        self.bytes(held.unwrap_or_default())?;
        let rest = self.stream.finish();
        self.print(&rest, None)?;
        if !self.silent && !self.text.ends_with('\n') {
            writeln!(self.out)?;
        }
        self.out.flush()?;
        Ok(self.text)
    }

    fn print(&mut self, piece: &str, drafted_from: Option<Source>) -> io::Result<()> {
        let piece = if self.trim_start && self.text.is_empty() {
            piece.trim_start()
        } else {
            piece
        };
        self.text += piece;
        if self.silent || piece.is_empty() {
            return Ok(());
        }
        match drafted_from {
            Some(source) if self.color_drafts => {
                write!(self.out, "{}", painted(piece, source))
            }
            _ => write!(self.out, "{piece}"),
        }
    }
}

/// The statistics, for standard error. With `color_sources`, each source's name has the colour that
/// its tokens have in the answer.
pub(super) fn statistics(
    answer: &Generation,
    prompt_tokens: usize,
    method: Method,
    load: f64,
    color_sources: bool,
) -> String {
    let timings = &answer.timings;
    let steps = answer.accept_lengths.len();
    let parts = [
        ("draft", timings.draft),
        ("decode", timings.decode),
        ("verify", timings.verify),
        ("commit", timings.commit),
    ];
    let in_steps: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
    let begun = format!(
        "method    {method}\n\
         load      {load:.2} s\n\
         prefill   {prompt_tokens} tokens in {:.2} s{}\n",
        timings.prefill,
        rate(prompt_tokens, timings.prefill),
    );
    if steps == 0 {
        return begun;
    }
    format!(
        "{begun}\
         decode    {} tokens in {in_steps:.2} s{}, {steps} steps\n\
         accepted  {:.2} tokens per step on average, {} drafted\n\
         {}\
         per step  {}\n",
        answer.tokens.len(),
        rate(answer.tokens.len(), in_steps),
        answer.mean_accepted_tokens(),
        answer.drafted,
        sources_line(answer, color_sources),
        parts
            .map(|(name, seconds)| format!(
                "{name} {:.3} ms ({:.1} %)",
                1e3 * seconds / steps as f64,
                100.0 * seconds / in_steps.max(f64::MIN_POSITIVE)
            ))
            .join(", "),
    )
}

/// Fewer tokens have no speed that means anything.
const FEWEST_FOR_RATE: usize = 10;

/// Tokens per second, or nothing if no time was measured, or for too few tokens.
fn rate(tokens: usize, seconds: f64) -> String {
    match seconds > 0.0 && tokens >= FEWEST_FOR_RATE {
        true => format!(", {:.1} tokens/s", tokens as f64 / seconds),
        false => String::new(),
    }
}

/// Accepted and drafted tokens by source, or nothing if nothing was drafted.
fn sources_line(answer: &Generation, color_sources: bool) -> String {
    let sources = answer.sources;
    let counts = sources.drafted.iter().map(|(source, drafted)| {
        let accepted = sources.accepted.of(source);
        let name = match color_sources {
            true => painted(source.name(), source),
            false => source.name().to_owned(),
        };
        format!("{name} {accepted} of {drafted}")
    });
    let counts: Vec<String> = counts.collect();
    match counts.is_empty() {
        true => String::new(),
        false => format!("from      {}\n", counts.join(", ")),
    }
}

/// Prints a note if an answer ended early because the context is full; `hint` says what to do. An
/// answer without a limit was meant to fill it.
pub(super) fn note_if_cut(answer: &Generation, max_new_tokens: usize, n_ctx: usize, hint: &str) {
    let is_cut = answer.finish == FinishReason::Length && answer.tokens.len() < max_new_tokens;
    if is_cut && max_new_tokens != NO_LIMIT {
        tell_line!(
            "note: the answer ends here because the context of {n_ctx} tokens is full: {hint}"
        );
    }
}

/// Prints a note if the answer has as many tokens as it may have.
pub(super) fn note_if_limited(answer: &Generation, max_new_tokens: usize) {
    if answer.finish == FinishReason::Length && answer.tokens.len() >= max_new_tokens {
        tell_line!("note: stopped after -n {max_new_tokens} tokens; -n -1 sets no limit");
    }
}

/// Prints a note if the model ended its answer before it said anything; `hint` says what to do.
pub(super) fn note_if_empty(answer: &Generation, text: &str, hint: &str) {
    if answer.finish == FinishReason::Stop && text.trim().is_empty() {
        tell_line!("note: the answer is empty, the model ended it at once: {hint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Option<Source> = Some(Source::Text);
    const RUNNER_UP: Option<Source> = Some(Source::LastLogits);

    /// What is printed of these steps, and the text that is kept.
    fn printed(
        tokens: &[&[u8]],
        steps: &[&[(TokenId, Option<Source>)]],
        color: bool,
    ) -> (String, String) {
        let mut out = Vec::new();
        let bytes = |token: TokenId| tokens[token as usize].to_vec();
        let mut printer = AnswerPrinter::new(bytes, &mut out).color_drafts(color);
        for step in steps {
            printer.tokens(step.iter().copied()).unwrap();
        }
        let text = printer.finish().unwrap();
        (String::from_utf8(out).unwrap(), text)
    }

    #[test]
    fn drafted_tokens_have_their_sources_colours_and_no_others_do() {
        let tokens: [&[u8]; 4] = [b"the ", b"cat ", b"sat ", b"down"];
        let steps: [&[_]; 2] = [&[(0, None), (1, RUNNER_UP)], &[(2, None), (3, TEXT)]];
        let (shown, text) = printed(&tokens, &steps, true);
        assert_eq!(shown, "the \x1b[33mcat \x1b[0msat \x1b[32mdown\x1b[0m\n");
        assert_eq!(text, "the cat sat down");
        let (shown, _) = printed(&tokens, &steps, false);
        assert_eq!(shown, "the cat sat down\n");
    }

    #[test]
    fn a_character_of_two_tokens_stays_whole_between_colours() {
        // é and € are each begun by one token and ended by another, drafted or not.
        let tokens: [&[u8]; 4] = [b"caf\xc3", b"\xa9 ", b"\xe2\x82", b"\xac!"];
        let steps: [&[_]; 2] = [&[(0, None), (1, TEXT), (2, TEXT)], &[(3, None)]];
        let (shown, text) = printed(&tokens, &steps, true);
        assert_eq!(shown, "caf\x1b[32mé \x1b[0m€!\n");
        assert_eq!(text, "café €!");
        let (shown, _) = printed(&tokens, &[&[(2, None)]], true);
        assert_eq!(shown, "\u{fffd}\n");
    }

    #[test]
    fn an_answer_without_time_has_no_rate() {
        let mut answer = Generation::empty(FinishReason::Cancelled);
        let told = statistics(&answer, 500, Method::Logitspec, 0.5, false);
        assert!(
            !told.contains("tokens/s") && !told.contains("inf"),
            "{told}"
        );
        assert!(!told.contains("per step"), "nor any step: {told}");
        answer.timings.prefill = 2.0;
        answer.timings.decode = 0.5;
        answer.tokens = vec![0; 10];
        answer.accept_lengths = vec![5, 5];
        let told = statistics(&answer, 500, Method::Logitspec, 0.5, false);
        assert!(
            told.contains("500 tokens in 2.00 s, 250.0 tokens/s"),
            "{told}"
        );
        assert!(
            told.contains("10 tokens in 0.50 s, 20.0 tokens/s"),
            "{told}"
        );
        answer.tokens.pop();
        let told = statistics(&answer, 9, Method::Logitspec, 0.5, false);
        assert!(!told.contains("tokens/s"), "of nine tokens: {told}");
    }

    #[test]
    fn the_statistics_are_the_legend() {
        let mut answer = Generation::empty(FinishReason::Stop);
        answer.sources.drafted.add(Source::Recycled);
        answer.accept_lengths = vec![1];
        let told = |color| statistics(&answer, 5, Method::Logitspec, 0.5, color);
        assert!(told(false).contains("from      recycled 0 of 1\n"));
        assert!(told(true).contains("from      \x1b[35mrecycled\x1b[0m 0 of 1\n"));
    }
}

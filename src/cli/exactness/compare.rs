//! Answers by plain decoding, and those of a method compared with them.

use std::ops::ControlFlow;

use crate::TokenId;
use crate::engine::{GenerateError, Session, SessionOptions};
use crate::runtime::llama::LlamaTarget;
use crate::runtime::{Prompt, TargetModel};

/// Rows of plain decoding that are kept for comparison, in bytes.
const ROW_BYTES: usize = 256 << 20;

/// A turn, answered by plain decoding.
pub(super) struct Turn {
    question: i64,
    number: usize,
    /// How many tokens of the conversation before stay, and what follows them.
    keep: usize,
    prompt: Vec<TokenId>,
    answer: Vec<TokenId>,
    /// `rows[i]` are the logits after the first `i` tokens of the answer, as far as there is room.
    rows: Vec<Vec<f32>>,
}

impl Turn {
    /// Answers `prompt`, the turn `number` of a question.
    pub(super) fn answer(
        session: &mut Session<LlamaTarget<'_>>,
        question: i64,
        number: usize,
        prompt: Prompt,
        limit: usize,
    ) -> Result<Self, GenerateError> {
        let (keep, prompt) = (prompt.keep, prompt.tokens);
        session.prefill_behind(keep, &prompt, &mut go_on)?;
        let mut rows = Vec::new();
        let mut bytes = 0;
        let answer = generate(session, limit, |row, at| {
            bytes += size_of_val(row);
            if at == rows.len() && bytes <= ROW_BYTES {
                rows.push(row.to_vec());
            }
        })?;
        Ok(Self {
            question,
            number,
            keep,
            prompt,
            answer: answer.tokens,
            rows,
        })
    }

    pub(super) fn answer_tokens(&self) -> &[TokenId] {
        &self.answer
    }
}

/// Progress of a prefill. Never stops it.
fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// An answer, and the number of steps that it took.
#[derive(Default)]
struct Answer {
    tokens: Vec<TokenId>,
    steps: usize,
}

/// Generates an answer. `see` gets every row, with the number of tokens before it.
fn generate(
    session: &mut Session<LlamaTarget<'_>>,
    limit: usize,
    mut see: impl FnMut(&[f32], usize),
) -> Result<Answer, GenerateError> {
    let mut answer = Answer::default();
    if let Some(row) = session.last_logits() {
        see(row, 0);
    }
    while answer.tokens.len() < limit {
        let Some(stepped) = session.step(limit - answer.tokens.len())? else {
            break;
        };
        answer.tokens.extend_from_slice(&stepped.step.accepted);
        answer.steps += 1;
        let last = answer.tokens.last();
        if last.is_some_and(|&token| session.model().is_end(token)) {
            break;
        }
        if let Some(row) = session.last_logits() {
            see(row, answer.tokens.len());
        }
    }
    Ok(answer)
}

/// A method with its options, and what was seen of it.
pub(super) struct Run<'m> {
    session: Session<LlamaTarget<'m>>,
    pub(super) report: Report,
}

/// What was seen of a method.
pub(super) struct Report {
    pub(super) options: SessionOptions,
    pub(super) turns: usize,
    pub(super) tokens: usize,
    pub(super) steps: usize,
    /// Rows compared with those of plain decoding, and how many of them were equal bit by bit.
    pub(super) rows: usize,
    pub(super) equal_rows: usize,
    /// The largest difference between two logits, relative to the row's largest.
    pub(super) largest_gap: f32,
    pub(super) differences: Vec<Difference>,
}

/// Where an answer departs from that of plain decoding.
pub(super) struct Difference {
    pub(super) question: i64,
    /// Number of the turn, from 0.
    pub(super) turn: usize,
    /// Number of tokens that are equal.
    pub(super) at: usize,
    pub(super) token: Option<TokenId>,
    pub(super) plain: Option<TokenId>,
    /// The logits of the two tokens in plain decoding, if its row was kept.
    pub(super) logits: Option<[f32; 2]>,
}

impl Report {
    /// Whether all answers are those of plain decoding.
    pub(super) fn is_exact(&self) -> bool {
        self.differences.is_empty()
    }

    /// Adds a row of the method and the same row of plain decoding.
    fn add_rows(&mut self, row: &[f32], plain: &[f32]) {
        let bits = |row: &[f32]| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        self.rows += 1;
        if bits(row) == bits(plain) {
            self.equal_rows += 1;
            return;
        }
        let scale = plain
            .iter()
            .fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
        let gaps = row.iter().zip(plain).map(|(a, b)| (a - b).abs() / scale);
        self.largest_gap = gaps.fold(self.largest_gap, f32::max);
    }
}

impl<'m> Run<'m> {
    pub(super) fn new(session: Session<LlamaTarget<'m>>, options: SessionOptions) -> Self {
        Self {
            session,
            report: Report {
                options,
                turns: 0,
                tokens: 0,
                steps: 0,
                rows: 0,
                equal_rows: 0,
                largest_gap: 0.0,
                differences: Vec::new(),
            },
        }
    }

    pub(super) fn reset(&mut self) {
        self.session.reset();
    }

    /// Answers the turn after the tokens `before`, and compares.
    pub(super) fn compare(
        &mut self,
        before: &[TokenId],
        turn: &Turn,
        limit: usize,
    ) -> Result<(), GenerateError> {
        if self.session.text() != before {
            // An earlier answer differs. Continue from that of plain decoding.
            self.session.reset();
            self.session.prefill(before, &mut go_on)?;
        }
        self.session
            .prefill_behind(turn.keep, &turn.prompt, &mut go_on)?;
        let mut rows = Vec::new();
        let answer = generate(&mut self.session, limit, |row, at| {
            rows.push((at, row.to_vec()));
        })?;
        let report = &mut self.report;
        let equal = answer.tokens.iter().zip(&turn.answer);
        let at = equal.take_while(|(a, b)| a == b).count();
        for (tokens, row) in rows.iter().filter(|(tokens, _)| *tokens <= at) {
            if let Some(plain) = turn.rows.get(*tokens) {
                report.add_rows(row, plain);
            }
        }
        report.turns += 1;
        report.tokens += answer.tokens.len();
        report.steps += answer.steps;
        if answer.tokens != turn.answer {
            let [token, plain] = [&answer.tokens, &turn.answer].map(|it| it.get(at).copied());
            let row = turn.rows.get(at);
            let logit = |token: Option<TokenId>| Some(row?[token? as usize]);
            report.differences.push(Difference {
                question: turn.question,
                turn: turn.number,
                at,
                token,
                plain,
                logits: logit(token).zip(logit(plain)).map(|(a, b)| [a, b]),
            });
        }
        Ok(())
    }
}

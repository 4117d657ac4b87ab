//! Compares the answers of a method with those of plain decoding.

use anyhow::Context;
use logitspec::TokenId;
use logitspec::engine::Session;
use logitspec::runtime::llama::LlamaTarget;

use crate::plain::Turn;
use crate::{Args, go_on};

/// The results of a method.
#[derive(Default)]
pub struct Tally {
    pub turns: usize,
    pub tokens: usize,
    pub steps: usize,
    pub ties: usize,
    pub failures: usize,
    /// Rows compared with a fresh decode.
    pub rows: usize,
    /// The largest difference of these, relative to the largest logit.
    pub worst_row: f32,
}

/// A prompt, how many tokens of the conversation before it stay, and its answer.
#[derive(Clone, Copy)]
struct Piece<'a> {
    keep: usize,
    prompt: &'a [TokenId],
    answer: &'a [TokenId],
}

impl<'a> Piece<'a> {
    fn of(turn: &'a Turn) -> Self {
        Self {
            keep: turn.keep,
            prompt: &turn.prompt,
            answer: &turn.answer,
        }
    }
}

/// The tokens of a conversation.
fn said<'a>(conversation: impl Iterator<Item = Piece<'a>>) -> Vec<TokenId> {
    let mut said = Vec::new();
    for piece in conversation {
        said.truncate(piece.keep);
        said.extend_from_slice(piece.prompt);
        said.extend_from_slice(piece.answer);
    }
    said
}

/// Answers the turn with index `turn` and compares the answer with that of plain decoding.
pub fn compare(
    session: &mut Session<LlamaTarget<'_>>,
    referee: &mut Session<LlamaTarget<'_>>,
    turns: &[Turn],
    turn: usize,
    args: &Args,
    tally: &mut Tally,
    name: &str,
) -> anyhow::Result<()> {
    let (earlier, turn) = (&turns[..turn], &turns[turn]);
    let before = said(earlier.iter().map(Piece::of));
    if session.text() != before {
        // An earlier turn differs. Continue from the answer of plain decoding.
        session.reset();
        session.prefill(&before, &mut go_on)?;
    }
    session.prefill_behind(turn.keep, &turn.prompt, &mut go_on)?;
    let answer = generate(session, referee, args, tally)?;
    tally.turns += 1;
    tally.tokens += answer.len();
    if answer != turn.answer {
        let tie = is_tie(referee, earlier, turn, &answer, name)?;
        tally.ties += usize::from(tie);
        tally.failures += usize::from(!tie);
    }
    Ok(())
}

/// Generates an answer, step by step.
fn generate(
    session: &mut Session<LlamaTarget<'_>>,
    referee: &mut Session<LlamaTarget<'_>>,
    args: &Args,
    tally: &mut Tally,
) -> anyhow::Result<Vec<TokenId>> {
    let mut answer = Vec::new();
    while answer.len() < args.max_new_tokens {
        let Some(stepped) = session.step(args.max_new_tokens - answer.len())? else {
            break;
        };
        answer.extend_from_slice(&stepped.step.accepted);
        tally.steps += 1;
        if args.check_logits > 0 && tally.steps.is_multiple_of(args.check_logits) {
            check_row(session, referee, tally)?;
        }
        let vocabulary = session.model().vocabulary();
        if answer.last().is_some_and(|&token| vocabulary.is_end(token)) {
            break;
        }
    }
    Ok(answer)
}

/// Whether the first difference between two answers is a rounding tie. Prints what was measured.
fn is_tie(
    referee: &mut Session<LlamaTarget<'_>>,
    earlier: &[Turn],
    turn: &Turn,
    answer: &[TokenId],
    name: &str,
) -> anyhow::Result<bool> {
    let pairs = answer.iter().zip(&turn.answer);
    let common = pairs.take_while(|(ours, plain)| ours == plain).count();
    let (ours, plain) = (answer.get(common), turn.answer.get(common));
    let last = Piece {
        answer: &turn.answer[..common],
        ..Piece::of(turn)
    };
    let conversation = earlier.iter().map(Piece::of).chain([last]);
    let text = said(conversation.clone());
    referee.reset();
    referee.prefill(&text, &mut go_on)?;
    let row = referee.last_logits().context("a row after prefill")?;
    let logit = |token: Option<&TokenId>| token.map_or(f32::NAN, |&token| row[token as usize]);
    let (our_logit, plain_logit) = (logit(ours), logit(plain));
    let gap = (plain_logit - our_logit).abs() / plain_logit.abs().max(our_logit.abs());
    let mut tie = gap < 1e-3;
    if let (false, Some(&plain), Some(&ours)) = (tie, plain, ours) {
        let gaps = gaps(referee, conversation, (plain, ours))?;
        println!("\n{name}: gaps between the logits with batches of {PIECES:?}: {gaps:.4?}");
        let most = gaps.iter().copied().fold(f32::MIN, f32::max);
        let least = gaps.iter().copied().fold(f32::MAX, f32::min);
        tie = least <= most - least;
    }
    println!(
        "\n{name}: token {common} is {ours:?} (logit {our_logit}), plain {plain:?} \
         (logit {plain_logit}), relative gap {gap:.1e}: {}",
        if tie {
            "a rounding tie"
        } else {
            "A DIFFERENCE"
        },
    );
    Ok(tie)
}

/// Batch sizes to decode an answer with.
const PIECES: [usize; 5] = [1, 2, 3, 4, 8];

/// The gap between the logits of two tokens after a conversation, for each size of [`PIECES`].
fn gaps<'a>(
    referee: &mut Session<LlamaTarget<'_>>,
    conversation: impl Iterator<Item = Piece<'a>> + Clone,
    (first, second): (TokenId, TokenId),
) -> anyhow::Result<Vec<f32>> {
    let mut gaps = Vec::new();
    for size in PIECES {
        referee.reset();
        for Piece {
            keep,
            prompt,
            answer,
        } in conversation.clone()
        {
            referee.prefill_behind(keep, prompt, &mut go_on)?;
            for tokens in answer.chunks(size) {
                referee.prefill(tokens, &mut go_on)?;
            }
        }
        let row = referee.last_logits().context("a row after prefill")?;
        gaps.push(row[first as usize] - row[second as usize]);
    }
    Ok(gaps)
}

/// Compares the last row with that of a fresh decode of the committed tokens.
fn check_row(
    session: &Session<LlamaTarget<'_>>,
    referee: &mut Session<LlamaTarget<'_>>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    // There is no row after a step without a pass.
    let Some(row) = session.last_logits() else {
        return Ok(());
    };
    referee.reset();
    referee.prefill(session.text(), &mut go_on)?;
    let fresh = referee.last_logits().context("a row after prefill")?;
    let scale = fresh.iter().fold(0f32, |most, v| most.max(v.abs()));
    let difference = row
        .iter()
        .zip(fresh)
        .fold(0f32, |worst, (a, b)| worst.max((a - b).abs() / scale));
    tally.rows += 1;
    tally.worst_row = tally.worst_row.max(difference);
    Ok(())
}

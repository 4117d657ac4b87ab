//! Shows that every method says, token for token, what plain decoding says.
//!
//! Runs a question set (all turns, greedy) without drafts and then with each method at each tree
//! capacity, and compares token ids. Where one differs, the two logits in question are computed
//! afresh and shown: a relative gap below 1e-3 is a rounding tie (kernels for other batch sizes
//! round differently). A larger one is a tie only if it is shown to be: the same conversation is
//! decoded without drafts, answers in pieces of 1 (as plain decoding does), 2, 3, 4 and 8 tokens,
//! and how far one logit is ahead of the other has to change by as much as is left of it. Anything
//! else is a failure. Trees are filled to their capacity, whatever that costs, unless
//! `--sized-trees` is given. With `--history` every method remembers the questions before, with
//! `--poison` it begins with a memory of spoiled questions, and with `--corpus` it copies from a
//! corpus, each as far as it can. With `--check-logits N`, the last row is compared with that of a
//! fresh decode of the text every N steps.
//!
//! ```text
//! cargo run --release --example exactness -- -m MODEL.gguf --questions data/spec_bench/question.jsonl
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Parser;
use logitspec::TokenId;
use logitspec::corpus::Corpus;
use logitspec::draft::{Drafter, Memory, NodeRows, Verified};
use logitspec::engine::{Method, MethodParams, Session, SessionOptions};
use logitspec::logits::Candidate;
use logitspec::pool::SharedPool;
use logitspec::runtime::llama::{ContextOptions, FlashAttention, LlamaTarget, Model, ModelOptions};
use logitspec::runtime::{ChatTemplate, Message, Role};
use logitspec::tree::{DraftTree, NodeId, TreeLimits};

#[derive(Parser)]
struct Args {
    /// The model
    #[arg(short = 'm', long)]
    model_path: PathBuf,
    /// Question set, JSON Lines with question_id and turns
    #[arg(long)]
    questions: PathBuf,
    /// Methods to compare with baseline [default: all]
    #[arg(long, value_delimiter = ',')]
    methods: Vec<Method>,
    /// Let methods remember the questions before, and their answers
    #[arg(long)]
    history: bool,
    /// Begin with a memory of all questions with every third token replaced; they remember, too
    #[arg(long)]
    poison: bool,
    /// Copy from a corpus, too
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Draft tree capacities
    #[arg(long, value_delimiter = ',', default_value = "8,64,200")]
    capacities: Vec<usize>,
    /// Most new tokens a turn
    #[arg(short = 'n', long, default_value_t = 1024)]
    max_new_tokens: usize,
    /// Take every STRIDE-th question, beginning with number OFFSET (from 0)
    #[arg(long, default_value_t = 1)]
    stride: usize,
    /// See --stride
    #[arg(long, default_value_t = 0)]
    offset: usize,
    /// Only questions with an even number, the ones the replay model was trained on
    #[arg(long)]
    even: bool,
    /// Chat template; `none` for the bare text, each turn on its own
    #[arg(long, default_value = "vicuna")]
    template: String,
    /// Trees sized by what a pass costs, as by default elsewhere; without, they are as large as
    /// they may be
    #[arg(long)]
    sized_trees: bool,
    /// Attention without fused kernels, whose rounding depends most on the size of a pass
    #[arg(long)]
    no_flash_attn: bool,
    /// Threads
    #[arg(short = 't', long)]
    threads: Option<u32>,
    /// Context size
    #[arg(short = 'c', long, default_value_t = 4096)]
    ctx_size: u32,
    /// After every STEPS-th step, compare the last row with that of a fresh decode of the text; 0
    /// for never
    #[arg(long, default_value_t = 0, value_name = "STEPS")]
    check_logits: usize,
}

struct Question {
    id: i64,
    turns: Vec<String>,
}

/// One turn as plain decoding has it.
struct Turn {
    /// Tokens before the turn's prompt.
    start: usize,
    prompt: Vec<TokenId>,
    answer: Vec<TokenId>,
}

#[derive(Default)]
struct Tally {
    turns: usize,
    tokens: usize,
    steps: usize,
    ties: usize,
    failures: usize,
    /// Rows compared with a fresh decode, and the largest difference relative to the largest logit.
    rows: usize,
    worst_row: f32,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let model = Model::load(&args.model_path, &ModelOptions::default())?;
    let vocabulary = model.vocabulary();
    let template = match args.template.as_str() {
        "none" => None,
        name => Some(
            ChatTemplate::builtin(name, &vocabulary.bos(), &vocabulary.eos())
                .with_context(|| format!("no template {name:?}"))?,
        ),
    };
    let questions = read_questions(&args)?;
    let methods = match args.methods.as_slice() {
        [] => Method::ALL
            .into_iter()
            .filter(|&it| it != Method::Baseline)
            .collect(),
        named => named.to_vec(),
    };
    let mut baseline = session(&model, &args, Method::Baseline, 1)?;
    let mut referee = session(&model, &args, Method::Baseline, 1)?;
    let mut runs = Vec::new();
    for method in methods {
        for &capacity in &args.capacities {
            let session = session(&model, &args, method, capacity)?
                .with_drafter(drafter(&model, &args, method, &questions)?);
            runs.push((method, capacity, session, Tally::default()));
        }
    }
    for (done, question) in questions.iter().enumerate() {
        let turns = plain(&mut baseline, &model, template.as_ref(), question, &args)?;
        for (method, capacity, session, tally) in &mut runs {
            if args.history || args.poison {
                session.end_request();
            } else {
                session.reset();
            }
            for turn in &turns {
                let name = format!("question {} {method} at {capacity}", question.id);
                compare(session, &mut referee, &turns, turn, &args, tally, &name)?;
            }
        }
        eprint!("\r{}/{} questions", done + 1, questions.len());
    }
    eprintln!();
    let mut failures = 0;
    for (method, capacity, _, tally) in &runs {
        println!(
            "{method:20} capacity {capacity:4}: {} turns, {} tokens, {:.3} accepted per step, {} rounding ties, {} differences, {} rows within {:.1e} of a fresh decode",
            tally.turns,
            tally.tokens,
            tally.tokens as f64 / tally.steps.max(1) as f64,
            tally.ties,
            tally.failures,
            tally.rows,
            tally.worst_row,
        );
        failures += tally.failures;
    }
    ensure!(
        failures == 0,
        "{failures} answers differ by more than a rounding tie"
    );
    Ok(())
}

fn session<'a>(
    model: &'a Model,
    args: &Args,
    method: Method,
    capacity: usize,
) -> anyhow::Result<Session<LlamaTarget<'a>>> {
    let context = ContextOptions {
        n_ctx: Some(args.ctx_size),
        threads: args.threads,
        flash_attention: if args.no_flash_attn {
            FlashAttention::Off
        } else {
            FlashAttention::Auto
        },
        ..ContextOptions::default()
    };
    let options = SessionOptions {
        method,
        draft_tree_capacity: capacity,
        // Small trees would show little.
        fill_tree: !args.sized_trees,
        ..SessionOptions::default()
    };
    Ok(Session::open(&model, &context, options)?)
}

/// A drafter with what it is to remember from the beginning.
fn drafter(
    model: &Model,
    args: &Args,
    method: Method,
    questions: &[Question],
) -> anyhow::Result<Box<dyn Drafter>> {
    let mut memory = Memory::none();
    if args.history || args.poison {
        memory.history = Some(Arc::new(SharedPool::new(1 << 20)));
    }
    let vocabulary = model.vocabulary();
    if let Some(path) = &args.corpus {
        let corpus = Corpus::open(path, Some(&vocabulary.fingerprint()))?;
        memory.corpus = Some(Arc::new(corpus));
    }
    let mut drafter = method.drafter_with(MethodParams::default(), memory);
    if args.poison {
        let mut random = fastrand::Rng::with_seed(1);
        let n_vocab = u32::try_from(vocabulary.len())?;
        for turn in questions.iter().flat_map(|question| &question.turns) {
            let mut tokens = vocabulary.tokenize(turn);
            for token in tokens.iter_mut().skip(2).step_by(3) {
                *token = random.u32(..n_vocab);
            }
            remember(&mut *drafter, &tokens);
        }
    }
    Ok(drafter)
}

/// Has the drafter live through a request of which the second half was said token by token, by a
/// model that wanted to say the next one, then the one after it, and so on.
fn remember(drafter: &mut dyn Drafter, tokens: &[TokenId]) {
    let heard = tokens.len() / 2;
    drafter.begin(&tokens[..heard]);
    for said in heard..tokens.len() {
        let tree = DraftTree::new(tokens[said], TreeLimits::nodes(1));
        drafter.observe(&Verified {
            tree: &tree,
            path: &[],
            next: tokens.get(said + 1).copied(),
            rows: &Wants(&tokens[said + 1..]),
        });
        drafter.extend(&tokens[..=said], 1);
    }
    drafter.next_request();
}

/// A row whose best candidates are these, best first.
struct Wants<'a>(&'a [TokenId]);

impl NodeRows for Wants<'_> {
    fn top_k(&self, _node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
        found.clear();
        let ranked = self.0.iter().take(k).zip(0i8..);
        found.extend(ranked.map(|(&token, rank)| Candidate {
            token,
            logit: f32::from(-rank),
        }));
        !found.is_empty()
    }
}

fn read_questions(args: &Args) -> anyhow::Result<Vec<Question>> {
    let file = File::open(&args.questions).with_context(|| format!("{:?}", args.questions))?;
    let mut questions = Vec::new();
    for line in BufReader::new(file).lines() {
        let value: serde_json::Value = serde_json::from_str(&line?)?;
        let id = value["question_id"].as_i64().context("question_id")?;
        let turns = value["turns"].as_array().context("turns")?;
        let turns = turns
            .iter()
            .filter_map(|turn| turn.as_str().map(str::to_owned));
        if !args.even || id % 2 == 0 {
            questions.push(Question {
                id,
                turns: turns.collect(),
            });
        }
    }
    Ok(questions
        .into_iter()
        .skip(args.offset)
        .step_by(args.stride)
        .collect())
}

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The question answered without drafts.
fn plain(
    session: &mut Session<LlamaTarget<'_>>,
    model: &Model,
    template: Option<&ChatTemplate>,
    question: &Question,
    args: &Args,
) -> anyhow::Result<Vec<Turn>> {
    session.reset();
    let vocabulary = model.vocabulary();
    let mut messages = Vec::new();
    let mut turns = Vec::new();
    for text in &question.turns {
        let message = Message::new(Role::User, text.as_str());
        let start = session.text().len();
        let prompt = match template {
            None => vocabulary.tokenize(text),
            Some(template) if start == 0 => {
                vocabulary.tokenize(&template.prompt(std::slice::from_ref(&message))?)
            }
            Some(template) => {
                let text = template.next_turn(&messages, &message)?;
                messages.push(Message::new(Role::Assistant, "…"));
                vocabulary.tokenize_next_turn(&text, session.text().last().copied())
            }
        };
        messages.push(message);
        if start + prompt.len() >= args.ctx_size as usize {
            break;
        }
        session.prefill(&prompt, &mut go_on)?;
        let answer = session.generate(args.max_new_tokens, &mut |_| ControlFlow::Continue(()))?;
        turns.push(Turn {
            start,
            prompt,
            answer: answer.tokens,
        });
    }
    Ok(turns)
}

fn compare(
    session: &mut Session<LlamaTarget<'_>>,
    referee: &mut Session<LlamaTarget<'_>>,
    turns: &[Turn],
    turn: &Turn,
    args: &Args,
    tally: &mut Tally,
    name: &str,
) -> anyhow::Result<()> {
    let earlier = turns.iter().take_while(|it| it.start < turn.start);
    let before: Vec<TokenId> = earlier
        .clone()
        .flat_map(|it| it.prompt.iter().chain(&it.answer).copied())
        .collect();
    let prompt = if session.text() == before {
        turn.prompt.clone()
    } else {
        // An earlier turn came out otherwise; go on from what plain decoding said.
        session.reset();
        [&before[..], &turn.prompt].concat()
    };
    session.prefill(&prompt, &mut go_on)?;
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
    tally.turns += 1;
    tally.tokens += answer.len();
    let common = answer
        .iter()
        .zip(&turn.answer)
        .take_while(|(ours, plain)| ours == plain)
        .count();
    if answer != turn.answer {
        let text = [&before[..], &turn.prompt, &turn.answer[..common]].concat();
        referee.reset();
        referee.prefill(&text, &mut go_on)?;
        let row = referee.last_logits().context("a row after prefill")?;
        let logit = |tokens: &[TokenId]| {
            tokens
                .get(common)
                .map_or(f32::NAN, |&token| row[token as usize])
        };
        let (plain, ours) = (logit(&turn.answer), logit(&answer));
        let gap = (plain - ours).abs() / plain.abs().max(ours.abs());
        let mut tie = gap < 1e-3;
        if let (false, Some(&plain), Some(&ours)) =
            (tie, turn.answer.get(common), answer.get(common))
        {
            let said = earlier.map(|it| (&it.prompt[..], &it.answer[..]));
            let said = said.chain([(&turn.prompt[..], &turn.answer[..common])]);
            let leads = leads(referee, said, (plain, ours))?;
            println!(
                "\n{name}: in pieces of {PIECES:?} tokens, without drafts, plain's logit is ahead by {leads:.4?}"
            );
            let most = leads.iter().copied().fold(f32::MIN, f32::max);
            let least = leads.iter().copied().fold(f32::MAX, f32::min);
            tie = least <= most - least;
        }
        tally.ties += usize::from(tie);
        tally.failures += usize::from(!tie);
        println!(
            "\n{name}: token {common} is {:?} (logit {ours}), plain {:?} (logit {plain}), relative gap {gap:.1e}: {}",
            answer.get(common),
            turn.answer.get(common),
            if tie {
                "a rounding tie"
            } else {
                "A DIFFERENCE"
            },
        );
    }
    Ok(())
}

/// Sizes of pieces that a text is decoded in to see how much its last row depends on them.
const PIECES: [usize; 5] = [1, 2, 3, 4, 8];

/// How far the logit of the first of two tokens is ahead of the second's after a conversation of
/// prompts, decoded at once, and answers, decoded in pieces of each size.
fn leads<'a>(
    referee: &mut Session<LlamaTarget<'_>>,
    said: impl Iterator<Item = (&'a [TokenId], &'a [TokenId])> + Clone,
    (first, second): (TokenId, TokenId),
) -> anyhow::Result<Vec<f32>> {
    let mut leads = Vec::new();
    for size in PIECES {
        referee.reset();
        for (prompt, answer) in said.clone() {
            referee.prefill(prompt, &mut go_on)?;
            for piece in answer.chunks(size) {
                referee.prefill(piece, &mut go_on)?;
            }
        }
        let row = referee.last_logits().context("a row after prefill")?;
        leads.push(row[first as usize] - row[second as usize]);
    }
    Ok(leads)
}

/// Compares the last row with that of a fresh decode of the committed tokens.
fn check_row(
    session: &Session<LlamaTarget<'_>>,
    referee: &mut Session<LlamaTarget<'_>>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    // None after a step that needed no pass.
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

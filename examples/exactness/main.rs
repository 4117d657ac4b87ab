//! Checks that every method gives the same tokens as plain decoding.
//!
//! ```text
//! cargo run --release --example exactness -- -m MODEL.gguf --questions FILE.jsonl
//! ```
//!
//! Answers all questions greedily, first without drafts, then with each method at each tree
//! capacity, and compares the tokens. Trees are filled to their capacity, unless `--sized-trees` is
//! given.
//!
//! A difference is a rounding tie in two cases. Kernels round differently for other batch sizes.
//!
//! - The relative gap between the two logits is below 1e-3.
//! - The gap depends on the batch size: the answer is decoded without drafts in pieces of 1, 2, 3,
//!   4
//!   and 8 tokens, and the gap varies by at least its smallest value.
//!
//! Any other difference is a failure, and the exit code is not 0.

mod compare;
mod drafter;
mod plain;

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Parser;
use logitspec::engine::{Method, Session, SessionOptions};
use logitspec::runtime::ChatTemplate;
use logitspec::runtime::llama::{ContextOptions, FlashAttention, LlamaTarget, Model, ModelOptions};

use compare::{Tally, compare};

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
    /// Draft from earlier questions and their answers, too
    #[arg(long)]
    history: bool,
    /// Start with a history of all questions, with every third token replaced; includes --history
    #[arg(long)]
    poison: bool,
    /// Draft from a corpus, too
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Draft tree capacities
    #[arg(long, value_delimiter = ',', default_value = "8,64,200")]
    capacities: Vec<usize>,
    /// Most new tokens a turn
    #[arg(short = 'n', long, default_value_t = 1024)]
    max_new_tokens: usize,
    /// Take every STRIDE-th question, starting with number OFFSET (from 0)
    #[arg(long, default_value_t = 1)]
    stride: usize,
    /// See --stride
    #[arg(long, default_value_t = 0)]
    offset: usize,
    /// Only questions with an even id, which the replay model was trained on
    #[arg(long)]
    even: bool,
    /// Chat template; `none` for the bare text of each turn
    #[arg(long, default_value = "vicuna")]
    template: String,
    /// Make control tokens of their spellings in questions
    #[arg(long)]
    parse_special: bool,
    /// Size trees by the cost of a pass instead of filling them to their capacity
    #[arg(long)]
    sized_trees: bool,
    /// No flash attention. Its rounding depends more on the size of a pass than that of other
    /// kernels
    #[arg(long)]
    no_flash_attn: bool,
    /// Threads
    #[arg(short = 't', long)]
    threads: Option<u32>,
    /// Context size
    #[arg(short = 'c', long, default_value_t = 4096)]
    ctx_size: u32,
    /// Every STEPS steps, compare the last row with that of a fresh decode of the text; 0 for never
    #[arg(long, default_value_t = 0, value_name = "STEPS")]
    check_logits: usize,
}

/// A method at a capacity, and its results so far.
struct Run<'a> {
    method: Method,
    capacity: usize,
    session: Session<LlamaTarget<'a>>,
    tally: Tally,
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
    let questions = plain::read_questions(&args)?;
    let mut baseline = session(&model, &args, Method::Baseline, 1)?;
    let mut referee = session(&model, &args, Method::Baseline, 1)?;
    let mut runs = runs(&model, &args, &questions)?;
    for (done, question) in questions.iter().enumerate() {
        let turns = plain::answer(&mut baseline, &model, template.as_ref(), question, &args)?;
        for run in &mut runs {
            if args.history || args.poison {
                run.session.end_request();
            } else {
                run.session.reset();
            }
            for turn in 0..turns.len() {
                let name = format!(
                    "question {} {} at {}",
                    question.id, run.method, run.capacity
                );
                let (session, tally) = (&mut run.session, &mut run.tally);
                compare(session, &mut referee, &turns, turn, &args, tally, &name)?;
            }
        }
        eprint!("\r{}/{} questions", done + 1, questions.len());
    }
    eprintln!();
    runs.iter().for_each(print);
    let failures: usize = runs.iter().map(|run| run.tally.failures).sum();
    ensure!(
        failures == 0,
        "{failures} answers differ by more than a rounding tie"
    );
    Ok(())
}

/// All methods at all capacities.
fn runs<'a>(
    model: &'a Model,
    args: &Args,
    questions: &[plain::Question],
) -> anyhow::Result<Vec<Run<'a>>> {
    let methods = match args.methods.as_slice() {
        [] => Method::ALL
            .into_iter()
            .filter(|&it| it != Method::Baseline)
            .collect(),
        named => named.to_vec(),
    };
    let mut runs = Vec::new();
    for method in methods {
        for &capacity in &args.capacities {
            let session = session(model, args, method, capacity)?
                .with_drafter(drafter::new(model, args, method, questions)?);
            let tally = Tally::default();
            runs.push(Run {
                method,
                capacity,
                session,
                tally,
            });
        }
    }
    Ok(runs)
}

fn print(run: &Run<'_>) {
    let Run {
        method,
        capacity,
        tally,
        ..
    } = run;
    println!(
        "{method:20} capacity {capacity:4}: {} turns, {} tokens, {:.3} accepted per step, \
         {} rounding ties, {} differences, {} rows within {:.1e} of a fresh decode",
        tally.turns,
        tally.tokens,
        tally.tokens as f64 / tally.steps.max(1) as f64,
        tally.ties,
        tally.failures,
        tally.rows,
        tally.worst_row,
    );
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
        // Large trees test more.
        fill_tree: !args.sized_trees,
        ..SessionOptions::default()
    };
    Ok(Session::open(model, &context, options)?)
}

/// Progress of a prefill. Never stops it.
fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

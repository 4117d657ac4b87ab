//! `logitspec exactness`: are the answers of every method those of plain decoding?

mod compare;
mod output;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::bench::prompt::{Conversation, Prompter};
use crate::bench::{Question, read_questions};
use crate::cli::conversation::TemplateArgs;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::interrupt::{is_raised, watch_for_ctrl_c};
use crate::cli::model::data_folders;
use crate::cli::model_args::ModelArgs;
use crate::cli::progress::bar;
use crate::cli::sampling::SamplingArgs;
use crate::engine::{Method, RequestOptions, Session, SessionOptions};
use crate::runtime::TargetModel;
use crate::runtime::llama::LlamaTarget;
use compare::{Report, Run, Turn};

/// Check that every method gives the answers of plain decoding, on your model and machine
///
/// Answers each question by plain decoding, and then with every method and size of draft trees.
/// Compares the tokens, and the logits of every step bit by bit. Prints how many answers are
/// identical, and the first difference of each other one. The exit code is 0 if all are identical.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  logitspec exactness -m model.gguf
  logitspec exactness -m model.gguf --questions my.jsonl --methods logitspec -n 256 -t 2")]
pub(super) struct ExactnessArgs {
    /// Question file: JSON Lines with question_id and turns [default: the bundled questions]
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,

    /// Stop after so many questions
    #[arg(long, alias = "question_end", value_name = "N")]
    question_end: Option<usize>,

    /// Methods to check [default: all]
    #[arg(long, value_delimiter = ',', value_name = "METHODS")]
    methods: Vec<Method>,

    /// Sizes of draft trees, which are filled whatever a pass costs. logitspec is also checked with
    /// trees of the size that pays
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "16,64,200",
        value_name = "SIZES",
        value_parser = clap::value_parser!(u16).range(2..=1024)
    )]
    capacities: Vec<u16>,

    /// Maximum number of new tokens per turn
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 128,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    max_new_tokens: u32,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(super) fn run(args: &ExactnessArgs) -> anyhow::Result<Outcome> {
    let interrupted = watch_for_ctrl_c();
    let questions = args.read_questions()?;
    let sampling = args.sampling.params()?;
    let model = args.model.load(interrupted)?;
    let sampling = args
        .sampling
        .with_vocabulary(sampling, &model.vocabulary())?;
    let request = RequestOptions::from(sampling);
    let prompter = args.template.prompter(&model)?;
    let limit = args.max_new_tokens as usize;
    let mut needed = 0;
    for question in &questions {
        needed = needed.max(prompter.longest(question, limit)?.tokens);
    }
    let plain = SessionOptions {
        method: Method::Baseline,
        draft_tree_capacity: 1,
        ..SessionOptions::default()
    };
    let context = args.model.context(&model, needed + args.largest());
    let open = |options| -> anyhow::Result<_> {
        Ok(Session::open(&model, &context, options)?.with_request(request.clone()))
    };
    let mut baseline = open(plain)?;
    let mut runs = Vec::new();
    for options in args.options(plain) {
        runs.push(Run::new(open(options)?, options));
    }
    let progress = bar(
        questions.len() as u64,
        "answering {bar:32} {pos}/{len} {eta}",
    );
    for question in &questions {
        let done = check(
            question,
            &prompter,
            &mut baseline,
            &mut runs,
            limit,
            interrupted,
        )?;
        if !done {
            break;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let reports: Vec<Report> = runs.into_iter().map(|run| run.report).collect();
    output::print(args.json, &model, &reports)?;
    Ok(if is_raised(interrupted) {
        Outcome::Interrupted
    } else if reports.iter().all(Report::is_exact) {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

/// Answers the turns of a question by plain decoding and with every run. `false` if Ctrl-C stopped
/// it.
fn check(
    question: &Question,
    prompter: &Prompter<'_>,
    baseline: &mut Session<LlamaTarget<'_>>,
    runs: &mut [Run<'_>],
    limit: usize,
    interrupted: &AtomicBool,
) -> anyhow::Result<bool> {
    baseline.reset();
    runs.iter_mut().for_each(Run::reset);
    let mut conversation: Conversation<'_> = prompter.conversation();
    for (number, text) in question.turns.iter().enumerate() {
        let before = baseline.text().to_vec();
        let prompt = conversation.next(text, &before)?;
        if prompt.keep + prompt.tokens.len() >= baseline.model().n_ctx() {
            break;
        }
        let turn = Turn::answer(baseline, question.question_id, number, prompt, limit)?;
        for run in &mut *runs {
            if is_raised(interrupted) {
                return Ok(false);
            }
            run.compare(&before, &turn, limit)?;
        }
        conversation.answered(turn.answer_tokens());
    }
    Ok(true)
}

impl ExactnessArgs {
    fn largest(&self) -> usize {
        self.capacities.iter().copied().max().unwrap_or(2).into()
    }

    /// Every method at every capacity, and `logitspec` with trees of the size that pays.
    fn options(&self, plain: SessionOptions) -> Vec<SessionOptions> {
        let all = || Method::ALL.into_iter().filter(|&it| it != Method::Baseline);
        let methods = match self.methods.as_slice() {
            [] => all().collect(),
            named => named.to_vec(),
        };
        let mut options = Vec::new();
        for method in methods {
            let sized = SessionOptions {
                method,
                draft_tree_capacity: 64,
                ..plain
            };
            options.extend(method.weighs_cost().then_some(sized));
            options.extend(self.capacities.iter().map(|&capacity| SessionOptions {
                draft_tree_capacity: capacity.into(),
                fill_tree: true,
                ..sized
            }));
        }
        options
    }

    fn read_questions(&self) -> anyhow::Result<Vec<Question>> {
        let file = match &self.questions {
            Some(file) => file.clone(),
            None => bundled_questions()?,
        };
        let set = read_questions(&file)
            .map_err(|error| user_error(format!("{error}; check --questions")))?;
        for skipped in &set.skipped {
            tell_line!("note: {skipped}");
        }
        let mut questions = set.questions;
        questions.truncate(self.question_end.unwrap_or(usize::MAX));
        if questions.is_empty() {
            return Err(user_error("no question is left: raise --question-end"));
        }
        Ok(questions)
    }
}

fn bundled_questions() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().ok();
    let mut files = std::iter::once(PathBuf::from("data"))
        .chain(data_folders(program.as_deref()))
        .map(|folder| folder.join("demo_bench/question.jsonl"));
    files
        .find(|file| file.is_file())
        .ok_or_else(|| user_error("no bundled questions here: name a file with --questions"))
}

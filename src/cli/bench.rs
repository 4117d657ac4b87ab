//! `logitspec bench`: several methods answer a question set.

mod contestants;
mod factory;
mod logs;
mod progress;
mod questions;
mod settings;
mod summary;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::bench::prompt::Prompter;
use crate::bench::run::{Finished, Order, Plan, run as run_plan};
use crate::bench::{Question, QuestionSet};
use crate::cli::args::{DraftArgs, SizeArgs, TreeArgs, session_options};
use crate::cli::conversation::TemplateArgs;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::history::{HistoryArgs, InitialMemory};
use crate::cli::llama_server::ServerArgs;
use crate::cli::model_args::ModelArgs;
use crate::cli::questions::context_of_questions;
use crate::cli::sampling::SamplingArgs;
use crate::cli::stdout::{print_json, stdout};
use crate::cli::stop;
use crate::engine::{Method, SessionOptions};
use crate::runtime::llama::{ContextOptions, Model, default_threads};
use contestants::{Contestant, NamedMethod};
use factory::Factory;
use progress::Progress;
use settings::Settings;

/// Compare methods on a question set
///
/// Every method answers every question, in rotating order. Each answer is on disk before the next
/// question is asked. If the run is stopped, the same command (without --overwrite) continues where
/// it stopped. `logitspec report` makes tables and plots of the answer files.
///
/// Examples:
///   logitspec bench -m vicuna.gguf --bench-name spec_bench --template vicuna
///   logitspec bench -m model.gguf --questions my.jsonl --methods baseline,prompt-lookup -n 256
///   logitspec bench -m model.gguf --bench-name demo_bench --llama-server path/to/llama-server
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct BenchArgs {
    /// Name of the question set: the file question.jsonl in the folder NAME of --data-dir
    #[arg(long, alias = "bench_name", value_name = "NAME")]
    bench_name: Option<String>,

    /// Folder of the question sets [default: data, here or where the program was built]
    #[arg(long, alias = "data_dir", value_name = "FOLDER")]
    data_dir: Option<PathBuf>,

    /// A question file, instead of --bench-name
    #[arg(long, value_name = "FILE", conflicts_with = "bench_name")]
    questions: Option<PathBuf>,

    /// Methods, separated by commas. NAME=METHOD gives a method another name, so that it can run
    /// twice
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "baseline,logitspec",
        value_name = "METHODS"
    )]
    methods: Vec<NamedMethod>,

    /// First question to ask, counted from 0 in the file's order
    #[arg(long, alias = "question_begin", value_name = "N")]
    question_begin: Option<usize>,

    /// The question after the last one to ask
    #[arg(long, alias = "question_end", value_name = "N")]
    question_end: Option<usize>,

    /// Answers to each question; only the first one counts in reports
    #[arg(
        long,
        alias = "num_choices",
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    num_choices: u32,

    /// Maximum number of new tokens per answer
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 1024,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..)
    )]
    max_new_tokens: usize,

    /// The model's name in records and file names [default: the name of its file]
    #[arg(long, alias = "model_id", value_name = "NAME")]
    model_id: Option<String>,

    /// The answer file, if there is only one method
    #[arg(
        long,
        alias = "answer_file",
        value_name = "FILE",
        conflicts_with = "answer_dir"
    )]
    answer_file: Option<PathBuf>,

    /// Folder of the answer files [default: model_answer beside the question file]
    #[arg(long, alias = "answer_dir", value_name = "FOLDER")]
    answer_dir: Option<PathBuf>,

    /// Warm-up: how often each method answers the last question before the measurements
    #[arg(long, default_value_t = 3, value_name = "N")]
    warmup: u32,

    /// Number of runs over the whole set, for `logitspec report --mean-report`
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    repeat: u32,

    /// Run method by method, as the original project does, instead of question by question
    #[arg(long)]
    sequential: bool,

    /// Start over: answers already in the files are lost. Leave it out to continue a stopped run
    #[arg(long)]
    overwrite: bool,

    /// Number of questions answered in parallel, each in its own context and with its share of the
    /// cores (or with -t threads). They slow each other down, and the measured speeds include that
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    jobs: u32,

    #[command(flatten)]
    server: ServerArgs,

    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,

    /// Record the model's K best candidates for each token with their logits, so that `logitspec
    /// simulate --answers` can replay methods that draft from logits. This takes time, which is
    /// measured, too. Only baseline records candidates for every token
    #[arg(
        long,
        default_value_t = 0,
        value_name = "K",
        value_parser = RangedU64ValueParser::<usize>::new().range(0..=1024)
    )]
    ranked: usize,

    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    tree: TreeArgs,
    #[command(flatten)]
    history: HistoryArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<Outcome> {
    let stop = stop::watch_for_ctrl_c();
    let contestants = contestants::all(args)?;
    let mut options = args.session_options()?;
    let sampling = args.sampling.params()?;
    let question_file = args.question_file()?;
    let mut set = args.read_questions(&question_file)?;

    let model = args.model.load(stop)?;
    options.exact = model.is_exact();
    let sampling = args
        .sampling
        .with_vocabulary(sampling, &model.vocabulary())?;
    let prompter = args.template.prompter(&model)?;
    // The context fits the whole set, so that all slices of it run with equal contexts.
    let context = args.context(&model, &prompter, &set)?;
    args.slice(&mut set)?;
    if let Some(reason) = model.cannot_draft(&context) {
        tell_line!("note: every method decodes without drafts: {reason}");
    }
    let memory = args.initial_memory(&model, &contestants)?;
    let server = args.server.start(&args.model, &model, &context, stop)?;

    let model_id = args.model_id(&model);
    let settings = Settings::new(args, &model, &context, &question_file, server.as_ref())?;
    let logs = args.open_logs(
        &contestants,
        &question_file,
        &set,
        &model_id,
        &settings,
        options,
    )?;
    let names: Vec<String> = contestants.iter().map(Contestant::name).collect();
    let plan = args.plan(&model_id, &names, &set.questions);
    let factory = Factory {
        contestants: &contestants,
        model: &model,
        context: &context,
        prompter: &prompter,
        server: server.as_ref(),
        memory: &memory,
        shared_memory: memory.copy(),
        keeps_history: args.history.history,
        options,
        request: sampling.into(),
        max_new_tokens: args.max_new_tokens,
    };
    let mut progress = Progress::new(&names, &set.questions);
    let finished = run_plan(&plan, logs, &factory, stop, &mut |event| {
        progress.show(event)
    });
    progress.end();
    let finished = finished?;
    drop(server);
    args.print(&finished, &names, &model_id, &question_file)?;
    Ok(Outcome::done_or(finished.interrupted))
}

impl BenchArgs {
    fn plan<'a>(
        &self,
        model_id: &'a str,
        names: &'a [String],
        questions: &'a [Question],
    ) -> Plan<'a> {
        Plan {
            repeats: self.repeat,
            num_choices: self.num_choices,
            warmup: self.warmup,
            order: match self.sequential {
                true => Order::Sequential,
                false => Order::Rotating,
            },
            jobs: self.jobs as usize,
            ..Plan::new(model_id, names, questions)
        }
    }

    fn session_options(&self) -> anyhow::Result<SessionOptions> {
        let draft = DraftArgs {
            method: Method::default(),
            size: self.size,
            tree: self.tree.clone(),
        };
        let mut options = session_options(&draft)?;
        options.ranked = self.ranked;
        options.method_params.suffix.max_cached_tokens = self.history.common.pool_max_tokens();
        Ok(options)
    }

    /// The memory that every method starts from.
    fn initial_memory(
        &self,
        model: &Model,
        contestants: &[Contestant],
    ) -> anyhow::Result<InitialMemory> {
        if self.ranked > 0 && contestants.iter().any(Contestant::drafts) {
            tell_line!(
                "note: --ranked records candidates for the first token of each step: methods that \
                 draft have tokens without candidates"
            );
        }
        if self.history.history && self.jobs > 1 {
            return Err(user_error(
                "--history needs the order of the questions, which --jobs does not keep: leave out \
                 one of the two",
            ));
        }
        let methods: Vec<Method> = contestants.iter().filter_map(Contestant::method).collect();
        self.history
            .open(&methods, || Ok(model.vocabulary().fingerprint()))
    }

    /// A context that holds the longest conversation, up to the trained context.
    fn context(
        &self,
        model: &Model,
        prompter: &Prompter<'_>,
        set: &QuestionSet,
    ) -> anyhow::Result<ContextOptions> {
        let capacity = self.tree.draft_tree_capacity;
        let limit = self.max_new_tokens;
        let questions = &set.questions;
        Ok(ContextOptions {
            threads: Some(self.threads()),
            ..context_of_questions(&self.model, model, prompter, questions, limit, capacity)?
        })
    }

    /// Threads of each context. The jobs share the cores, because more threads than cores would
    /// wait for each other.
    fn threads(&self) -> u32 {
        let shared = || (default_threads() / self.jobs).max(1);
        self.model.threads.unwrap_or_else(shared)
    }

    fn model_id(&self, model: &Model) -> String {
        let stem = || model.path().file_stem().unwrap_or_default();
        self.model_id
            .clone()
            .unwrap_or_else(|| stem().to_string_lossy().into_owned())
    }

    fn print(
        &self,
        finished: &Finished,
        names: &[String],
        model_id: &str,
        questions: &Path,
    ) -> anyhow::Result<()> {
        let summaries = finished.summaries(names);
        if self.json {
            let report = json!({
                "model_id": model_id,
                "questions": questions,
                "interrupted": finished.interrupted,
                "methods": summaries,
            });
            print_json(&report)?;
        } else {
            let mut out = stdout();
            let table = summary::table(&summaries);
            out.write_all(table.as_bytes())?;
            if let Some(hint) = summary::report_hint(&summaries) {
                writeln!(out, "{hint}")?;
            }
        }
        if finished.interrupted {
            let how = match self.overwrite {
                true => " without --overwrite",
                false => "",
            };
            tell_line!("stopped; the same command{how} continues where it stopped");
        }
        Ok(())
    }
}

//! `logitspec bench`: a question set, answered by several methods.

mod interrupt;
mod methods;
mod progress;
mod server;
mod settings;

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::bench::engine::{EngineAnswerer, SharedTarget};
use crate::bench::prompt::Prompter;
use crate::bench::run::{Finished, Lane, Maker, Order, Plan, RunError, Skip, run as run_plan};
use crate::bench::server::ServerAnswerer;
use crate::bench::{QuestionError, QuestionSet, check_replaceable, read_questions};
use crate::cli::args::{DraftArgs, ModelArgs, SamplingArgs, SizeArgs, TreeArgs, session_options};
use crate::cli::bench::methods::{Bencher, NamedMethod};
use crate::cli::bench::progress::Progress;
use crate::cli::bench::settings::Settings;
use crate::cli::calibrate::known_cost;
use crate::cli::conversation::{TemplateArgs, opening};
use crate::cli::earlier::{EarlierArgs, Remembered};
use crate::cli::exit::{Outcome, user_error};
use crate::cli::model::data_folders;
use crate::cli::stdout::{print_json, stdout};
use crate::engine::{Method, SessionOptions};
use crate::files::is_same_file;
use crate::runtime::llama::{ContextOptions, Model, default_threads};

/// Measure methods on a question set
///
/// Every question is answered by every method, in rotating order, and each answer is on the disk
/// before the next question is asked: a run that is stopped, by whatever, goes on where it stopped
/// when the same command is given again (without --overwrite). `logitspec report` makes tables and
/// plots of the answer files.
///
/// Examples: logitspec bench -m vicuna.gguf --bench-name spec_bench --template vicuna logitspec
/// bench -m model.gguf --questions my.jsonl --methods baseline,logitspec,prompt-lookup -n 256
/// logitspec bench -m model.gguf --bench-name demo_bench --llama-server
/// llama.cpp/build/bin/llama-server
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct BenchArgs {
    /// The question set NAME: the file question.jsonl in the folder NAME of --data-dir
    #[arg(long, alias = "bench_name", value_name = "NAME")]
    bench_name: Option<String>,

    /// Folder of the question sets [default: data, here or where the program was built]
    #[arg(long, alias = "data_dir", value_name = "FOLDER")]
    data_dir: Option<PathBuf>,

    /// A question file, instead of --bench-name
    #[arg(long, value_name = "FILE", conflicts_with = "bench_name")]
    questions: Option<PathBuf>,

    /// Methods, separated by commas; NAME=METHOD gives one another name, so that it can be run
    /// beside itself
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "baseline,logitspec",
        value_name = "METHODS"
    )]
    methods: Vec<NamedMethod>,

    /// Number of the first question, counted from 0 in the file's order
    #[arg(long, alias = "question_begin", value_name = "N")]
    question_begin: Option<usize>,

    /// Number of the question after the last
    #[arg(long, alias = "question_end", value_name = "N")]
    question_end: Option<usize>,

    /// Answers to each question; the first is the one that is measured
    #[arg(long, alias = "num_choices", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    num_choices: u32,

    /// Most tokens of an answer
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

    /// Where the answers go, if there is one method only
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

    /// How often each method answers the last question before anything is measured
    #[arg(long, default_value_t = 3, value_name = "N")]
    warmup: u32,

    /// How often the whole set is run, for `logitspec report --mean-report`
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// One method after the other, as the original does, instead of question by question
    #[arg(long)]
    sequential: bool,

    /// Start afresh: what is in the answer files is lost. To go on with a run that was stopped,
    /// leave it out
    #[arg(long)]
    overwrite: bool,

    /// Questions answered at the same time, each in a context of its own and with its share of the
    /// cores (unless -t says otherwise); the speeds then are of a shared machine
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,

    /// Measure this llama-server (llama.cpp's own) on the same model and questions, too
    #[arg(long, alias = "llama_server", value_name = "PROGRAM")]
    llama_server: Option<PathBuf>,

    /// More flags for it, for example "--spec-type ngram-simple"
    #[arg(
        long,
        alias = "llama_server_args",
        value_name = "FLAGS",
        requires = "llama_server",
        allow_hyphen_values = true
    )]
    llama_server_args: Option<String>,

    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,

    /// Keep, with each token, the model's K best candidates for it and their logits: `logitspec
    /// simulate --answers` then replays methods that draft from logits. Takes time that counts, and
    /// is complete for baseline alone
    #[arg(long, default_value_t = 0, value_name = "K", value_parser = RangedU64ValueParser::<usize>::new().range(0..=1024))]
    ranked: usize,

    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    tree: TreeArgs,
    #[command(flatten)]
    earlier: EarlierArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<Outcome> {
    let stop = interrupt::watch_for_ctrl_c();
    let benchers = methods::all(args)?;
    let options = args.session_options()?;
    let question_file = args.question_file()?;
    let mut set = args.read_questions(&question_file)?;

    let model = args.model.load(stop)?;
    let prompter = Prompter::new(
        model.vocabulary(),
        args.template.choose(&model)?,
        opening(args.template.system.as_deref()),
    );
    // Of the whole set: slices of it are run with equal contexts.
    let context = args.context(&model, &prompter, &set)?;
    args.slice(&mut set)?;
    if let Some(reason) = model.cannot_draft(&context) {
        tell_line!("note: every method decodes plainly, nothing can be drafted: {reason}");
    }

    let remembered = args.remembered(&model, &benchers)?;
    // Once, if none of the methods adds to it.
    let shared = remembered.fresh();
    let server = server::start(args, &model, &context, stop)?;
    let model_id = args.model_id(&model);
    let settings = Settings::new(args, &model, &context, &question_file, &server)?;
    let beside = args.answers_beside(&question_file);
    let mut places = Vec::new();
    for repeat in 0..args.repeat {
        for (number, bencher) in benchers.iter().enumerate() {
            let path = args.answer_path(&beside, &model_id, &bencher.name(), repeat);
            places.push((repeat, number, path));
        }
    }
    // All of them before any is begun with: none is lost if one cannot be.
    for (_, _, path) in &places {
        if is_same_file(path, &question_file) {
            return Err(user_error(format!(
                "--answer-file {}: that is the question file; name another",
                path.display()
            )));
        }
        if args.overwrite {
            check_replaceable(path).map_err(RunError::from)?;
        }
    }
    let mut lanes = Vec::new();
    for (repeat, number, path) in places {
        let bencher = &benchers[number];
        let manifest = settings.manifest(bencher, options);
        let mut lane = Lane::open(&path, &manifest, args.overwrite, number, repeat)?;
        for skipped in &set.skipped {
            lane.skip(Skip::from(skipped))?;
        }
        if args.earlier.history && lane.answered() > 0 {
            tell_line!(
                "note: {}: the questions answered before are not in the history; --overwrite asks them again",
                path.display()
            );
        }
        for notice in &lane.notices {
            tell_line!("note: {notice}");
        }
        if let Some(commit) = &lane.other_commit {
            tell_line!("note: {}: resumed although {commit}", path.display());
        }
        lanes.push(lane);
    }

    let names: Vec<String> = benchers.iter().map(Bencher::name).collect();
    let plan = Plan {
        repeats: args.repeat,
        num_choices: args.num_choices,
        warmup: args.warmup,
        order: args.order(),
        jobs: args.jobs as usize,
        ..Plan::new(&model_id, &names, &set.questions)
    };
    let makers = || -> Maker<'_> {
        let (model, prompter, benchers) = (&model, &prompter, &benchers);
        let (server, remembered, shared) = (&server, &remembered, &shared);
        let most = args.max_new_tokens;
        let mut target: Option<SharedTarget<'_>> = None;
        Box::new(move |method| match (&benchers[method], server) {
            (Bencher::Server(_), Some(server)) => Ok(Box::new(ServerAnswerer::new(
                server,
                prompter,
                options.sampling,
                most,
                context.n_ctx.unwrap_or_default() as usize,
            ))),
            (bencher, _) => {
                let options = bencher.session_options(options);
                let target = match &target {
                    Some(target) => Rc::clone(target),
                    None => {
                        let made = Rc::new(RefCell::new(model.context(&context)?));
                        Rc::clone(target.insert(made))
                    }
                };
                let cost = known_cost(model, &context, &options);
                let answerer = EngineAnswerer::new(target, prompter, options, most, cost);
                let history = args.earlier.history;
                let memory = move || match history {
                    true => remembered.fresh(),
                    false => shared.clone(),
                };
                Ok(Box::new(answerer.with_memory(memory, history)))
            }
        })
    };
    let mut progress = Progress::new(&names, &set.questions);
    let finished = run_plan(&plan, lanes, &makers, stop, &mut |event| {
        progress.show(event)
    });
    progress.end();
    let finished = finished?;
    drop(server);
    args.print(&finished, &names, &model_id, &question_file)?;
    Ok(match finished.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::Done,
    })
}

impl BenchArgs {
    fn order(&self) -> Order {
        match self.sequential {
            true => Order::Sequential,
            false => Order::Rotating,
        }
    }

    fn session_options(&self) -> anyhow::Result<SessionOptions> {
        let draft = DraftArgs {
            method: Method::default(),
            size: self.size,
            tree: self.tree.clone(),
        };
        let mut options = session_options(&draft, &self.sampling)?;
        options.ranked = self.ranked;
        options.method_params.suffix.max_cached_tokens = self.earlier.texts.pool_max_tokens();
        Ok(options)
    }

    /// What methods may copy from beside the conversation, at the beginning.
    fn remembered(&self, model: &Model, benchers: &[Bencher]) -> anyhow::Result<Remembered> {
        let drafts = benchers.iter().any(Bencher::drafts);
        if self.ranked > 0 && drafts {
            tell_line!(
                "note: --ranked records candidates where steps begin: of methods that draft, some tokens have none"
            );
        }
        if self.earlier.history && self.jobs > 1 {
            return Err(user_error(
                "--history goes by the order of the questions, which --jobs does not keep: leave out one of the two",
            ));
        }
        let methods: Vec<Method> = benchers.iter().filter_map(Bencher::method).collect();
        self.earlier
            .open(&methods, || Ok(model.vocabulary().fingerprint()))
    }

    fn question_file(&self) -> anyhow::Result<PathBuf> {
        match (&self.questions, &self.bench_name) {
            (Some(file), _) => Ok(file.clone()),
            (None, Some(name)) => Ok(self.question_set(name)),
            (None, None) => Err(user_error(
                "no questions: name a set with --bench-name NAME, or a file with --questions FILE",
            )),
        }
    }

    fn question_set(&self, name: &str) -> PathBuf {
        let file = |folder: PathBuf| folder.join(name).join("question.jsonl");
        let here = file(self.data_dir());
        if self.data_dir.is_some() || here.exists() {
            return here;
        }
        let program = std::env::current_exe().ok();
        let mut built = data_folders(program.as_deref()).into_iter().map(file);
        built.find(|file| file.is_file()).unwrap_or(here)
    }

    /// The file that answers lie beside if nothing else is said: of a set by its name, that in the
    /// data folder here, wherever its questions were found.
    fn answers_beside(&self, question_file: &Path) -> PathBuf {
        match (&self.questions, &self.bench_name) {
            (None, Some(name)) => self.data_dir().join(name).join("question.jsonl"),
            _ => question_file.into(),
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| "data".into())
    }

    fn read_questions(&self, file: &Path) -> anyhow::Result<QuestionSet> {
        let set = read_questions(file).map_err(|error| match (&error, &self.bench_name) {
            (QuestionError::Read { .. }, Some(name)) => user_error(format!(
                "{error}; is there a question set {name} in --data-dir {}{}? (scripts/fetch_data.sh gets those that papers use)",
                self.data_dir().display(),
                match self.data_dir {
                    Some(_) => "",
                    None => ", or where the program was built",
                }
            )),
            (QuestionError::Read { .. }, None) => {
                user_error(format!("{error}; check --questions"))
            }
            _ => error.into(),
        })?;
        for skipped in &set.skipped {
            tell_line!("note: {skipped}");
        }
        Ok(set)
    }

    fn slice(&self, set: &mut QuestionSet) -> anyhow::Result<()> {
        let all = set.questions.len();
        set.slice(self.question_begin, self.question_end);
        if set.questions.is_empty() {
            return Err(user_error(format!(
                "no question is left: --question-begin {} and --question-end {} leave none of the {all} in the file",
                self.question_begin.unwrap_or(0),
                self.question_end.unwrap_or(all)
            )));
        }
        Ok(())
    }

    /// A context that the longest conversation fits into, as far as the model was trained for it.
    fn context(
        &self,
        model: &Model,
        prompter: &Prompter<'_>,
        set: &QuestionSet,
    ) -> anyhow::Result<ContextOptions> {
        let mut needed = 0;
        for question in &set.questions {
            needed = needed.max(prompter.longest(question, self.max_new_tokens)?);
        }
        let needed = needed.saturating_add(self.tree.draft_tree_capacity);
        // llama.cpp rounds up to this anyway.
        let needed = needed.checked_next_multiple_of(256).unwrap_or(needed);
        Ok(ContextOptions {
            threads: Some(self.threads()),
            draft_tree_capacity: self.tree.draft_tree_capacity,
            ..self.model.context(model, needed)
        })
    }

    /// Threads of each context. The cores are shared out among the jobs: more threads than cores
    /// would wait for each other.
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

    /// `data/<bench>/model_answer/<model-id>-<method>-temp-<t>.jsonl`; repeats after the first are
    /// numbered.
    fn answer_path(&self, questions: &Path, model_id: &str, method: &str, repeat: u32) -> PathBuf {
        let file = match &self.answer_file {
            Some(file) => file.clone(),
            None => {
                let folder = self.answer_dir.clone();
                let beside = || questions.with_file_name("model_answer");
                // A name from the Hub has a slash in it.
                let model_id = model_id.replace(['/', '\\'], "-");
                let temperature = self.sampling.temperature;
                folder
                    .unwrap_or_else(beside)
                    .join(format!("{model_id}-{method}-temp-{temperature:?}.jsonl"))
            }
        };
        if repeat == 0 {
            return file;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(".jsonl").unwrap_or(&name);
        file.with_file_name(format!("{stem}-repeat-{repeat}.jsonl"))
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
            let table = progress::table(&summaries);
            out.write_all(table.as_bytes())?;
            if let Some(hint) = progress::report_hint(&summaries) {
                writeln!(out, "{hint}")?;
            }
        }
        if finished.interrupted {
            let how = match self.overwrite {
                true => " without --overwrite",
                false => "",
            };
            tell_line!("stopped; the same command{how} goes on where it stopped");
        }
        Ok(())
    }
}

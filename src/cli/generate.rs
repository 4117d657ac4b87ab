//! `logitspec generate`: one prompt, one answer.

mod framing;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::cli::args::{DraftArgs, session_options, token_limit};
use crate::cli::colors::has_color;
use crate::cli::cost::known_cost;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::interrupt::{flow, watch_for_ctrl_c};
use crate::cli::json::{AnswerJson, logprobs};
use crate::cli::memory::MemoryArgs;
use crate::cli::model_args::ModelArgs;
use crate::cli::output::{AnswerPrinter, note_if_cut, note_if_empty, note_if_limited, statistics};
use crate::cli::progress::prefill_bar;
use crate::cli::prompt::PromptArgs;
use crate::cli::request::{GrammarArgs, RequestFlags, StopArgs};
use crate::cli::sampling::SamplingArgs;
use crate::cli::stdout::{print_json, stdout};
use crate::cli::trace::{TraceWriter, may_be_replaced};
use crate::engine::{FinishReason, GenerateError, Generation, Session};
use crate::files::is_same_place;
use crate::runtime::TargetModel;
use crate::runtime::llama::{LlamaTarget, Model};
use framing::{Framed, FramingArgs};

/// Answer one prompt
///
/// The prompt comes from -p, from a file (-f), or from standard input. It is asked as a question if
/// the model has a chat template; --raw continues it as plain text. The answer is printed while it
/// is generated. Statistics about speed and drafts follow on standard error.
///
/// Examples:
///   logitspec generate -m vicuna-7b-v1.3.Q8_0.gguf -p "Why is the sky blue?"
///   logitspec generate -m codellama-7b.Q4_0.gguf --raw -f main.py -n 200 --color-drafts
///   cat article.txt | logitspec generate -m model.gguf --json | jq .mean_accepted_tokens
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    prompt: PromptArgs,

    /// Maximum number of new tokens; -1 for as many as the context holds
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 1024,
        value_name = "N",
        value_parser = token_limit
    )]
    max_new_tokens: usize,

    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,

    /// With --json: the log-probability of each token, and the K most probable ones in its place.
    /// The probabilities are the model's own, before any sampler
    #[arg(long, value_name = "K", requires = "json")]
    logprobs: Option<usize>,

    /// Show control tokens in the answer
    #[arg(long, alias = "sp")]
    special: bool,

    /// Write each decode step to a file as JSON Lines: candidates, drafted and accepted tokens
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Print accepted draft tokens in the colour of their source. The statistics show the colour of
    /// each source
    #[arg(long, alias = "color_drafts")]
    color_drafts: bool,

    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    framing: FramingArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    stops: StopArgs,
    #[command(flatten)]
    grammar: GrammarArgs,
}

pub(super) fn run(args: &GenerateArgs) -> anyhow::Result<Outcome> {
    let mut options = session_options(&args.draft)?;
    let request = args.request()?;
    args.check_trace()?;
    let prompt_text = args.prompt.read()?;
    // Not earlier: a blocking read of the prompt would continue after a signal that is caught.
    let interrupted = watch_for_ctrl_c();
    let mut trace = args.trace.as_deref().map(TraceWriter::create).transpose()?;
    if trace.is_some() {
        options.ranked = options.draft_tree_capacity;
    }
    let model = args.model.load(interrupted)?;
    let mut request = request.options(&model, args.special)?;
    args.prompt.note_unread_input();
    let prompt = args.framing.frame(&model, &prompt_text)?;
    let bytes = || model.vocabulary().token_bytes(args.special);
    request.stops = request.stops.with_tokens(&prompt.ends, bytes);
    let needed = prompt
        .tokens
        .len()
        .saturating_add(args.max_new_tokens)
        .saturating_add(options.draft_tree_capacity);
    let context = args.model.context(&model, needed);
    check_fit(prompt.tokens.len(), context.n_ctx, &model)?;
    if let Some(reason) = model.cannot_draft(&context) {
        tell_line!("note: decoding without drafts: {reason}");
    }
    let memory = args.memory.open(&model, args.draft.method)?;
    let cost = known_cost(&model, &context, &options, args.json);
    let mut session = Session::open(&model, &context, options)?
        .with_request(request)
        .with_memory(memory.clone())
        .with_cost(cost.start());
    let json = AnswerJson {
        options: &options,
        pass_cost: cost.json(),
        sampling: &args.sampling,
        max_new_tokens: args.max_new_tokens,
    };
    if let Some(trace) = &mut trace {
        trace.header(model.path(), &options, &json.parameters(), &prompt.tokens)?;
    }
    if !args.json {
        tell_line!("note: {}", prompt.note);
    }
    let done = args.answer(&model, &mut session, &prompt, &json, trace, interrupted);
    // The request is kept even if the pipe was closed early.
    session.end_request();
    cost.keep(session.cost());
    args.memory.save_after(done, &memory, &model)
}

impl GenerateArgs {
    /// Generates the answer and prints it, with what follows it.
    fn answer(
        &self,
        model: &Model,
        session: &mut Session<LlamaTarget<'_>>,
        prompt: &Framed,
        json: &AnswerJson<'_>,
        mut trace: Option<TraceWriter>,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<Outcome> {
        let (mut answer, text) =
            self.generate(model, session, prompt, trace.as_mut(), interrupted)?;
        answer.timings.load = model.load_time().as_secs_f64();
        if let Some(trace) = trace {
            trace.finish()?;
        }
        self.print_results(&answer, &text, prompt.tokens.len(), json, model)?;
        let n_ctx = session.model().n_ctx();
        let hint = more_context(n_ctx, model);
        note_if_cut(&answer, self.max_new_tokens, n_ctx, &hint);
        if !self.json {
            note_if_limited(&answer, self.max_new_tokens);
            note_if_empty(&answer, &text, prompt.if_empty);
        }
        match answer.finish {
            FinishReason::Stop | FinishReason::Length => Ok(Outcome::Done),
            FinishReason::Cancelled => Ok(Outcome::Interrupted),
            FinishReason::Failed(error) => Err(error.into()),
        }
    }

    /// Reads the prompt into the context and prints the answer token by token. Also returns its
    /// text.
    fn generate(
        &self,
        model: &Model,
        session: &mut Session<LlamaTarget<'_>>,
        prompt: &Framed,
        mut trace: Option<&mut TraceWriter>,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<(Generation, String)> {
        let vocabulary = model.vocabulary();
        let mut printer = AnswerPrinter::new(vocabulary.shown(self.special), stdout())
            .trim_start(prompt.is_chat)
            .silent(self.json)
            .stops(session.request().stops.clone())
            .color_drafts(self.color_drafts && has_color(&io::stdout()));
        let bar = prefill_bar(prompt.tokens.len());
        let prefilled = session.prefill(&prompt.tokens, &mut |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            flow(interrupted)
        });
        bar.finish_and_clear();
        let mut failed = None;
        let answered = prefilled.and_then(|()| {
            session.generate(self.max_new_tokens, &mut |view| {
                let shown = printer.step(view).map_err(anyhow::Error::from);
                let traced = trace.as_mut().map_or(Ok(()), |trace| trace.step(view));
                failed = shown.and(traced).err();
                match failed {
                    Some(_) => ControlFlow::Break(()),
                    None => flow(interrupted),
                }
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        // Also after an error, so that the text so far ends with a line end.
        let text = printer.finish()?;
        match answered {
            Err(GenerateError::Cancelled) => Ok((Generation::empty(FinishReason::Cancelled), text)),
            other => Ok((other?, text)),
        }
    }

    /// Prints the JSON object, or the statistics after an answer that is already printed.
    fn print_results(
        &self,
        answer: &Generation,
        text: &str,
        prompt_tokens: usize,
        json: &AnswerJson<'_>,
        model: &Model,
    ) -> anyhow::Result<()> {
        if self.json {
            let mut object = json.answer(answer, text, prompt_tokens);
            if self.logprobs.is_some() {
                object["logprobs"] = logprobs(answer, &model.vocabulary());
            }
            print_json(&object)?;
        } else {
            let method = json.options.method;
            let color = self.color_drafts && has_color(&io::stderr());
            let load = answer.timings.load;
            tell!(
                "\n{}",
                statistics(answer, prompt_tokens, method, load, color)
            );
        }
        Ok(())
    }

    /// Refuses a trace that would mix with other output or replace another file.
    fn check_trace(&self) -> anyhow::Result<()> {
        const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
        let Some(trace) = &self.trace else {
            return Ok(());
        };
        let refused = |why: &str| Err(user_error(format!("--trace {} {why}", trace.display())));
        if trace == Path::new("-") {
            return refused("would mix with the answer: give a file");
        }
        if self.json && STDOUT.iter().any(|name| trace == Path::new(name)) {
            return refused(
                "would mix with the output of --json: give a file, or leave out --json",
            );
        }
        if self
            .memory
            .pool_file()
            .is_some_and(|pool| is_same_place(pool, trace))
        {
            return refused("is also the --pool-file: name another file");
        }
        if !may_be_replaced(trace) {
            return refused("exists and is not a trace: name another file, or remove it");
        }
        Ok(())
    }

    /// What is asked for beside the prompt.
    fn request(&self) -> anyhow::Result<RequestFlags<'_>> {
        RequestFlags::new(&self.sampling, &self.stops, &self.grammar, self.logprobs)
    }
}

/// Refuses a prompt that does not fit, before the context is created.
fn check_fit(prompt: usize, n_ctx: Option<u32>, model: &Model) -> anyhow::Result<()> {
    let trained = model.n_ctx_train();
    let n_ctx = n_ctx.unwrap_or(trained);
    if n_ctx > trained {
        tell_line!(
            "note: -c {n_ctx} is more than the {trained} tokens that the model was trained with; \
             expect poor text beyond them"
        );
    }
    if prompt <= n_ctx as usize {
        return Ok(());
    }
    let hint = more_context(n_ctx as usize, model);
    Err(user_error(format!(
        "the prompt has {prompt} tokens, but the context holds {n_ctx}: {hint}"
    )))
}

/// What to do if `n_ctx` tokens are too few.
fn more_context(n_ctx: usize, model: &Model) -> String {
    let trained = model.n_ctx_train();
    if n_ctx < trained as usize {
        format!("raise -c (up to {trained}, the model's trained context) or shorten the prompt")
    } else {
        "shorten the prompt".to_owned()
    }
}

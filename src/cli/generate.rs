//! `logitspec generate`: one prompt, one answer.

use std::io::{self, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::args::{DraftArgs, ModelArgs, SamplingArgs, session_options};
use crate::cli::calibrate::known_cost;
use crate::cli::conversation::{TemplateArgs, opening};
use crate::cli::exit::{Outcome, user_error};
use crate::cli::memory::MemoryArgs;
use crate::cli::output::{AnswerPrinter, statistics, stdout_has_color};
use crate::cli::trace::TraceWriter;
use crate::draft::Source;
use crate::engine::{FinishReason, GenerateError, Generation, SessionOptions, StepTimes};
use crate::runtime::llama::Engine;
use crate::runtime::{Message, Role};

/// Answer one prompt
///
/// The prompt comes from -p, from a file (-f), or from standard input. The answer is printed as it is written;
/// how fast that went, and where the time went, is told on standard error afterwards.
///
/// Examples:
///   logitspec generate -m vicuna-7b-v1.3.Q8_0.gguf --chat -p "Why is the sky blue?"
///   logitspec generate -m codellama-7b.Q4_0.gguf -f main.py -n 200 --color-drafts
///   cat article.txt | logitspec generate -m model.gguf --json | jq .mean_accepted_tokens
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct GenerateArgs {
    /// The prompt
    #[arg(
        short = 'p',
        long,
        value_name = "TEXT",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    prompt: Option<String>,

    /// Read the prompt from a file; - is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Most tokens to write
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 1024,
        value_name = "N"
    )]
    max_new_tokens: usize,

    /// Ask as in a chat: put the prompt into the model's chat template
    #[arg(long)]
    chat: bool,

    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,

    /// Write every step to a file as JSON Lines: what was known, drafted and accepted
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Print accepted draft tokens in green, to see what speculation gave
    #[arg(long, alias = "color_drafts")]
    color_drafts: bool,

    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(super) fn run(args: &GenerateArgs) -> anyhow::Result<Outcome> {
    let interrupted = watch_for_ctrl_c();
    let mut options = session_options(&args.draft, &args.sampling)?;
    let prompt_text = args.read_prompt()?;
    let mut trace = args.trace.as_deref().map(TraceWriter::create).transpose()?;
    if trace.is_some() {
        options.ranked = options.draft_tree_capacity;
    }
    let engine = args.model.load(interrupted)?;
    let vocabulary = engine.vocabulary();
    let prompt = vocabulary.tokenize(&args.templated(&engine, &prompt_text)?);
    let needed = prompt
        .len()
        .saturating_add(args.max_new_tokens)
        .saturating_add(options.draft_tree_capacity);
    let context = args.model.context(&engine, needed);
    check_fit(prompt.len(), context.n_ctx, &engine)?;
    if let Some(reason) = engine.cannot_draft(&context) {
        eprintln!("note: decoding plainly, nothing can be drafted: {reason}");
    }
    let memory = args.memory.open(&engine)?;
    let mut session = engine
        .session(&context, options)?
        .with_memory(memory.clone())
        .with_cost(known_cost(&engine, &context, &options));

    let mut printer = AnswerPrinter::new(vocabulary)
        .trim_start(args.is_templated())
        .silent(args.json)
        .color_drafts(args.color_drafts && stdout_has_color());
    let parameters = parameters(args, &options);
    if let Some(trace) = &mut trace {
        trace.header(engine.path(), &options, &parameters, &prompt)?;
    }
    let bar = prefill_bar(prompt.len());
    let prefilled = session.prefill(&prompt, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        flow(interrupted.load(Ordering::Relaxed))
    });
    bar.finish_and_clear();

    let mut failed = None;
    let answered = prefilled.and_then(|()| {
        session.generate(args.max_new_tokens, &mut |view| {
            let shown = printer.step(view.step).map_err(anyhow::Error::from);
            let traced = trace.as_mut().map_or(Ok(()), |trace| trace.step(view));
            failed = shown.and(traced).err();
            flow(failed.is_some() || interrupted.load(Ordering::Relaxed))
        })
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let mut answer = match answered {
        Ok(answer) => answer,
        Err(GenerateError::Cancelled) => Generation::empty(FinishReason::Cancelled),
        Err(error) => {
            // What was written so far stays readable.
            printer.finish()?;
            return Err(error.into());
        }
    };
    answer.timings.load = engine.load_time().as_secs_f64();
    let text = printer.finish()?;
    if let Some(trace) = trace {
        trace.finish()?;
    }
    if args.json {
        let report = report(&answer, &text, prompt.len(), &options, parameters);
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        eprint!(
            "\n{}",
            statistics(&answer, prompt.len(), options.method, answer.timings.load)
        );
    }
    session.end_request();
    args.memory.save(&memory, &engine)?;
    match answer.finish {
        FinishReason::Stop | FinishReason::Length => Ok(Outcome::Done),
        FinishReason::Cancelled => Ok(Outcome::Interrupted),
        FinishReason::Failed(error) => Err(error.into()),
    }
}

impl GenerateArgs {
    fn read_prompt(&self) -> anyhow::Result<String> {
        let (bytes, source) = match (&self.prompt, &self.file) {
            (Some(text), _) => (text.clone().into_bytes(), "-p".to_owned()),
            (None, Some(path)) if path.as_os_str() != "-" => {
                let bytes = std::fs::read(path).map_err(|error| {
                    user_error(format!(
                        "cannot read the prompt file {path:?}: {error}; check -f"
                    ))
                })?;
                (bytes, format!("{path:?}"))
            }
            (None, file) => {
                if file.is_none() && io::stdin().is_terminal() {
                    return Err(user_error(
                        "no prompt: give -p TEXT, -f FILE, or text on standard input (for a conversation: logitspec chat)",
                    ));
                }
                let mut bytes = Vec::new();
                io::stdin()
                    .read_to_end(&mut bytes)
                    .context("cannot read standard input")?;
                (bytes, "standard input".to_owned())
            }
        };
        if bytes.is_empty() {
            return Err(user_error(format!(
                "the prompt from {source} is empty: give some text with -p TEXT, -f FILE or standard input"
            )));
        }
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| {
            eprintln!(
                "note: the prompt from {source} is not valid UTF-8; invalid bytes were replaced by U+FFFD"
            );
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }))
    }

    fn is_templated(&self) -> bool {
        self.chat
            || self.template.system.is_some()
            || self
                .template
                .template
                .as_ref()
                .is_some_and(|name| name != "none")
    }

    fn templated(&self, engine: &Engine, text: &str) -> anyhow::Result<String> {
        if !self.is_templated() {
            return Ok(text.to_owned());
        }
        let Some(template) = self.template.choose(engine)? else {
            return Ok(text.to_owned());
        };
        let mut messages = opening(self.template.system.as_deref());
        messages.push(Message::new(Role::User, text.trim()));
        Ok(template.prompt(&messages)?)
    }
}

/// A prompt that cannot fit is told before a context is made.
fn check_fit(prompt: usize, n_ctx: Option<u32>, engine: &Engine) -> anyhow::Result<()> {
    let trained = engine.n_ctx_train();
    let n_ctx = n_ctx.unwrap_or(trained);
    if n_ctx > trained {
        eprintln!(
            "note: -c {n_ctx} is more than the {trained} tokens the model was trained on; expect nonsense beyond"
        );
    }
    if prompt <= n_ctx as usize {
        return Ok(());
    }
    let mend = if n_ctx < trained {
        format!("raise -c (up to {trained}, what the model was trained on) or shorten the prompt")
    } else {
        "shorten the prompt".to_owned()
    };
    Err(user_error(format!(
        "the prompt has {prompt} tokens, the context holds {n_ctx}: {mend}"
    )))
}

fn flow(stop: bool) -> ControlFlow<()> {
    if stop {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// A flag that Ctrl-C raises; a second Ctrl-C ends the process at once.
pub(super) fn watch_for_ctrl_c() -> &'static AtomicBool {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    // Fails only if a handler is there already: the first one serves as well.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    &INTERRUPTED
}

/// A bar for prompts that take a while, on standard error if that is a terminal.
pub(super) fn prefill_bar(tokens: usize) -> ProgressBar {
    let style =
        ProgressStyle::with_template("reading the prompt {bar:32} {pos}/{len} tokens {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(tokens as u64).with_style(style)
}

fn parameters(args: &GenerateArgs, options: &SessionOptions) -> Value {
    let sampling = &args.sampling;
    json!({
        "draft_tree_capacity": options.draft_tree_capacity,
        "max_ngram_size": options.method_params.max_ngram_size,
        "num_pred_tokens": options.method_params.num_pred_tokens,
        "leave_out": options.method_params.leave_out.iter().collect::<Vec<_>>(),
        "max_new_tokens": args.max_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "seed": sampling.seed,
    })
}

fn report(
    answer: &Generation,
    text: &str,
    prompt_tokens: usize,
    options: &SessionOptions,
    parameters: Value,
) -> Value {
    // The contract knows three reasons; an interrupted answer says so in `error`.
    let (finish_reason, error) = match &answer.finish {
        FinishReason::Stop => ("stop", None),
        FinishReason::Length => ("length", None),
        FinishReason::Cancelled => ("error", Some("interrupted by Ctrl-C".to_owned())),
        FinishReason::Failed(error) => ("error", Some(error.to_string())),
    };
    json!({
        "text": text,
        "tokens": answer.tokens,
        "prompt_tokens": prompt_tokens,
        "new_tokens": answer.tokens.len(),
        "decode_steps": answer.accept_lengths.len(),
        "accept_lengths": answer.accept_lengths,
        "mean_accepted_tokens": answer.mean_accepted_tokens(),
        "drafted_tokens": answer.drafted,
        "tokens_per_second": answer.tokens_per_second(),
        "finish_reason": finish_reason,
        "error": error,
        "method": options.method,
        "parameters": parameters,
        "timings": answer.timings,
        "median_step_us": {
            "draft": median_us(answer, |step| step.draft),
            "decode": median_us(answer, |step| step.decode),
            "verify": median_us(answer, |step| step.verify),
            "commit": median_us(answer, |step| step.commit),
            "overhead": median_us(answer, StepTimes::overhead),
            "kv": median_us(answer, |step| step.kv),
        },
        "graphs_reused": answer.graphs_reused,
        "sources": sources(answer),
    })
}

/// Nodes drafted and accepted, by where they came from.
fn sources(answer: &Generation) -> Value {
    let of = |(source, drafted): (Source, usize)| {
        let accepted = answer.sources.accepted.of(source);
        let counts = json!({"drafted": drafted, "accepted": accepted});
        (source.name().to_owned(), counts)
    };
    Value::Object(answer.sources.drafted.iter().map(of).collect())
}

/// Median of a part of the steps, in microseconds; nothing for an empty answer.
fn median_us(answer: &Generation, part: impl Fn(&StepTimes) -> Duration) -> Option<f64> {
    let mut times: Vec<Duration> = answer.step_times.iter().map(part).collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2)?;
    Some(middle.as_nanos() as f64 / 1e3)
}

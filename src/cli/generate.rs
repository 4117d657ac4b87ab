//! `logitspec generate`: one prompt, one answer.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::TokenId;
use crate::cli::answer::Reporter;
use crate::cli::args::{DraftArgs, ModelArgs, SamplingArgs, session_options, token_limit};
use crate::cli::calibrate::known_cost;
use crate::cli::colors::has_color;
use crate::cli::conversation::{TemplateArgs, opening};
use crate::cli::exit::{Outcome, user_error};
use crate::cli::memory::MemoryArgs;
use crate::cli::output::{AnswerPrinter, statistics, tell_if_cut};
use crate::cli::prompt::PromptArgs;
use crate::cli::stdout::{print_json, stdout};
use crate::cli::trace::{TraceWriter, may_be_replaced};
use crate::engine::{FinishReason, GenerateError, Generation, Session};
use crate::files::is_same_place;
use crate::runtime::llama::{LlamaTarget, Model};
use crate::runtime::{Message, Role, TargetModel};

/// Answer one prompt
///
/// The prompt comes from -p, from a file (-f), or from standard input. The answer is printed as it
/// is written; how fast that went, and where the time went, is told on standard error afterwards.
///
/// Examples:
///   logitspec generate -m vicuna-7b-v1.3.Q8_0.gguf --chat -p "Why is the sky blue?"
///   logitspec generate -m codellama-7b.Q4_0.gguf -f main.py -n 200 --color-drafts
///   cat article.txt | logitspec generate -m model.gguf --json | jq .mean_accepted_tokens
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    prompt: PromptArgs,

    /// Most tokens to write; -1 for as many as the context holds
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 1024,
        value_name = "N",
        value_parser = token_limit
    )]
    max_new_tokens: usize,

    /// Ask as in a chat: put the prompt into the model's chat template. --template and --system ask
    /// so, too
    #[arg(long)]
    chat: bool,

    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,

    /// Write every step to a file as JSON Lines: what was known, drafted and accepted
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Print accepted draft tokens in the colour of what they were drafted from, to see what
    /// speculation gave; the statistics name the sources in their colours
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
    let mut options = session_options(&args.draft, &args.sampling)?;
    args.check_trace()?;
    let prompt_text = args.prompt.read(args.is_templated())?;
    // Not before: there is nothing to print yet, and a read that waits goes on after a signal that
    // is caught.
    let interrupted = watch_for_ctrl_c();
    let mut trace = args.trace.as_deref().map(TraceWriter::create).transpose()?;
    if trace.is_some() {
        options.ranked = options.draft_tree_capacity;
    }
    let model = args.model.load(interrupted)?;
    let vocabulary = model.vocabulary();
    let prompt = vocabulary.tokenize(&args.templated(&model, &prompt_text)?);
    let needed = prompt
        .len()
        .saturating_add(args.max_new_tokens)
        .saturating_add(options.draft_tree_capacity);
    let context = args.model.context(&model, needed);
    check_fit(prompt.len(), context.n_ctx, &model)?;
    if let Some(reason) = model.cannot_draft(&context) {
        tell_line!("note: decoding plainly, nothing can be drafted: {reason}");
    }
    let memory = args.memory.open(&model, args.draft.method)?;
    let mut session = Session::open(&model, &context, options)?
        .with_memory(memory.clone())
        .with_cost(known_cost(&model, &context, &options));
    let reporter = Reporter {
        options: &options,
        sampling: &args.sampling,
        max_new_tokens: args.max_new_tokens,
    };
    if let Some(trace) = &mut trace {
        trace.header(model.path(), &options, &reporter.parameters(), &prompt)?;
    }
    let done = args.answer(&model, &mut session, &prompt, &reporter, trace, interrupted);
    // Remembered even if nobody reads it: a closed pipe is an ordinary end.
    session.end_request();
    args.memory.save_after(done, &memory, &model)
}

impl GenerateArgs {
    /// Reads the prompt, answers it, and prints what there is to say.
    fn answer(
        &self,
        model: &Model,
        session: &mut Session<LlamaTarget<'_>>,
        prompt: &[TokenId],
        reporter: &Reporter<'_>,
        mut trace: Option<TraceWriter>,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<Outcome> {
        let vocabulary = model.vocabulary();
        let mut printer = AnswerPrinter::new(|token| vocabulary.bytes(token), stdout())
            .trim_start(self.is_templated())
            .silent(self.json)
            .color_drafts(self.color_drafts && has_color(&io::stdout()));
        let bar = prefill_bar(prompt.len());
        let prefilled = session.prefill(prompt, &mut |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            flow(interrupted.load(Ordering::Relaxed))
        });
        bar.finish_and_clear();

        let mut failed = None;
        let answered = prefilled.and_then(|()| {
            session.generate(self.max_new_tokens, &mut |view| {
                let shown = printer.step(view).map_err(anyhow::Error::from);
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
        answer.timings.load = model.load_time().as_secs_f64();
        let text = printer.finish()?;
        if let Some(trace) = trace {
            trace.finish()?;
        }
        if self.json {
            print_json(&reporter.answer(&answer, &text, prompt.len()))?;
        } else {
            let method = reporter.options.method;
            let color = self.color_drafts && has_color(&io::stderr());
            let told = statistics(&answer, prompt.len(), method, answer.timings.load, color);
            tell!("\n{told}");
        }
        let n_ctx = session.model().n_ctx();
        let mend = more_context(n_ctx, model);
        tell_if_cut(&answer, self.max_new_tokens, n_ctx, &mend);
        match answer.finish {
            FinishReason::Stop | FinishReason::Length => Ok(Outcome::Done),
            FinishReason::Cancelled => Ok(Outcome::Interrupted),
            FinishReason::Failed(error) => Err(error.into()),
        }
    }

    /// The JSON object is alone on standard output, and no file that is read is written over.
    fn check_trace(&self) -> anyhow::Result<()> {
        const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
        let Some(trace) = &self.trace else {
            return Ok(());
        };
        let refused = |why: &str| Err(user_error(format!("--trace {} {why}", trace.display())));
        if trace == Path::new("-") {
            return refused("would be mixed with the answer: trace into a file");
        }
        if self.json && STDOUT.iter().any(|name| trace == Path::new(name)) {
            return refused(
                "would mix with what --json prints there: trace into a file, or leave out --json",
            );
        }
        if self
            .memory
            .pool_file()
            .is_some_and(|pool| is_same_place(pool, trace))
        {
            return refused("is the --pool-file, too: name another file");
        }
        if !may_be_replaced(trace) {
            return refused("is there already and is no trace: name another file, or remove it");
        }
        Ok(())
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

    fn templated(&self, model: &Model, text: &str) -> anyhow::Result<String> {
        if !self.is_templated() {
            return Ok(text.to_owned());
        }
        let Some(template) = self.template.choose(model)? else {
            return Ok(text.to_owned());
        };
        let mut messages = opening(self.template.system.as_deref());
        messages.push(Message::new(Role::User, text.trim()));
        let prompt = template.prompt(&messages)?;
        self.template.note_if_left_out(&prompt, text);
        Ok(prompt)
    }
}

/// A prompt that cannot fit is told before a context is made.
fn check_fit(prompt: usize, n_ctx: Option<u32>, model: &Model) -> anyhow::Result<()> {
    let trained = model.n_ctx_train();
    let n_ctx = n_ctx.unwrap_or(trained);
    if n_ctx > trained {
        tell_line!(
            "note: -c {n_ctx} is more than the {trained} tokens the model was trained on; expect nonsense beyond"
        );
    }
    if prompt <= n_ctx as usize {
        return Ok(());
    }
    let mend = more_context(n_ctx as usize, model);
    Err(user_error(format!(
        "the prompt has {prompt} tokens, the context holds {n_ctx}: {mend}"
    )))
}

/// What to do where `n_ctx` tokens are too few.
fn more_context(n_ctx: usize, model: &Model) -> String {
    let trained = model.n_ctx_train();
    if n_ctx < trained as usize {
        format!("raise -c (up to {trained}, what the model was trained on) or shorten the prompt")
    } else {
        "shorten the prompt".to_owned()
    }
}

pub(super) fn flow(stop: bool) -> ControlFlow<()> {
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

//! `logitspec chat`: a conversation in the terminal.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::Value;

use crate::cli::answer::Reporter;
use crate::cli::args::{DraftArgs, ModelArgs, SamplingArgs, session_options, token_limit};
use crate::cli::calibrate::known_cost;
use crate::cli::colors::{has_color, legend};
use crate::cli::conversation::{TemplateArgs, opening};
use crate::cli::exit::{Outcome, user_error};
use crate::cli::generate::{prefill_bar, watch_for_ctrl_c};
use crate::cli::memory::MemoryArgs;
use crate::cli::output::{AnswerPrinter, statistics, tell_if_cut, text_of};
use crate::cli::prompt::{text_of_bytes, unreadable_input};
use crate::cli::questions::{Questions, Waited};
use crate::cli::stdout::{print_json, stdout};
use crate::engine::{FinishReason, GenerateError, Generation, Session};
use crate::runtime::llama::{LlamaTarget, Vocabulary};
use crate::runtime::{ChatTemplate, Message, Role, TargetModel};

/// Talk with a model
///
/// Every turn continues the same context, so earlier turns are read only once and feed the drafts
/// of later ones. Ctrl-C stops an answer, Ctrl-D (or /exit) ends the conversation, /reset starts a
/// new one, /stats shows how fast the last answer was. Questions can also come from a pipe, one a
/// line.
#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// Most tokens of one answer; -1 for as many as the context holds
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 1024,
        value_name = "N",
        value_parser = token_limit
    )]
    max_new_tokens: usize,

    /// Print JSON Lines instead of the text: for every question one object as generate --json
    /// prints it, also if it was not answered (its "error" then says why). Questions then come from
    /// standard input, one a line; commands give no object
    #[arg(long)]
    json: bool,

    /// Print accepted draft tokens in the colour of what they were drafted from
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

/// Context of a conversation whose user did not say how long it may get.
const DEFAULT_CTX: usize = 8192;

const HELP: &str = "\
/reset   begin a new conversation (drafts may copy from this one, but for --no-shared-pool)\n\
/stats   how fast the last answer was\n\
/help    this list\n\
/exit    end (also Ctrl-D)";

pub(super) fn run(args: &ChatArgs) -> anyhow::Result<Outcome> {
    let options = session_options(&args.draft, &args.sampling)?;
    let interrupted = watch_for_ctrl_c();
    let model = args.model.load(interrupted)?;
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Outcome::Interrupted);
    }
    let template = args.template.choose(&model)?;
    let context = args.model.context(&model, DEFAULT_CTX);
    if let Some(reason) = model.cannot_draft(&context) {
        tell_line!("note: decoding plainly, nothing can be drafted: {reason}");
    }
    let memory = args.memory.open(&model, args.draft.method)?;
    let mut chat = Chat {
        args,
        reporter: Reporter {
            options: &options,
            sampling: &args.sampling,
            max_new_tokens: args.max_new_tokens,
        },
        vocabulary: model.vocabulary(),
        session: Session::open(&model, &context, options)?
            .with_memory(memory.clone())
            .with_cost(known_cost(&model, &context, &options)),
        template,
        messages: opening(args.template.system.as_deref()),
        last: None,
        refused: 0,
        load: model.load_time().as_secs_f64(),
    };
    let done = if io::stdin().is_terminal() && !args.json {
        chat.converse_in_terminal()
    } else {
        chat.converse_through_pipe()
    };
    chat.session.end_request();
    args.memory.save_after(done, &memory, &model)
}

struct Chat<'a> {
    args: &'a ChatArgs,
    reporter: Reporter<'a>,
    vocabulary: Vocabulary<'a>,
    session: Session<LlamaTarget<'a>>,
    template: Option<ChatTemplate>,
    /// The conversation so far, the last answer included.
    messages: Vec<Message>,
    last: Option<(Generation, usize)>,
    /// Questions that were refused.
    refused: usize,
    load: f64,
}

impl Chat<'_> {
    fn converse_in_terminal(&mut self) -> anyhow::Result<Outcome> {
        tell_line!("Ctrl-C stops an answer, Ctrl-D ends the conversation, /help lists commands.");
        if self.args.color_drafts && has_color(&io::stderr()) {
            tell_line!("Colours of accepted drafts: {}.", legend());
        }
        let mut editor = DefaultEditor::new()?;
        let history = history_file();
        if let Some(path) = &history {
            // A first run has none yet.
            let _ = editor.load_history(path);
        }
        loop {
            match editor.readline("> ") {
                Ok(line) => {
                    // A history that cannot be kept is no reason to stop talking.
                    let _ = editor.add_history_entry(&line);
                    if self.command_or_turn(&line)?.is_break() {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => tell_line!("(Ctrl-D or /exit ends)"),
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(path) = &history {
            if let Some(folder) = path.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            let _ = editor.save_history(path);
        }
        Ok(Outcome::Done)
    }

    fn converse_through_pipe(&mut self) -> anyhow::Result<Outcome> {
        let questions = Questions::from_stdin();
        let interrupted = watch_for_ctrl_c();
        loop {
            let line = match questions.next(interrupted).map_err(unreadable_input)? {
                Waited::Line(line) => text_of_bytes(line, "standard input"),
                Waited::End => break,
                Waited::Interrupted => return Ok(Outcome::Interrupted),
            };
            if self.command_or_turn(&line)?.is_break() {
                break;
            }
        }
        match self.refused {
            0 => Ok(Outcome::Done),
            // Each has its line already; a script looks at the exit code.
            1 => Err(user_error("one question was not answered: see above")),
            many => Err(user_error(format!(
                "{many} questions were not answered: see above"
            ))),
        }
    }

    fn command_or_turn(&mut self, line: &str) -> anyhow::Result<ControlFlow<()>> {
        match line.trim() {
            "" => {}
            "/exit" | "/quit" => return Ok(ControlFlow::Break(())),
            "/help" => tell_line!("{HELP}"),
            "/reset" => {
                if self.args.memory.remembers() {
                    self.session.end_request();
                } else {
                    self.session.reset();
                }
                self.messages = opening(self.args.template.system.as_deref());
                tell_line!("(a new conversation)");
            }
            "/stats" => match &self.last {
                Some((answer, prompt)) => {
                    let method = self.args.draft.method;
                    let color = self.args.color_drafts && has_color(&io::stderr());
                    tell!("{}", statistics(answer, *prompt, method, self.load, color));
                }
                None => tell_line!("(no answer yet)"),
            },
            command if command.starts_with('/') && !command.contains(' ') => {
                tell_line!("unknown command {command}\n{HELP}");
            }
            question => self.turn(question)?,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// One question, one answer.
    fn turn(&mut self, question: &str) -> anyhow::Result<()> {
        let question = Message::new(Role::User, question);
        let prompt = self.turn_tokens(&question)?;
        let interrupted = watch_for_ctrl_c();
        let bar = prefill_bar(prompt.len());
        let prefilled = self.session.prefill(&prompt, &mut |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            if interrupted.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        bar.finish_and_clear();
        match prefilled {
            Err(GenerateError::Cancelled) => {
                self.forget_ctrl_c();
                tell_line!("(stopped)");
                let stopped = Generation::empty(FinishReason::Cancelled);
                return self.print_json(|told| told.answer(&stopped, "", prompt.len()));
            }
            Err(error) if error.is_input_error() => {
                tell_line!("{error}, or /reset the conversation");
                self.refused += 1;
                return self.print_json(|told| told.refusal(&error, prompt.len()));
            }
            done => done?,
        }
        let vocabulary = self.vocabulary;
        let mut printer = AnswerPrinter::new(|token| vocabulary.bytes(token), stdout())
            .trim_start(true)
            .silent(self.args.json)
            .color_drafts(self.args.color_drafts && has_color(&io::stdout()));
        let mut failed = None;
        let mut answer = self
            .session
            .generate(self.args.max_new_tokens, &mut |view| {
                failed = printer.step(view).err();
                if failed.is_some() || interrupted.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        answer.timings.load = self.load;
        let text = printer.finish()?;
        self.print_json(|told| told.answer(&answer, &text, prompt.len()))?;
        let n_ctx = self.session.model().n_ctx();
        let mend = "/reset the conversation, or begin one with a larger -c";
        tell_if_cut(&answer, self.args.max_new_tokens, n_ctx, mend);
        if let FinishReason::Failed(error) = &answer.finish {
            return Err(error.clone().into());
        }
        self.forget_ctrl_c();
        let said = text_of(self.vocabulary, &answer.tokens);
        self.messages.push(question);
        self.messages
            .push(Message::new(Role::Assistant, said.trim()));
        self.last = Some((answer, prompt.len()));
        Ok(())
    }

    /// With `--json`, the object of a question.
    fn print_json(&self, object: impl FnOnce(&Reporter<'_>) -> Value) -> anyhow::Result<()> {
        if self.args.json {
            print_json(&object(&self.reporter))?;
        }
        Ok(())
    }

    /// In a terminal Ctrl-C stops the answer, not the conversation.
    fn forget_ctrl_c(&self) {
        if io::stdin().is_terminal() {
            watch_for_ctrl_c().store(false, Ordering::Relaxed);
        }
    }

    /// The tokens to go on with: the whole prompt at first, then what lies between two answers.
    fn turn_tokens(&self, question: &Message) -> anyhow::Result<Vec<crate::TokenId>> {
        let first = self.session.text().is_empty();
        let Some(template) = &self.template else {
            return Ok(if first {
                self.vocabulary.tokenize(&question.content)
            } else {
                self.vocabulary.tokenize_continuation(&question.content)
            });
        };
        if first {
            let mut messages = self.messages.clone();
            messages.push(question.clone());
            let prompt = template.prompt(&messages)?;
            let template = &self.args.template;
            template.note_if_left_out(&prompt, &question.content);
            return Ok(self.vocabulary.tokenize(&prompt));
        }
        let (_, before) = self.messages.split_last().expect("an answer was given");
        let text = template.next_turn(before, question)?;
        let last = self.session.text().last().copied();
        Ok(self.vocabulary.tokenize_next_turn(&text, last))
    }
}

/// Where the questions of earlier conversations are kept, by the XDG convention.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(state.join("logitspec/history"))
}

//! `logitspec chat`: a conversation in the terminal.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::Value;

use crate::cli::args::{DraftArgs, session_options, token_limit};
use crate::cli::colors::{has_color, legend};
use crate::cli::conversation::{TemplateArgs, opening, warn_if_bos_twice};
use crate::cli::cost::known_cost;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::hints;
use crate::cli::interrupt::{flow, watch_for_ctrl_c};
use crate::cli::json::AnswerJson;
use crate::cli::lines::{InputLines, Waited};
use crate::cli::memory::MemoryArgs;
use crate::cli::model_args::ModelArgs;
use crate::cli::output::{AnswerPrinter, note_if_cut, note_if_empty, note_if_limited, statistics};
use crate::cli::progress::prefill_bar;
use crate::cli::prompt::{text_of_bytes, unreadable_input};
use crate::cli::request::{GrammarArgs, RequestFlags, StopArgs};
use crate::cli::sampling::SamplingArgs;
use crate::cli::stdout::{print_json, stdout};
use crate::engine::{FinishReason, GenerateError, Generation, Session};
use crate::runtime::llama::{LlamaTarget, Vocabulary};
use crate::runtime::{
    ChatTemplate, Message, Place, Prompt, PromptError, PromptTokenizer, Role, TargetModel,
};

/// Chat with a model in the terminal
///
/// All turns share one context, so earlier turns are read only once, and later turns draft from
/// them. Ctrl-C stops an answer, Ctrl-D (or /exit) ends the conversation, /reset starts a new one,
/// and /stats shows the speed of the last answer. Questions can also come from a pipe, one per
/// line.
#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// Maximum number of new tokens per answer; -1 for as many as the context holds
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 1024,
        value_name = "N",
        value_parser = token_limit
    )]
    max_new_tokens: usize,

    /// Print JSON Lines instead of the text: for each question one object like that of generate
    /// --json. If a question is not answered, its "error" says why. Questions come from standard
    /// input, one per line; commands print no object
    #[arg(long)]
    json: bool,

    /// Show control tokens in the answers
    #[arg(long, alias = "sp")]
    special: bool,

    /// Print accepted draft tokens in the colour of their source
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
    #[command(flatten)]
    stops: StopArgs,
    #[command(flatten)]
    grammar: GrammarArgs,
}

/// Context size of a conversation without -c.
const DEFAULT_CTX: usize = 8192;

const HELP: &str = "\
/reset   start a new conversation (without --no-shared-pool, drafts may copy from this one)\n\
/stats   show the speed of the last answer\n\
/help    show this list\n\
/exit    end the conversation (also Ctrl-D)";

pub(super) fn run(args: &ChatArgs) -> anyhow::Result<Outcome> {
    let options = session_options(&args.draft)?;
    let request = RequestFlags::new(&args.sampling, &args.stops, &args.grammar, None)?;
    let interrupted = watch_for_ctrl_c();
    let model = args.model.load(interrupted)?;
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Outcome::Interrupted);
    }
    let request = request.options(&model, args.special)?;
    let template = args.template.choose(&model)?;
    args.template.warn_of_system(template.as_ref());
    let context = args.model.context(&model, DEFAULT_CTX);
    if let Some(reason) = model.cannot_draft(&context) {
        tell_line!("note: decoding without drafts: {reason}");
    }
    let memory = args.memory.open(&model, args.draft.method)?;
    let mut chat = Chat {
        args,
        json: AnswerJson {
            options: &options,
            sampling: &args.sampling,
            max_new_tokens: args.max_new_tokens,
        },
        vocabulary: model.vocabulary(),
        session: Session::open(&model, &context, options)?
            .with_request(request)
            .with_memory(memory.clone())
            .with_cost(known_cost(&model, &context, &options)),
        template,
        messages: opening(args.template.system()),
        last: None,
        part: String::new(),
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
    json: AnswerJson<'a>,
    vocabulary: Vocabulary<'a>,
    session: Session<LlamaTarget<'a>>,
    template: Option<ChatTemplate>,
    /// The conversation so far, including the last answer.
    messages: Vec<Message>,
    /// The last answer, and the number of tokens of its prompt.
    last: Option<(Generation, usize)>,
    /// The part of the last answer's text that is not in the context.
    part: String,
    /// Number of refused questions.
    refused: usize,
    /// Seconds that the model took to load.
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
            // The first run has no history.
            let _ = editor.load_history(path);
        }
        loop {
            match editor.readline("> ") {
                Ok(line) => {
                    // The conversation goes on even if the history cannot be kept.
                    let _ = editor.add_history_entry(&line);
                    if self.command_or_turn(&line)?.is_break() {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => {
                    tell_line!("(Ctrl-D or /exit ends the conversation)")
                }
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
        let lines = InputLines::from_stdin();
        let interrupted = watch_for_ctrl_c();
        loop {
            let line = match lines.next(interrupted).map_err(unreadable_input)? {
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
            // Each has its line above. Scripts look at the exit code.
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
                if self.args.memory.keeps_history() {
                    self.session.end_request();
                } else {
                    self.session.reset();
                }
                self.part.clear();
                self.messages = opening(self.args.template.system());
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

    /// Answers one question.
    fn turn(&mut self, question: &str) -> anyhow::Result<()> {
        let question = Message::new(Role::User, question);
        let prompt = match self.turn_prompt(&question) {
            Ok(prompt) => prompt,
            Err(error @ PromptError::Tokenize(_)) => return self.refuse(&error, 0),
            Err(error) => return Err(error.into()),
        };
        if !self.prefill(&prompt)? {
            return Ok(());
        }
        let (mut answer, text) = self.generate()?;
        answer.timings.load = self.load;
        let prompt_tokens = prompt.tokens.len();
        self.print_json(|json| json.answer(&answer, &text, prompt_tokens))?;
        let n_ctx = self.session.model().n_ctx();
        let hint = "/reset the conversation, or start one with a larger -c";
        note_if_cut(&answer, self.args.max_new_tokens, n_ctx, hint);
        if !self.args.json {
            note_if_limited(&answer, self.args.max_new_tokens);
            note_if_empty(
                &answer,
                &text,
                "ask in other words, or choose another --template",
            );
        }
        if let FinishReason::Failed(error) = &answer.finish {
            return Err(error.clone().into());
        }
        self.clear_ctrl_c();
        let said = self.said(&answer, &text);
        self.messages.extend([question, said]);
        self.last = Some((answer, prompt_tokens));
        Ok(())
    }

    /// The answer as a message. If a stop cut a token, the part of it that was shown is kept for
    /// the next prompt: the conversation has whole tokens only.
    fn said(&mut self, answer: &Generation, text: &str) -> Message {
        let kept = &answer.tokens[..answer.kept];
        let mut said = self.vocabulary.answer(kept);
        let shown = self.vocabulary.shown(self.args.special);
        let bytes: Vec<u8> = kept.iter().flat_map(|&token| shown(token)).collect();
        let whole = String::from_utf8_lossy(&bytes);
        let part = match &answer.stop {
            Some(_) => text.strip_prefix(whole.trim_start()).unwrap_or_default(),
            None => "",
        };
        self.part = part.to_owned();
        if !part.is_empty() {
            text.trim().clone_into(&mut said.content);
        }
        said
    }

    /// Reads the prompt into the context. Returns whether there is a question to answer: not if
    /// Ctrl-C stopped it, or if the prompt was refused.
    fn prefill(&mut self, prompt: &Prompt) -> anyhow::Result<bool> {
        let interrupted = watch_for_ctrl_c();
        let Prompt { keep, tokens, .. } = prompt;
        let bar = prefill_bar(tokens.len());
        let prefilled = self
            .session
            .prefill_behind(*keep, tokens, &mut |done, all| {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                flow(interrupted)
            });
        bar.finish_and_clear();
        match prefilled {
            Err(GenerateError::Cancelled) => {
                self.clear_ctrl_c();
                tell_line!("(stopped)");
                let stopped = Generation::empty(FinishReason::Cancelled);
                self.print_json(|json| json.answer(&stopped, "", tokens.len()))?;
                Ok(false)
            }
            Err(error) if error.is_input_error() => {
                self.refuse(&error, tokens.len())?;
                Ok(false)
            }
            other => {
                other?;
                Ok(true)
            }
        }
    }

    /// Leaves a question unanswered and says why. The conversation goes on.
    fn refuse(
        &mut self,
        error: &(dyn Error + 'static),
        prompt_tokens: usize,
    ) -> anyhow::Result<()> {
        let error = hints::describe(error);
        tell_line!("{error}; or /reset the conversation");
        self.refused += 1;
        self.print_json(|json| json.refusal(&error, prompt_tokens))
    }

    /// Generates an answer and prints it; also returns its text.
    fn generate(&mut self) -> anyhow::Result<(Generation, String)> {
        let interrupted = watch_for_ctrl_c();
        let shown = self.vocabulary.shown(self.args.special);
        let mut printer = AnswerPrinter::new(shown, stdout())
            .trim_start(true)
            .silent(self.args.json)
            .stops(self.session.request().stops.clone())
            .color_drafts(self.args.color_drafts && has_color(&io::stdout()));
        let mut failed = None;
        let answer = self
            .session
            .generate(self.args.max_new_tokens, &mut |view| {
                failed = printer.step(view).err();
                match failed {
                    Some(_) => ControlFlow::Break(()),
                    None => flow(interrupted),
                }
            })?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok((answer, printer.finish()?)),
        }
    }

    /// With `--json`, prints the object of a question.
    fn print_json(&self, object: impl FnOnce(&AnswerJson<'_>) -> Value) -> anyhow::Result<()> {
        if self.args.json {
            print_json(&object(&self.json))?;
        }
        Ok(())
    }

    /// In a terminal, Ctrl-C stops the answer, not the conversation.
    fn clear_ctrl_c(&self) {
        if io::stdin().is_terminal() {
            watch_for_ctrl_c().store(false, Ordering::Relaxed);
        }
    }

    /// The prompt of the next turn.
    fn turn_prompt(&self, question: &Message) -> Result<Prompt, PromptError> {
        let flags = &self.args.template;
        let encoder = flags.encoder(&self.vocabulary, self.template.as_ref());
        let messages = [&self.messages[..], std::slice::from_ref(question)].concat();
        let said = self.session.text();
        let mut prompt = match said {
            [] => encoder.first(&messages)?,
            said => encoder.next(&messages, said)?,
        };
        if prompt.keep == said.len() && !self.part.is_empty() {
            let part = self.vocabulary.encode(&self.part, Place::Middle, false)?;
            prompt.tokens.splice(..0, part);
        }
        if self.template.is_some() {
            flags.warn_if_left_out(&prompt.text, &question.content, said.is_empty());
        }
        if said.is_empty() {
            warn_if_bos_twice(&self.vocabulary, &prompt.tokens);
        }
        Ok(prompt)
    }
}

/// The file that keeps the questions of earlier conversations, in the XDG state folder.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(state.join("logitspec/history"))
}

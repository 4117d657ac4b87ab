//! `logitspec chat`: a conversation in the terminal.

mod command;
mod input;
mod saved;
mod slide;
mod turn;

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use clap::Args;

use crate::cli::args::{DraftArgs, session_options, token_limit};
use crate::cli::colors::{has_color, legend};
use crate::cli::conversation::{TemplateArgs, opening};
use crate::cli::cost::known_cost;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::hints;
use crate::cli::interrupt::watch_for_ctrl_c;
use crate::cli::json::AnswerJson;
use crate::cli::lines::{InputLines, Waited};
use crate::cli::memory::MemoryArgs;
use crate::cli::model_args::ModelArgs;
use crate::cli::output::statistics;
use crate::cli::prompt::{text_of_bytes, unreadable_input};
use crate::cli::request::{GrammarArgs, RequestFlags, StopArgs};
use crate::cli::sampling::SamplingArgs;
use crate::cli::terminal::Quiet;
use crate::engine::{Generation, Session};
use crate::runtime::llama::{LlamaTarget, Vocabulary};
use crate::runtime::{ChatTemplate, Message, Role};
use command::Command;
use input::{Editor, Lines, Typed};

/// Chat with a model in the terminal
///
/// All turns share one context, so earlier turns are read only once, and later turns draft from
/// them. Ctrl-C stops an answer, Ctrl-D (or /exit) ends the conversation, /help lists commands: to
/// start again, to save and load conversations, for other instructions. A line that ends with a
/// backslash goes on in the next one; so does a text that begins with \"\"\", until it ends so.
/// Questions can also come from a pipe, one per line.
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

    /// Leave out the oldest turns when the context is full, and go on. Instructions stay, and the
    /// rest is read again
    #[arg(long, alias = "context_shift")]
    context_shift: bool,

    /// A question goes on from line to line until one ends with a backslash
    #[arg(long, visible_alias = "mli", alias = "multiline_input")]
    multiline_input: bool,

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
    let cost = known_cost(&model, &context, &options, args.json);
    let mut chat = Chat {
        args,
        json: AnswerJson {
            options: &options,
            sampling: &args.sampling,
            max_new_tokens: args.max_new_tokens,
            pass_cost: cost.json(),
        },
        vocabulary: model.vocabulary(),
        session: Session::open(&model, &context, options)?
            .with_request(request)
            .with_memory(memory.clone())
            .with_cost(cost.start()),
        template,
        system: args.template.system().map(ToOwned::to_owned),
        messages: Vec::new(),
        left_out: 0,
        is_stale: false,
        last: None,
        part: String::new(),
        refused: 0,
        failed: 0,
        load: model.load_time().as_secs_f64(),
    };
    let done = if io::stdin().is_terminal() && !args.json {
        chat.converse_in_terminal()
    } else {
        chat.converse_through_pipe()
    };
    chat.session.end_request();
    cost.keep(chat.session.cost());
    args.memory.save_after(done, &memory, &model)
}

struct Chat<'a> {
    args: &'a ChatArgs,
    json: AnswerJson<'a>,
    vocabulary: Vocabulary<'a>,
    session: Session<LlamaTarget<'a>>,
    template: Option<ChatTemplate>,
    /// Instructions for the model.
    system: Option<String>,
    /// The questions and answers so far.
    messages: Vec<Message>,
    /// How many of them are no longer in the context.
    left_out: usize,
    /// Whether the context holds another conversation, so that the next prompt has it all.
    is_stale: bool,
    /// The last answer, and the number of tokens of its prompt.
    last: Option<(Generation, usize)>,
    /// The part of the last answer's text that is not in the context.
    part: String,
    /// Number of refused questions.
    refused: usize,
    /// Number of commands that failed.
    failed: usize,
    /// Seconds that the model took to load.
    load: f64,
}

impl Chat<'_> {
    fn converse_in_terminal(&mut self) -> anyhow::Result<Outcome> {
        tell_line!("Ctrl-C stops an answer, Ctrl-D ends the conversation, /help lists commands.");
        if self.args.color_drafts && has_color(&io::stderr()) {
            tell_line!("Colours of accepted drafts: {}.", legend());
        }
        let lines = self.lines();
        let mut editor = Editor::new(lines)?;
        loop {
            match editor.next()? {
                Typed::Input(input) => {
                    let _quiet = Quiet::begin();
                    if self.command_or_turn(&lines.text(&input))?.is_break() {
                        break;
                    }
                }
                Typed::Interrupted => tell_line!("(Ctrl-D or /exit ends the conversation)"),
                Typed::End => break,
            }
        }
        editor.keep_history();
        Ok(Outcome::Done)
    }

    fn converse_through_pipe(&mut self) -> anyhow::Result<Outcome> {
        let lines = self.lines();
        let from_stdin = InputLines::from_stdin();
        let interrupted = watch_for_ctrl_c();
        let mut input = String::new();
        loop {
            let waited = from_stdin.next(interrupted).map_err(unreadable_input)?;
            let ends = match waited {
                Waited::Line(line) => {
                    lines.add(&mut input, &text_of_bytes(line, "standard input"));
                    false
                }
                Waited::End => true,
                Waited::Interrupted => return Ok(Outcome::Interrupted),
            };
            if !ends && lines.is_unfinished(&input) {
                continue;
            }
            let exits = self.command_or_turn(&lines.text(&input))?.is_break();
            input.clear();
            if ends || exits {
                break;
            }
        }
        // Each has its line above. Scripts look at the exit code.
        let count = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("one {one}")),
            count => Some(format!("{count} {many}")),
        };
        let all = [
            count(
                self.refused,
                "question was not answered",
                "questions were not answered",
            ),
            count(self.failed, "command failed", "commands failed"),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        match all.is_empty() {
            true => Ok(Outcome::Done),
            false => Err(user_error(format!("{}: see above", all.join(", ")))),
        }
    }

    fn lines(&self) -> Lines {
        let multiline = self.args.multiline_input;
        Lines { multiline }
    }

    fn command_or_turn(&mut self, input: &str) -> anyhow::Result<ControlFlow<()>> {
        match Command::parse(input) {
            None if input.is_empty() => {}
            None => self.turn(input)?,
            Some(Command::Exit) => return Ok(ControlFlow::Break(())),
            Some(command) => {
                if let Err(error) = self.obey(command) {
                    tell_line!("{}", hints::describe(error.as_ref()));
                    self.failed += 1;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn obey(&mut self, command: Command<'_>) -> anyhow::Result<()> {
        match command {
            Command::Exit => {}
            Command::Help => tell_line!("{}", command::help()),
            Command::Reset => {
                self.begin(Vec::new());
                tell_line!("(a new conversation)");
            }
            Command::System(text) => self.instruct(text)?,
            Command::Save(file) => {
                let all = [self.opening(), self.messages.clone()].concat();
                let path = saved::typed_path(file);
                saved::save(&path, &all)?;
                let turns = self.messages.len() / 2;
                tell_line!("(saved to {}: {})", path.display(), of_turns(turns));
            }
            Command::Load(file) => {
                let path = saved::typed_path(file);
                let (system, messages) = split(saved::load(&path)?);
                self.begin(messages);
                self.system = system;
                let turns = self.messages.len() / 2;
                tell_line!("(loaded {}: {})", path.display(), of_turns(turns));
            }
            Command::Stats => match &self.last {
                Some((answer, prompt)) => {
                    let method = self.args.draft.method;
                    let color = self.args.color_drafts && has_color(&io::stderr());
                    tell!("{}", statistics(answer, *prompt, method, self.load, color));
                }
                None => tell_line!("(no answer yet)"),
            },
            Command::Unknown(word) => {
                tell_line!("unknown command {word}\n{}", command::help());
            }
            Command::Lacks(word, what) => {
                return Err(user_error(format!("{word} needs a {what} behind it")));
            }
        }
        Ok(())
    }

    /// Begins another conversation, with these questions and answers.
    fn begin(&mut self, messages: Vec<Message>) {
        if self.args.memory.keeps_history() {
            self.session.end_request();
        } else {
            self.session.reset();
        }
        self.part.clear();
        self.messages = messages;
        self.left_out = 0;
        self.is_stale = false;
    }

    /// Gives the model other instructions, or shows them.
    fn instruct(&mut self, text: Option<&str>) -> anyhow::Result<()> {
        let Some(text) = text else {
            match &self.system {
                Some(text) => tell_line!("{text}"),
                None => tell_line!("(no instructions but those of the template)"),
            }
            return Ok(());
        };
        if self.template.is_none() {
            return Err(user_error(
                "plain text has no place for instructions: choose a chat template with --template",
            ));
        }
        self.system = Some(text.to_owned());
        self.is_stale = true;
        tell_line!("(the model has these instructions from the next question on)");
        Ok(())
    }

    /// What comes before the first question.
    fn opening(&self) -> Vec<Message> {
        opening(self.system.as_deref())
    }

    /// In a terminal, Ctrl-C stops the answer, not the conversation.
    fn clear_ctrl_c(&self) {
        if io::stdin().is_terminal() {
            watch_for_ctrl_c().store(false, Ordering::Relaxed);
        }
    }
}

fn of_turns(turns: usize) -> String {
    match turns {
        1 => "one question and its answer".into(),
        turns => format!("{turns} questions and their answers"),
    }
}

/// The system prompt of a conversation, and the rest.
fn split(mut messages: Vec<Message>) -> (Option<String>, Vec<Message>) {
    match messages.first() {
        Some(first) if first.role == Role::System => (Some(messages.remove(0).content), messages),
        _ => (None, messages),
    }
}

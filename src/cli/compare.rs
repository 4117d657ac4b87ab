//! `logitspec compare`: is it faster here, and are the answers the same?

mod output;
mod prompts;

use std::cell::RefCell;
use std::rc::Rc;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::bench::Question;
use crate::bench::compare::{Answers, CompareError, Prompt, compare};
use crate::bench::engine::{EngineAnswerer, SharedTarget};
use crate::bench::prompt::Prompter;
use crate::bench::run::{Answerer, AskError};
use crate::bench::server::{LlamaServer, ServerAnswerer};
use crate::cli::args::{DraftArgs, session_options};
use crate::cli::conversation::{TemplateArgs, opening};
use crate::cli::cost::{Learning, known_cost};
use crate::cli::exit::{Outcome, user_error};
use crate::cli::llama_server::ServerArgs;
use crate::cli::model_args::ModelArgs;
use crate::cli::progress::bar;
use crate::cli::questions::context_of_questions;
use crate::cli::sampling::SamplingArgs;
use crate::cli::stdout::{print_json, stdout};
use crate::cli::stop;
use crate::engine::{Method, SessionOptions};
use crate::runtime::llama::{ContextOptions, Model};
use crate::verify::SamplingParams;
use prompts::PromptsArgs;

/// Show whether LogitSpec is faster on this machine
///
/// Plain decoding and LogitSpec answer the same prompts in turn, several times. Prints the speed of
/// each, prompt included, and whether the answers are the same. Without prompts, four that come
/// with the program are used: an edit of code, a summary, a conversation and a translation.
///
/// Examples:
///   logitspec compare -m model.gguf
///   logitspec compare -m model.gguf -f question.txt -f another.txt -n 400
///   logitspec compare -m model.gguf --llama-server path/to/llama-server
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CompareArgs {
    #[command(flatten)]
    prompts: PromptsArgs,

    /// Maximum number of new tokens per answer
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 128,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..)
    )]
    max_new_tokens: usize,

    /// How often each prompt is answered; the figures are medians
    #[arg(
        long,
        default_value_t = 3,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    runs: u32,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(super) fn run(args: &CompareArgs) -> anyhow::Result<Outcome> {
    let stop = stop::watch_for_ctrl_c();
    let mut options = session_options(&args.draft)?;
    let sampling = args.sampling.params()?;
    if options.method == Method::Baseline {
        return Err(user_error(
            "--method baseline is what the other method is compared with: name another one",
        ));
    }
    let prompts = args.prompts.read()?;
    let model = args.model.load(stop)?;
    options.exact = model.is_exact();
    let prompter = args.prompter(&model)?;
    let context = context_of_questions(
        &args.model,
        &model,
        &prompter,
        &questions(&prompts),
        args.max_new_tokens,
        options.draft_tree_capacity,
    )?;
    if let Some(reason) = model.cannot_draft(&context) {
        tell_line!("note: nothing is drafted: {reason}");
    }
    let server = args.server.start(&args.model, &model, &context, stop)?;
    let target = Rc::new(RefCell::new(model.context(&context)?));
    let setup = Setup {
        args,
        model: &model,
        context: &context,
        prompter: &prompter,
        options,
        sampling,
        target,
    };
    let mut answerers = setup.answerers(server.as_ref());
    let all = (1 + prompts.len() as u64 * u64::from(args.runs)) * answerers.len() as u64;
    let bar = bar(all, "{bar:24} {pos}/{len} answers, {eta} left");
    let answers = compare(&prompts, &mut answerers, args.runs, stop, &mut || {
        bar.inc(1)
    });
    bar.finish_and_clear();
    match answers {
        Ok(answers) => args.print(&model, &answers),
        Err(CompareError::Stopped) => Ok(Outcome::Interrupted),
        Err(error @ CompareError::Ask { .. }) => Err(match &error {
            CompareError::Ask {
                error: AskError::Unaskable(_),
                ..
            } => user_error(error.to_string()),
            _ => error.into(),
        }),
    }
}

/// What all answerers share.
struct Setup<'s> {
    args: &'s CompareArgs,
    model: &'s Model,
    context: &'s ContextOptions,
    prompter: &'s Prompter<'s>,
    options: SessionOptions,
    sampling: SamplingParams,
    target: SharedTarget<'s>,
}

impl<'s> Setup<'s> {
    /// Plain decoding first, then the method, then the server if there is one.
    fn answerers(&self, server: Option<&'s LlamaServer>) -> Vec<(String, Box<dyn Answerer + 's>)> {
        let plain = SessionOptions {
            method: Method::Baseline,
            draft_tree_capacity: 1,
            ..self.options
        };
        let mut all = vec![
            ("plain".to_owned(), self.engine(plain)),
            (
                self.options.method.name().to_owned(),
                self.engine(self.options),
            ),
        ];
        if let (Some(server), Some(name)) = (server, self.args.server.name()) {
            let n_ctx = self.context.n_ctx.unwrap_or_default() as usize;
            let (sampling, limit) = (self.sampling.clone(), self.args.max_new_tokens);
            let answerer = ServerAnswerer::new(server, self.prompter, sampling, limit, n_ctx);
            all.push((name, Box::new(answerer)));
        }
        all
    }

    fn engine(&self, options: SessionOptions) -> Box<dyn Answerer + 's> {
        let known = known_cost(self.model, self.context, &options, false);
        let target = Rc::clone(&self.target);
        let limit = self.args.max_new_tokens;
        let answerer = EngineAnswerer::new(
            target,
            self.prompter,
            options,
            self.sampling.clone().into(),
            limit,
            known.start(),
        );
        Box::new(Learning::new(answerer, known))
    }
}

/// The prompts as questions.
fn questions(prompts: &[Prompt]) -> Vec<Question> {
    let question = |(number, prompt): (usize, &Prompt)| Question {
        question_id: number as i64,
        category: prompt.name.clone(),
        turns: prompt.turns.clone(),
        extra: serde_json::Map::new(),
    };
    prompts.iter().enumerate().map(question).collect()
}

impl CompareArgs {
    /// Asks with the chat template, or as plain text if the model has none.
    fn prompter<'m>(&self, model: &'m Model) -> anyhow::Result<Prompter<'m>> {
        let has_none = self.template.template.is_none() && model.chat_template().is_none();
        let template = match has_none {
            true => None,
            false => self.template.choose(model)?,
        };
        if has_none {
            tell_line!("note: the model has no chat template: prompts are continued as plain text");
        }
        self.template.warn_of_system(template.as_ref());
        let opening = opening(self.template.system());
        let prompter = Prompter::new(model.vocabulary(), template, opening);
        Ok(prompter.parse_special(self.template.parse_special))
    }

    fn print(&self, model: &Model, answers: &Answers) -> anyhow::Result<Outcome> {
        let figures = answers.figures();
        let sentence = output::sentence(&figures.overall);
        if self.json {
            print_json(&json!({
                "model": model.path(),
                "runs": self.runs,
                "max_new_tokens": self.max_new_tokens,
                "prompts": figures.prompts,
                "overall": figures.overall,
                "sentence": sentence,
            }))?;
        } else {
            let text = output::table(&figures, self.runs) + "\n" + &sentence + "\n";
            std::io::Write::write_all(&mut stdout(), text.as_bytes())?;
        }
        Ok(Outcome::Done)
    }
}

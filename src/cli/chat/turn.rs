//! A question and its answer.

use std::error::Error;
use std::io;
use std::ops::ControlFlow;

use serde_json::Value;

use super::Chat;
use crate::cli::colors::has_color;
use crate::cli::conversation::warn_if_bos_twice;
use crate::cli::hints;
use crate::cli::interrupt::{flow, watch_for_ctrl_c};
use crate::cli::json::AnswerJson;
use crate::cli::output::{AnswerPrinter, note_if_cut, note_if_empty, note_if_limited};
use crate::cli::progress::prefill_bar;
use crate::cli::stdout::{print_json, stdout};
use crate::engine::{FinishReason, GenerateError, Generation};
use crate::runtime::{
    ChatEncoder, Message, Place, Prompt, PromptError, PromptTokenizer, Role, TargetModel,
};

impl Chat<'_> {
    /// Answers one question.
    pub(super) fn turn(&mut self, question: &str) -> anyhow::Result<()> {
        let question = Message::new(Role::User, question);
        let prompt = match self.turn_prompt(&question) {
            Ok(prompt) => prompt,
            Err(error @ PromptError::Tokenize(_)) => return self.refuse(&error, 0),
            Err(error) => return Err(error.into()),
        };
        if !self.prefill(&prompt)? {
            return Ok(());
        }
        self.is_stale = false;
        let (mut answer, text) = self.generate(&question)?;
        answer.timings.load = self.load;
        let prompt_tokens = prompt.tokens.len();
        self.print_json(|json| json.answer(&answer, &text, prompt_tokens))?;
        let n_ctx = self.session.model().n_ctx();
        let hint = "/reset the conversation, or start one with a larger -c or --context-shift";
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

    /// Generates an answer and prints it; also returns its text. Where the context is full, it goes
    /// on in one that has slid, if that is wanted.
    fn generate(&mut self, question: &Message) -> anyhow::Result<(Generation, String)> {
        let interrupted = watch_for_ctrl_c();
        let vocabulary = self.vocabulary;
        let shown = vocabulary.shown(self.args.special);
        let mut printer = AnswerPrinter::new(shown, stdout())
            .trim_start(true)
            .silent(self.args.json)
            .stops(self.session.request().stops.clone())
            .color_drafts(self.args.color_drafts && has_color(&io::stdout()));
        let mut failed = None;
        let mut answer = Generation::empty(FinishReason::Length);
        loop {
            let left = self.args.max_new_tokens - answer.tokens.len();
            answer.append(self.session.generate(left, &mut |view| {
                failed = printer.step(view).err();
                match failed {
                    Some(_) => ControlFlow::Break(()),
                    None => flow(interrupted),
                }
            })?);
            if let Some(error) = failed {
                return Err(error.into());
            }
            if !self.slide_answer(question, &mut answer)? {
                return Ok((answer, printer.finish()?));
            }
        }
    }

    /// With `--json`, prints the object of a question.
    fn print_json(&self, object: impl FnOnce(&AnswerJson<'_>) -> Value) -> anyhow::Result<()> {
        if self.args.json {
            print_json(&object(&self.json))?;
        }
        Ok(())
    }

    /// The prompt of the next turn.
    fn turn_prompt(&mut self, question: &Message) -> Result<Prompt, PromptError> {
        let encoder = self.encoder();
        let said = self.session.text();
        let mut prompt = match said {
            said if said.is_empty() || self.is_stale => self.first_prompt(question)?.behind(said),
            said => encoder.next(&self.conversation(question), said)?,
        };
        if prompt.keep == said.len() && !self.part.is_empty() {
            let part = self.vocabulary.encode(&self.part, Place::Middle, false)?;
            prompt.tokens.splice(..0, part);
        }
        let is_first = said.is_empty();
        let prompt = self.make_room(question, prompt)?;
        if self.template.is_some() {
            let flags = &self.args.template;
            let system = self.system.as_deref().filter(|_| is_first);
            flags.warn_if_left_out(&prompt.text, &question.content, system);
        }
        if is_first {
            warn_if_bos_twice(&self.vocabulary, &prompt.tokens);
        }
        Ok(prompt)
    }

    /// The prompt of the whole conversation.
    pub(super) fn first_prompt(&self, question: &Message) -> Result<Prompt, PromptError> {
        let mut messages = self.conversation(question);
        if self.template.is_none() {
            let texts = messages.iter().map(|message| message.content.as_str());
            let text = texts.collect::<Vec<_>>().join("\n");
            messages = vec![Message::new(Role::User, text)];
        }
        self.encoder().first(&messages)
    }

    /// The messages in the context, and the next question.
    fn conversation(&self, question: &Message) -> Vec<Message> {
        let opening = match &self.template {
            Some(_) => self.opening(),
            None => Vec::new(),
        };
        let said = &self.messages[self.left_out..];
        [&opening, said, std::slice::from_ref(question)].concat()
    }

    fn encoder(&self) -> ChatEncoder<'_> {
        let flags = &self.args.template;
        flags.encoder(&self.vocabulary, self.template.as_ref())
    }
}

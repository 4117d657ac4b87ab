//! A context that slides: where it is full, the oldest turns are left out of it.

use super::Chat;
use crate::TokenId;
use crate::cli::interrupt::{flow, watch_for_ctrl_c};
use crate::engine::{FinishReason, GenerateError, Generation};
use crate::runtime::{Message, Prompt, PromptError, PromptTokenizer, TargetModel};

impl Chat<'_> {
    /// The prompt of a question, for a context with room for a good part of the answer.
    pub(super) fn make_room(
        &mut self,
        question: &Message,
        prompt: Prompt,
    ) -> Result<Prompt, PromptError> {
        let n_ctx = self.session.model().n_ctx();
        let wanted = self.args.max_new_tokens.min(n_ctx / 4);
        let used = prompt.keep + prompt.tokens.len();
        if !self.args.context_shift || used + wanted <= n_ctx {
            return Ok(prompt);
        }
        let left_out = self.left_out;
        let slid = match self.template {
            Some(_) => self.without_oldest(question, 0)?,
            None => {
                let said = [&self.session.text()[..prompt.keep], &prompt.tokens].concat();
                self.end_of(&said, prompt.text)
            }
        };
        self.tell_slid(left_out);
        Ok(slid.behind(self.session.text()))
    }

    /// Goes on with an answer for which the context is too short. `false` if the answer is done, or
    /// the context does not slide.
    pub(super) fn slide_answer(
        &mut self,
        question: &Message,
        answer: &mut Generation,
    ) -> anyhow::Result<bool> {
        let has_more = answer.tokens.len() < self.args.max_new_tokens;
        let is_cut = answer.finish == FinishReason::Length && has_more;
        // A grammar would begin anew.
        if !is_cut || !self.args.context_shift || self.args.grammar.is_given() {
            return Ok(false);
        }
        let left_out = self.left_out;
        let prompt = match self.template {
            Some(_) => {
                let mut prompt = self.without_oldest(question, answer.tokens.len())?;
                let n_ctx = self.session.model().n_ctx();
                // Of a long answer, only the end.
                let room = (n_ctx / 2).max((n_ctx + prompt.tokens.len()) / 2);
                let room = room.saturating_sub(prompt.tokens.len());
                let begin = answer.tokens.len().saturating_sub(room);
                prompt.tokens.extend(&answer.tokens[begin..]);
                prompt
            }
            None => self.end_of(self.session.text(), String::new()),
        };
        let prompt = prompt.behind(self.session.text());
        let interrupted = watch_for_ctrl_c();
        let progress = &mut |_, _| flow(interrupted);
        match self
            .session
            .prefill_behind(prompt.keep, &prompt.tokens, progress)
        {
            Err(GenerateError::Cancelled) => {
                answer.finish = FinishReason::Cancelled;
                return Ok(false);
            }
            other => other?,
        }
        self.part.clear();
        self.tell_slid(left_out);
        Ok(true)
    }

    /// The prompt of the whole conversation, with `more` tokens behind it, without the oldest turns
    /// that make it longer than half of the context.
    fn without_oldest(&mut self, question: &Message, more: usize) -> Result<Prompt, PromptError> {
        const TURN: usize = 2;
        let n_ctx = self.session.model().n_ctx();
        loop {
            let prompt = self.first_prompt(question)?;
            let fits = prompt.tokens.len() + more <= n_ctx / 2;
            if fits || self.left_out + TURN > self.messages.len() {
                return Ok(prompt);
            }
            self.left_out += TURN;
        }
    }

    /// The end of a plain text, half of the context long.
    fn end_of(&self, said: &[TokenId], text: String) -> Prompt {
        let mut tokens = self.vocabulary.prefix();
        let room = (self.session.model().n_ctx() / 2).saturating_sub(tokens.len());
        tokens.extend(&said[said.len().saturating_sub(room)..]);
        Prompt {
            keep: 0,
            tokens,
            text,
        }
    }

    /// Says that the context has slid; so many messages were left out before.
    fn tell_slid(&self, before: usize) {
        let n_ctx = self.session.model().n_ctx();
        let what = match (self.left_out - before) / 2 {
            0 => "the beginning of the text is".to_owned(),
            1 => "the oldest question and its answer are".to_owned(),
            turns => format!("the oldest {turns} questions and their answers are"),
        };
        tell_line!("note: the context of {n_ctx} tokens was full: {what} left out from here on");
    }
}

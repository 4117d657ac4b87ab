//! Questions, and their answers without drafts.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;

use anyhow::Context;
use logitspec::TokenId;
use logitspec::engine::Session;
use logitspec::runtime::llama::{LlamaTarget, Model};
use logitspec::runtime::{ChatEncoder, ChatTemplate, Message, Role};

use crate::{Args, go_on};

pub struct Question {
    pub id: i64,
    pub turns: Vec<String>,
}

/// One turn, answered by plain decoding.
pub struct Turn {
    /// How many tokens of the conversation before stay.
    pub keep: usize,
    pub prompt: Vec<TokenId>,
    pub answer: Vec<TokenId>,
}

pub fn read_questions(args: &Args) -> anyhow::Result<Vec<Question>> {
    let file = File::open(&args.questions).with_context(|| format!("{:?}", args.questions))?;
    let mut questions = Vec::new();
    for line in BufReader::new(file).lines() {
        let value: serde_json::Value = serde_json::from_str(&line?)?;
        let id = value["question_id"].as_i64().context("question_id")?;
        let turns = value["turns"].as_array().context("turns")?;
        let turns = turns
            .iter()
            .filter_map(|turn| turn.as_str().map(str::to_owned));
        if !args.even || id % 2 == 0 {
            questions.push(Question {
                id,
                turns: turns.collect(),
            });
        }
    }
    Ok(questions
        .into_iter()
        .skip(args.offset)
        .step_by(args.stride)
        .collect())
}

/// Answers all turns of a question without drafts.
pub fn answer(
    session: &mut Session<LlamaTarget<'_>>,
    model: &Model,
    template: Option<&ChatTemplate>,
    question: &Question,
    args: &Args,
) -> anyhow::Result<Vec<Turn>> {
    session.reset();
    let vocabulary = model.vocabulary();
    let encoder = ChatEncoder {
        tokenizer: &vocabulary,
        template,
        parse_special: args.parse_special,
    };
    let mut messages = Vec::new();
    let mut turns = Vec::new();
    for text in &question.turns {
        messages.push(Message::new(Role::User, text.as_str()));
        let prompt = match session.text() {
            [] => encoder.first(&messages)?,
            said => encoder.next(&messages, said)?,
        };
        let (keep, prompt) = (prompt.keep, prompt.tokens);
        if keep + prompt.len() >= args.ctx_size as usize {
            break;
        }
        session.prefill_behind(keep, &prompt, &mut go_on)?;
        let answer = session.generate(args.max_new_tokens, &mut |_| ControlFlow::Continue(()))?;
        let said = vocabulary.transcript(&answer.tokens);
        messages.push(Message::new(Role::Assistant, said));
        turns.push(Turn {
            keep,
            prompt,
            answer: answer.tokens,
        });
    }
    Ok(turns)
}

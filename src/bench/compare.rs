//! Speeds of several answerers on a few prompts, without files.
//!
//! Every answerer answers every prompt in each run, in turn, because the speed of a machine varies.
//! Figures are medians over the runs.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::answer::Choice;
use super::run::{Answerer, AskError};

/// A prompt: the turns of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its name in the figures.
    pub name: String,
    /// The user's turns.
    pub turns: Vec<String>,
}

/// All answers: of each prompt, by each answerer, in each run.
#[derive(Debug)]
pub struct Answers {
    prompts: Vec<String>,
    names: Vec<String>,
    choices: Vec<Vec<Vec<Choice>>>,
}

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// It was stopped.
    #[error("stopped")]
    Stopped,
    /// A prompt has no answer.
    #[error("{answerer} cannot answer the prompt {prompt:?}: {error}")]
    Ask {
        /// Whose answer is missing.
        answerer: String,
        /// The prompt's name.
        prompt: String,
        /// The reason.
        error: AskError,
    },
}

/// Lets all answerers, which have names, answer all prompts `runs` times. Before that each answers
/// the first prompt once without being measured. `on_answer` hears of every answer. Ends when
/// `stop` is raised.
///
/// # Errors
/// If a prompt has no answer, or if it is stopped.
pub fn compare(
    prompts: &[Prompt],
    answerers: &mut [(String, Box<dyn Answerer + '_>)],
    runs: u32,
    stop: &AtomicBool,
    on_answer: &mut dyn FnMut(),
) -> Result<Answers, CompareError> {
    let mut ask = |(name, answerer): &mut (String, Box<dyn Answerer + '_>), prompt: &Prompt| {
        if stop.load(Ordering::Relaxed) {
            return Err(CompareError::Stopped);
        }
        let answered = answerer.answer(&prompt.turns, 0);
        on_answer();
        answered.map_err(|error| CompareError::Ask {
            answerer: name.clone(),
            prompt: prompt.name.clone(),
            error,
        })
    };
    if let Some(first) = prompts.first() {
        for answerer in answerers.iter_mut() {
            ask(answerer, first)?;
        }
    }
    let mut choices = vec![vec![Vec::new(); answerers.len()]; prompts.len()];
    for run in 0..runs as usize {
        for (number, prompt) in prompts.iter().enumerate() {
            for place in 0..answerers.len() {
                let turn = (place + run + number) % answerers.len();
                choices[number][turn].push(ask(&mut answerers[turn], prompt)?);
            }
        }
    }
    Ok(Answers {
        prompts: prompts.iter().map(|prompt| prompt.name.clone()).collect(),
        names: answerers.iter().map(|(name, _)| name.clone()).collect(),
        choices,
    })
}

/// The figures of a comparison. The first answerer is what the others are compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// By prompt.
    pub prompts: Vec<PromptFigures>,
    /// Over all prompts, by answerer.
    pub overall: Vec<Overall>,
}

/// The figures of one prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptFigures {
    /// The prompt's name.
    pub name: String,
    /// By answerer.
    pub answers: Vec<AnswerFigures>,
}

/// The figures of one answerer's answers to one prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerFigures {
    /// The answerer.
    pub name: String,
    /// New tokens of the first run.
    pub new_tokens: u64,
    /// Seconds of each run, prompt included.
    pub seconds: Vec<f64>,
    /// Median of new tokens per second, prompt included.
    pub tokens_per_second: f64,
    /// That, over the first answerer's.
    pub ratio: f64,
    /// Mean tokens of a decode step.
    pub mean_accepted_tokens: f64,
    /// Whether all its texts are the first answerer's.
    pub same_text: bool,
}

/// The figures of one answerer over all prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overall {
    /// The answerer.
    pub name: String,
    /// New tokens per second: of all prompts together, in their median seconds.
    pub tokens_per_second: f64,
    /// That, over the first answerer's.
    pub ratio: f64,
    /// The lowest and the highest ratio of a single run.
    pub ratio_of_runs: [f64; 2],
    /// Mean tokens of a decode step.
    pub mean_accepted_tokens: f64,
    /// Whether all texts are the first answerer's.
    pub same_text: bool,
}

impl Answers {
    /// The figures.
    pub fn figures(&self) -> Comparison {
        let prompts: Vec<_> = self
            .choices
            .iter()
            .zip(&self.prompts)
            .map(|(choices, name)| PromptFigures {
                name: name.clone(),
                answers: self.prompt_figures(choices),
            })
            .collect();
        let overall = (0..self.names.len()).map(|number| self.overall(&prompts, number));
        Comparison {
            overall: overall.collect(),
            prompts,
        }
    }

    fn prompt_figures(&self, choices: &[Vec<Choice>]) -> Vec<AnswerFigures> {
        let text = choices[0].first().map(|choice| &choice.turns);
        let figures = choices.iter().zip(&self.names).map(|(runs, name)| {
            let speeds = runs
                .iter()
                .map(|it| speed(tokens(it), it.total_wall_time()));
            AnswerFigures {
                name: name.clone(),
                new_tokens: runs.first().map_or(0, Choice::total_new_tokens),
                seconds: runs.iter().map(Choice::total_wall_time).collect(),
                tokens_per_second: median(speeds.collect()),
                ratio: 1.0,
                mean_accepted_tokens: accepted(runs.iter()),
                same_text: runs.iter().all(|choice| Some(&choice.turns) == text),
            }
        });
        let mut figures: Vec<_> = figures.collect();
        let base = figures[0].tokens_per_second;
        for it in &mut figures {
            it.ratio = it.tokens_per_second / base;
        }
        figures
    }

    fn overall(&self, prompts: &[PromptFigures], number: usize) -> Overall {
        let of = |number: usize| prompts.iter().map(move |prompt| &prompt.answers[number]);
        let in_medians = |number: usize| {
            let tokens: u64 = of(number).map(|it| it.new_tokens).sum();
            let seconds: f64 = of(number).map(|it| median(it.seconds.clone())).sum();
            speed(tokens as f64, seconds)
        };
        let in_run = |number: usize, run: usize| {
            let choices = self.choices.iter().map(|prompt| &prompt[number][run]);
            let (all, seconds) = choices.fold((0.0, 0.0), |(all, seconds), it| {
                (all + tokens(it), seconds + it.total_wall_time())
            });
            speed(all, seconds)
        };
        let runs = of(number).map(|it| it.seconds.len()).min().unwrap_or(0);
        let ratios = (0..runs).map(|run| in_run(number, run) / in_run(0, run));
        let [low, high] = ratios.fold([f64::INFINITY, 0.0], |[low, high], ratio| {
            [ratio.min(low), ratio.max(high)]
        });
        Overall {
            name: self.names[number].clone(),
            tokens_per_second: in_medians(number),
            ratio: in_medians(number) / in_medians(0),
            ratio_of_runs: [low, high],
            mean_accepted_tokens: accepted(self.choices.iter().flat_map(|it| &it[number])),
            same_text: of(number).all(|it| it.same_text),
        }
    }
}

fn tokens(choice: &Choice) -> f64 {
    choice.total_new_tokens() as f64
}

fn speed(tokens: f64, seconds: f64) -> f64 {
    tokens / seconds.max(f64::MIN_POSITIVE)
}

fn accepted<'a>(choices: impl Iterator<Item = &'a Choice>) -> f64 {
    let lengths: Vec<u64> = choices.flat_map(|it| it.accept_lengths.clone()).collect();
    lengths.iter().sum::<u64>() as f64 / lengths.len().max(1) as f64
}

/// The median; the mean of the middle two for an even number of values, 0 for none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests;

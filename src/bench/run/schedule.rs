//! Which method answers which question when.

use serde::{Deserialize, Serialize};

/// Which method comes when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Question by question, all methods one after the other, another one first each time: a
    /// machine that grows slower, or is disturbed for a while, is so for all of them alike.
    #[default]
    Rotating,
    /// Method by method, all questions one after the other, as the original does.
    Sequential,
}

/// One question to one method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// The question's place in the set, from 0.
    pub question: usize,
    /// The method's number, from 0.
    pub method: usize,
    /// Which repeat, from 0.
    pub repeat: u32,
}

/// All tasks, in rounds that one worker does in one go. A repeat begins when the one before is
/// through.
///
/// ```
/// use logitspec::bench::run::{Order, schedule};
///
/// let methods: Vec<Vec<usize>> = schedule(Order::Rotating, 3, 3, 1)
///     .iter()
///     .map(|round| round.iter().map(|task| task.method).collect())
///     .collect();
/// assert_eq!(methods, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
/// ```
pub fn schedule(order: Order, questions: usize, methods: usize, repeats: u32) -> Vec<Vec<Task>> {
    let mut rounds = Vec::new();
    for repeat in 0..repeats {
        let task = |question, method| Task {
            question,
            method,
            repeat,
        };
        match order {
            // A repeat begins with another method than the one before, or a method would always be
            // first to a question.
            Order::Rotating => rounds.extend((0..questions).map(|question| {
                let first = question + repeat as usize;
                (0..methods)
                    .map(|place| task(question, (first + place) % methods))
                    .collect()
            })),
            Order::Sequential => rounds.extend((0..methods).flat_map(|method| {
                (0..questions).map(move |question| vec![task(question, method)])
            })),
        }
    }
    rounds
}

//! The order in which methods answer questions.

use serde::{Deserialize, Serialize};

/// The order in which methods answer questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Question by question: all methods one after the other, each time with another one first. If
    /// the machine becomes slower for a while, this affects all methods alike.
    #[default]
    Rotating,
    /// Method by method, each with all questions, as the original project does.
    Sequential,
}

/// One question for one method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// The question's index in the set.
    pub question: usize,
    /// The method's index.
    pub method: usize,
    /// The repeat, from 0.
    pub repeat: u32,
}

/// All tasks, in rounds. One worker does all tasks of a round. Repeats follow one another.
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
            // Each repeat shifts the order, so that no method is always the first at a question.
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

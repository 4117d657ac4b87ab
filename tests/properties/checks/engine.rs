//! A session against plain decoding.

use std::ops::ControlFlow;

use logitspec::TokenId;
use logitspec::engine::{FinishReason, GenerateError, Generation, Session, StepView};
use logitspec::runtime::TargetModel;

use super::drafters::Checked;
use super::oracle::Plain;
use super::scenario::Scenario;
use super::target::{Call, CheckedModel};
use super::tree;

/// A user action: its kind (see [`Run::act`]) and a parameter.
pub type Action = (u8, u8);

/// A session, and a plain decoder for comparison.
struct Run {
    session: Session<CheckedModel>,
    plain: Plain,
    n_vocab: usize,
    exact: bool,
    /// Most committed tokens that may be missing in the cache, to be decoded again.
    max_missing: usize,
}

impl Run {
    fn new(scenario: &Scenario) -> Self {
        let sampling = scenario.sampling.clone();
        let n_vocab = scenario.model.n_vocab();
        let drafter = Checked {
            inner: scenario.drafter(),
            greedy: sampling.is_greedy(),
            n_vocab,
            text: Vec::new(),
        };
        let model = CheckedModel::new(scenario.model.clone(), scenario.recurrent);
        Self {
            session: Session::new(model, scenario.options)
                .with_request(sampling.clone().into())
                .with_cost(scenario.cost())
                .with_drafter(Box::new(drafter)),
            plain: Plain::new(scenario.model.clone(), sampling),
            n_vocab,
            exact: scenario.options.exact,
            max_missing: match scenario.options.exact {
                true => scenario.options.draft_tree_capacity.saturating_sub(1),
                false => 0,
            },
        }
    }

    fn act(&mut self, (kind, number): Action) {
        let number = usize::from(number);
        match kind % 16 {
            0 => {
                self.session.reset();
                self.plain.truncate(0);
            }
            1 => {
                self.session.truncate(number);
                self.plain.truncate(number);
            }
            2..=4 => self.prompt(number, usize::MAX, usize::MAX),
            5 => self.prompt(number, usize::MAX, number / 2),
            6 if number % 2 == 0 => {
                self.session.end_request();
                self.plain.truncate(0);
            }
            6 => self.prompt(number, number % 4, number / 2),
            7..=9 => self.generate(number, number % 5),
            _ => self.generate(number, usize::MAX),
        }
        assert_eq!(self.session.text(), self.plain.text);
        let cached = self.session.model().cached();
        assert!(
            self.plain.text.starts_with(cached),
            "the cache holds another text"
        );
        assert!(!self.exact || self.session.model().is_in_order());
        if let Some(logits) = self.session.last_logits() {
            let missing = self.plain.text.len() - cached.len();
            assert!(missing <= self.max_missing, "{missing} tokens are missing");
            self.plain.assert_last_logits(logits);
        }
    }

    /// A prompt of `number` tokens that repeats the text, behind its first `keep` tokens. Cancelled
    /// after `patience` reports of progress.
    fn prompt(&mut self, number: usize, patience: usize, keep: usize) {
        let before = self.plain.text.len();
        let keep = keep.min(before);
        let token = |at: usize| match self.plain.text.get((at * 31 + number) % (before + 3)) {
            Some(&token) => token,
            None => ((number + at * at) % self.n_vocab) as TokenId,
        };
        let mut prompt: Vec<TokenId> = (0..number % 40).map(token).collect();
        if number == 255 {
            prompt.push(self.n_vocab as TokenId);
        }
        let mut reports = Vec::new();
        let mut progress = |done, of| {
            reports.push((done, of));
            if reports.len() > patience {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let outcome = self.session.prefill_behind(keep, &prompt, &mut progress);
        assert!(reports.is_sorted());
        let n_ctx = self.session.model().n_ctx();
        match outcome {
            Ok(()) => {
                self.plain.truncate(keep);
                self.plain.append(&prompt);
                assert!(reports.last().is_some_and(|(done, of)| done == of));
                assert_eq!(self.session.model().cached(), self.plain.text);
                assert!(self.session.last_logits().is_some());
            }
            Err(GenerateError::UnknownToken { token, .. }) => {
                assert_eq!(token as usize, self.n_vocab)
            }
            Err(GenerateError::PromptTooLong { tokens, .. }) => {
                assert!(tokens == keep + prompt.len() && tokens > n_ctx);
            }
            Err(GenerateError::EmptyPrompt) => assert!(prompt.is_empty()),
            Err(GenerateError::Cancelled) => assert!(reports.len() > patience),
            Err(GenerateError::Decode(_)) => self.assert_failed(Call::Append),
        }
    }

    /// Checks that the model failed in this call.
    fn assert_failed(&mut self, call: Call) {
        assert_eq!(self.session.model().last_failure, Some(call));
    }

    /// After a failure, brings the plain decoder to the state of the session.
    fn after_failure(&mut self, answer: &[TokenId]) {
        match self.session.model().last_failure {
            Some(Call::DecodeTree) => {
                self.plain.draw_ahead();
            }
            Some(Call::Append) => {
                assert!(
                    answer.is_empty(),
                    "only the first step of an answer appends"
                );
            }
            other => panic!("the model did not fail: {other:?}"),
        }
    }

    /// Generates up to `max` tokens. Cancelled after `patience` steps.
    fn generate(&mut self, max: usize, patience: usize) {
        let before = self.plain.text.len();
        let mut steps: Vec<Vec<TokenId>> = Vec::new();
        let mut drafted = 0;
        let outcome = self.session.generate(max, &mut |view| {
            assert_eq!(view.index, steps.len());
            assert_eq!(view.n_past, before + steps.concat().len());
            assert_step(view);
            drafted += view.step.drafted;
            steps.push(view.step.accepted.clone());
            if steps.len() > patience {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let answer = steps.concat();
        for &token in &answer {
            assert!(!self.plain.is_full(), "the answer exceeds the context");
            assert_eq!(token, self.plain.step(), "after {:?}", self.plain.text);
        }
        assert!(answer.len() <= max);
        let ended = answer.iter().position(|&token| self.plain.is_end(token));
        assert!(
            ended.is_none_or(|at| at + 1 == answer.len()),
            "the answer continues after the end token"
        );
        match outcome {
            Ok(generation) => {
                assert_eq!(generation.tokens, answer);
                assert_eq!(generation.drafted, drafted);
                assert_generation(&generation, &steps);
                match generation.finish {
                    FinishReason::Stop => assert!(ended.is_some()),
                    FinishReason::Cancelled => assert_eq!(steps.len(), patience + 1),
                    FinishReason::Length => assert!(answer.len() == max || self.plain.is_full()),
                    FinishReason::Failed(_) => return self.after_failure(&answer),
                }
                assert!(
                    self.session.model().n_past() + self.max_missing + 1 >= self.plain.text.len()
                        || answer.is_empty()
                );
                let cancelled = generation.finish == FinishReason::Cancelled;
                if cancelled && answer.len() < max && !self.plain.is_full() {
                    self.plain.draw_ahead();
                }
            }
            Err(GenerateError::EmptyPrompt) => assert_eq!(before, 0),
            Err(error) => panic!("{error}"),
        }
    }
}

fn assert_step(view: &StepView<'_>) {
    let StepView { tree, step, .. } = view;
    tree::assert_valid(tree);
    assert_eq!(step.drafted, tree.drafted());
    let mut ends = vec![0];
    for token in &step.accepted[1..] {
        let children = ends.iter().flat_map(|&end| tree.children(end));
        ends = children
            .filter(|&child| tree.token(child) == *token)
            .collect();
    }
    assert_eq!(step.accepted[0], tree.token(0));
    assert!(!ends.is_empty(), "an accepted token was not drafted");
}

fn assert_generation(generation: &Generation, steps: &[Vec<TokenId>]) {
    let lengths: Vec<_> = steps.iter().map(Vec::len).collect();
    assert_eq!(generation.accept_lengths, lengths);
    assert_eq!(generation.step_times.len(), lengths.len());
    assert_eq!(lengths.iter().sum::<usize>(), generation.tokens.len());
    let mean = generation.tokens.len() as f64 / lengths.len().max(1) as f64;
    assert!((generation.mean_accepted_tokens() - mean).abs() < 1e-9);
}

/// Performs `actions` in a scenario.
pub fn check(scenario: &Scenario, actions: &[Action]) {
    let mut run = Run::new(scenario);
    run.act((2, 7)); // start with a prompt
    for &action in actions {
        run.act(action);
    }
}

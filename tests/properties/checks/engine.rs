//! A session against plain decoding.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use logitspec::TokenId;
use logitspec::corpus::{Corpus, CorpusBuilder};
use logitspec::draft::{Drafter, Memory, PassCost, SuffixParams};
use logitspec::engine::{
    CostModel, FinishReason, GenerateError, Generation, Method, MethodParams, Session,
    SessionOptions, StepView,
};
use logitspec::pool::SharedPool;
use logitspec::runtime::{Failure, ScriptedModel, TargetModel};
use logitspec::store::VocabFingerprint;
use logitspec::tree::Source;
use logitspec::verify::SamplingParams;

use super::drafters::{Seer, Watching, Wild};
use super::oracle::Plain;
use super::target::{Call, Watched};
use super::tree;

/// What the user does: what (see [`Talk::act`]) and a number for it.
pub type Action = (u8, u8);

/// A model, a way to draft, and how they fail.
#[derive(Clone, Debug)]
pub struct Scenario {
    model: ScriptedModel,
    plain: bool,
    drafter: u8,
    seed: u64,
    options: SessionOptions,
}

impl Scenario {
    /// Any numbers make a scenario. `failures` are (decodes since the last failure, whether
    /// half-way).
    pub fn new(setup: [u8; 16], failures: &[(u8, bool)]) -> Self {
        let [
            vocab,
            memory,
            seed,
            ctx,
            sequences,
            batch,
            end,
            drafter,
            capacity,
            rest @ ..,
        ] = setup;
        let [ngram, pred, temperature, top_k, filters, penalty, ranked] = rest.map(usize::from);
        let to = |number: u8, max: usize| usize::from(number) % max;
        let n_vocab = 1 + to(vocab, 40);
        let mut decode = 0;
        let failures = failures.iter().map(|&(after, half_way)| {
            decode += usize::from(after % 16);
            let kind = if half_way {
                Failure::HalfWay
            } else {
                Failure::NoRoom
            };
            (decode, kind)
        });
        let mut model = ScriptedModel::new(
            n_vocab,
            to(memory, 5),
            seed.into(),
            1 + to(ctx, 200),
            1 + to(sequences, 70),
        )
        .with_n_batch(1 + to(batch, 100))
        .with_call_time(Duration::from_micros(u64::from(seed % 2)))
        .with_failures(failures);
        if end % 2 == 1 {
            model = model.with_end(u32::from(end) % n_vocab as TokenId);
        }
        let own_or = |number: usize, max: usize| (number % (max + 1)).checked_sub(1);
        let tenths = |number: usize| (number % 11) as f32 / 10.0;
        Self {
            plain: sequences == u8::MAX,
            model,
            drafter,
            seed: seed.into(),
            options: SessionOptions {
                method: Method::ALL[to(drafter, Method::ALL.len())],
                method_params: MethodParams {
                    max_ngram_size: own_or(ngram, 6),
                    num_pred_tokens: own_or(pred, 30),
                    leave_out: Source::ALL
                        .into_iter()
                        .filter(|&source| (filters / 16) >> (source as usize) & 1 == 1)
                        .collect(),
                    suffix: SuffixParams {
                        max_spec_factor: tenths(top_k) * 3.0,
                        max_spec_offset: tenths(filters) * 9.0 - 2.0,
                        min_token_prob: tenths(penalty) / 4.0,
                        tree: filters % 2 == 1,
                        max_cached_tokens: 5 * penalty,
                        ..SuffixParams::default()
                    },
                },
                draft_tree_capacity: to(capacity, 81),
                fill_tree: false,
                sampling: SamplingParams {
                    temperature: if temperature % 2 == 0 {
                        0.0
                    } else {
                        0.1 + tenths(temperature)
                    },
                    top_k: top_k % 8,
                    top_p: 1.0 - tenths(filters) / 2.0,
                    min_p: tenths(filters / 11) / 4.0,
                    repeat_penalty: if penalty % 4 == 0 { 1.5 } else { 1.0 },
                    repeat_last_n: penalty,
                    seed: seed.into(),
                },
                ranked: ranked % 20 * (ranked % 2),
            },
        }
    }

    fn drafter(&self) -> Box<dyn Drafter> {
        let random = fastrand::Rng::with_seed(self.seed);
        match self.drafter / 4 % 4 {
            0 => Box::new(Wild {
                random,
                n_vocab: self.model.n_vocab(),
            }),
            1 => Box::new(Seer {
                random,
                model: self.model.clone(),
            }),
            2 => {
                let SessionOptions {
                    method,
                    method_params,
                    ..
                } = self.options;
                method.drafter_with(method_params, self.poisoned_memory(random))
            }
            _ => self.options.method.drafter(self.options.method_params),
        }
    }

    /// Earlier requests and a corpus that are noise, some of it of a larger vocabulary.
    fn poisoned_memory(&self, mut random: fastrand::Rng) -> Memory {
        let history = SharedPool::new(500);
        let mut corpus = CorpusBuilder::default();
        let n_vocab = self.model.n_vocab();
        for _ in 0..random.usize(..4) {
            let tokens = n_vocab.min(3) + usize::from(random.u8(..8) == 0);
            let mut noise = || -> Vec<TokenId> {
                let noise = (0..random.usize(..200)).map(|_| random.usize(..tokens));
                noise.map(|t| TokenId::try_from(t).unwrap()).collect()
            };
            history.insert(&noise());
            corpus.add(&noise());
        }
        let tokens = (0..=n_vocab).map(|token| token.to_string());
        let vocabulary = VocabFingerprint::of(tokens);
        let bytes = corpus.encode(&vocabulary).unwrap();
        let corpus = Corpus::from_bytes(bytes, "noise".as_ref(), None).unwrap();
        Memory {
            history: Some(Arc::new(history)),
            corpus: Some(Arc::new(corpus)),
        }
    }

    /// Flat, so steep that hardly anything pays, or learned on the way, from times that no two runs
    /// share.
    fn cost(&self) -> CostModel {
        match self.seed % 4 {
            0 => CostModel::flat(),
            3 => CostModel::gpu(),
            slope => CostModel::fixed(PassCost::from_times(
                (0..80).map(|n| 1.0 + 0.1 * (slope * n) as f64).collect(),
            )),
        }
    }
}

/// A session and the plain decoder beside it.
struct Talk {
    session: Session<Watched>,
    plain: Plain,
    n_vocab: usize,
    /// Most tokens that a pass may decode again.
    again: usize,
}

impl Talk {
    fn new(scenario: &Scenario) -> Self {
        let sampling = scenario.options.sampling;
        let n_vocab = scenario.model.n_vocab();
        let drafter = Watching {
            inner: scenario.drafter(),
            greedy: sampling.temperature <= 0.0 && sampling.repeat_penalty == 1.0,
            n_vocab,
            text: Vec::new(),
        };
        let model = Watched::new(scenario.model.clone(), scenario.plain);
        Self {
            session: Session::new(model, scenario.options)
                .with_cost(scenario.cost())
                .with_drafter(Box::new(drafter)),
            plain: Plain::new(scenario.model.clone(), sampling),
            n_vocab,
            // Nothing is, where calls to the cache take no time.
            again: (scenario.seed % 2) as usize * (scenario.options.draft_tree_capacity / 8),
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
            2..=5 => self.prompt(number, usize::MAX),
            6 if number % 2 == 0 => {
                self.session.end_request();
                self.plain.truncate(0);
            }
            6 => self.prompt(number, number % 4),
            7..=9 => self.generate(number, number % 5),
            _ => self.generate(number, usize::MAX),
        }
        assert_eq!(self.session.text(), self.plain.text);
        let cached = self.session.model().cached();
        assert!(
            self.plain.text.starts_with(cached),
            "the cache holds another text"
        );
        if let Some(logits) = self.session.last_logits() {
            let missing = self.plain.text.len() - cached.len();
            assert!(missing <= self.again, "{missing} tokens are missing");
            self.plain.assert_last_logits(logits);
        }
    }

    /// A prompt of `number` tokens that quotes the text; called off after so many reports of
    /// progress.
    fn prompt(&mut self, number: usize, patience: usize) {
        let before = self.plain.text.len();
        let token = |at: usize| match self.plain.text.get((at * 31 + number) % (before + 3)) {
            Some(&token) => token,
            None => ((number + at * at) % self.n_vocab) as TokenId,
        };
        let mut prompt: Vec<TokenId> = (0..number % 40).map(token).collect();
        if number == 255 {
            prompt.push(self.n_vocab as TokenId);
        }
        let mut reports = Vec::new();
        let outcome = self.session.prefill(&prompt, &mut |done, of| {
            reports.push((done, of));
            if reports.len() > patience {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(reports.is_sorted());
        let n_ctx = self.session.model().n_ctx();
        match outcome {
            Ok(()) => {
                self.plain.hear(&prompt);
                assert!(reports.last().is_some_and(|(done, of)| done == of));
                assert_eq!(self.session.model().cached(), self.plain.text);
                assert!(self.session.last_logits().is_some());
            }
            Err(GenerateError::UnknownToken { token, .. }) => {
                assert_eq!(token as usize, self.n_vocab)
            }
            Err(GenerateError::PromptTooLong { tokens, .. }) => {
                assert!(tokens == before + prompt.len() && tokens > n_ctx);
            }
            Err(GenerateError::EmptyPrompt) => assert!(prompt.is_empty()),
            Err(GenerateError::Cancelled) => assert!(reports.len() > patience),
            Err(GenerateError::Decode(_)) => self.forgive(Call::Append),
        }
    }

    /// Sees to it that an error was the model's.
    fn forgive(&mut self, call: Call) {
        assert_eq!(self.session.model().last_failure, Some(call));
    }

    /// Sees to it that a broken-off answer can be gone on with.
    fn forgive_answer(&mut self, said: &[TokenId]) {
        match self.session.model().last_failure {
            Some(Call::DecodeTree) => {
                self.plain.draw_ahead();
            }
            Some(Call::Append) => {
                assert!(
                    said.is_empty(),
                    "only what an earlier answer left is caught up on"
                );
            }
            other => panic!("the model did not fail: {other:?}"),
        }
    }

    /// Up to `max` tokens; called off after `patience` steps.
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
        let said = steps.concat();
        for &token in &said {
            assert!(!self.plain.is_full(), "went on beyond the context");
            assert_eq!(token, self.plain.say(), "after {:?}", self.plain.text);
        }
        assert!(said.len() <= max);
        let ended = said.iter().position(|&token| self.plain.is_end(token));
        assert!(
            ended.is_none_or(|at| at + 1 == said.len()),
            "went on beyond the end"
        );
        match outcome {
            Ok(generation) => {
                assert_eq!(generation.tokens, said);
                assert_eq!(generation.drafted, drafted);
                assert_generation(&generation, &steps);
                match generation.finish {
                    FinishReason::Stop => assert!(ended.is_some()),
                    FinishReason::Cancelled => assert_eq!(steps.len(), patience + 1),
                    FinishReason::Length => assert!(said.len() == max || self.plain.is_full()),
                    FinishReason::Failed(_) => return self.forgive_answer(&said),
                }
                assert!(
                    self.session.model().n_past() + self.again + 1 >= self.plain.text.len()
                        || said.is_empty()
                );
                let called_off = generation.finish == FinishReason::Cancelled;
                if called_off && said.len() < max && !self.plain.is_full() {
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
    assert!(!ends.is_empty(), "accepted what was not drafted");
}

fn assert_generation(generation: &Generation, steps: &[Vec<TokenId>]) {
    let lengths: Vec<_> = steps.iter().map(Vec::len).collect();
    assert_eq!(generation.accept_lengths, lengths);
    assert_eq!(generation.step_times.len(), lengths.len());
    assert_eq!(lengths.iter().sum::<usize>(), generation.tokens.len());
    let mean = generation.tokens.len() as f64 / lengths.len().max(1) as f64;
    assert!((generation.mean_accepted_tokens() - mean).abs() < 1e-9);
}

/// Plays `actions` in a scenario.
pub fn check(scenario: &Scenario, actions: &[Action]) {
    let mut talk = Talk::new(scenario);
    talk.act((2, 7)); // nearly every talk begins with a prompt
    for &action in actions {
        talk.act(action);
    }
}

//! Many requests at once against each of them alone.

use std::collections::HashMap;

use logitspec::TokenId;
use logitspec::draft::{Memory, PassCost};
use logitspec::engine::{
    CostModel, Event, FinishReason, Method, NewRequest, RequestId, Scheduler, SchedulerOptions,
    SessionOptions,
};
use logitspec::pool::SharedPool;
use logitspec::runtime::{Failure, ScriptedModel, TargetModel};
use logitspec::verify::SamplingParams;

use super::oracle::Plain;

/// A request, or something else that happens: see [`Run::handle`].
pub type Action = (u8, [u8; 6]);

/// How a scheduler is set up: slots, cells, tokens of a pass, failures, ...
pub type Setup = [u8; 8];

const END: TokenId = 3;

struct Run {
    scheduler: Scheduler<ScriptedModel>,
    model: ScriptedModel,
    memory: Memory,
    requests: HashMap<RequestId, Expected>,
    fails: bool,
}

/// What a request asks for, and what it got so far.
struct Expected {
    prompt: Vec<TokenId>,
    max: usize,
    sampling: SamplingParams,
    said: Vec<TokenId>,
    started: bool,
}

impl Run {
    fn new(setup: Setup, failures: &[(u8, bool)]) -> Self {
        let [slots, cells, vocab, memory, batch, pieces, rest, cost] = setup.map(usize::from);
        let n_ctx = 24 + cells;
        let vocab = 8 + vocab % 24;
        let n_batch = 8 + batch % 64;
        let mut at = 0;
        let failures: Vec<_> = failures
            .iter()
            .map(|&(gap, half_way)| {
                at += usize::from(gap);
                let kind = [Failure::NoRoom, Failure::HalfWay][usize::from(half_way)];
                (at, kind)
            })
            .collect();
        let fails = !failures.is_empty();
        let exact = rest % 4 > 0;
        let model = ScriptedModel::new(vocab, 1 + memory % 4, 5, n_ctx, 1 + rest % 6)
            .with_n_batch(n_batch)
            .with_slots(1 + slots % 16)
            .with_end(END);
        let model = match exact {
            true => model,
            false => model.ignoring_cell_order(),
        };
        let options = SchedulerOptions {
            max_batch_tokens: 1 + pieces % 48,
            exact,
        };
        let slope = 1.0 + 0.002 * cost as f64;
        let cost = (0..32).map(|n| slope.powi(n)).collect();
        let cost = CostModel::fixed(PassCost::from_times(cost));
        Self {
            scheduler: Scheduler::new(model.clone().with_failures(failures), cost, options),
            model,
            memory: Memory::of_history(SharedPool::new(256).into()),
            requests: HashMap::new(),
            fails,
        }
    }

    fn submit(&mut self, [len, head, max, method, sampling, flags]: [u8; 6]) {
        let n_vocab = self.model.n_vocab();
        // Few beginnings, so that prompts share some.
        let token = |at: usize| {
            let own = if at < usize::from(head) % 24 { 0 } else { head };
            ((at * 7 + at * at + usize::from(own)) % n_vocab) as TokenId
        };
        let prompt: Vec<_> = (0..1 + usize::from(len) % 60).map(token).collect();
        let sampling = match sampling % 3 {
            0 => SamplingParams {
                temperature: 0.9,
                seed: sampling.into(),
                ..SamplingParams::default()
            },
            _ => SamplingParams::default(),
        };
        let max = usize::from(max) % 40;
        let methods = Method::ALL;
        let request = NewRequest {
            options: SessionOptions {
                method: methods[usize::from(method) % methods.len()],
                draft_tree_capacity: 1 + usize::from(method) / 8,
                fill_tree: flags % 2 == 0,
                ..SessionOptions::default()
            },
            request: sampling.clone().into(),
            memory: match flags % 3 {
                0 => Memory::none(),
                _ => self.memory.clone(),
            },
            feeds_history: flags % 5 > 0,
            reuses_cache: flags % 7 > 0,
            ..NewRequest::new(prompt.clone(), max)
        };
        match self.scheduler.submit(request) {
            Ok(id) => {
                let expected = Expected {
                    prompt,
                    max,
                    sampling,
                    said: Vec::new(),
                    started: false,
                };
                assert!(self.requests.insert(id, expected).is_none());
            }
            Err(error) => assert!(prompt.len() > self.model.n_ctx(), "{error}"),
        }
    }

    fn cancel(&mut self, number: u8) {
        let mut ids: Vec<_> = self.requests.keys().copied().collect();
        ids.sort_unstable();
        if let Some(&id) = ids.get(usize::from(number) % ids.len().max(1)) {
            assert!(self.scheduler.cancel(id));
            assert!(!self.scheduler.cancel(id), "it is over");
            self.requests.remove(&id);
        }
    }

    fn step(&mut self) {
        for (id, event) in self.scheduler.step() {
            let request = self.requests.get_mut(&id).expect("the request is not over");
            match event {
                Event::Started { cached } => {
                    assert!(!std::mem::replace(&mut request.started, true));
                    assert!(cached < request.prompt.len());
                }
                Event::Prefilled { seconds } => assert!(request.started && seconds >= 0.0),
                Event::Step(stepped) => request.said.extend(stepped.step.accepted),
                Event::Finished(answer) => {
                    let request = self.requests.remove(&id).expect("it is there");
                    assert_eq!(answer.tokens, request.said);
                    self.check(&request, &answer.finish);
                }
            }
        }
        self.check_cache();
    }

    /// The answer is the one that the request gets alone, without drafts.
    fn check(&self, request: &Expected, finish: &FinishReason) {
        let mut plain = Plain::new(self.model.clone(), request.sampling.clone());
        plain.append(&request.prompt);
        for (at, &token) in request.said.iter().enumerate() {
            assert!(!plain.is_full(), "more than the context holds");
            assert_eq!(token, plain.step(), "token {at}");
        }
        let ended = request.said.last() == Some(&END);
        match finish {
            FinishReason::Stop => assert!(ended),
            FinishReason::Length => {
                assert!(request.said.len() == request.max || !ended);
                let full = request.prompt.len() + request.said.len() + 1 >= self.model.n_ctx();
                // Where the rest of the cache is of no use to it, it may be over a little earlier.
                assert!(
                    request.said.len() == request.max || full || self.fails,
                    "{finish:?}"
                );
            }
            FinishReason::Failed(error) => assert!(self.fails, "{error}"),
            FinishReason::Cancelled => panic!("nobody cancelled it"),
        }
        assert!(!request.said[..request.said.len().saturating_sub(1)].contains(&END));
    }

    /// Each slot holds its text, and cells are not lost.
    fn check_cache(&self) {
        let model = self.scheduler.model();
        let slots = model.slots();
        (0..slots).for_each(|slot| model.assert_slot_holds(slot, model.cached(slot)));
        let held: usize = (0..slots).map(|slot| model.n_past(slot)).sum();
        assert!(model.free() + held >= model.n_ctx(), "cells are lost");
    }

    fn handle(&mut self, &(kind, numbers): &Action) {
        match kind % 8 {
            0..3 => self.submit(numbers),
            3 => self.cancel(numbers[0]),
            _ => (0..=kind / 8).for_each(|_| self.step()),
        }
    }
}

/// Performs `actions`, and then lets all requests end.
pub fn check(setup: Setup, failures: &[(u8, bool)], actions: &[Action]) {
    let mut run = Run::new(setup, failures);
    for action in actions {
        run.handle(action);
    }
    for _ in 0..3_000 {
        if run.scheduler.is_idle() {
            break;
        }
        run.step();
    }
    assert!(run.scheduler.is_idle(), "requests do not end");
    assert!(run.requests.is_empty());
}

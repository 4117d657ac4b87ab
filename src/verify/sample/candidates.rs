//! The tokens that may be drawn, and the samplers that leave some of them out.
//!
//! Sums are single precision and in the order of the candidates, as llama.cpp's are, so that the
//! same tokens are left where a sum meets a limit.

use crate::TokenId;
use crate::logits::{Candidate, Row};

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Item {
    pub token: TokenId,
    pub logit: f32,
    /// Its probability, once it was computed.
    pub p: f32,
}

/// The tokens that may be drawn: a row of logits, or some of it.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    /// The whole row, as long as nothing was left out.
    row: Option<&'a mut [f32]>,
    list: Vec<Item>,
    /// Whether the largest logit comes first.
    sorted: bool,
}

impl<'a> Candidates<'a> {
    /// All tokens of a row.
    pub fn new(row: &'a mut [f32]) -> Self {
        Self {
            row: Some(row),
            list: Vec::new(),
            sorted: false,
        }
    }

    /// Changes the logits of tokens, which come in ascending order.
    pub fn adjust<T>(&mut self, tokens: &[(TokenId, T)], change: impl Fn(f32, &T) -> f32) {
        if let Some(row) = &mut self.row {
            for (token, by) in tokens {
                if let Some(logit) = row.get_mut(*token as usize) {
                    *logit = change(*logit, by);
                }
            }
            return;
        }
        for item in &mut self.list {
            if let Ok(at) = tokens.binary_search_by_key(&item.token, |(token, _)| *token) {
                item.logit = change(item.logit, &tokens[at].1);
            }
        }
        self.sorted = false;
    }

    /// Keeps the `k` largest logits.
    pub fn top_k(&mut self, k: usize) {
        match self.row.take() {
            Some(row) => {
                let mut found: Vec<Candidate> = Vec::new();
                Row::from(&*row).top_k_into(k, &mut found);
                let items = found.iter().map(|it| (it.token, it.logit));
                self.fill(items, true);
            }
            None => {
                self.sort();
                self.list.truncate(k);
            }
        }
    }

    /// Keeps the most probable tokens until their probabilities reach `p`.
    pub fn top_p(&mut self, p: f32) {
        self.soften();
        self.sort();
        let mut sum = 0.0;
        let enough = self.list.iter().position(|item| {
            sum += item.p;
            sum >= p
        });
        self.list
            .truncate(enough.map_or(self.list.len(), |at| at + 1));
    }

    /// Keeps tokens at least `p` times as probable as the best, and the best.
    pub fn min_p(&mut self, p: f32) {
        let max = self.max();
        let bound = max + p.min(1.0).ln();
        self.list.retain(|item| item.logit >= bound);
    }

    /// Keeps the tokens whose surprise is nearest to the expected one, until their probabilities
    /// exceed `p`.
    pub fn typical(&mut self, p: f32) {
        self.sort();
        self.soften();
        let entropy = self
            .list
            .iter()
            .fold(0.0f32, |sum, item| sum + -item.p * item.p.ln());
        let far = |item: &Item| (-item.p.ln() - entropy).abs();
        self.list.sort_by(|a, b| far(a).total_cmp(&far(b)));
        let mut sum = 0.0;
        let enough = self.list.iter().position(|item| {
            sum += item.p;
            sum > p
        });
        self.list
            .truncate(enough.map_or(self.list.len(), |at| at + 1));
        self.sorted = false;
    }

    /// Keeps tokens whose logits are at most `n` standard deviations below the largest.
    pub fn top_n_sigma(&mut self, n: f32) {
        let max = self.max();
        let count = self.list.len() as f32;
        let mean = self.list.iter().fold(0.0f32, |sum, it| sum + it.logit) / count;
        // The deviations are summed as llama.cpp sums them: squared in double precision.
        let squares = self.list.iter().fold(0.0f32, |sum, it| {
            (f64::from(sum) + f64::from(it.logit - mean).powi(2)) as f32
        });
        let deviation = (squares / count).sqrt();
        let bound = max - n * deviation;
        self.list.retain(|item| item.logit >= bound);
    }

    /// Leaves out the tokens that are at least as probable as `threshold`, but for the least
    /// probable of them.
    pub fn exclude_top(&mut self, threshold: f32) {
        self.list();
        if self.list.len() < 2 {
            return;
        }
        self.sort();
        self.soften();
        let probable = self.list.iter().take_while(|it| it.p >= threshold).count();
        self.list.drain(..probable.saturating_sub(1));
    }

    /// Divides the logits by a temperature; 0 or less keeps only the largest.
    pub fn temperature(&mut self, temperature: f32) {
        if temperature <= 0.0 {
            return self.keep_best();
        }
        self.list();
        for item in &mut self.list {
            item.logit /= temperature;
        }
    }

    /// Divides the logits by a temperature between `low` and `high`: the share of the largest
    /// possible entropy, to the power of `exponent`, says where.
    pub fn dynamic_temperature(&mut self, [low, high]: [f32; 2], exponent: f32) {
        self.list();
        if self.list.len() < 2 {
            return;
        }
        let max_entropy = -(1.0 / self.list.len() as f32).ln();
        self.sort();
        self.soften();
        let entropy = self.list.iter().fold(0.0f32, |sum, it| match it.p > 0.0 {
            true => sum - it.p * it.p.ln(),
            false => sum,
        });
        let share = (entropy / max_entropy).powf(exponent);
        self.temperature(low + (high - low) * share);
    }

    /// Keeps tokens whose surprise in bits is at most `mu`, and the best.
    pub fn least_surprising(&mut self, mu: f32) {
        self.sort();
        self.soften();
        let surprising = self.list.iter().position(|item| -item.p.log2() > mu);
        let kept = surprising.unwrap_or(self.list.len()).max(1);
        self.list.truncate(kept);
        self.soften();
    }

    /// The candidates.
    pub fn list(&mut self) -> &[Item] {
        if let Some(row) = self.row.take() {
            let logits = row.iter().copied();
            self.fill((0..).zip(logits), false);
        }
        &self.list
    }

    /// Keeps the largest logit, the first among equals.
    fn keep_best(&mut self) {
        if let Some(row) = self.row.take() {
            let token = Row::from(&*row).argmax();
            let logit = row.get(token as usize).copied();
            return self.fill(logit.map(|logit| (token, logit)).into_iter(), true);
        }
        let better = |best: Item, item: &Item| match item.logit > best.logit {
            true => *item,
            false => best,
        };
        let rest = self.list.iter().skip(1);
        let best = self.list.first().map(|first| rest.fold(*first, better));
        self.list = best.into_iter().collect();
    }

    /// Takes these tokens for a list. Those that cannot be drawn are left out: NaN and minus
    /// infinity, and all others beside infinity.
    fn fill(&mut self, items: impl Iterator<Item = (TokenId, f32)>, sorted: bool) {
        let possible = items.filter(|&(_, logit)| logit > f32::NEG_INFINITY);
        let item = |(token, logit)| Item {
            token,
            logit,
            p: 0.0,
        };
        self.list = possible.map(item).collect();
        self.sorted = sorted;
        if self.list.iter().any(|item| item.logit == f32::INFINITY) {
            self.list.retain(|item| item.logit == f32::INFINITY);
            self.list.iter_mut().for_each(|item| item.logit = 0.0);
        }
    }

    /// The largest logit.
    fn max(&mut self) -> f32 {
        let logits = self.list().iter().map(|item| item.logit);
        logits.fold(f32::NEG_INFINITY, f32::max)
    }

    /// Puts the largest logit first, the lower token among equals.
    fn sort(&mut self) {
        self.list();
        if !self.sorted {
            let order = |item: &Item| (item.logit, std::cmp::Reverse(item.token));
            self.list.sort_unstable_by(|a, b| {
                let (a, b) = (order(a), order(b));
                b.partial_cmp(&a).expect("no candidate is NaN")
            });
            self.sorted = true;
        }
    }

    /// Computes the probabilities, in the order of the candidates.
    fn soften(&mut self) {
        let max = self.max();
        let mut sum = 0.0;
        for item in &mut self.list {
            item.p = (item.logit - max).exp();
            sum += item.p;
        }
        for item in &mut self.list {
            item.p /= sum;
        }
    }
}

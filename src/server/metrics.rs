//! Metrics for Prometheus, by the names of llama-server and of vLLM.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::server::engine::{Status, StepEvent};
use crate::server::tally::Tally;

type Seconds = Counter<f64, AtomicU64>;
type Labels = Vec<(&'static str, String)>;

/// Positions in drafts that are counted apart.
const POSITIONS: usize = 16;

/// What is counted.
pub struct Metrics {
    registry: Registry,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    prompt_seconds: Seconds,
    answer_tokens: Counter,
    answer_seconds: Seconds,
    steps: Counter,
    draft_tokens: Counter,
    accepted_tokens: Counter,
    accepted_at: Family<Labels, Counter>,
    accepted_of: Family<Labels, Counter>,
    requests: Family<Labels, Counter>,
    refused: Counter,
    first_token: Histogram,
    between_tokens: Histogram,
    whole: Histogram,
    running: [Gauge; 2],
    waiting: [Gauge; 2],
    cache_tokens: Gauge,
    cache_share: [Gauge<f64, AtomicU64>; 2],
}

/// Bounds of buckets in seconds.
fn buckets() -> impl Iterator<Item = f64> {
    [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        120.0,
    ]
    .into_iter()
}

impl Metrics {
    /// With nothing counted yet. vLLM's metrics are labelled with the model's name.
    pub fn new(model: &str) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            prompt_tokens: Counter::default(),
            cached_tokens: Counter::default(),
            prompt_seconds: Seconds::default(),
            answer_tokens: Counter::default(),
            answer_seconds: Seconds::default(),
            steps: Counter::default(),
            draft_tokens: Counter::default(),
            accepted_tokens: Counter::default(),
            accepted_at: Family::default(),
            accepted_of: Family::default(),
            requests: Family::default(),
            refused: Counter::default(),
            first_token: Histogram::new(buckets()),
            between_tokens: Histogram::new(buckets()),
            whole: Histogram::new(buckets()),
            running: Default::default(),
            waiting: Default::default(),
            cache_tokens: Gauge::default(),
            cache_share: Default::default(),
        };
        metrics.register_llama();
        metrics.register_vllm(model);
        metrics
    }

    fn register_llama(&mut self) {
        let registry = &mut self.registry;
        let mut count = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("llamacpp:{name}"), help, counter.clone());
        };
        count(
            "prompt_tokens",
            "Prompt tokens decoded",
            &self.prompt_tokens,
        );
        count("tokens_predicted", "Tokens generated", &self.answer_tokens);
        count("n_decode", "Decode steps", &self.steps);
        count(
            "requests_refused",
            "Requests refused for a full queue",
            &self.refused,
        );
        let mut time = |name: &str, help: &str, seconds: &Seconds| {
            registry.register(format!("llamacpp:{name}"), help, seconds.clone());
        };
        time(
            "prompt_seconds",
            "Time spent on prompts",
            &self.prompt_seconds,
        );
        time(
            "tokens_predicted_seconds",
            "Time spent generating",
            &self.answer_seconds,
        );
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(format!("llamacpp:{name}"), help, gauge.clone());
        };
        gauge(
            "requests_processing",
            "Requests being answered",
            &self.running[0],
        );
        gauge("requests_deferred", "Requests waiting", &self.waiting[0]);
        gauge(
            "kv_cache_tokens",
            "Tokens in the KV cache",
            &self.cache_tokens,
        );
        let share = self.cache_share[0].clone();
        registry.register(
            "llamacpp:kv_cache_usage_ratio",
            "Share of the KV cache in use",
            share,
        );
        let accepted = self.accepted_of.clone();
        registry.register(
            "llamacpp:draft_tokens_accepted",
            "Accepted, by source",
            accepted,
        );
    }

    fn register_vllm(&mut self, model: &str) {
        let label = ("model_name".into(), model.to_owned().into());
        let registry = self.registry.sub_registry_with_label(label);
        let mut count = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("vllm:{name}"), help, counter.clone());
        };
        count("spec_decode_num_drafts", "Drafts verified", &self.steps);
        count(
            "spec_decode_num_draft_tokens",
            "Tokens drafted",
            &self.draft_tokens,
        );
        count(
            "spec_decode_num_accepted_tokens",
            "Draft tokens accepted",
            &self.accepted_tokens,
        );
        count(
            "prompt_tokens",
            "Prompt tokens decoded",
            &self.prompt_tokens,
        );
        count(
            "prefix_cache_hits",
            "Prompt tokens found in the cache",
            &self.cached_tokens,
        );
        count("generation_tokens", "Tokens generated", &self.answer_tokens);
        let at = self.accepted_at.clone();
        let name = "vllm:spec_decode_num_accepted_tokens_per_pos";
        registry.register(name, "Draft tokens accepted, by position", at);
        let requests = self.requests.clone();
        registry.register("vllm:request_success", "Requests that ended", requests);
        self.register_vllm_times(model);
    }

    fn register_vllm_times(&mut self, model: &str) {
        let label = ("model_name".into(), model.to_owned().into());
        let registry = self.registry.sub_registry_with_label(label);
        let mut time = |name: &str, help: &str, histogram: &Histogram| {
            registry.register(format!("vllm:{name}"), help, histogram.clone());
        };
        time(
            "time_to_first_token_seconds",
            "Until the first token",
            &self.first_token,
        );
        time(
            "inter_token_latency_seconds",
            "Between tokens",
            &self.between_tokens,
        );
        time(
            "e2e_request_latency_seconds",
            "Of a whole request",
            &self.whole,
        );
        let gauges = [
            (
                "num_requests_running",
                "Requests being answered",
                &self.running[1],
            ),
            ("num_requests_waiting", "Requests waiting", &self.waiting[1]),
        ];
        for (name, help, gauge) in gauges {
            registry.register(format!("vllm:{name}"), help, gauge.clone());
        }
        let share = self.cache_share[1].clone();
        registry.register(
            "vllm:kv_cache_usage_perc",
            "Share of the KV cache in use",
            share,
        );
    }

    /// A request found the queue full.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// A prompt was decoded.
    pub fn prefilled(&self, tally: &Tally) {
        self.prompt_tokens
            .inc_by((tally.prompt - tally.cached) as u64);
        self.cached_tokens.inc_by(tally.cached as u64);
        self.prompt_seconds.inc_by(tally.prompt_seconds);
    }

    /// A step was made. `first` is the time until the first token of the answer, if it was this
    /// one, and `waited` the time since the step before.
    pub fn step(&self, step: &StepEvent, first: Option<f64>, waited: f64) {
        let tokens = step.tokens.len();
        self.answer_tokens.inc_by(tokens as u64);
        self.answer_seconds.inc_by(step.seconds);
        self.steps.inc();
        self.draft_tokens
            .inc_by(step.drafted.iter().map(|(_, count)| count as u64).sum());
        let accepted = step.tokens.iter().filter_map(|(_, source)| *source);
        for (position, source) in accepted.enumerate() {
            self.accepted_tokens.inc();
            let label = vec![("source", source.name().to_owned())];
            self.accepted_of.get_or_create(&label).inc();
            if position < POSITIONS {
                let label = vec![("position", position.to_string())];
                self.accepted_at.get_or_create(&label).inc();
            }
        }
        match first {
            Some(seconds) => self.first_token.observe(seconds),
            None => {
                let each = waited / tokens.max(1) as f64;
                (0..tokens).for_each(|_| self.between_tokens.observe(each));
            }
        }
    }

    /// A request ended.
    pub fn ended(&self, reason: &'static str, seconds: f64) {
        let label = vec![("finished_reason", reason.to_owned())];
        self.requests.get_or_create(&label).inc();
        self.whole.observe(seconds);
    }

    /// All of them, as Prometheus reads them.
    pub fn encode(&self, status: &Status, n_ctx: usize) -> String {
        let slots = status.slots();
        let running = slots.iter().filter(|slot| slot.request.is_some()).count();
        let used: usize = slots
            .iter()
            .map(|slot| match slot.request {
                Some(_) => slot.prompt + slot.answered,
                None => slot.cached,
            })
            .sum();
        for gauge in &self.running {
            gauge.set(running as i64);
        }
        for gauge in &self.waiting {
            gauge.set(status.waiting() as i64);
        }
        self.cache_tokens.set(used as i64);
        for gauge in &self.cache_share {
            gauge.set(used as f64 / n_ctx.max(1) as f64);
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

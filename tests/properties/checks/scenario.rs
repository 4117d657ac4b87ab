//! Scenarios for sessions: a model, a drafter and options.

use std::sync::Arc;

use logitspec::TokenId;
use logitspec::corpus::{Corpus, CorpusBuilder};
use logitspec::draft::{Drafter, Memory, PassCost, SuffixParams};
use logitspec::engine::{CostModel, Method, MethodParams, SessionOptions};
use logitspec::pool::SharedPool;
use logitspec::runtime::{Failure, ScriptedModel, TargetModel};
use logitspec::store::VocabFingerprint;
use logitspec::tree::Source;
use logitspec::verify::{Mirostat, SamplingParams};

use super::drafters::{Oracle, RandomDrafter};

/// A model with failures, a drafter, and options.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub model: ScriptedModel,
    /// Whether the model cannot truncate its memory.
    pub recurrent: bool,
    drafter: u8,
    pub seed: u64,
    pub options: SessionOptions,
    pub sampling: SamplingParams,
}

impl Scenario {
    /// A scenario from arbitrary numbers. A failure has the number of decodes since the last one,
    /// and
    /// whether it happens half-way.
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
        let options = options([drafter, capacity], rest);
        let sampling = sampling(seed, rest);
        let model = model([vocab, memory, seed, ctx, sequences, batch, end], failures);
        Self {
            model: match options.exact {
                true => model,
                false => model.ignoring_cell_order(),
            },
            recurrent: sequences == u8::MAX,
            drafter,
            seed: seed.into(),
            options,
            sampling,
        }
    }

    pub fn drafter(&self) -> Box<dyn Drafter> {
        let random = fastrand::Rng::with_seed(self.seed);
        match self.drafter / 4 % 4 {
            0 => Box::new(RandomDrafter {
                random,
                n_vocab: self.model.n_vocab(),
            }),
            1 => Box::new(Oracle {
                random,
                model: self.model.clone(),
            }),
            2 => {
                let SessionOptions {
                    method,
                    method_params,
                    ..
                } = self.options;
                method.drafter_with(method_params, self.random_memory(random))
            }
            _ => self.options.method.drafter(self.options.method_params),
        }
    }

    /// A history and a corpus of random text, some of it with a token beyond the vocabulary.
    fn random_memory(&self, mut random: fastrand::Rng) -> Memory {
        let history = SharedPool::new(500);
        let mut corpus = CorpusBuilder::default();
        let n_vocab = self.model.n_vocab();
        for _ in 0..random.usize(..4) {
            let tokens = n_vocab.min(3) + usize::from(random.u8(..8) == 0);
            let mut random_text = || -> Vec<TokenId> {
                let text = (0..random.usize(..200)).map(|_| random.usize(..tokens));
                text.map(|t| TokenId::try_from(t).unwrap()).collect()
            };
            history.insert(&random_text());
            corpus.add(&random_text());
        }
        let tokens = (0..=n_vocab).map(|token| token.to_string());
        let vocabulary = VocabFingerprint::of(tokens);
        let bytes = corpus.encode(&vocabulary).unwrap();
        let corpus = Corpus::from_bytes(bytes, "random".as_ref(), None).unwrap();
        Memory {
            history: Some(Arc::new(history)),
            corpus: Some(Arc::new(corpus)),
            prediction: None,
        }
    }

    /// The cost of passes: flat, steep, or measured.
    pub fn cost(&self) -> CostModel {
        match self.seed % 4 {
            0 => CostModel::flat(),
            3 => CostModel::gpu(),
            slope => CostModel::fixed(PassCost::from_times(
                (0..80).map(|n| 1.0 + 0.1 * (slope * n) as f64).collect(),
            )),
        }
    }
}

/// A number below `max`.
fn below(number: u8, max: usize) -> usize {
    usize::from(number) % max
}

fn model(
    [vocab, memory, seed, ctx, sequences, batch, end]: [u8; 7],
    failures: &[(u8, bool)],
) -> ScriptedModel {
    let n_vocab = 1 + below(vocab, 40);
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
    let model = ScriptedModel::new(
        n_vocab,
        below(memory, 5),
        seed.into(),
        1 + below(ctx, 200),
        1 + below(sequences, 70),
    )
    .with_n_batch(1 + below(batch, 100))
    .with_failures(failures);
    if end % 2 == 1 {
        model.with_end(u32::from(end) % n_vocab as TokenId)
    } else {
        model
    }
}

fn options([drafter, capacity]: [u8; 2], rest: [u8; 7]) -> SessionOptions {
    let [ngram, pred, _, top_k, filters, penalty, ranked] = rest.map(usize::from);
    let parameter = |number: usize, max: usize| (number % (max + 1)).checked_sub(1);
    let tenths = |number: usize| (number % 11) as f32 / 10.0;
    SessionOptions {
        method: Method::ALL[below(drafter, Method::ALL.len())],
        method_params: MethodParams {
            max_ngram_size: parameter(ngram, 6),
            num_pred_tokens: parameter(pred, 30),
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
        draft_tree_capacity: below(capacity, 81),
        fill_tree: false,
        exact: ranked / 2 % 4 != 1,
        ranked: ranked % 20 * (ranked % 2),
    }
}

fn sampling(seed: u8, rest: [u8; 7]) -> SamplingParams {
    let [ngram, _, temperature, top_k, filters, penalty, _] = rest.map(usize::from);
    let tenths = |number: usize| (number % 11) as f32 / 10.0;
    let mut params = SamplingParams {
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
        ..SamplingParams::default()
    };
    // Each of the others in some of the scenarios.
    match ngram {
        140..150 => params.presence_penalty = tenths(penalty),
        150..160 => params.frequency_penalty = tenths(penalty),
        160..170 => params.dry.multiplier = 0.1 + tenths(penalty),
        170..180 => params.typical_p = tenths(filters),
        180..190 => params.top_n_sigma = tenths(filters) * 2.0,
        190..200 => (params.xtc_probability, params.xtc_threshold) = (0.5, 0.1),
        200..210 => params.dynatemp_range = tenths(filters),
        210..220 => params.logit_bias = vec![(1, 3.0), (2, -2.0), (900, 1.0)],
        220..240 => params.mirostat = Some(Mirostat { tau: 3.0, eta: 0.3 }),
        240..250 => params.samplers.to_mut().reverse(),
        _ => {}
    }
    params
}

//! llama.cpp as the model that verifies.

use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::TokenId;
use crate::draft::{DraftTree, NodeId};
use crate::runtime::kv::{KvLedger, KvOp};
use crate::runtime::llama::beside::{self, Context};
use crate::runtime::llama::best::Best;
use crate::runtime::llama::log;
use crate::runtime::llama::vocab::Vocabulary;
use crate::runtime::target::{DecodeError, TargetModel};
use crate::verify::Row;

/// A llama.cpp context: a KV cache shared by all sequences, and the logits of the last decode.
pub struct LlamaTarget<'a> {
    context: Context<'a>,
    vocabulary: Vocabulary<'a>,
    n_ctx: usize,
    /// Cells of the cache.
    cells: usize,
    n_batch: usize,
    n_ubatch: usize,
    /// 0 if the memory cannot be cut back.
    max_leaves: usize,
    batch: LlamaBatch<'static>,
    best: Best,
    ledger: KvLedger,
    /// 0, 1, 2, …: a node's sequences are a slice of it.
    sequence_ids: Vec<i32>,
    ops: Vec<KvOp>,
    kv_time: Duration,
}

/// Sequences of a tree from which on moving cells after its pass takes so long that it is done
/// beside the decoding thread.
const MANY: usize = 16;

/// Nanoseconds that a call to the cache takes, and more for each of its cells; and what is done
/// beside it for each node of a tree, drafting above all. Measured on one machine: with 2,304 cells
/// 2.6 to 3.3 us a call, with 16,384 9 to 10, and 385 us for 64 nodes; on another, where rows were
/// looked through as they were copied, 130 us.
const CALL: f64 = 1_800.0;
const CELL: f64 = 0.45;
const NODE: f64 = 2_000.0;
/// And reading its row, where its best are not known.
const ROW: f64 = 4_000.0;

/// A conversation may go on in another thread.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<LlamaTarget<'_>>();
};

impl<'a> LlamaTarget<'a> {
    pub(super) fn new(
        context: LlamaContext<'a>,
        vocabulary: Vocabulary<'a>,
        n_ctx: usize,
        max_leaves: usize,
    ) -> Self {
        let sequences = max_leaves.max(1);
        let ids = (0..).take(sequences);
        Self {
            // `LlamaBatch::add` checks the number of tokens but not the number of sequence ids, so
            // room for all there are is made for every token.
            batch: LlamaBatch::new(
                context.n_batch() as usize,
                i32::try_from(sequences).expect("at most 256"),
            ),
            n_ctx: n_ctx.min(context.n_ctx() as usize),
            cells: context.n_ctx() as usize,
            n_batch: context.n_batch() as usize,
            n_ubatch: context.n_ubatch() as usize,
            context: Context::new(context),
            best: Best::default(),
            vocabulary,
            max_leaves,
            ledger: if max_leaves == 0 {
                KvLedger::uncuttable()
            } else {
                KvLedger::new(sequences)
            },
            sequence_ids: ids.collect(),
            ops: Vec::new(),
            kv_time: Duration::ZERO,
        }
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> Vocabulary<'a> {
        self.vocabulary
    }

    /// Does what the ledger asked for.
    fn apply_ops(&mut self) {
        let start = Instant::now();
        let context = self.context.get();
        let empties = |op: &KvOp| {
            matches!(
                op,
                KvOp::Remove {
                    seq: None,
                    from: 0,
                    ..
                }
            )
        };
        if self.max_leaves == 0 && self.ops.iter().any(empties) {
            // Recurrent memories take no other call, and nothing else is asked of them. It also
            // wipes the buffers, which takes time.
            context.clear_kv_cache();
            self.ops.clear();
        }
        beside::apply(context, &mut self.ops);
        self.kv_time += start.elapsed();
    }

    /// Whether a commit of the tree decoded last moves cells beside the decoding thread.
    fn moves_beside(&self) -> bool {
        self.sequences() >= MANY && !self.context.is_alone()
    }

    /// Waits until the cache is as it should be.
    fn settle(&mut self) {
        let start = Instant::now();
        self.context.get();
        self.kv_time += start.elapsed();
    }

    /// Decodes the batch; on failure puts the cache back to the last commit.
    fn decode(&mut self) -> Result<(), DecodeError> {
        use llama_cpp_2::DecodeError as Code;

        log::take_errors();
        let batch = usize::try_from(self.batch.n_tokens()).unwrap_or(0);
        self.settle();
        let context = self.context.get();
        let decoded = self.best.during(|| context.decode(&mut self.batch));
        let code = match decoded {
            Ok(()) => {
                // Waiting belongs to decoding, not to whoever looks at the logits first.
                context.synchronize();
                return Ok(());
            }
            Err(Code::NoKvCacheSlot) => 1,
            Err(Code::NTokensZero) => -1,
            Err(Code::Unknown(code)) => code,
        };
        self.ledger.after_failure(&mut self.ops);
        self.apply_ops();
        Err(match code {
            1 => DecodeError::NoRoom { batch },
            2 => DecodeError::Aborted,
            _ => DecodeError::Failed {
                batch,
                code,
                log: log::take_errors()
                    .first()
                    .map(|line| format!(": {}", line.replace('\n', " ")))
                    .unwrap_or_default(),
            },
        })
    }
}

fn add(batch: &mut LlamaBatch<'_>, token: TokenId, pos: usize, sequences: &[i32], wants_row: bool) {
    let pos = i32::try_from(pos).expect("a context is shorter than 2^31");
    batch
        .add(LlamaToken(token.cast_signed()), pos, sequences, wants_row)
        .expect("batches are cut to n_batch");
}

impl TargetModel for LlamaTarget<'_> {
    fn n_ctx(&self) -> usize {
        self.n_ctx
    }
    fn n_vocab(&self) -> usize {
        self.vocabulary.len()
    }
    fn n_past(&self) -> usize {
        self.ledger.n_past()
    }
    fn n_batch(&self) -> usize {
        self.n_batch
    }
    fn prompt_piece(&self) -> usize {
        self.n_ubatch.min(self.n_batch)
    }
    fn max_leaves(&self) -> usize {
        self.max_leaves
    }
    fn is_end(&self, token: TokenId) -> bool {
        self.vocabulary.is_end(token)
    }

    fn append(&mut self, tokens: &[TokenId]) -> Result<usize, DecodeError> {
        self.batch.clear();
        let start = self.ledger.n_past();
        let last = tokens.len() - 1;
        for (index, &token) in tokens.iter().enumerate() {
            let ids = &self.sequence_ids[..1];
            add(&mut self.batch, token, start + index, ids, index == last);
        }
        self.decode()?;
        self.ledger.appended(tokens.len());
        Ok(last)
    }

    fn decode_tree(&mut self, missing: &[TokenId], tree: &DraftTree) -> Result<(), DecodeError> {
        self.ledger.lay_out(missing.len(), tree, &mut self.ops);
        self.apply_ops();
        self.batch.clear();
        for (token, pos, sequences) in self.ledger.batch(missing, tree) {
            // Nobody reads the rows of what was missing, but a graph serves again only for as many
            // rows as before.
            let ids = &self.sequence_ids[sequences];
            add(&mut self.batch, token, pos, ids, true);
        }
        self.decode()
    }

    fn logits(&self, row: usize) -> &[f32] {
        self.context.row(self.ledger.ahead() + row)
    }

    fn row(&self, row: usize) -> Row<'_> {
        self.best.of(self.logits(row))
    }

    fn commit(&mut self, tree: &DraftTree, path: &[NodeId]) {
        self.ledger.after_decode(tree, path, &mut self.ops);
        if !self.moves_beside() {
            return self.apply_ops();
        }
        // The next tree will mostly lie on as many sequences, so they are brought in step along
        // with it.
        self.ledger.catch_up(&mut self.ops);
        let start = Instant::now();
        self.context
            .hand_over(&mut self.ops, self.ledger.ahead() + tree.len());
        self.kv_time += start.elapsed();
    }

    fn commit_delay(&self, path: &[NodeId]) -> Duration {
        if self.sequences() < MANY {
            return Duration::ZERO;
        }
        // By rule and not by the clock, so that the same text is drafted for in the same way again.
        let moving = self.ledger.calls_for(path) as f64 * (CALL + CELL * self.cells as f64);
        let meantime = match self.moves_beside() {
            true => {
                let row = if self.best.is_known() { 0.0 } else { ROW };
                self.ledger.layout().node_count() as f64 * (NODE + row)
            }
            false => 0.0,
        };
        Duration::from_secs_f64((moving - meantime).max(0.0) / 1e9)
    }

    fn sequences(&self) -> usize {
        self.ledger.layout().sequence_count()
    }

    fn kv_time(&self) -> Duration {
        self.kv_time
    }

    fn graphs_reused(&mut self) -> Option<usize> {
        self.settle();
        // The wrapper has no getter for this one, but its debug output shows it.
        let shown = format!("{:?}", self.context.get().timings());
        let (_, rest) = shown.split_once("n_reused: ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    fn truncate(&mut self, len: usize) {
        self.ledger.truncate(len, &mut self.ops);
        self.apply_ops();
    }
}

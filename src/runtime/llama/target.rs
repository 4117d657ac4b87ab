//! llama.cpp as the model that verifies.

use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::TokenId;
use crate::logits::Row;
use crate::runtime::kv::KvOp;
use crate::runtime::llama::log;
use crate::runtime::llama::vocab::Vocabulary;
use crate::runtime::slots::{BatchToken, SlotCache, SlotId};
use crate::runtime::target::{DecodeError, SlotPart, TargetModel};
use crate::tree::{DraftTree, NodeId};

/// A llama.cpp context: a KV cache shared by all sequences, and the logits of the last decode.
pub struct LlamaTarget<'a> {
    context: LlamaContext<'a>,
    vocabulary: Vocabulary<'a>,
    n_ctx: usize,
    n_batch: usize,
    n_ubatch: usize,
    /// 0 if the memory cannot drop single tokens.
    max_leaves: usize,
    batch: LlamaBatch<'static>,
    slots: SlotCache,
    /// 0, 1, 2, …: the sequences of a node are a slice of it.
    sequence_ids: Vec<i32>,
    ops: Vec<KvOp>,
    kv_time: Duration,
    rounding_noise: f32,
}

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
        slots: usize,
        max_leaves: usize,
    ) -> Self {
        let leaves = max_leaves.max(1);
        let n_ctx = n_ctx.min(context.n_ctx() as usize);
        Self {
            // `LlamaBatch::add` checks the number of tokens but not the number of sequence ids, so
            // every token gets room for all sequences.
            batch: LlamaBatch::new(
                context.n_batch() as usize,
                i32::try_from(leaves).expect("at most 256"),
            ),
            n_ctx,
            n_batch: context.n_batch() as usize,
            n_ubatch: context.n_ubatch() as usize,
            context,
            vocabulary,
            max_leaves,
            slots: match max_leaves {
                0 => SlotCache::uncuttable(n_ctx, slots),
                _ => SlotCache::new(n_ctx, slots, leaves),
            },
            sequence_ids: (0..).take(slots * leaves).collect(),
            ops: Vec::new(),
            kv_time: Duration::ZERO,
            rounding_noise: 0.0,
        }
    }

    /// Sets [`rounding_noise`](TargetModel::rounding_noise).
    pub(super) fn with_rounding_noise(mut self, noise: f32) -> Self {
        self.rounding_noise = noise;
        self
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> Vocabulary<'a> {
        self.vocabulary
    }

    /// Makes the calls that the ledger asked for.
    fn apply_ops(&mut self) {
        let start = Instant::now();
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
            // A recurrent memory takes no other call. This one also wipes its buffers, which takes
            // time.
            self.context.clear_kv_cache();
            self.ops.clear();
        }
        for op in self.ops.drain(..) {
            apply(&mut self.context, op);
        }
        self.kv_time += start.elapsed();
    }

    /// Decodes the batch; on failure puts the cache back to the last commit.
    fn decode_batch(&mut self) -> Result<(), DecodeError> {
        use llama_cpp_2::DecodeError as Code;

        log::take_errors();
        let batch = usize::try_from(self.batch.n_tokens()).unwrap_or(0);
        let code = match self.context.decode(&mut self.batch) {
            Ok(()) => {
                // Waiting is part of decoding, not of the first look at the logits.
                self.context.synchronize();
                return Ok(());
            }
            Err(Code::NoKvCacheSlot) => 1,
            Err(Code::NTokensZero) => -1,
            Err(Code::Unknown(code)) => code,
        };
        self.slots.failed(&mut self.ops);
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

/// Makes one call to the cache.
fn apply(context: &mut LlamaContext<'_>, op: KvOp) {
    let pos = |pos: usize| u32::try_from(pos).expect("a context is shorter than 2^32");
    let id = |seq: usize| i32::try_from(seq).expect("at most 256 sequences");
    match op {
        KvOp::Remove { seq, from, to } => {
            let seq = seq.map_or(-1, id);
            let removed = context.kv_cache_seq_rm(seq, Some(pos(from)), to.map(pos));
            // Only a memory that cannot drop a part refuses, and it is only asked to drop all. If
            // rejected cells stayed, tokens would see them.
            assert!(removed.is_ok(), "the cache did not drop cells: {removed:?}");
        }
        KvOp::Copy {
            source,
            seq,
            from,
            to,
        } => context
            .kv_cache_seq_cp(id(source), id(seq), Some(pos(from)), Some(pos(to)))
            .expect("positions fit"),
    }
}

impl TargetModel for LlamaTarget<'_> {
    fn n_ctx(&self) -> usize {
        self.n_ctx
    }
    fn n_vocab(&self) -> usize {
        self.vocabulary.len()
    }
    fn slots(&self) -> usize {
        self.slots.slots()
    }
    fn n_past(&self, slot: SlotId) -> usize {
        self.slots.n_past(slot)
    }
    fn cached(&self, slot: SlotId) -> &[TokenId] {
        self.slots.text(slot)
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
    fn keep_order(&mut self, keep: bool) {
        self.slots.keep_order(keep);
    }
    fn rounding_noise(&self) -> f32 {
        self.rounding_noise
    }
    fn free(&self) -> usize {
        self.slots.free()
    }

    fn decode(&mut self, parts: &[SlotPart<'_>]) -> Result<(), DecodeError> {
        self.batch.clear();
        let batch = self.slots.lay_out(parts, self.n_batch, &mut self.ops);
        let laid_out = batch.map(|batch| {
            for it in batch {
                let BatchToken { token, pos, .. } = *it;
                let pos = i32::try_from(pos).expect("a context is shorter than 2^31");
                let ids = &self.sequence_ids[it.sequences.clone()];
                self.batch
                    .add(LlamaToken(token.cast_signed()), pos, ids, it.wants_row)
                    .expect("batches are cut to n_batch");
            }
        });
        self.apply_ops();
        laid_out?;
        self.decode_batch()?;
        self.slots.decoded();
        Ok(())
    }

    fn row(&self, slot: SlotId, node: NodeId) -> Row<'_> {
        let index = i32::try_from(self.slots.row(slot, node));
        let index = index.expect("a batch is shorter than 2^31");
        self.context.get_logits_ith(index).into()
    }

    fn commit(&mut self, slot: SlotId, tree: &DraftTree, path: &[NodeId]) {
        self.slots.commit(slot, tree, path, &mut self.ops);
        self.apply_ops();
    }

    fn sequences(&self) -> usize {
        self.slots.sequences()
    }

    fn kv_time(&self) -> Duration {
        self.kv_time
    }

    fn graphs_reused(&mut self) -> Option<usize> {
        // The wrapper has no getter for this number, but its debug output shows it.
        let shown = format!("{:?}", self.context.timings());
        let (_, rest) = shown.split_once("n_reused: ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    fn truncate(&mut self, slot: SlotId, len: usize) {
        self.slots.truncate(slot, len, &mut self.ops);
        self.apply_ops();
    }

    fn share(&mut self, from: SlotId, to: SlotId, len: usize) {
        self.slots.share(from, to, len, &mut self.ops);
        self.apply_ops();
    }
}

//! llama.cpp as the model that verifies.

use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::TokenId;
use crate::draft::{DraftTree, NodeId, ROOT};
use crate::runtime::kv::{KvLedger, KvOp};
use crate::runtime::llama::log;
use crate::runtime::llama::vocab::Vocabulary;
use crate::runtime::target::{DecodeError, TargetModel};

/// A llama.cpp context: a KV cache shared by all sequences, and the logits of the last decode.
pub struct LlamaTarget<'a> {
    context: LlamaContext<'a>,
    vocabulary: Vocabulary<'a>,
    n_ctx: usize,
    /// 0 if the memory cannot be cut back.
    max_leaves: usize,
    batch: LlamaBatch<'static>,
    ledger: KvLedger,
    /// 0, 1, 2, …: a node's sequences are a slice of it.
    sequence_ids: Vec<i32>,
    ops: Vec<KvOp>,
    kv_time: Duration,
}

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
            // `LlamaBatch::add` checks the number of tokens but not the number of sequence ids, so room for
            // all there are is made for every token.
            batch: LlamaBatch::new(
                context.n_batch() as usize,
                i32::try_from(sequences).expect("at most 256"),
            ),
            n_ctx: n_ctx.min(context.n_ctx() as usize),
            context,
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
        let as_pos = |pos: usize| u32::try_from(pos).expect("a context is shorter than 2^32");
        let recurrent = self.max_leaves == 0;
        for op in self.ops.drain(..) {
            match op {
                // Recurrent memories take no other call for this; it also wipes the buffers, which takes time.
                KvOp::Remove {
                    seq: None,
                    from: 0,
                    to: None,
                } if recurrent => self.context.clear_kv_cache(),
                KvOp::Remove { seq, from, to } => {
                    let removed = match seq {
                        Some(seq) => {
                            let seq = self.sequence_ids[seq];
                            self.context
                                .kv_cache_seq_rm(seq, Some(as_pos(from)), to.map(as_pos))
                        }
                        None => {
                            self.context
                                .kv_cache_seq_rm(-1, Some(as_pos(from)), to.map(as_pos))
                        }
                    };
                    // Memories that cannot drop a part are only asked to drop all, which none refuses.
                    // Going on without would let tokens see what was rejected, and say something else.
                    assert!(
                        removed.is_ok(),
                        "the cache keeps what was taken back: {removed:?}"
                    );
                }
                KvOp::Copy {
                    source,
                    seq,
                    from,
                    to,
                } => {
                    let (source, seq) = (self.sequence_ids[source], self.sequence_ids[seq]);
                    self.context
                        .kv_cache_seq_cp(source, seq, Some(as_pos(from)), Some(as_pos(to)))
                        .expect("positions fit");
                }
            }
        }
        self.kv_time += start.elapsed();
    }

    fn add(&mut self, token: TokenId, pos: usize, sequences: std::ops::Range<usize>, output: bool) {
        self.batch
            .add(
                LlamaToken(token.cast_signed()),
                i32::try_from(pos).expect("a context is shorter than 2^31"),
                &self.sequence_ids[sequences],
                output,
            )
            .expect("batches are cut to n_batch");
    }

    /// Decodes the batch; on failure puts the cache back to the last commit.
    fn decode(&mut self) -> Result<(), DecodeError> {
        use llama_cpp_2::DecodeError as Code;

        log::take_errors();
        let batch = usize::try_from(self.batch.n_tokens()).unwrap_or(0);
        let code = match self.context.decode(&mut self.batch) {
            Ok(()) => {
                // Waiting belongs to decoding, not to whoever looks at the logits first.
                self.context.synchronize();
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
        self.context.n_batch() as usize
    }
    fn prompt_piece(&self) -> usize {
        self.context.n_ubatch().min(self.context.n_batch()) as usize
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
            self.add(token, start + index, 0..1, index == last);
        }
        self.decode()?;
        self.ledger.appended(tokens.len());
        Ok(last)
    }

    fn decode_tree(&mut self, tree: &DraftTree) -> Result<(), DecodeError> {
        self.ledger.lay_out(tree, &mut self.ops);
        self.apply_ops();
        self.batch.clear();
        let start = self.ledger.n_past();
        for node in ROOT..tree.len() {
            let sequences = self.ledger.layout().sequences(node);
            self.add(tree.token(node), start + tree.depth(node), sequences, true);
        }
        self.decode()
    }

    fn logits(&self, row: usize) -> &[f32] {
        self.context
            .get_logits_ith(i32::try_from(row).expect("a batch is shorter than 2^31"))
    }

    fn commit(&mut self, tree: &DraftTree, path: &[NodeId]) {
        self.ledger.after_decode(tree, path, &mut self.ops);
        self.apply_ops();
    }

    fn kv_time(&self) -> Duration {
        self.kv_time
    }

    fn graphs_reused(&mut self) -> Option<usize> {
        // The wrapper has no getter for this one, but its debug output shows it.
        let shown = format!("{:?}", self.context.timings());
        let (_, rest) = shown.split_once("n_reused: ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    fn truncate(&mut self, len: usize) {
        self.ledger.truncate(len, &mut self.ops);
        self.apply_ops();
    }
}

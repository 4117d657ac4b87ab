//! Calls to the KV cache, made beside the decoding thread.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::LlamaModel;

use crate::runtime::kv::KvOp;

/// A llama.cpp context, and a thread that puts its KV cache in order while the decoding thread
/// drafts, and reads what it needs of the logits of the last decode.
///
/// The thread starts with the first calls that are [handed over](Self::hand_over), and ends with
/// the context.
pub(super) struct Context<'a> {
    /// `None` while the other thread has it. The lifetime is really `'a`: the context never leaves
    /// this struct and the thread, which gives it back before the struct goes. (If the struct is
    /// forgotten instead, so is the context, and the calls under way touch nothing that goes with
    /// the model.)
    here: Option<LlamaContext<'static>>,
    /// The rows of the last decode, while the other thread has the context.
    rows: Vec<Row>,
    helper: Helper,
    model: PhantomData<&'a LlamaModel>,
}

/// Where a row of logits lies.
struct Row {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: it stands for a shared slice of floats.
unsafe impl Send for Row {}

impl Row {
    fn of(row: &[f32]) -> Self {
        Self {
            start: NonNull::from(row).cast(),
            len: row.len(),
        }
    }
}

enum Helper {
    NotYet,
    /// There is one processor, or no thread to be had.
    Never,
    Runs {
        jobs: Sender<Job>,
        /// The same jobs, as long as the thread has not begun with them.
        todo: Receiver<Job>,
        done: Receiver<Job>,
        thread: JoinHandle<()>,
    },
}

/// The context, and what to do with it; given back with nothing left to do.
struct Job {
    context: LlamaContext<'static>,
    ops: Vec<KvOp>,
    /// The processor that the decoding thread runs on.
    processor: Option<usize>,
}

impl<'a> Context<'a> {
    pub(super) fn new(context: LlamaContext<'a>) -> Self {
        // SAFETY: only the lifetime changes. It says that the model outlives the context, and this
        // struct, which has the lifetime instead, does not go before the context.
        let context = unsafe { std::mem::transmute::<LlamaContext<'a>, LlamaContext<'_>>(context) };
        Self {
            here: Some(context),
            rows: Vec::new(),
            helper: Helper::unless_alone(),
            model: PhantomData,
        }
    }

    /// Whether there is no other thread, so that whatever is handed over is done at once.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self.helper, Helper::Never)
    }

    /// The context, as soon as the other thread is done with it.
    pub(super) fn get(&mut self) -> &mut LlamaContext<'static> {
        if let (None, Helper::Runs { todo, done, .. }) = (&self.here, &self.helper) {
            self.rows.clear();
            let job = match todo.try_recv() {
                // The thread has not had its turn, and whether it will soon is for the scheduler to
                // say.
                Ok(mut job) => {
                    job.run();
                    Some(job)
                }
                Err(_) => done.recv().ok(),
            };
            self.here = job.map(|job| job.context);
        }
        self.here
            .as_mut()
            .expect("the thread that moves cells in the cache failed")
    }

    /// The logits of the token of that number in the last batch.
    pub(super) fn row(&self, number: usize) -> &[f32] {
        match &self.here {
            Some(context) => logits(context, number),
            None => {
                let row = &self.rows[number];
                // SAFETY: the slice was the context's own. It lies in the buffer that decoding puts
                // logits into, which only decoding writes and moves, and which goes with the
                // context. Decoding takes `get`, which needs `self` for itself; the other thread
                // changes the cache's tables only, and gives the context back or forgets it.
                unsafe { std::slice::from_raw_parts(row.start.as_ptr(), row.len) }
            }
        }
    }

    /// Begins to do what `ops` say, and leaves them empty. The last batch had the logits of its
    /// first `rows` tokens computed, which can be read in the meantime.
    pub(super) fn hand_over(&mut self, ops: &mut Vec<KvOp>, rows: usize) {
        self.get();
        if matches!(self.helper, Helper::NotYet) {
            self.helper = Helper::start();
        }
        let context = self.here.take().expect("it was waited for");
        let mut job = Job {
            context,
            ops: std::mem::take(ops),
            processor: processor(),
        };
        if let Helper::Runs { jobs, .. } = &self.helper {
            let rows = (0..rows).map(|number| Row::of(logits(&job.context, number)));
            self.rows = rows.collect();
            return jobs.send(job).expect("`todo` keeps the channel open");
        }
        job.run();
        self.here = Some(job.context);
    }
}

impl Job {
    fn run(&mut self) {
        apply(&mut self.context, &mut self.ops);
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if let Helper::Runs {
            jobs, todo, thread, ..
        } = std::mem::replace(&mut self.helper, Helper::Never)
        {
            // What the thread has not begun with is left undone. With what it has, it ends first.
            drop((todo.try_recv(), jobs));
            // If it failed, whoever waited for it has said so.
            let _ = thread.join();
        }
    }
}

impl Helper {
    fn unless_alone() -> Self {
        // A thread that is bound to one processor counts one.
        match std::thread::available_parallelism().map_or(1, usize::from) {
            1 => Self::Never,
            _ => Self::NotYet,
        }
    }

    fn start() -> Self {
        let (jobs, todo) = bounded::<Job>(1);
        let orders = todo.clone();
        let (finished, done) = bounded(1);
        let work = move || {
            let seat = Seat::new();
            for mut job in orders {
                seat.leave(job.processor);
                if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                    // Whoever reads rows meanwhile must not find them freed. The closed channel
                    // tells.
                    std::mem::forget(job);
                    break;
                }
                if finished.send(job).is_err() {
                    break;
                }
            }
        };
        let builder = std::thread::Builder::new().name("kv-cache".to_owned());
        match builder.spawn(work) {
            Ok(thread) => Self::Runs {
                jobs,
                todo,
                done,
                thread,
            },
            Err(_) => Self::Never,
        }
    }
}

fn logits<'c>(context: &'c LlamaContext<'_>, number: usize) -> &'c [f32] {
    context.get_logits_ith(i32::try_from(number).expect("a batch is shorter than 2^31"))
}

/// Does what `ops` say, and leaves them empty.
pub(super) fn apply(context: &mut LlamaContext<'_>, ops: &mut Vec<KvOp>) {
    let pos = |pos: usize| u32::try_from(pos).expect("a context is shorter than 2^32");
    let id = |seq: usize| i32::try_from(seq).expect("at most 256 sequences");
    for op in ops.drain(..) {
        match op {
            KvOp::Remove { seq, from, to } => {
                let seq = seq.map_or(-1, id);
                let removed = context.kv_cache_seq_rm(seq, Some(pos(from)), to.map(pos));
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
            } => context
                .kv_cache_seq_cp(id(source), id(seq), Some(pos(from)), Some(pos(to)))
                .expect("positions fit"),
        }
    }
}

/// Where the other thread may run.
///
/// Beside a pool of threads that wait for work by spinning, as the model's do on a processor, all
/// processors look taken, and Linux leaves a thread that wakes up on the one where it ran last.
/// Where that is the decoding thread's, the two take turns instead of running side by side.
#[cfg(target_os = "linux")]
struct Seat(Option<rustix::thread::CpuSet>);

#[cfg(target_os = "linux")]
impl Seat {
    fn new() -> Self {
        Self(rustix::thread::sched_getaffinity(None).ok())
    }

    /// Moves to any other processor than `taken`, if this is it.
    fn leave(&self, taken: Option<usize>) {
        let Some(taken) = taken.filter(|&taken| processor() == Some(taken)) else {
            return;
        };
        if let Some(mut others) = self.0 {
            others.unset(taken);
            // Refused where there is no other: then it stays.
            let _ = rustix::thread::sched_setaffinity(None, &others);
        }
    }
}

/// The processor that this thread runs on, where the system tells.
#[cfg(target_os = "linux")]
fn processor() -> Option<usize> {
    let number = rustix::thread::sched_getcpu();
    (number < rustix::thread::CpuSet::MAX_CPU).then_some(number)
}

#[cfg(not(target_os = "linux"))]
struct Seat;

#[cfg(not(target_os = "linux"))]
impl Seat {
    fn new() -> Self {
        Self
    }

    fn leave(&self, _: Option<usize>) {}
}

#[cfg(not(target_os = "linux"))]
fn processor() -> Option<usize> {
    None
}

//! `--trace FILE`: each decode step as a line of JSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::TokenId;
use crate::cli::exit::UserError;
use crate::engine::{SessionOptions, StepView};
use crate::files::start_of;
use crate::tree::ROOT;

/// Whether a trace may replace this path: there is no file, an empty one, or an older trace.
pub(super) fn may_be_replaced(path: &Path) -> bool {
    let Ok(start) = start_of(path, LONGEST_HEADER) else {
        return false;
    };
    let is_header = |line: &[u8]| {
        let header = serde_json::from_slice::<Value>(line);
        header.is_ok_and(|header| HEADER.iter().all(|key| header.get(key).is_some()))
    };
    start.is_empty()
        || start
            .split(|&byte| byte == b'\n')
            .next()
            .is_some_and(is_header)
}

/// Whether this file is a trace.
pub(super) fn is_trace(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.len() > 0) && may_be_replaced(path)
}

/// The keys of a header.
const HEADER: [&str; 4] = ["model", "method", "parameters", "prompt"];
/// The longest header: a prompt of about a million tokens.
const LONGEST_HEADER: u64 = 16 << 20;

/// Writes a trace: a header line, then one line per step.
pub(super) struct TraceWriter {
    out: BufWriter<File>,
    path: PathBuf,
}

impl TraceWriter {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).map_err(|error| {
            UserError(format!(
                "cannot write --trace {path:?}: {error}; name another file"
            ))
        })?;
        Ok(Self {
            out: BufWriter::new(file),
            path: path.into(),
        })
    }

    pub(super) fn header(
        &mut self,
        model: &Path,
        options: &SessionOptions,
        parameters: &serde_json::Value,
        prompt: &[TokenId],
    ) -> anyhow::Result<()> {
        self.line(&json!({
            "model": model,
            "method": options.method,
            "parameters": parameters,
            "prompt": prompt,
        }))
    }

    pub(super) fn step(&mut self, view: &StepView<'_>) -> anyhow::Result<()> {
        let tree = view.tree;
        let drafted = ROOT + 1..tree.len();
        let times = &view.step.times;
        // JSON has no infinite numbers.
        let ranked = || view.ranked.iter().filter(|c| c.logit.is_finite());
        let us = |time: std::time::Duration| time.as_nanos() as f64 / 1e3;
        self.line(&json!({
            "step": view.index,
            "n_past": view.n_past,
            "root": tree.token(ROOT),
            "ranked": ranked().map(|c| c.token).collect::<Vec<_>>(),
            "logits": ranked().map(|c| shortest(c.logit)).collect::<Vec<_>>(),
            "nodes": drafted.clone().map(|node| tree.token(node)).collect::<Vec<_>>(),
            "parents": drafted
                .map(|node| tree.parent(node).map_or(-1, |parent| parent as i64 - 1))
                .collect::<Vec<_>>(),
            "accepted": view.step.accepted,
            "us": {
                "draft": us(times.draft),
                "decode": us(times.decode),
                "verify": us(times.verify),
                "commit": us(times.commit),
            },
        }))
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.out.flush().with_context(|| self.failed())
    }

    fn line(&mut self, value: &serde_json::Value) -> anyhow::Result<()> {
        let write = |out: &mut BufWriter<File>| -> io::Result<()> {
            serde_json::to_writer(&mut *out, value)?;
            writeln!(out)
        };
        write(&mut self.out).with_context(|| self.failed())
    }

    fn failed(&self) -> String {
        format!("cannot write the trace {:?}", self.path)
    }
}

/// The shortest decimal that reads back as `logit`. Printed as an `f64`, it would have twice the
/// digits.
fn shortest(logit: f32) -> f64 {
    logit.to_string().parse().unwrap_or(f64::from(logit))
}

//! What `logitspec exactness` prints.

use std::io::Write;

use serde_json::{Value, json};

use super::compare::{Difference, Report};
use crate::cli::stdout::{print_json, stdout};
use crate::runtime::llama::Model;

/// Prints the reports as a table, or as JSON.
pub(super) fn print(as_json: bool, model: &Model, reports: &[Report]) -> anyhow::Result<()> {
    if as_json {
        return Ok(print_json(&json!({
            "model": model.path(),
            "exact": model.is_exact(),
            "batch_invariant": model.is_batch_invariant(),
            "methods": reports.iter().map(report).collect::<Vec<_>>(),
        }))?);
    }
    let mut out = stdout();
    writeln!(
        out,
        "{:20} {:>8} {:>12} {:>10} {:>15}  largest gap",
        "method", "trees", "identical", "accepted", "equal rows"
    )?;
    for it in reports {
        writeln!(
            out,
            "{:20} {:>8} {:>12} {:>10.2} {:>15}  {}",
            it.options.method.name(),
            trees(it),
            format!("{} of {}", it.turns - it.differences.len(), it.turns),
            it.tokens as f64 / it.steps.max(1) as f64,
            format!("{} of {}", it.equal_rows, it.rows),
            match it.equal_rows == it.rows {
                true => "none".into(),
                false => format!("{:.1e}", it.largest_gap),
            },
        )?;
    }
    for it in reports {
        for difference in &it.differences {
            writeln!(out, "{}", line(it, difference))?;
        }
    }
    Ok(())
}

/// The size of a run's trees.
fn trees(report: &Report) -> String {
    match report.options.fill_tree {
        true => report.options.draft_tree_capacity.to_string(),
        false => "sized".into(),
    }
}

fn line(report: &Report, it: &Difference) -> String {
    let named = |token: Option<u32>| token.map_or("the end".into(), |it| it.to_string());
    let logits = match it.logits {
        Some([ours, plain]) => format!(", whose logits are {ours} and {plain}"),
        None => String::new(),
    };
    format!(
        "{} {}: question {}, turn {}: token {} is {}, and {} in plain decoding{logits}",
        report.options.method.name(),
        trees(report),
        it.question,
        it.turn + 1,
        it.at,
        named(it.token),
        named(it.plain),
    )
}

fn report(it: &Report) -> Value {
    json!({
        "method": it.options.method,
        "draft_tree_capacity": it.options.draft_tree_capacity,
        "fill_tree": it.options.fill_tree,
        "turns": it.turns,
        "identical": it.turns - it.differences.len(),
        "new_tokens": it.tokens,
        "mean_accepted_tokens": it.tokens as f64 / it.steps.max(1) as f64,
        "rows": it.rows,
        "equal_rows": it.equal_rows,
        "largest_gap": it.largest_gap,
        "differences": it.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

fn difference(it: &Difference) -> Value {
    json!({
        "question_id": it.question,
        "turn": it.turn,
        "equal_tokens": it.at,
        "token": it.token,
        "plain": it.plain,
        "logits": it.logits,
    })
}

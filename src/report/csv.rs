//! The report as CSV: one row per method and category, at full precision.

use super::category::CategoryReport;
use super::{MethodReport, Report};

const HEAD: [&str; 22] = [
    "method",
    "model_id",
    "base",
    "category",
    "runs",
    "questions",
    "base_questions",
    "mean_accepted_tokens",
    "tokens_per_second",
    "base_tokens_per_second",
    "speedup",
    "mean_accepted_tokens_sd",
    "tokens_per_second_sd",
    "base_tokens_per_second_sd",
    "speedup_sd",
    "median_tokens_per_second",
    "base_median_tokens_per_second",
    "paired_questions",
    "paired_speedup",
    "paired_low",
    "paired_high",
    "paired_median",
];

/// Renders the figures per category.
///
/// A text that a spreadsheet would read as a formula gets a leading `'`.
pub fn render(report: &Report) -> String {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let rows = report.methods.iter().flat_map(|method| {
        method
            .categories
            .iter()
            .map(move |category| record(report, method, category))
    });
    for record in [HEAD.map(String::from)].into_iter().chain(rows) {
        writer
            .write_record(&record)
            .expect("a vector takes any record, and all are of one length");
    }
    let bytes = writer.into_inner().expect("a vector takes all bytes");
    String::from_utf8(bytes).expect("made of strings")
}

fn record(report: &Report, method: &MethodReport, row: &CategoryReport) -> [String; 22] {
    let (deviation, paired) = (row.deviation.as_ref(), row.paired.as_ref());
    [
        text(&method.name),
        text(&method.model_id),
        text(&report.base.name),
        text(&row.category),
        method.runs.to_string(),
        row.questions.to_string(),
        row.base_questions.to_string(),
        number(row.mean_accepted_tokens),
        number(row.tokens_per_second),
        number(row.base_tokens_per_second),
        number(row.speedup),
        number(deviation.and_then(|it| it.mean_accepted_tokens)),
        number(deviation.and_then(|it| it.tokens_per_second)),
        number(deviation.and_then(|it| it.base_tokens_per_second)),
        number(deviation.and_then(|it| it.speedup)),
        number(row.median_tokens_per_second),
        number(row.base_median_tokens_per_second),
        paired.map_or(0, |it| it.questions).to_string(),
        number(paired.map(|it| it.speedup)),
        number(paired.and_then(|it| it.low)),
        number(paired.and_then(|it| it.high)),
        number(paired.map(|it| it.median)),
    ]
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn text(value: &str) -> String {
    match value.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{value}"),
        false => value.to_string(),
    }
}

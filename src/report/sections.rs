//! A report as titled tables of text. Every format but CSV renders them in its own way.

use super::category::CategoryReport;
use super::identity::{Difference, Identity, Unit};
use super::{MethodReport, Report};

/// A titled part of a report.
pub(super) struct Section {
    pub title: String,
    /// One or two sentences under the title.
    pub note: String,
    /// The first row is the head, and the first column names the rows. Empty if there is nothing to
    /// show.
    pub rows: Vec<Vec<String>>,
}

/// The text of a cell without a value.
const NOTHING: &str = "–";

impl Report {
    /// How the base's tokens were counted.
    fn counting(&self) -> String {
        match &self.tokenizer {
            Some(path) => format!(
                "counted by tokenizing its answers again with {}",
                path.display()
            ),
            None => "as it recorded them".into(),
        }
    }

    pub(super) fn category_section(&self, method: &MethodReport) -> Section {
        let mut head = vec!["category", "questions", "mean accepted tokens", "tokens/s"];
        head.extend([
            "base tokens/s",
            "speedup",
            "paired [95\u{a0}%]",
            "median speedup",
        ]);
        head.extend(["median tokens/s", "base median"]);
        let rows = method.categories.iter().map(|row| {
            let deviation = row.deviation.as_ref();
            let questions = match row.questions == row.base_questions {
                true => row.questions.to_string(),
                false => format!("{} of {}", row.questions, row.base_questions),
            };
            vec![
                row.category.clone(),
                questions,
                figure(
                    row.mean_accepted_tokens,
                    deviation.map(|it| it.mean_accepted_tokens),
                ),
                figure(
                    row.tokens_per_second,
                    deviation.map(|it| it.tokens_per_second),
                ),
                figure(
                    row.base_tokens_per_second,
                    deviation.map(|it| it.base_tokens_per_second),
                ),
                figure(row.speedup, deviation.map(|it| it.speedup)),
                paired(row),
                number(row.paired.as_ref().map(|paired| paired.median)),
                number(row.median_tokens_per_second),
                number(row.base_median_tokens_per_second),
            ]
        });
        let runs = match self.mean_report {
            true if method.runs > 1 => format!(
                " Means and sample standard deviations of {} runs.",
                method.runs
            ),
            true => " Of one run, which has no deviation.".into(),
            false => String::new(),
        };
        Section {
            title: format!("{} against {}", method.name, self.base.name),
            note: format!(
                "Speedup is the ratio of the two means, with the base's tokens {}; paired speedup \
                 is the geometric mean over questions that both answered, by recorded tokens.\
                 {runs}",
                self.counting()
            ),
            rows: with_head(&head, rows),
        }
    }

    pub(super) fn identity_section(&self) -> Section {
        let row = |(method, identity): (&MethodReport, &Identity)| {
            vec![
                method.name.clone(),
                format!("{}/{}", identity.identical, identity.compared),
                format!("{}/{}", identity.compared_as_tokens, identity.compared),
            ]
        };
        Section {
            title: format!("Answers equal to those of {}", self.base.name),
            note: "Compared token by token if both sides recorded their tokens, otherwise as text."
                .into(),
            rows: with_head(
                &["method", "identical", "compared by tokens"],
                self.identities().map(row),
            ),
        }
    }

    pub(super) fn difference_section(&self) -> Section {
        let rows = self.identities().flat_map(|(method, identity)| {
            identity.differences.iter().map(|difference| {
                vec![
                    method.name.clone(),
                    difference.question_id.to_string(),
                    difference.category.clone(),
                    place(method, difference),
                    shown(
                        difference,
                        difference.base.as_deref(),
                        difference.base_text.as_deref(),
                    ),
                    shown(
                        difference,
                        difference.method.as_deref(),
                        difference.method_text.as_deref(),
                    ),
                ]
            })
        });
        let head = [
            "method",
            "question",
            "category",
            "first difference",
            "base",
            "method's",
        ];
        Section {
            title: "First differences".into(),
            note: "Every answer that differs from the base's, and both texts from the first \
                   difference on."
                .into(),
            rows: with_head(&head, rows),
        }
    }

    fn identities(&self) -> impl Iterator<Item = (&MethodReport, &Identity)> {
        self.methods
            .iter()
            .filter_map(|method| Some((method, method.identity.as_ref()?)))
    }

    pub(super) fn accept_length_section(&self) -> Section {
        /// Longer accept lengths share the last column.
        const COLUMNS: u64 = 12;
        let longest = self
            .methods
            .iter()
            .flat_map(|method| &method.accept_lengths)
            .map(|it| it.length);
        let columns = longest.max().unwrap_or(0).min(COLUMNS);
        let least = self
            .methods
            .iter()
            .flat_map(|method| &method.accept_lengths)
            .map(|it| it.length)
            .min();
        let first = least.unwrap_or(1).min(1);
        let name = |length: u64| match length == COLUMNS {
            true => format!("{length}+"),
            false => length.to_string(),
        };
        let mut head = vec!["method".to_string()];
        head.extend((first..=columns).map(name));
        let rows = self.methods.iter().map(|method| {
            let steps: u64 = method.accept_lengths.iter().map(|it| it.steps).sum();
            let share = |column: u64| {
                let inside = method
                    .accept_lengths
                    .iter()
                    .filter(|it| it.length.min(COLUMNS) == column);
                percent(inside.map(|it| it.steps).sum::<u64>() as f64, steps as f64)
            };
            [method.name.clone()]
                .into_iter()
                .chain((first..=columns).map(share))
                .collect()
        });
        let rows: Vec<Vec<String>> = rows.collect();
        Section {
            title: "Accept lengths".into(),
            note: "Share of the decode steps by the number of tokens that they committed.".into(),
            rows: if least.is_some() {
                [vec![head], rows].concat()
            } else {
                Vec::new()
            },
        }
    }

    pub(super) fn source_section(&self) -> Section {
        let rows = self.methods.iter().flat_map(|method| {
            let accepted: u64 = method.sources.values().map(|it| it.accepted).sum();
            method.sources.iter().map(move |(name, of)| {
                vec![
                    method.name.clone(),
                    name.clone(),
                    of.drafted.to_string(),
                    of.accepted.to_string(),
                    percent(of.accepted as f64, of.drafted as f64),
                    percent(of.accepted as f64, accepted as f64),
                ]
            })
        });
        let head = [
            "method",
            "drafted from",
            "drafted",
            "accepted",
            "rate",
            "share of the accepted",
        ];
        Section {
            title: "Where drafts came from".into(),
            note: "Drafted tokens by source, and how many of them were accepted.".into(),
            rows: with_head(&head, rows),
        }
    }

    pub(super) fn time_section(&self) -> Section {
        let head = [
            "method", "prefill", "draft", "decode", "verify", "commit", "other",
        ];
        let speeds = [
            "ms a step",
            "prefill tokens/s",
            "decode tokens/s",
            "decode speedup",
        ];
        let base = self
            .base
            .time
            .as_ref()
            .and_then(|time| time.decode_tokens_per_second);
        let rows = self.all_methods().filter_map(|method| {
            let time = method.time.as_ref()?;
            let all: f64 = time.parts().iter().map(|(_, seconds)| seconds).sum();
            let mut row = vec![method.name.clone()];
            row.extend(
                time.parts()
                    .iter()
                    .map(|(_, seconds)| percent(*seconds, all)),
            );
            let step = time.step_milliseconds();
            row.push(number(
                (!step.is_empty()).then(|| step.iter().map(|(_, ms)| ms).sum()),
            ));
            row.push(number(time.prefill_tokens_per_second));
            row.push(number(time.decode_tokens_per_second));
            row.push(number(
                time.decode_tokens_per_second
                    .zip(base)
                    .map(|(ours, base)| ours / base),
            ));
            Some(row)
        });
        Section {
            title: "Where the time goes".into(),
            note: "Shares of the wall time. The time of a step and the decode speed leave prefill \
                   out. They are totals over all tokens, not means over questions."
                .into(),
            rows: with_head(&[&head[..], &speeds[..]].concat(), rows),
        }
    }

    pub(super) fn context_section(&self) -> Section {
        let shown: Vec<&MethodReport> = self
            .all_methods()
            .filter(|method| !method.context.is_empty())
            .collect();
        let mut ranges: Vec<(u64, u64)> = shown
            .iter()
            .flat_map(|method| &method.context)
            .map(|range| (range.from, range.to))
            .collect();
        ranges.sort_unstable();
        ranges.dedup();
        let mut head = vec!["context length"];
        head.extend(shown.iter().map(|method| method.name.as_str()));
        let rows = ranges.iter().map(|&(from, to)| {
            let speed = |method: &&MethodReport| {
                let range = method.context.iter().find(|range| range.from == from);
                number(range.map(|range| range.tokens_per_second))
            };
            let name = format!("{from} to {}", to - 1);
            [name].into_iter().chain(shown.iter().map(speed)).collect()
        });
        Section {
            title: "Speed over context length".into(),
            note: "New tokens per second by context length, without prefill.".into(),
            rows: with_head(&head, rows),
        }
    }

    /// The base, then the methods.
    pub(super) fn all_methods(&self) -> impl Iterator<Item = &MethodReport> {
        [&self.base].into_iter().chain(&self.methods)
    }

    /// All sections that have something to show, in order.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut sections: Vec<Section> = self
            .methods
            .iter()
            .map(|method| self.category_section(method))
            .collect();
        sections.extend([
            self.identity_section(),
            self.difference_section(),
            self.accept_length_section(),
            self.source_section(),
            self.time_section(),
            self.context_section(),
        ]);
        sections.retain(|section| !section.rows.is_empty());
        sections
    }
}

/// The rows under their head; nothing if there are no rows.
fn with_head(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    [vec![head], rows].concat()
}

fn number(value: Option<f64>) -> String {
    value.map_or(NOTHING.into(), |value| format!("{value:.2}"))
}

/// A value with its deviation over repeated runs, if any.
fn figure(value: Option<f64>, deviation: Option<Option<f64>>) -> String {
    match deviation.flatten() {
        Some(deviation) => format!("{} ± {deviation:.2}", number(value)),
        None => number(value),
    }
}

/// With three decimals: 1.00 would not show on which side of 1 a speedup is.
fn paired(row: &CategoryReport) -> String {
    let Some(paired) = &row.paired else {
        return NOTHING.into();
    };
    match paired.low.zip(paired.high) {
        Some((low, high)) => format!("{:.3} [{low:.3}, {high:.3}]", paired.speedup),
        None => format!("{:.3}", paired.speedup),
    }
}

fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 {
        format!("{:.1} %", 100.0 * part / whole)
    } else {
        NOTHING.into()
    }
}

fn place(method: &MethodReport, difference: &Difference) -> String {
    let mut place = String::new();
    if method.runs > 1 {
        place += &format!("run {}, ", difference.run + 1);
    }
    if difference.choice > 0 {
        place += &format!("choice {}, ", difference.choice + 1);
    }
    match difference.unit {
        Unit::Token | Unit::Character => {
            let (unit, position) = (difference.unit.name(), difference.position + 1);
            place + &format!("turn {}, {unit} {position}", difference.turn + 1)
        }
        Unit::Turn => place + "number of turns",
        Unit::Choice => place + "number of choices",
    }
}

/// One side of a difference: its text if the texts differ, in quotes, with visible line ends.
fn shown(difference: &Difference, side: Option<&str>, text: Option<&str>) -> String {
    let texts_differ = difference.base_text.is_some() || difference.method_text.is_some();
    match (side, text) {
        (_, Some(text)) => format!("{text:?}"),
        (Some(side), None) if !texts_differ => side.to_owned(),
        _ => "(its end)".into(),
    }
}

//! The figures as JSON and as tables.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::draft::PassCost;
use crate::engine::Method;
use crate::simulate::{Figures, Tally};

/// The name of the row for all requests.
pub(super) const OVERALL: &str = "overall";

/// Where the cost of passes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CostSource {
    /// A file that the user names.
    File,
    /// Earlier measurements of this machine.
    Kept,
    /// Nowhere.
    Unknown,
}

impl CostSource {
    /// Its name in JSON.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::File => Some("file"),
            Self::Kept => Some("kept"),
            Self::Unknown => None,
        }
    }
}

/// What the figures cover, and what they do not.
pub(super) fn remarks(cost: CostSource, has_logits: bool) -> String {
    const OF_DECODING: &str =
        "Speedups are of decoding alone: reading prompts takes as long as ever";
    let mut text = match cost {
        CostSource::File => format!("{OF_DECODING}. Costs of passes: --cost.\n"),
        CostSource::Kept => format!("{OF_DECODING}. Costs of passes: measured on this machine.\n"),
        CostSource::Unknown => "No speedups: what passes cost here is not known. The figures show \
             what is accepted; the first answer of logitspec generate -m MODEL measures the costs, \
             and --cost names them.\n"
            .to_owned(),
    };
    if !has_logits {
        text +=
            "The record has no logits: drafts from last logits and recycled ones are missing.\n";
    }
    text
}

/// The figures of one method.
#[derive(Debug, Serialize)]
pub(super) struct MethodFigures {
    method: Method,
    categories: Vec<CategoryFigures>,
}

#[derive(Debug, Serialize)]
struct CategoryFigures {
    category: String,
    #[serde(flatten)]
    figures: Figures,
}

impl MethodFigures {
    pub(super) fn new(method: Method, tallies: &[(&str, Tally)], cost: Option<&PassCost>) -> Self {
        let categories = tallies.iter().map(|(name, tally)| CategoryFigures {
            category: (*name).to_owned(),
            figures: tally.figures(cost),
        });
        Self {
            method,
            categories: categories.collect(),
        }
    }
}

/// The figures for a terminal: mean accepted tokens by category, then all figures overall.
pub(super) fn table(methods: &[MethodFigures]) -> String {
    let lines = format!("{}\n\n{}", by_category(methods), overall(methods));
    let trimmed: Vec<&str> = lines.lines().map(str::trim_end).collect();
    trimmed.join("\n") + "\n"
}

fn by_category(methods: &[MethodFigures]) -> Table {
    let mut table = plain_table();
    let names = methods.iter().map(|it| it.method.name());
    let head = ["mean accepted tokens"].into_iter().chain(names);
    table.set_header(head.collect::<Vec<_>>());
    let rows = methods.first().map_or(&[][..], |it| &it.categories);
    for (number, row) in rows.iter().enumerate() {
        let figures = methods
            .iter()
            .map(|it| format!("{:.3}", it.categories[number].figures.mean_accepted_tokens));
        table.add_row([row.category.clone()].into_iter().chain(figures));
    }
    align(&mut table);
    table
}

fn overall(methods: &[MethodFigures]) -> Table {
    const SOURCES: usize = 7;
    let mut table = plain_table();
    table.set_header([
        "overall",
        "tokens",
        "steps",
        "accepted",
        "drafted",
        "draft us",
        "speedup",
        "accepted of drafted, by source",
    ]);
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    for it in methods {
        let Some(CategoryFigures { figures, .. }) = it.categories.last() else {
            continue;
        };
        let sources = figures.sources.iter().map(|(name, of)| {
            let percent = 100.0 * of.rate;
            format!("{name} {} of {} ({percent:.1} %)", of.accepted, of.drafted)
        });
        table.add_row([
            it.method.name().to_owned(),
            figures.tokens.to_string(),
            figures.steps.to_string(),
            format!("{:.3}", figures.mean_accepted_tokens),
            format!("{:.2}", figures.drafted_per_step),
            figure(figures.draft_us, 1),
            figure(figures.expected_speedup, 3),
            sources.collect::<Vec<_>>().join(", "),
        ]);
    }
    align(&mut table);
    if let Some(column) = table.column_mut(SOURCES) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table
}

/// Aligns all columns but the first to the right.
fn align(table: &mut Table) {
    for column in table.column_iter_mut() {
        let left = column.index == 0;
        column.set_padding((0, 2));
        column.set_cell_alignment(match left {
            true => CellAlignment::Left,
            false => CellAlignment::Right,
        });
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─')));
    table
}

//! The report as one HTML page with tables and plots. It loads nothing from elsewhere.

use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use super::category::OVERALL;
use super::made_with;
use super::sections::Section;
use super::table::printable;
use super::{MethodReport, Report, plot};

/// The page loads nothing. Its content security policy forbids it, even if a text from a file were
/// not escaped.
const TEMPLATE: &str = include_str!("report.html");

/// Renders the report as a self-contained HTML page.
///
/// All text from the files is escaped.
pub fn render(report: &Report) -> String {
    let mut environment = Environment::new();
    // The file extension turns escaping on.
    environment
        .add_template("report.html", TEMPLATE)
        .expect("the template is valid");
    let template = environment.get_template("report.html").expect("just added");
    let methods: Vec<String> = report
        .methods
        .iter()
        .map(|method| printable(&method.name))
        .collect();
    let page = Page {
        title: format!(
            "{} against {}",
            methods.join(", "),
            printable(&report.base.name)
        ),
        base: printable(&report.base.name),
        cards: cards(report),
        notices: report
            .notices
            .iter()
            .map(|notice| printable(notice))
            .collect(),
        parts: sections(report),
        files: report.all_methods().map(files).collect(),
    };
    template
        .render(Serde(&page))
        .expect("the page has all that the template uses")
}

/// The data of the template.
#[derive(Serialize)]
struct Page {
    title: String,
    base: String,
    cards: Vec<Card>,
    notices: Vec<String>,
    parts: Vec<Part>,
    files: Vec<Files>,
}

/// The main figures of one method.
#[derive(Serialize)]
struct Card {
    method: String,
    series: usize,
    speedup: String,
    interval: String,
    accepted: String,
    identical: String,
}

fn cards(report: &Report) -> Vec<Card> {
    let card = |(index, method): (usize, &MethodReport)| {
        let overall = method.categories.iter().find(|row| row.category == OVERALL);
        let paired = overall.and_then(|row| row.paired.as_ref());
        let interval = paired.and_then(|paired| paired.low.zip(paired.high));
        let accepted = overall.and_then(|row| row.mean_accepted_tokens);
        Card {
            method: printable(&method.name),
            series: plot::series(index + 1),
            speedup: paired.map_or("–".into(), |paired| format!("{:.3}×", paired.speedup)),
            interval: interval.map_or(String::new(), |(low, high)| {
                format!("{low:.3} to {high:.3}")
            }),
            accepted: accepted.map_or("–".into(), |accepted| format!("{accepted:.2}")),
            identical: method.identity.as_ref().map_or(String::new(), |identity| {
                format!("{} of {}", identity.identical, identity.compared)
            }),
        }
    };
    report.methods.iter().enumerate().map(card).collect()
}

/// A section of the page.
#[derive(Serialize)]
struct Part {
    title: String,
    note: String,
    plots: Vec<Plot>,
    legend: Vec<Key>,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// One plot, drawn once for a wide window and once for a phone. A scaled drawing would be too small
/// to read on a phone.
#[derive(Serialize)]
struct Plot {
    label: String,
    wide: String,
    narrow: String,
}

/// An entry of a legend: a name and the style sheet variable of its colour.
#[derive(Serialize)]
struct Key {
    name: String,
    color: String,
}

const WIDE: u32 = 940;
const NARROW: u32 = 358;
/// Three histograms fit side by side in a wide window, and one on a phone.
const HISTOGRAM: u32 = 330;

fn sections(report: &Report) -> Vec<Part> {
    let methods = || all_keys(report).into_iter().skip(1).collect();
    let mut parts = vec![Part::new(
        speedups(report),
        plots(report, "Speedup per category", plot::speedups),
        methods(),
    )];
    let categories = report.methods.iter();
    parts.extend(categories.map(|method| Part::table(report.category_section(method))));
    parts.push(Part::table(report.identity_section()));
    parts.push(Part::table(report.difference_section()));
    parts.push(Part::new(
        report.accept_length_section(),
        histograms(report),
        Vec::new(),
    ));
    parts.push(Part::table(report.source_section()));
    parts.push(Part::new(
        report.time_section(),
        plots(report, "Time of a decode step", plot::steps),
        step_keys(),
    ));
    parts.push(Part::new(
        report.context_section(),
        plots(report, "Speed over context length", plot::context),
        all_keys(report),
    ));
    parts.push(Part::table(made_with::section(report)));
    parts.retain(|part| !(part.rows.is_empty() && part.plots.is_empty()));
    parts
}

/// The section above the plot of speedups. Its figures are in the sections of the methods.
fn speedups(report: &Report) -> Section {
    Section {
        title: "Speedup per category".into(),
        note: format!(
            "Geometric mean over the questions that both the method and {} answered, with a 95 % \
             bootstrap interval.",
            report.base.name
        ),
        rows: Vec::new(),
    }
}

/// A plot in both widths; nothing if it is empty.
fn plots(report: &Report, label: &str, draw: fn(&Report, u32) -> String) -> Vec<Plot> {
    let plot = Plot {
        label: label.into(),
        wide: draw(report, WIDE),
        narrow: draw(report, NARROW),
    };
    [plot]
        .into_iter()
        .filter(|plot| !plot.wide.is_empty())
        .collect()
}

/// A histogram of accept lengths for each method.
fn histograms(report: &Report) -> Vec<Plot> {
    let methods = report.methods.iter().enumerate();
    let histogram = |(index, method): (usize, &MethodReport)| {
        let drawing = plot::accept_lengths(method, index + 1, HISTOGRAM);
        Plot {
            label: method.name.clone(),
            wide: drawing.clone(),
            narrow: drawing,
        }
    };
    methods.map(histogram).collect()
}

/// The colours of the base and all methods.
fn all_keys(report: &Report) -> Vec<Key> {
    let methods = report.all_methods().enumerate();
    let key = |(index, method): (usize, &MethodReport)| Key {
        name: printable(&method.name),
        color: format!("series-{}", plot::series(index)),
    };
    methods.map(key).collect()
}

/// The colours of the parts of a step.
fn step_keys() -> Vec<Key> {
    let parts = plot::PARTS.iter().enumerate();
    let key = |(index, name): (usize, &&str)| Key {
        name: name.to_string(),
        color: format!("part-{index}"),
    };
    parts.map(key).collect()
}

impl Part {
    /// A part without plots.
    fn table(section: Section) -> Self {
        Self::new(section, Vec::new(), Vec::new())
    }

    fn new(section: Section, plots: Vec<Plot>, legend: Vec<Key>) -> Self {
        let cells = |row: Vec<String>| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>();
        let mut rows = section.rows.into_iter().map(cells);
        let head = rows.next().unwrap_or_default();
        Self {
            title: printable(&section.title),
            note: printable(&section.note),
            legend: if plots.is_empty() { Vec::new() } else { legend },
            plots: plots
                .into_iter()
                .map(|plot| Plot {
                    label: printable(&plot.label),
                    ..plot
                })
                .collect(),
            head,
            rows: rows.collect(),
        }
    }
}

/// The answer files of a method.
#[derive(Serialize)]
struct Files {
    method: String,
    model_id: String,
    runs: usize,
    questions: usize,
    paths: Vec<String>,
}

fn files(method: &MethodReport) -> Files {
    Files {
        method: printable(&method.name),
        model_id: printable(&method.model_id),
        runs: method.runs,
        questions: method.questions,
        paths: method
            .files
            .iter()
            .map(|path| printable(&path.to_string_lossy()))
            .collect(),
    }
}

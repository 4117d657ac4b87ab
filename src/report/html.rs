//! The report as one page: tables and plots, nothing loaded from anywhere.

use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use super::category::OVERALL;
use super::made_with;
use super::sections::Section;
use super::table::printable;
use super::{MethodReport, Report, plot};

/// The page asks for nothing from outside, and its policy forbids it even where a text from a file
/// got loose.
const TEMPLATE: &str = include_str!("report.html");

/// Renders the report as a self-contained HTML page.
///
/// All text from the files is escaped.
pub fn render(report: &Report) -> String {
    let mut environment = Environment::new();
    // The name's ending turns escaping on.
    environment
        .add_template("report.html", TEMPLATE)
        .expect("the template is sound");
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
        files: report.everyone().map(files).collect(),
    };
    template
        .render(Serde(&page))
        .expect("the template asks for what is there")
}

/// What the template shows.
#[derive(Serialize)]
struct Page {
    title: String,
    base: String,
    cards: Vec<Card>,
    notices: Vec<String>,
    parts: Vec<Part>,
    files: Vec<Files>,
}

/// The figures that a reader looks for first, of one method.
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

/// One plot, drawn for a wide window and again for a phone, as a scaled drawing would be too small
/// to read there.
#[derive(Serialize)]
struct Plot {
    label: String,
    wide: String,
    narrow: String,
}

/// A line of a legend: a name and the style sheet variable of its colour.
#[derive(Serialize)]
struct Key {
    name: String,
    color: String,
}

const WIDE: u32 = 940;
const NARROW: u32 = 358;
/// Three of these stand side by side in a wide window, and one fits a phone.
const HISTOGRAM: u32 = 330;

fn sections(report: &Report) -> Vec<Part> {
    let everyone = || {
        report
            .everyone()
            .enumerate()
            .map(|(index, method)| (plot::series(index), &method.name))
    };
    let key = |(series, name): (usize, &String)| Key {
        name: printable(name),
        color: format!("series-{series}"),
    };
    let methods = || everyone().skip(1).map(key).collect::<Vec<_>>();
    let parts_of_a_step = || {
        let keys = plot::PARTS.iter().enumerate();
        keys.map(|(index, name)| Key {
            name: name.to_string(),
            color: format!("part-{index}"),
        })
        .collect()
    };
    let drawn = |label: &str, draw: fn(&Report, u32) -> String| {
        let (wide, narrow) = (draw(report, WIDE), draw(report, NARROW));
        let plot = Plot {
            label: label.into(),
            wide,
            narrow,
        };
        if plot.wide.is_empty() {
            Vec::new()
        } else {
            vec![plot]
        }
    };
    let speedups = Section {
        title: "Speedup per category".into(),
        note: format!(
            "Geometric mean over the questions that both the method and {} answered, with a 95 % bootstrap interval.",
            report.base.name
        ),
        rows: Vec::new(),
    };
    let histograms = report.methods.iter().enumerate().map(|(index, method)| {
        let narrow = plot::accept_lengths(method, index + 1, HISTOGRAM);
        Plot {
            label: method.name.clone(),
            wide: narrow.clone(),
            narrow,
        }
    });

    let mut parts = vec![Part::new(
        speedups,
        drawn("Speedup per category", plot::speedups),
        methods(),
    )];
    for method in &report.methods {
        parts.push(Part::new(
            report.category_section(method),
            Vec::new(),
            Vec::new(),
        ));
    }
    for section in [report.identity_section(), report.difference_section()] {
        parts.push(Part::new(section, Vec::new(), Vec::new()));
    }
    parts.push(Part::new(
        report.accept_length_section(),
        histograms.collect(),
        Vec::new(),
    ));
    let steps = drawn("Time of a decode step", plot::steps);
    parts.push(Part::new(report.source_section(), Vec::new(), Vec::new()));
    parts.push(Part::new(report.time_section(), steps, parts_of_a_step()));
    let context = drawn("Speed over context length", plot::context);
    parts.push(Part::new(
        report.context_section(),
        context,
        everyone().map(key).collect(),
    ));
    parts.push(Part::new(
        made_with::section(report),
        Vec::new(),
        Vec::new(),
    ));
    parts.retain(|part| !(part.rows.is_empty() && part.plots.is_empty()));
    parts
}

impl Part {
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

/// What a method's figures are from.
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

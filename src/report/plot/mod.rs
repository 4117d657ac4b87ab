//! The plots of the page, as SVG in the page's own colours.
//!
//! `plotters` draws in fixed colours, but the page has a light and a dark set of them. So the
//! drawing is done in colours that stand for a role, and [`in_page_colors`] puts the style sheet's
//! variable of that role in their place.

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{BoldPoints, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::printable;
use super::{MethodReport, Report};

/// Colours of methods in the style sheet: `--series-0` and on; `0` is the base's.
pub(super) const SERIES: usize = 8;
/// The parts of a step, `--part-0` and on.
pub(super) const PARTS: [&str; 5] = ["draft", "decode", "verify", "commit", "other"];

const INK: RGBColor = RGBColor(1, 0, 0);
const RULE: RGBColor = RGBColor(2, 0, 0);

/// The role of the `index`th of everyone in a report, the base being 0; the methods' colours
/// repeat, the base's not.
pub(super) fn series(index: usize) -> usize {
    if index == 0 {
        0
    } else {
        1 + (index - 1) % (SERIES - 1)
    }
}

fn series_color(index: usize) -> RGBColor {
    RGBColor(3, series(index) as u8, 0)
}

fn part_color(index: usize) -> RGBColor {
    RGBColor(4, index as u8, 0)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// Drawing into a string fails only where the code asks for something impossible.
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws an SVG of this size.
fn draw(width: u32, height: u32, paint: impl FnOnce(&Area) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        paint(&area)
            .and_then(|()| area.present())
            .expect("a string takes every drawing");
    }
    in_page_colors(svg)
}

/// Puts style sheet variables in the place of the roles' colours. Only attributes have a quote
/// before a `#`: those in texts are escaped.
fn in_page_colors(mut svg: String) -> String {
    let mut put = |RGBColor(r, g, b): RGBColor, variable: String| {
        svg = svg.replace(
            &format!("\"#{r:02X}{g:02X}{b:02X}\""),
            &format!("\"var(--{variable})\""),
        );
    };
    put(INK, "ink".into());
    put(RULE, "rule".into());
    (0..SERIES).for_each(|index| put(series_color(index), format!("series-{index}")));
    (0..PARTS.len()).for_each(|index| put(part_color(index), format!("part-{index}")));
    svg
}

fn text(size: u32, h_pos: HPos) -> TextStyle<'static> {
    // plotters writes a font size of 1/1.24 of what it is given.
    let size = f64::from(size) * 1.24;
    TextStyle::from(("system-ui, sans-serif", size).into_font())
        .color(&INK)
        .pos(Pos::new(h_pos, VPos::Center))
}

/// A name from a file, cut to what fits beside a plot.
fn name(text: &str, longest: usize) -> String {
    let text = printable(text);
    match text.char_indices().nth(longest) {
        Some(_) => text.chars().take(longest - 1).chain(['…']).collect(),
        None => text,
    }
}

/// Decimals that an axis needs for labels that differ, and that say where they stand. `labels` is
/// how many it may have at most.
fn decimals(axis: &RangedCoordf64, labels: usize) -> usize {
    const MOST: usize = 9;
    let ticks = axis.key_points(BoldPoints(labels));
    let steps = ticks.windows(2).map(|pair| pair[1] - pair[0]);
    let step = steps.fold(f64::INFINITY, f64::min);
    let exact = |decimals: &usize| {
        let scale = 10_f64.powi(*decimals as i32);
        ticks
            .iter()
            .all(|tick| ((tick * scale).round() / scale - tick).abs() < step / 100.0)
    };
    (0..MOST).find(exact).unwrap_or(MOST)
}

/// The x axis alone, with its title; the other lines of a mesh would only distract. Each label has
/// `unit` behind it.
fn x_axis(chart: &mut Chart, title: &str, labels: usize, unit: &str) -> Drawn {
    let decimals = decimals(chart.as_coord_spec().x_spec(), labels);
    let format = |x: &f64| format!("{x:.decimals$}{unit}");
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh()
        .disable_y_axis()
        .x_labels(labels)
        .x_label_formatter(&format)
        .x_desc(title);
    style(&mut mesh);
    mesh.draw()
}

fn style<'a>(
    mesh: &mut plotters::chart::MeshStyle<'a, '_, RangedCoordf64, RangedCoordf64, SVGBackend<'_>>,
) {
    let mut labels = text(12, HPos::Center);
    labels.pos = Pos::new(HPos::Center, VPos::Top);
    mesh.label_style(labels.clone()).axis_desc_style(labels);
    mesh.axis_style(RULE)
        .bold_line_style(RULE.mix(0.7))
        .light_line_style(TRANSPARENT);
}

/// Holds the name of every method and task there is.
const NAME_WIDTH: u32 = 130;
const LONGEST_NAME: usize = 20;
const AXIS_HEIGHT: u32 = 44;
const TOP: u32 = 8;

/// A chart of horizontal rows: names to the left, room for values to the right. The y coordinate is
/// in pixels from the top.
fn rows<'a, 'b>(
    area: &'a Area<'b>,
    height: u32,
    x: std::ops::Range<f64>,
) -> Result<Chart<'a, 'b>, DrawingAreaErrorKind<std::io::Error>> {
    ChartBuilder::on(area)
        .margin_top(TOP)
        .margin_left(NAME_WIDTH)
        .margin_right(52)
        .x_label_area_size(AXIS_HEIGHT)
        .build_cartesian_2d(x, f64::from(height)..0.0)
}

/// The paired speedup of each method in each category, with its interval. Empty where nothing is
/// paired.
pub(super) fn speedups(report: &Report, width: u32) -> String {
    const ROW: f64 = 17.0;
    const GAP: f64 = 12.0;
    // Methods may have answered different categories; a row of the plot is whatever any of them
    // has.
    let mut categories: Vec<&str> = Vec::new();
    for row in report.methods.iter().flat_map(|method| &method.categories) {
        if !categories.contains(&row.category.as_str()) {
            categories.push(&row.category);
        }
    }
    if let Some(overall) = categories
        .iter()
        .position(|name| *name == super::category::OVERALL)
    {
        let overall = categories.remove(overall);
        categories.push(overall);
    }
    let paired = |method: &MethodReport, category: &str| {
        let row = method
            .categories
            .iter()
            .find(|row| row.category == category)?;
        row.paired
            .clone()
            .filter(|paired| paired.speedup.is_finite())
    };
    let mut points = Vec::new();
    let mut names = Vec::new();
    let mut y = GAP / 2.0;
    for category in categories {
        let start = y;
        for (index, method) in report.methods.iter().enumerate() {
            if let Some(paired) = paired(method, category) {
                points.push((y + ROW / 2.0, series_color(index + 1), paired));
                y += ROW;
            }
        }
        if y > start {
            names.push(((start + y) / 2.0, name(category, LONGEST_NAME)));
            y += GAP;
        }
    }
    if points.is_empty() {
        return String::new();
    }
    let height = y.ceil() as u32;
    let ends = |paired: &super::paired::Paired| {
        (
            paired.low.unwrap_or(paired.speedup),
            paired.high.unwrap_or(paired.speedup),
        )
    };
    let least = points
        .iter()
        .map(|(_, _, paired)| ends(paired).0)
        .fold(1.0, f64::min);
    let most = points
        .iter()
        .map(|(_, _, paired)| ends(paired).1)
        .fold(1.0, f64::max);
    let room = ((most - least) * 0.06).max(0.05);
    draw(width, height + AXIS_HEIGHT + TOP, |area| {
        let mut chart = rows(area, height, least - room..most + room)?;
        x_axis(
            &mut chart,
            "speedup, 95 % interval",
            width as usize / 100,
            "×",
        )?;
        let line = [(1.0, 0.0), (1.0, f64::from(height))];
        chart.draw_series([PathElement::new(line, INK.mix(0.6).stroke_width(1))])?;
        for (y, color, paired) in &points {
            let (low, high) = ends(paired);
            chart.draw_series([PathElement::new(
                [(low, *y), (high, *y)],
                color.stroke_width(3),
            )])?;
            chart.draw_series([Circle::new((paired.speedup, *y), 5, color.filled())])?;
            let place = (width as i32 - 4, *y as i32 + TOP as i32);
            area.draw(&Text::new(
                format!("{:.3}×", paired.speedup),
                place,
                text(12, HPos::Right),
            ))?;
        }
        for (y, name) in names {
            area.draw(&Text::new(
                name,
                (2, y as i32 + TOP as i32),
                text(12, HPos::Left),
            ))?;
        }
        Ok(())
    })
}

/// How often a method's decode steps had which accept length. `index` is its place among everyone
/// in the report.
pub(super) fn accept_lengths(method: &MethodReport, index: usize, width: u32) -> String {
    const HEIGHT: u32 = 190;
    /// Longer ones share the last bar.
    const LONGEST: u64 = 12;
    /// Labels of the shares.
    const SHARES: usize = 5;
    let steps: u64 = method.accept_lengths.iter().map(|it| it.steps).sum();
    let longest = method
        .accept_lengths
        .iter()
        .map(|it| it.length)
        .max()
        .unwrap_or(0)
        .min(LONGEST);
    let share = |length: u64| {
        let inside = method
            .accept_lengths
            .iter()
            .filter(|it| it.length.min(LONGEST) == length);
        100.0 * inside.map(|it| it.steps).sum::<u64>() as f64 / steps.max(1) as f64
    };
    let shares: Vec<(u64, f64)> = (0..=longest)
        .map(|length| (length, share(length)))
        .collect();
    let highest = shares.iter().map(|(_, share)| *share).fold(1.0, f64::max);
    // A step commits one token at least, in files that are right.
    let first = if share(0) > 0.0 { 0 } else { 1 };
    draw(width, HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(12)
            .margin_right(12)
            .x_label_area_size(AXIS_HEIGHT)
            .y_label_area_size(52)
            .build_cartesian_2d(
                first as f64 - 0.5..longest.max(4) as f64 + 0.5,
                0.0..highest * 1.05,
            )?;
        let decimals = decimals(chart.as_coord_spec().y_spec(), SHARES);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .x_labels(longest.max(4) as usize + 1)
            .y_labels(SHARES)
            .x_desc("tokens committed by a step");
        let length = |x: &f64| match *x as u64 {
            LONGEST => format!("{LONGEST}+"),
            // The next label is wide, and would touch this one.
            x if x + 1 == LONGEST && longest == LONGEST => String::new(),
            x => x.to_string(),
        };
        let percent = |y: &f64| format!("{y:.decimals$} %");
        mesh.x_label_formatter(&length).y_label_formatter(&percent);
        style(&mut mesh);
        mesh.y_label_style(text(12, HPos::Right));
        mesh.draw()?;
        let bars = shares.iter().filter(|(_, share)| *share > 0.0);
        chart.draw_series(bars.map(|&(length, share)| {
            let x = length as f64;
            Rectangle::new(
                [(x - 0.4, 0.0), (x + 0.4, share)],
                series_color(index).filled(),
            )
        }))?;
        Ok(())
    })
}

/// Decoding speed over the context length, a line for everyone. Empty where no record says.
pub(super) fn context(report: &Report, width: u32) -> String {
    const HEIGHT: u32 = 280;
    /// Labels of the speeds.
    const SPEEDS: usize = 6;
    let ranges = || report.everyone().flat_map(|method| &method.context);
    let longest = ranges().map(|range| range.to as f64).fold(0.0, f64::max);
    let fastest = ranges()
        .map(|range| range.tokens_per_second)
        .filter(|it| it.is_finite())
        .fold(0.0, f64::max);
    if longest <= 0.0 || fastest <= 0.0 {
        return String::new();
    }
    draw(width, HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(12)
            .margin_right(16)
            .x_label_area_size(AXIS_HEIGHT)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..longest, 0.0..fastest * 1.08)?;
        let lengths = width as usize / 80;
        let coord = chart.as_coord_spec();
        let of_x = decimals(coord.x_spec(), lengths);
        let of_y = decimals(coord.y_spec(), SPEEDS);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .x_labels(lengths)
            .y_labels(SPEEDS)
            .x_desc("tokens in the context");
        let length = |x: &f64| format!("{x:.of_x$}");
        let speed = |y: &f64| format!("{y:.of_y$}");
        mesh.x_label_formatter(&length)
            .y_label_formatter(&speed)
            .y_desc("tokens/s");
        style(&mut mesh);
        mesh.y_label_style(text(12, HPos::Right));
        mesh.draw()?;
        for (index, method) in report.everyone().enumerate() {
            let color = series_color(index);
            let points: Vec<(f64, f64)> = method
                .context
                .iter()
                .map(|range| {
                    (
                        (range.from as f64 + range.to as f64) / 2.0,
                        range.tokens_per_second,
                    )
                })
                .collect();
            chart.draw_series(LineSeries::new(
                points.iter().copied(),
                color.stroke_width(2),
            ))?;
            chart.draw_series(
                points
                    .iter()
                    .map(|point| Circle::new(*point, 3, color.filled())),
            )?;
        }
        Ok(())
    })
}

/// The time of a decode step by its parts, a bar for everyone who recorded it. Empty where nobody
/// did.
pub(super) fn steps(report: &Report, width: u32) -> String {
    const ROW: f64 = 30.0;
    let bars: Vec<(&str, Vec<f64>)> = report
        .everyone()
        .filter_map(|method| {
            let parts = method.time.as_ref()?.step_milliseconds();
            let parts: Vec<f64> = parts.into_iter().map(|(_, ms)| ms).collect();
            (!parts.is_empty()).then_some((method.name.as_str(), parts))
        })
        .collect();
    let longest = bars
        .iter()
        .map(|(_, parts)| parts.iter().sum())
        .fold(0.0, f64::max);
    if longest <= 0.0 {
        return String::new();
    }
    let height = (bars.len() as f64 * ROW) as u32;
    draw(width, height + AXIS_HEIGHT + TOP, |area| {
        let mut chart = rows(area, height, 0.0..longest * 1.02)?;
        x_axis(
            &mut chart,
            "milliseconds of a decode step",
            width as usize / 100,
            "",
        )?;
        for (row, (method, parts)) in bars.iter().enumerate() {
            let (top, middle) = (row as f64 * ROW + 5.0, (row as f64 + 0.5) * ROW);
            let mut start = 0.0;
            for (index, part) in parts.iter().enumerate().filter(|(_, part)| **part > 0.0) {
                let corners = [(start, top), (start + part, top + ROW - 10.0)];
                chart.draw_series([Rectangle::new(corners, part_color(index).filled())])?;
                start += part;
            }
            let y = middle as i32 + TOP as i32;
            area.draw(&Text::new(
                name(method, LONGEST_NAME),
                (2, y),
                text(12, HPos::Left),
            ))?;
            area.draw(&Text::new(
                short(start),
                (width as i32 - 4, y),
                text(12, HPos::Right),
            ))?;
        }
        Ok(())
    })
}

/// A number with about three digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

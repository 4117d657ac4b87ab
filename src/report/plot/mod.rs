//! The plots of the HTML page, as SVG in the page's colours.
//!
//! `plotters` draws in fixed colours, but the page has a light and a dark set. So each colour in a
//! drawing stands for a role, and [`in_page_colors`] replaces it with the role's variable in the
//! style sheet.

mod accept_lengths;
mod context;
mod speedups;
mod steps;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{BoldPoints, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::printable;

pub(super) use accept_lengths::accept_lengths;
pub(super) use context::context;
pub(super) use speedups::speedups;
pub(super) use steps::steps;

/// Number of colours for methods in the style sheet: `--series-0` (the base) and following.
pub(super) const SERIES: usize = 8;
/// The parts of a step; their colours are `--part-0` and following.
pub(super) const PARTS: [&str; 5] = ["draft", "decode", "verify", "commit", "other"];

const INK: RGBColor = RGBColor(1, 0, 0);
const RULE: RGBColor = RGBColor(2, 0, 0);

/// The colour number of the method with this index in the report, where the base has 0. The colours
/// of the methods repeat; that of the base does not.
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
/// Drawing into a string fails only if the code asks for something impossible.
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws an SVG image of this size.
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

/// Replaces the colours of roles with style sheet variables. Only attributes have a quote before a
/// `#`; quotes in texts are escaped.
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
    // plotters divides the font size by 1.24.
    let size = f64::from(size) * 1.24;
    TextStyle::from(("system-ui, sans-serif", size).into_font())
        .color(&INK)
        .pos(Pos::new(h_pos, VPos::Center))
}

/// A name from a file, cut to fit beside a plot.
fn name(text: &str, longest: usize) -> String {
    let text = printable(text);
    match text.char_indices().nth(longest) {
        Some(_) => text.chars().take(longest - 1).chain(['…']).collect(),
        None => text,
    }
}

/// The number of decimals that make the labels of an axis exact. `labels` is the most labels that
/// it may have.
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

/// Draws the x axis with its title, and no other lines. Each label ends with `unit`.
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

/// Wide enough for the names of all methods and categories of this project.
const NAME_WIDTH: u32 = 130;
const LONGEST_NAME: usize = 20;
const AXIS_HEIGHT: u32 = 44;
const TOP: u32 = 8;

/// A chart of horizontal rows, with names to the left and space for values to the right. The y
/// coordinate is in pixels from the top.
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

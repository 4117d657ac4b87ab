//! Decoding speed over the context length.

use plotters::chart::ChartBuilder;
use plotters::prelude::*;

use super::{AXIS_HEIGHT, Chart, Drawn, HPos, decimals, draw, series_color, style, text};
use crate::report::{MethodReport, Report};

const HEIGHT: u32 = 280;
/// Number of labels at the y axis.
const Y_LABELS: usize = 6;

/// Decoding speed over the context length, one line per method. Empty if no record has it.
pub(in crate::report) fn context(report: &Report, width: u32) -> String {
    let ranges = || report.all_methods().flat_map(|method| &method.context);
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
        axes(&mut chart, width as usize / 80)?;
        for (index, method) in report.all_methods().enumerate() {
            let color = series_color(index);
            let points = points(method);
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

/// Middle and speed of each range.
fn points(method: &MethodReport) -> Vec<(f64, f64)> {
    let points = method.context.iter().map(|range| {
        let middle = (range.from as f64 + range.to as f64) / 2.0;
        (middle, range.tokens_per_second)
    });
    points.collect()
}

fn axes(chart: &mut Chart, x_labels: usize) -> Drawn {
    let coord = chart.as_coord_spec();
    let of_x = decimals(coord.x_spec(), x_labels);
    let of_y = decimals(coord.y_spec(), Y_LABELS);
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .x_labels(x_labels)
        .y_labels(Y_LABELS)
        .x_desc("tokens in the context");
    let length = |x: &f64| format!("{x:.of_x$}");
    let speed = |y: &f64| format!("{y:.of_y$}");
    mesh.x_label_formatter(&length)
        .y_label_formatter(&speed)
        .y_desc("tokens/s");
    style(&mut mesh);
    mesh.y_label_style(text(12, HPos::Right));
    mesh.draw()
}

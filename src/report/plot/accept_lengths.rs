//! A histogram of accept lengths.

use plotters::chart::ChartBuilder;
use plotters::prelude::*;

use super::{AXIS_HEIGHT, Chart, Drawn, HPos, decimals, draw, series_color, style, text};
use crate::report::MethodReport;

const HEIGHT: u32 = 190;
/// Longer accept lengths share the last bar.
const LONGEST: u64 = 12;
/// Number of labels at the y axis.
const Y_LABELS: usize = 5;

/// How often a method's decode steps had which accept length. `index` is the method's index in the
/// report, where the base has 0.
pub(in crate::report) fn accept_lengths(method: &MethodReport, index: usize, width: u32) -> String {
    let shares = Shares::new(method);
    draw(width, HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(12)
            .margin_right(12)
            .x_label_area_size(AXIS_HEIGHT)
            .y_label_area_size(52)
            .build_cartesian_2d(shares.x_range(), 0.0..shares.highest() * 1.05)?;
        axes(&mut chart, shares.longest)?;
        let bars = shares.list.iter().filter(|(_, share)| *share > 0.0);
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

/// The share of each accept length, in percent.
struct Shares {
    list: Vec<(u64, f64)>,
    longest: u64,
}

impl Shares {
    fn new(method: &MethodReport) -> Self {
        let lengths = &method.accept_lengths;
        let steps: u64 = lengths.iter().map(|it| it.steps).sum();
        let longest = lengths.iter().map(|it| it.length.min(LONGEST)).max();
        let longest = longest.unwrap_or(0);
        let share = |length: u64| {
            let inside = lengths.iter().filter(|it| it.length.min(LONGEST) == length);
            100.0 * inside.map(|it| it.steps).sum::<u64>() as f64 / steps.max(1) as f64
        };
        Self {
            list: (0..=longest)
                .map(|length| (length, share(length)))
                .collect(),
            longest,
        }
    }

    fn highest(&self) -> f64 {
        self.list
            .iter()
            .map(|(_, share)| *share)
            .fold(1.0, f64::max)
    }

    /// From 1, since a step commits at least one token. A faulty file may hold 0.
    fn x_range(&self) -> std::ops::Range<f64> {
        let first = if self.list[0].1 > 0.0 { 0.0 } else { 1.0 };
        first - 0.5..self.longest.max(4) as f64 + 0.5
    }
}

fn axes(chart: &mut Chart, longest: u64) -> Drawn {
    let decimals = decimals(chart.as_coord_spec().y_spec(), Y_LABELS);
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .x_labels(longest.max(4) as usize + 1)
        .y_labels(Y_LABELS)
        .x_desc("tokens committed by a step");
    let length = |x: &f64| match *x as u64 {
        LONGEST => format!("{LONGEST}+"),
        // The next label is wide and would touch this one.
        x if x + 1 == LONGEST && longest == LONGEST => String::new(),
        x => x.to_string(),
    };
    let percent = |y: &f64| format!("{y:.decimals$} %");
    mesh.x_label_formatter(&length).y_label_formatter(&percent);
    style(&mut mesh);
    mesh.y_label_style(text(12, HPos::Right));
    mesh.draw()
}

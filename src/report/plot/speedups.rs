//! The paired speedups by category.

use plotters::prelude::*;

use super::{
    AXIS_HEIGHT, Area, Drawn, HPos, INK, LONGEST_NAME, TOP, draw, name, rows, series_color, text,
    x_axis,
};
use crate::report::category::OVERALL;
use crate::report::paired::Paired;
use crate::report::{MethodReport, Report};

/// Height of a row, in pixels.
const ROW: f64 = 17.0;
/// Distance between categories.
const GAP: f64 = 12.0;

/// The rows of the plot.
struct Rows {
    points: Vec<Point>,
    /// The names of the categories, each at the middle of its rows.
    names: Vec<(f64, String)>,
    height: u32,
}

/// A speedup at its place from the top.
struct Point {
    y: f64,
    color: RGBColor,
    paired: Paired,
}

impl Point {
    /// The ends of the interval, or the speedup itself if there is none.
    fn interval(&self) -> (f64, f64) {
        let Paired {
            speedup, low, high, ..
        } = self.paired;
        (low.unwrap_or(speedup), high.unwrap_or(speedup))
    }
}

/// The paired speedup of each method in each category, with its interval. Empty if nothing is
/// paired.
pub(in crate::report) fn speedups(report: &Report, width: u32) -> String {
    let rows = Rows::new(report);
    if rows.points.is_empty() {
        return String::new();
    }
    draw(width, rows.height + AXIS_HEIGHT + TOP, |area| {
        rows.paint(area, width)
    })
}

impl Rows {
    fn new(report: &Report) -> Self {
        let mut points = Vec::new();
        let mut names = Vec::new();
        let mut y = GAP / 2.0;
        for category in categories(report) {
            let start = y;
            for (index, method) in report.methods.iter().enumerate() {
                if let Some(paired) = paired(method, category) {
                    points.push(Point {
                        y: y + ROW / 2.0,
                        color: series_color(index + 1),
                        paired,
                    });
                    y += ROW;
                }
            }
            if y > start {
                names.push(((start + y) / 2.0, name(category, LONGEST_NAME)));
                y += GAP;
            }
        }
        Self {
            points,
            names,
            height: y.ceil() as u32,
        }
    }

    fn paint(&self, area: &Area, width: u32) -> Drawn {
        let ends = || self.points.iter().map(Point::interval);
        let least = ends().map(|(low, _)| low).fold(1.0, f64::min);
        let most = ends().map(|(_, high)| high).fold(1.0, f64::max);
        let room = ((most - least) * 0.06).max(0.05);
        let mut chart = rows(area, self.height, least - room..most + room)?;
        x_axis(
            &mut chart,
            "speedup, 95 % interval",
            width as usize / 100,
            "×",
        )?;
        let line = [(1.0, 0.0), (1.0, f64::from(self.height))];
        chart.draw_series([PathElement::new(line, INK.mix(0.6).stroke_width(1))])?;
        for point in &self.points {
            let (low, high) = point.interval();
            let (y, speedup) = (point.y, point.paired.speedup);
            chart.draw_series([PathElement::new(
                [(low, y), (high, y)],
                point.color.stroke_width(3),
            )])?;
            chart.draw_series([Circle::new((speedup, y), 5, point.color.filled())])?;
            let place = (width as i32 - 4, y as i32 + TOP as i32);
            area.draw(&Text::new(
                format!("{speedup:.3}×"),
                place,
                text(12, HPos::Right),
            ))?;
        }
        for (y, name) in &self.names {
            area.draw(&Text::new(
                name.as_str(),
                (2, *y as i32 + TOP as i32),
                text(12, HPos::Left),
            ))?;
        }
        Ok(())
    }
}

/// The categories of all methods, which may differ, with the row for all questions last.
fn categories(report: &Report) -> Vec<&str> {
    let mut categories: Vec<&str> = Vec::new();
    for row in report.methods.iter().flat_map(|method| &method.categories) {
        if !categories.contains(&row.category.as_str()) {
            categories.push(&row.category);
        }
    }
    categories.sort_by_key(|name| *name == OVERALL);
    categories
}

fn paired(method: &MethodReport, category: &str) -> Option<Paired> {
    let mut rows = method.categories.iter();
    let row = rows.find(|row| row.category == category)?;
    let paired = row.paired.clone()?;
    paired.speedup.is_finite().then_some(paired)
}

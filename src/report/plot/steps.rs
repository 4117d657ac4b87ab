//! The parts of a decode step's time.

use plotters::prelude::*;

use super::{AXIS_HEIGHT, HPos, LONGEST_NAME, TOP, draw, name, part_color, rows, text, x_axis};
use crate::report::Report;

/// Height of a row, in pixels.
const ROW: f64 = 30.0;

/// The parts of a decode step's time, one bar per method that recorded them. Empty if none did.
pub(in crate::report) fn steps(report: &Report, width: u32) -> String {
    let bars: Vec<(&str, Vec<f64>)> = report
        .all_methods()
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

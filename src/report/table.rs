//! The report for a terminal.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use super::Report;

/// Renders the report as text with drawn tables.
///
/// Control characters from the files become a replacement character, so that no file can control
/// the terminal.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for section in report.sections() {
        let mut table = Table::new();
        let line = LineStyle::new('─', '─', '─', '─');
        table.load_style(TableStyle::new().header_separator(line));
        for (index, row) in section.rows.iter().enumerate() {
            let row = row.iter().map(|cell| printable(cell));
            if index == 0 {
                // Long words in the head would make the columns too wide.
                table.set_header(row.map(|cell| cell.replace(' ', "\n")));
            } else {
                table.add_row(row);
            }
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let (title, note) = (printable(&section.title), printable(&section.note));
        out += &format!("{title}\n{note}\n\n{}\n\n", table.trim_fmt());
    }
    out
}

/// The text with control characters replaced.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

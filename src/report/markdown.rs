//! The report as Markdown tables, for a pull request or a README.

use super::Report;

/// Renders the report as GitHub-flavoured Markdown.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for section in report.sections() {
        out += &format!(
            "### {}\n\n{}\n\n",
            escape(&section.title),
            escape(&section.note)
        );
        for (index, row) in section.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
            out += &format!("| {} |\n", cells.join(" | "));
            if index == 0 {
                out += &format!("|---|{}\n", "---:|".repeat(row.len().saturating_sub(1)));
            }
        }
        out.push('\n');
    }
    if !report.notices.is_empty() {
        out += "### Notices\n\n";
        report
            .notices
            .iter()
            .for_each(|notice| out += &format!("- {}\n", escape(notice)));
    }
    out
}

/// Escapes text for Markdown. All special characters are ASCII punctuation, which a backslash makes
/// plain. Control characters are replaced, because a line end would end a table row.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&'
            | '!' | '@' => {
                out.extend(['\\', c]);
            }
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

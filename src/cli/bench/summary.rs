//! The summary of a run on standard output.

use std::path::Path;

use crate::bench::run::MethodSummary;

/// The summaries as an aligned table.
pub(super) fn table(summaries: &[MethodSummary]) -> String {
    let width = summaries.iter().map(|it| it.method.len());
    let width = width.max().unwrap_or(0).max("method".len());
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let mut text = format!(
        "{:width$}  {:>7}  {:>8}  {:>8}  {:>8}  {:>8}\n",
        "method", "answers", "left out", "accepted", "tokens/s", "speedup"
    );
    for it in summaries {
        text += &format!(
            "{:width$}  {:>7}  {:>8}  {:>8}  {:>8}  {:>8}\n",
            it.method,
            it.answers,
            it.skipped,
            figure(it.mean_accepted_tokens, 3),
            figure(it.tokens_per_second, 2),
            figure(it.ratio_to_baseline, 3),
        );
    }
    text
}

/// The `logitspec report` command for these files.
pub(super) fn report_hint(summaries: &[MethodSummary]) -> Option<String> {
    let files = |of: &dyn Fn(&&MethodSummary) -> bool| -> Vec<String> {
        let chosen = summaries.iter().filter(of).flat_map(|it| &it.files);
        chosen.map(|file| shell_quoted(file)).collect()
    };
    let base = files(&|it| it.method == "baseline");
    let others = files(&|it| it.method != "baseline");
    if base.is_empty() || others.is_empty() {
        return None;
    }
    let mean = if base.len() > 1 { " --mean-report" } else { "" };
    Some(format!(
        "\nall figures: logitspec report {} --base {}{mean}",
        others.join(" "),
        base.join(" ")
    ))
}

/// A path, quoted for a shell if necessary.
fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:=,@".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(method: &str, files: &[&str]) -> MethodSummary {
        MethodSummary {
            method: method.into(),
            answers: 2,
            skipped: 1,
            mean_accepted_tokens: Some(2.5),
            tokens_per_second: Some(10.0),
            ratio_to_baseline: None,
            files: files.iter().map(Into::into).collect(),
        }
    }

    #[test]
    fn the_hint_is_a_command_for_a_shell() {
        let ours = summary("logitspec", &["a b/it's.jsonl"]);
        let base = summary("baseline", &["m-temp-0.0.jsonl"]);
        let hint = report_hint(&[ours.clone(), base.clone()]).unwrap();
        let command = r"logitspec report 'a b/it'\''s.jsonl' --base m-temp-0.0.jsonl";
        assert_eq!(hint.trim(), format!("all figures: {command}"));
        assert_eq!(report_hint(&[ours]), None);
        assert_eq!(report_hint(&[base]), None);
    }

    #[test]
    fn repeats_are_reported_as_means() {
        let ours = summary("logitspec", &["a", "a-repeat-1"]);
        let base = summary("baseline", &["b", "b-repeat-1"]);
        let hint = report_hint(&[ours, base]).unwrap();
        assert!(hint.ends_with("report a a-repeat-1 --base b b-repeat-1 --mean-report"));
    }

    #[test]
    fn the_table_has_a_dash_where_there_is_no_figure() {
        let table = table(&[summary("a-rather-long-name", &[])]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0].len(), lines[1].len());
        assert!(lines[1].ends_with("2.500     10.00         -"), "{table}");
    }
}

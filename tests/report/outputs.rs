//! The renderings: what they hold, and that no text from a file breaks out of them.

use logitspec::bench::Timings;
use logitspec::report::{csv, html, markdown, table};
use proptest::prelude::*;

use super::*;

/// Every text that a file can bring into a report.
fn report_with(text: &str) -> Report {
    let files = Files::new();
    let full = |id: i64, seconds: f64, said: &str| {
        let mut answer = answer(id, text, &[1, 2, 3], seconds);
        let choice = &mut answer.choices[0];
        choice.turns = vec![said.into()];
        choice.prompt_tokens = Some(vec![10]);
        choice.step_us = Some(vec![vec![1000, 2000, 3000]]);
        choice.timings = Some(Timings {
            prefill: vec![0.1],
            draft: vec![0.1],
            decode: vec![0.2],
            verify: vec![0.0],
            commit: vec![0.05],
        });
        Answer {
            method: Some(format!("m{text}")),
            ..answer
        }
    };
    let ours: Vec<Answer> = (1..4)
        .map(|id| full(id, 0.5 + id as f64 / 10.0, text))
        .collect();
    let base: Vec<Answer> = (1..4)
        .map(|id| Answer {
            method: Some("b".into()),
            ..full(id, 1.0, "plain")
        })
        .collect();
    let model = format!("model{text}");
    report(
        &[files.answers_of("a", &model, &ours)],
        &[files.answers_of("b", &model, &base)],
    )
    .unwrap()
}

/// Characters that mean something to one output or another.
fn nasty() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("<script>alert(1)</script>".to_string()),
            Just("</style><img src=x onerror=y>".to_string()),
            Just("\" onload=\"x".to_string()),
            Just("'".to_string()),
            Just("&amp;".to_string()),
            Just("{{ 7 * 7 }}{% if x %}".to_string()),
            Just("\u{1b}[31m".to_string()),
            Just("a|b\nc\r\nd".to_string()),
            Just("=1+1,\"x\"".to_string()),
            Just("[link](x) `code` **bold** _em_ ~~s~~ #1 @someone".to_string()),
            Just("\"#010000\"".to_string()),
            "\\PC{0,8}",
        ],
        0..4,
    )
    .prop_map(|parts| parts.concat())
}

/// The names of all tags of a page, each checked to be well nested. Fails on any `<` that is not
/// part of a tag.
fn tags(page: &str) -> Vec<String> {
    let void = ["meta", "!doctype"];
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        assert!(!tag.contains('<'), "a tag within a tag: {tag}");
        rest = &rest[end + 1..];
        let name = tag
            .split([' ', '/'])
            .find(|part| !part.is_empty())
            .unwrap()
            .to_string();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order");
        } else {
            if !tag.ends_with('/') && !void.contains(&name.as_str()) {
                open.push(name.clone());
            }
            seen.push(tag.to_string());
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_text_breaks_out(text in nasty()) {
        let report = report_with(&text);
        let plain = report_with("x");

        // The page has the tags that it has with a plain text, and their attributes, but for the
        // texts in labels.
        let page = html::render(&report);
        let names = |page: &str| -> Vec<String> {
            tags(page).iter().map(|tag| {
                let attributes: Vec<&str> = tag.split('"').step_by(2).collect();
                attributes.concat()
            }).filter(|tag| !tag.starts_with("rect") && !tag.starts_with("line")).collect()
        };
        prop_assert_eq!(names(&page), names(&html::render(&plain)));

        let lines = |text: &str| text.lines().count();
        let terminal = table::render(&report);
        prop_assert!(terminal.chars().all(|c| c == '\n' || !c.is_control()));
        // Names are wrapped within a head, so lines are more or fewer; the rules under the heads
        // are not.
        let is_rule = |line: &&str| line.len() > 20 && line.chars().all(|c| c == '─');
        let rules = |text: &str| text.lines().filter(is_rule).count();
        prop_assert_eq!(rules(&terminal), rules(&table::render(&plain)));
        prop_assert!(rules(&terminal) > 4);

        let markdown_text = markdown::render(&report);
        prop_assert_eq!(lines(&markdown_text), lines(&markdown::render(&plain)));
        for line in markdown_text.lines().filter(|line| line.starts_with("| ")) {
            let bars = |c: char| line.replace("\\\\", "").replace("\\|", "").matches(c).count();
            prop_assert!(bars('|') >= 3);
            prop_assert_eq!(line.replace("\\<", "").matches('<').count(), 0);
        }

        let text = csv::render(&report);
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        prop_assert_eq!(rows.len(), report.methods[0].categories.len());
        for (row, category) in rows.iter().zip(&report.methods[0].categories) {
            let name = category.category.trim_start_matches('\'');
            prop_assert_eq!(row[3].trim_start_matches('\''), name);
            prop_assert!(!row[3].starts_with(['=', '+', '-', '@']));
        }

        let json = serde_json::to_value(&report).unwrap();
        prop_assert_eq!(&json["methods"][0]["name"], &serde_json::json!(report.methods[0].name));
    }
}

#[test]
fn the_page_asks_for_nothing() {
    let page = html::render(&report_with("x"));
    for tag in tags(&page) {
        for loader in ["src=", "href=", "<link", "<script", "@import", "url("] {
            assert!(!tag.contains(loader), "{tag}");
        }
    }
    let style = &page[page.find("<style>").unwrap()..page.find("</style>").unwrap()];
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(page.contains("default-src 'none'"));
    // The only address is the name of SVG itself, which nobody fetches.
    assert_eq!(
        page.matches("://").count(),
        page.matches("http://www.w3.org/2000/svg").count()
    );
}

#[test]
fn the_page_has_every_plot_in_the_page_s_colours() {
    let page = html::render(&report_with("x"));
    for title in [
        "Speedup per category",
        "Accept lengths",
        "Where the time goes",
        "Speed over context length",
        "First differences",
    ] {
        assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
    }
    // Three drawn twice, for wide windows and narrow ones, and one histogram.
    assert_eq!(page.matches("<svg").count(), 7);
    let drawings: Vec<&str> = page
        .split("<svg")
        .skip(1)
        .map(|it| it.split("</svg>").next().unwrap())
        .collect();
    for drawing in drawings {
        assert!(
            !drawing.contains("\"#"),
            "a colour that no theme has: {drawing}"
        );
        assert!(drawing.contains("var(--ink)"));
        assert!(drawing.contains("var(--series-") || drawing.contains("var(--part-"));
    }
}

#[test]
fn figures_stand_where_they_belong() {
    let files = Files::new();
    let (a, b) = (
        [answer(1, "qa", &[4, 2], 2.0)],
        [answer(1, "qa", &[1; 6], 3.0)],
    );
    let report = report(&[files.answers("fast", &a)], &[files.answers("slow", &b)]).unwrap();
    let text = csv::render(&report);
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let cell = |name: &str| &row[head.iter().position(|it| it == name).unwrap()];
    assert_eq!(
        (cell("method"), cell("base"), cell("category")),
        ("fast", "slow", "qa")
    );
    assert_eq!(
        (cell("mean_accepted_tokens"), cell("tokens_per_second")),
        ("3", "3")
    );
    assert_eq!(
        (cell("base_tokens_per_second"), cell("speedup")),
        ("2", "1.5")
    );
    assert_eq!(
        (
            cell("paired_speedup"),
            cell("paired_low"),
            cell("speedup_sd")
        ),
        ("1.5", "", "")
    );

    let markdown = markdown::render(&report);
    assert!(
        markdown.contains("| qa | 1 | 3.00 | 3.00 | 2.00 | 1.50 | 1.500 | 1.50 | 3.00 | 2.00 |"),
        "{markdown}"
    );
    assert!(markdown.contains("| fast | 1/1 | 0/1 |"), "{markdown}");
    let table = table::render(&report);
    let row: Vec<&str> = table
        .lines()
        .find(|it| it.trim().starts_with("qa"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(
        row,
        [
            "qa", "1", "3.00", "3.00", "2.00", "1.50", "1.500", "1.50", "3.00", "2.00"
        ]
    );
    let page = html::render(&report);
    assert!(page.contains("<b>1.500×</b>"));
    assert!(page.contains("<th scope=\"row\">qa</th><td>1</td><td>3.00</td>"));
}

#[test]
fn huge_accept_lengths_share_a_column() {
    let files = Files::new();
    let odd = [answer(1, "qa", &[0, 1, 12, 40, 1 << 40], 1.0)];
    let report = report(&[files.answers("a", &odd)], &[files.answers("b", &odd)]).unwrap();
    let lengths: Vec<u64> = report.methods[0]
        .accept_lengths
        .iter()
        .map(|it| it.length)
        .collect();
    assert_eq!(lengths, [0, 1, 12, 40, 1 << 40]);
    let markdown = markdown::render(&report);
    let row = markdown
        .lines()
        .skip_while(|line| !line.contains("12+"))
        .nth(2)
        .unwrap();
    assert!(row.starts_with("| a | 20.0 % | 20.0 % | 0.0 %"), "{row}");
    assert!(row.ends_with("| 60.0 % |"), "{row}");
    html::render(&report);
}

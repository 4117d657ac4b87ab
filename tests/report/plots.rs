//! The axes of the plots.

use logitspec::bench::Timings;
use logitspec::report::{html, markdown};

use super::*;

/// The labels of each axis of a drawing, in order: the texts between two others that stand on one
/// line, or under one another.
fn axes(page: &str) -> Vec<Vec<String>> {
    let mut axes = Vec::new();
    for drawing in page.split("<svg").skip(1) {
        let drawing = drawing.split("</svg>").next().unwrap();
        // Grouped by where they are anchored: labels of an axis share one coordinate and how they
        // are aligned.
        let mut groups: std::collections::BTreeMap<(String, String, String), Vec<String>> =
            std::collections::BTreeMap::new();
        for text in drawing.split("<text ").skip(1) {
            let (tag, rest) = text.split_once('>').unwrap();
            let label = rest.split("</text>").next().unwrap().trim().to_owned();
            let attribute = |name: &str| {
                let start = tag.split_once(&format!("{name}=\"")).unwrap().1;
                start.split('"').next().unwrap().to_owned()
            };
            let anchor = attribute("text-anchor");
            for (way, place) in [("x", attribute("x")), ("y", attribute("y"))] {
                let key = (way.to_string(), place, anchor.clone());
                groups.entry(key).or_default().push(label.clone());
            }
        }
        let is_number = |label: &String| label.starts_with(|c: char| c.is_ascii_digit());
        let axis = |labels: &Vec<String>| labels.len() > 2 && labels.iter().all(is_number);
        axes.extend(groups.into_values().filter(axis));
    }
    axes
}

/// Two methods at about this speed whose ratios are those given, question by question.
fn at(tokens_per_second: f64, ratios: &[f64]) -> Report {
    let files = Files::new();
    let run = |name: &str, ratios: &[f64]| {
        let answers = ratios.iter().zip(1..).map(|(ratio, id)| {
            let seconds = 6.0 / (tokens_per_second * ratio);
            let mut answer = answer(id, "qa", &[1, 2, 3], seconds);
            let choice = &mut answer.choices[0];
            choice.prompt_tokens = Some(vec![40 * id as u64]);
            choice.timings = Some(Timings {
                prefill: vec![0.0],
                draft: vec![seconds / 10.0],
                decode: vec![seconds / 2.0],
                verify: vec![seconds / 10.0],
                commit: vec![0.0],
            });
            answer
        });
        files.answers(name, &answers.collect::<Vec<_>>())
    };
    let ones = vec![1.0; ratios.len()];
    report(&[run("a", ratios)], &[run("b", &ones)]).unwrap()
}

#[test]
fn no_two_labels_of_an_axis_are_the_same() {
    let wide: [f64; 4] = [0.9, 1.4, 2.2, 7.9];
    for (speed, ratios) in [
        // A method against itself, a slow machine, and the usual.
        (30.0, [0.999, 1.001, 1.002, 0.998]),
        (2.7, [1.0, 1.01, 0.99, 1.02]),
        (0.03, [1.3, 1.2, 1.4, 1.5]),
        (2700.0, wide),
    ] {
        let page = html::render(&at(speed, &ratios));
        let axes = axes(&page);
        // Wide and narrow: speedups, steps, and both axes over the context; and the accept
        // lengths'.
        assert!(axes.len() >= 8, "{axes:?}");
        for labels in axes {
            let mut different = labels.clone();
            different.sort();
            different.dedup();
            assert_eq!(different.len(), labels.len(), "{labels:?}");
            // Evenly spread: none is rounded to another place.
            let number = |label: &String| -> f64 {
                let end = label.find(|c: char| !c.is_ascii_digit() && c != '.');
                label[..end.unwrap_or(label.len())].parse().unwrap()
            };
            let numbers: Vec<f64> = labels.iter().map(number).collect();
            let step = numbers[1] - numbers[0];
            let even = |pair: &[f64]| (pair[1] - pair[0] - step).abs() < step.abs() / 50.0;
            assert!(numbers.windows(2).all(even), "{labels:?}");
        }
    }
}

#[test]
fn the_interval_tells_on_which_side_of_one_it_is() {
    let report = at(30.0, &[1.001, 1.002, 1.003, 1.004]);
    let paired = row(&report.methods[0], "overall").paired.clone().unwrap();
    let (low, high) = (paired.low.unwrap(), paired.high.unwrap());
    assert!(1.0 < low && high < 1.005);
    let cell = format!("{:.3} \\[{low:.3}, {high:.3}\\]", paired.speedup);
    let markdown = markdown::render(&report);
    assert!(markdown.contains(&cell), "{cell} is not in {markdown}");
    let page = html::render(&report);
    assert!(page.contains(&format!("<b>{:.3}×</b>", paired.speedup)));
    assert!(page.contains(&format!("95 % interval {low:.3} to {high:.3}")));
}

//! What lies beside answer files: manifests, and lists of questions left out.

use logitspec::bench::{Manifest, ModelFile};
use logitspec::report::html;

use super::*;

#[test]
fn manifests_that_differ_are_told() {
    let files = Files::new();
    let one = [answer(1, "qa", &[1], 1.0)];
    let (a, b) = (files.answers("a", &one), files.answers("b", &one));
    let manifest = |path: &PathBuf, method: &str, threads, new_tokens: u32| {
        let manifest = Manifest {
            method: method.into(),
            model: ModelFile {
                sha256: "ab".into(),
                ..ModelFile::default()
            },
            threads,
            flags: [
                ("max-new-tokens".to_string(), new_tokens.into()),
                // A method's own: they differ by its nature.
                ("draft-tree-capacity".to_string(), method.into()),
                ("llama-server-args".to_string(), method.into()),
            ]
            .into(),
            ..Manifest::default()
        };
        manifest.write(Manifest::path_beside(path)).unwrap();
    };
    manifest(&a, "logitspec", 2, 64);
    manifest(&b, "baseline", 2, 64);
    assert_eq!(
        report(from_ref(&a), from_ref(&b)).unwrap().notices,
        [] as [&str; 0]
    );
    manifest(&a, "logitspec", 4, 128);
    let notices = report(&[a], &[b]).unwrap().notices;
    assert_eq!(
        notices,
        [
            "a has other settings than b: threads was 2, is 4",
            "a has other settings than b: max-new-tokens was 64, is 128"
        ]
    );
}

/// A manifest beside `path` with these flags.
fn made_with(path: &PathBuf, flags: &[(&str, &str)]) {
    let flag = |&(name, value): &(&str, &str)| (name.to_string(), value.into());
    let manifest = Manifest {
        flags: flags.iter().map(flag).collect(),
        ..Manifest::default()
    };
    manifest.write(Manifest::path_beside(path)).unwrap();
}

#[test]
fn every_common_setting_that_differs_is_told() {
    let files = Files::new();
    let one = [answer(1, "qa", &[1], 1.0)];
    let (a, b) = (files.answers("a", &one), files.answers("b", &one));
    // What is a method's own is no difference worth telling.
    let own = [("calibration", "ab"), ("fill-tree", "true")];
    made_with(&a, &[&[("template", "vicuna")], &own[..]].concat());
    made_with(&b, &[("template", "none"), ("warmup", "3")]);
    let notices = report(&[a], &[b]).unwrap().notices;
    assert_eq!(
        notices,
        [
            "a has other settings than b: template was none, is vicuna",
            "a has other settings than b: warmup was 3, is not set",
        ]
    );
}

#[test]
fn a_base_of_other_questions_is_refused() {
    let files = Files::new();
    let (one, two) = (answer(1, "qa", &[1], 1.0), answer(2, "qa", &[1], 1.0));
    let set = |path: &PathBuf, sha256: &str| made_with(path, &[("questions-sha256", sha256)]);
    let refused = |answers: &[PathBuf], base: &[PathBuf]| {
        let said = report(answers, base).unwrap_err().to_string();
        assert!(!said.contains('\n'), "{said}");
        said
    };
    let a1 = files.answers_of("a1", "a", from_ref(&one));
    let a2 = files.answers_of("a2", "a", from_ref(&two));
    let b1 = files.answers_of("b1", "b", from_ref(&one));
    let b2 = files.answers_of("b2", "b", from_ref(&two));
    for (path, sha256) in [
        (&a1, "first"),
        (&a2, "second"),
        (&b1, "other"),
        (&b2, "first"),
    ] {
        set(path, sha256);
    }
    // The same number, or none in common.
    for (ours, theirs) in [(&a1, &b1), (&a2, &b1), (&a2, &b2)] {
        let said = refused(from_ref(ours), from_ref(theirs));
        for path in [ours, theirs] {
            assert!(said.contains(&path.display().to_string()), "{said}");
        }
        assert!(said.contains("questions-sha256"), "{said}");
    }
    // Slices of one set, and two sets in whatever order.
    report(from_ref(&a1), from_ref(&b2)).unwrap();
    set(&b1, "first");
    set(&b2, "second");
    report(&[a1.clone(), a2.clone()], &[b2.clone(), b1.clone()]).unwrap();

    // Without manifests the categories tell.
    let c = files.answers(
        "c",
        &[answer(2, "math", &[1], 1.0), answer(1, "qa", &[1], 1.0)],
    );
    let said = refused(&[a1, a2], from_ref(&c));
    let there = format!(
        "question 2 has category \"qa\", but \"math\" in {}",
        c.display()
    );
    assert!(
        said.contains("a2.jsonl: ") && said.contains(&there),
        "{said}"
    );
    let none = files.answers("none", &[answer(2, "", &[1], 1.0)]);
    report(&[b2], &[none]).unwrap();
}

#[test]
fn the_page_says_what_it_was_made_with() {
    let files = Files::new();
    let one = [answer(1, "qa", &[1], 1.0)];
    let (a, b) = (files.answers("a", &one), files.answers("b", &one));
    let page = || html::render(&report(from_ref(&a), from_ref(&b)).unwrap());
    assert!(!page().contains("Made with"));
    let manifest = Manifest {
        model: ModelFile {
            path: "/home/me/vicuna.gguf".into(),
            sha256: "0123456789abcdef0123".into(),
            quantization: "Q8_0".into(),
        },
        llama_cpp: "build 7".into(),
        commit: "0.1.0 abcdef".into(),
        devices: vec!["CUDA0 <b>H100</b>".into(), "CPU".into()],
        threads: 16,
        // 2026-03-04 05:06:07
        time: 1_772_600_767.5,
        ..Manifest::default()
    };
    manifest.write(Manifest::path_beside(&b)).unwrap();
    let page = page();
    let part = page.split("<h2>Made with</h2>").nth(1).unwrap();
    let part = part.split("</section>").next().unwrap();
    for (name, value) in [
        ("model file", "vicuna.gguf"),
        ("quantization", "Q8_0"),
        ("model sha256", "0123456789ab"),
        ("devices", "CUDA0 &lt;b&gt;H100&lt;&#x2f;b&gt;, CPU"),
        ("threads", "16"),
        ("llama.cpp", "build 7"),
        ("logitspec", "0.1.0 abcdef"),
        ("begun", "2026-03-04 05:06 UTC"),
    ] {
        let row = format!("<th scope=\"row\">{name}</th><td>{value}</td></tr>");
        assert!(part.contains(&row), "{row} is not in {part}");
    }
}

#[test]
fn questions_left_out_are_told() {
    let files = Files::new();
    let one = [answer(1, "qa", &[1], 1.0)];
    let (a, b) = (files.answers("a", &one), files.answers("b", &one));
    let skip = |id: i64| format!(r#"{{"question_id": {id}, "reason": "too long by {id}"}}"#);
    files.text("a.skipped.json", format!("[{}, {}]", skip(2), skip(3)));
    let list: Vec<String> = (2..7).map(skip).collect();
    files.text("b.skipped.json", format!("[{}]", list.join(", ")));
    let notices = report(from_ref(&a), from_ref(&b)).unwrap().notices;
    assert_eq!(notices.len(), 2);
    let two = "a.jsonl: 2 left out: question 2: too long by 2; question 3: too long by 3";
    assert!(notices[0].ends_with(two), "{notices:?}");
    assert!(
        notices[1].contains("b.jsonl: 5 left out: question 2: "),
        "{notices:?}"
    );
    assert!(
        notices[1].ends_with("too long by 4; and 2 more"),
        "{notices:?}"
    );
    files.text("b.skipped.json", "{}");
    let said = report(&[a], &[b]).unwrap_err().to_string();
    assert!(
        said.contains("b.skipped.json: ") && !said.contains('\n'),
        "{said}"
    );
}

#[test]
fn the_mean_of_one_run_has_no_deviation_and_that_is_said() {
    let files = Files::new();
    let one = [answer(1, "qa", &[1], 1.0)];
    let (a, b) = (files.answers("a", &one), files.answers("b", &one));
    let report = mean_report(from_ref(&a), from_ref(&b)).unwrap();
    assert_eq!(report.notices.len(), 1);
    assert!(report.notices[0].contains("a has one run: there is no deviation"));
    let page = html::render(&report);
    assert!(!page.contains("deviations of") && page.contains("Of one run"));
    let twice = mean_report(&[a.clone(), a], &[b]).unwrap();
    assert_eq!(twice.notices, [] as [&str; 0]);
}

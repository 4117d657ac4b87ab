//! Files in every arrangement, and those that make no report.

use logitspec::bench::{Manifest, Timings};
use logitspec::report::identity::Unit;

use logitspec::report::find::{answer_files, sort};

use super::*;

#[test]
fn rows_come_in_the_order_of_the_original() {
    let files = Files::new();
    let answers: Vec<Answer> = [
        "zeta",
        "rag",
        "stem",
        "overall",
        "translation",
        "alpha",
        "math",
    ]
    .iter()
    .zip(1..)
    .map(|(category, id)| answer(id, category, &[1], 1.0))
    .collect();
    let report = report(
        &[files.answers("a", &answers)],
        &[files.answers("b", &answers)],
    )
    .unwrap();
    let names: Vec<&str> = report.methods[0]
        .categories
        .iter()
        .map(|row| row.category.as_str())
        .collect();
    assert_eq!(
        names,
        ["mt_bench", "translation", "rag", "alpha", "zeta", "overall"]
    );
    assert_eq!(row(&report.methods[0], "mt_bench").questions, 2);
    assert_eq!(row(&report.methods[0], "overall").questions, 7);
}

#[test]
fn two_equal_methods_have_one_within_their_interval() {
    let files = Files::new();
    // The same method twice on a machine whose speed wanders by a tenth.
    let run = |shift: i64| -> Vec<Answer> {
        let noise = |id: i64| 1.0 + ((id * 7919 + shift * 104_729) % 100) as f64 / 1000.0;
        (1..60)
            .map(|id| answer(id, "qa", &[1; 20], noise(id)))
            .collect()
    };
    let report = report(
        &[files.answers("a", &run(1))],
        &[files.answers("b", &run(2))],
    )
    .unwrap();
    let paired = row(&report.methods[0], "overall").paired.clone().unwrap();
    let (low, high) = (paired.low.unwrap(), paired.high.unwrap());
    assert!(low < 1.0 && 1.0 < high && high - low < 0.03, "{paired:?}");
}

#[test]
fn the_paired_speedup_inverts_and_counts_shared_questions_only() {
    let files = Files::new();
    let ours: Vec<Answer> = (1..20)
        .map(|id| answer(id, "qa", &[3, 2], 0.5 + id as f64 / 20.0))
        .collect();
    let theirs: Vec<Answer> = (5..30).map(|id| answer(id, "qa", &[1; 5], 1.0)).collect();
    let (a, b) = (files.answers("a", &ours), files.answers("b", &theirs));
    let there = report(from_ref(&a), from_ref(&b)).unwrap();
    let back = report(&[b], &[a]).unwrap();
    let paired = |report: &Report| row(&report.methods[0], "qa").paired.clone().unwrap();
    let (there_pair, back_pair) = (paired(&there), paired(&back));
    assert_eq!(there_pair.questions, 15);
    assert!((there_pair.speedup * back_pair.speedup - 1.0).abs() < 1e-12);
    assert!((there_pair.low.unwrap() * back_pair.high.unwrap() - 1.0).abs() < 1e-2);
    // The middle of ids 5 to 19 is 12.
    assert!((there_pair.median - 1.0 / (0.5 + 12.0 / 20.0)).abs() < 1e-12);
    assert_eq!(there.notices.len(), 2);
    assert!(there.notices[0].contains("b has no answer to 4 of a's questions, the first being 1:"));
    assert!(
        there.notices[1].contains("a has no answer to 10 of b's questions, the first being 20:")
    );
}

#[test]
fn nothing_shared_and_no_time_leave_cells_empty() {
    let files = Files::new();
    let (a, b) = ([answer(1, "qa", &[1], 0.0)], [answer(2, "rag", &[1], 1.0)]);
    let report = report(&[files.answers("a", &a)], &[files.answers("b", &b)]).unwrap();
    let overall = row(&report.methods[0], "overall");
    assert_eq!(
        (overall.tokens_per_second, overall.speedup, &overall.paired),
        (None, None, &None)
    );
    assert_eq!(overall.base_tokens_per_second, Some(1.0));
    assert_eq!(row(&report.methods[0], "rag").questions, 0);
    assert!(
        report
            .notices
            .iter()
            .any(|notice| notice.contains("1 answers of a have no wall_time"))
    );
    assert_eq!(report.methods[0].time, None);
    // Every rendering copes with empty cells.
    logitspec::report::html::render(&report);
    logitspec::report::table::render(&report);
}

/// Answers of EAGLE and of FastChat, with plain decoding of our own as the base.
#[test]
fn files_of_related_tools_are_reported_as_far_as_they_go() {
    let files = Files::new();
    let eagle = r#"{"question_id": 81, "answer_id": "a", "model_id": "vicuna-7b-fp16-eagle",
        "choices": [{"index": 0, "turns": ["x", "y"], "idxs": [9, 9], "new_tokens": [30.0, 30],
        "wall_time": [1.0, 1.0]}], "tstamp": 1.0}"#;
    let eagle = files.text("eagle.jsonl", eagle.replace('\n', ""));
    let fastchat = r#"{"question_id": 81, "answer_id": "b", "model_id": "vicuna-7b-v1.3",
        "choices": [{"index": 0, "turns": ["x"]}], "tstamp": 1.0}"#;
    let fastchat = files.text("fastchat.jsonl", fastchat.replace('\n', ""));
    let base = files.answers("base", &[answer(81, "writing", &[1; 10], 1.0)]);

    let both = report(&[eagle.clone(), fastchat.clone()], from_ref(&base)).unwrap();
    let overall = row(&both.methods[0], "overall");
    assert_eq!(overall.tokens_per_second, Some(30.0));
    assert_eq!(overall.speedup, Some(3.0));
    assert_eq!(overall.paired.as_ref().unwrap().speedup.round(), 3.0);
    assert_eq!(overall.mean_accepted_tokens, None, "not recorded");
    // The category is the base's.
    assert_eq!(row(&both.methods[0], "mt_bench").speedup, Some(3.0));
    let silent = row(&both.methods[1], "overall");
    assert_eq!((silent.tokens_per_second, silent.speedup), (None, None));
    assert_eq!(both.methods[1].identity.as_ref().unwrap().compared, 1);
    let has = |notice: &str| both.notices.iter().any(|it| it.contains(notice));
    assert!(has("have no accept_lengths"), "{:?}", both.notices);
    assert!(has("have no wall_time"), "{:?}", both.notices);

    // Without any category there are these rows.
    let alone = report(from_ref(&eagle), from_ref(&eagle)).unwrap();
    let rows: Vec<&str> = alone.methods[0]
        .categories
        .iter()
        .map(|row| &*row.category)
        .collect();
    assert_eq!(rows, ["(none)", "overall"]);
    assert_eq!(row(&alone.methods[0], "overall").speedup, Some(1.0));
    for report in [&both, &alone] {
        logitspec::report::html::render(report);
        logitspec::report::table::render(report);
        logitspec::report::csv::render(report);
    }
}

#[test]
fn files_without_a_models_name_are_methods_of_their_own() {
    let files = Files::new();
    let choice = r#"{"turns": ["x"], "new_tokens": [9], "wall_time": [3]}"#;
    let line = format!(r#"{{"question_id": 1, "choices": [{choice}]}}"#);
    let (a, b) = (files.text("a.jsonl", &line), files.text("b.jsonl", &line));
    let report = report(&[a.clone(), b], &[a]).unwrap();
    let names: Vec<&str> = report.methods.iter().map(|method| &*method.name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn first_differences_are_found_by_token_or_text() {
    let files = Files::new();
    let with = |id: i64, turns: &[&str], ids: Option<&[&[u32]]>| {
        let mut answer = answer(id, "qa", &[2], 1.0);
        let choice = &mut answer.choices[0];
        choice.turns = turns.iter().map(ToString::to_string).collect();
        choice.decoding_steps = vec![1; turns.len()];
        choice.new_tokens = vec![2; turns.len()];
        choice.wall_time = vec![1.0; turns.len()];
        choice.token_ids = ids.map(|ids| ids.iter().map(|turn| turn.to_vec()).collect());
        answer
    };
    let base = [
        with(1, &["same", "too"], None),
        with(2, &["abcdé", "x"], None),
        with(3, &["equal text"], Some(&[&[1, 2, 3]])),
        with(4, &["one and all"], Some(&[&[1, 2]])),
        with(5, &["one", "two"], None),
        with(6, &["text"], Some(&[&[7]])),
        with(7, &["only here"], None),
    ];
    let mut ours = [
        with(1, &["same", "too"], None),
        with(2, &["abcdé", "xyz"], None),
        with(3, &["equal text"], Some(&[&[1, 5, 3]])),
        with(4, &["one"], Some(&[&[1]])),
        with(5, &["one"], None),
        // Only one side has tokens, so the text decides.
        with(6, &["text"], None),
        with(8, &["only there"], None),
    ];
    let second = ours[0].choices[0].clone();
    let report_of = |ours: &[Answer]| {
        report(&[files.answers("a", ours)], &[files.answers("b", &base)])
            .unwrap()
            .methods
            .remove(0)
    };
    let identity = report_of(&ours).identity.unwrap();
    assert_eq!(
        (
            identity.compared,
            identity.identical,
            identity.compared_as_tokens
        ),
        (6, 2, 2)
    );
    let found: Vec<_> = identity
        .differences
        .iter()
        .map(|it| {
            (
                it.question_id,
                it.turn,
                it.unit,
                it.position,
                it.base.as_deref(),
                it.method.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (2, 1, Unit::Character, 1, None, Some("yz")),
            (3, 0, Unit::Token, 1, Some("2"), Some("5")),
            (4, 0, Unit::Token, 1, Some("2"), None),
            (5, 1, Unit::Turn, 1, Some("2 in all"), Some("1 in all")),
        ]
    );
    // Where tokens differ, a reader wants to see the text.
    let texts: Vec<_> = identity
        .differences
        .iter()
        .map(|it| (it.base_text.as_deref(), it.method_text.as_deref()))
        .collect();
    let of_four = (Some(" and all"), None);
    assert_eq!(
        texts,
        [(None, Some("yz")), (None, None), of_four, (None, None)]
    );
    let both = report(&[files.answers("a", &ours)], &[files.answers("b", &base)]).unwrap();
    let table = logitspec::report::table::render(&both);
    let row = |question: &str| table.lines().find(|line| line.contains(question)).unwrap();
    let four = table.lines().find(|line| line.contains("\" and all\""));
    assert!(
        four.is_some_and(|line| line.contains("(its end)")),
        "{table}"
    );
    assert!(row("token 2").contains('5'), "the texts are equal: {table}");
    ours[0].choices.push(second);
    let identity = report_of(&ours).identity.unwrap();
    assert_eq!(identity.identical, 1);
    assert_eq!(identity.differences[0].unit, Unit::Choice);
}

#[test]
fn plain_decoding_is_found_among_the_files_of_a_folder() {
    let files = Files::new();
    let of = |name: &str, method: Option<&str>, repeat: Option<u32>| {
        let answer = Answer {
            method: method.map(Into::into),
            repeat,
            ..answer(1, "qa", &[2], 1.0)
        };
        files.answers_of(name, "model", &[answer])
    };
    let ours = of("a", Some("logitspec"), None);
    let plain = of("b", Some("baseline"), None);
    files.text("notes.txt", "no answers");
    std::fs::create_dir(files.path("more.jsonl")).unwrap();
    let found = answer_files(files.0.path()).unwrap();
    assert_eq!(found, [ours.clone(), plain.clone()]);
    let sorted = sort(&found).unwrap();
    assert_eq!(
        (&sorted.answers[..], &sorted.base[..]),
        (from_ref(&ours), from_ref(&plain))
    );
    assert!(!sorted.is_repeated);
    let again = of("c", Some("logitspec"), Some(1));
    assert!(
        sort(&[ours.clone(), again, plain.clone()])
            .unwrap()
            .is_repeated
    );
    assert!(matches!(sort(&[ours]), Err(ReportError::NoBase)));
    assert!(matches!(sort(&[plain]), Err(ReportError::OnlyBase)));
    let empty = answer_files(&files.path("more.jsonl"));
    assert!(matches!(empty, Err(ReportError::EmptyFolder { .. })));
    let missing = answer_files(&files.path("nowhere"));
    assert!(matches!(missing, Err(ReportError::Folder { .. })));
}

#[test]
fn time_is_shared_out_and_prefill_kept_apart() {
    let files = Files::new();
    let mut timed = answer(1, "qa", &[3, 1, 4], 10.0);
    timed.choices[0].timings = Some(Timings {
        prefill: vec![2.0],
        draft: vec![1.0],
        decode: vec![5.0],
        verify: vec![0.5],
        commit: vec![0.5],
    });
    timed.choices[0].prompt_tokens = Some(vec![100]);
    let untimed = answer(2, "qa", &[1], 3.0);
    let base = files.answers("b", from_ref(&untimed));
    let report_of = |answers: &[Answer]| {
        report(&[files.answers("a", answers)], from_ref(&base))
            .unwrap()
            .methods
            .remove(0)
            .time
    };
    let time = report_of(&[timed.clone(), untimed]).unwrap();
    assert_eq!(
        (
            time.answers,
            time.steps,
            time.wall_seconds,
            time.other_seconds
        ),
        (1, 3, 10.0, 1.0)
    );
    assert_eq!(time.prefill_tokens_per_second, Some(50.0));
    assert_eq!(time.decode_tokens_per_second, Some(1.0));
    // The KV cache held 60 of them.
    timed.choices[0].prefill_tokens = Some(vec![40]);
    assert_eq!(
        report_of(&[timed]).unwrap().prefill_tokens_per_second,
        Some(20.0)
    );
}

#[test]
fn speed_over_context_follows_the_steps() {
    let files = Files::new();
    let mut stepped = answer(1, "qa", &[3, 2, 4, 1], 1.0);
    let choice = &mut stepped.choices[0];
    choice.turns.push("x".into());
    choice.decoding_steps = vec![2, 2];
    choice.new_tokens = vec![5, 5];
    choice.wall_time = vec![1.0, 1.0];
    choice.prompt_tokens = Some(vec![62, 130]);
    choice.step_us = Some(vec![vec![500_000, 250_000], vec![1_000_000, 1_000_000]]);
    let base = files.answers("b", &[answer(1, "qa", &[1], 1.0)]);
    let report_of = |answer: Answer| {
        let mut report = report(&[files.answers("a", &[answer])], from_ref(&base)).unwrap();
        let context = report.methods.remove(0).context;
        context
            .iter()
            .map(|it| (it.from, it.to, it.new_tokens, it.seconds))
            .collect::<Vec<_>>()
    };
    // Steps at contexts of 62, 65, 130 and 134 tokens.
    assert_eq!(
        report_of(stepped.clone()),
        [(0, 64, 3, 0.5), (64, 128, 2, 0.25), (128, 192, 5, 2.0)]
    );
    // Steps that do not match the accept lengths are not trusted; a turn counts at its middle, 64
    // and 132.
    stepped.choices[0].step_us.as_mut().unwrap()[0].pop();
    assert_eq!(
        report_of(stepped.clone()),
        [(64, 128, 5, 1.0), (128, 192, 5, 1.0)]
    );
    stepped.choices[0].prompt_tokens = None;
    assert_eq!(report_of(stepped), []);
}

#[test]
fn methods_are_told_apart_and_named() {
    let files = Files::new();
    let keyed = |method: &str| Answer {
        method: Some(method.into()),
        ..answer(1, "qa", &[1], 1.0)
    };
    let (a, b) = (
        files.answers_of("a", "m", &[keyed("logitspec")]),
        files.answers_of("b", "m", &[keyed("suffix")]),
    );
    let base = files.answers_of("base", "m", &[keyed("baseline")]);
    let names = |report: &Report| {
        report
            .methods
            .iter()
            .map(|it| it.name.clone())
            .collect::<Vec<_>>()
    };
    let both = report(&[a.clone(), b.clone()], from_ref(&base)).unwrap();
    assert_eq!(
        (names(&both), both.base.name.as_str()),
        (vec!["logitspec".into(), "suffix".into()], "baseline")
    );
    // The base may be among the methods.
    let same = report(from_ref(&base), from_ref(&base)).unwrap();
    assert_eq!(
        (names(&same), same.base.name.as_str()),
        (vec!["baseline".into()], "baseline (base)")
    );
    // Another model's file of the same method is another method.
    let other = files.answers_of("other", "n", &[keyed("logitspec")]);
    let two = report(&[a, other], &[base]).unwrap();
    assert_eq!(names(&two), ["m-logitspec", "n-logitspec"]);
    assert_eq!(two.base.name, "m-baseline");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let files = Files::new();
    let (one, two) = (answer(1, "qa", &[1], 1.0), answer(2, "qa", &[1], 1.0));
    let good = files.answers("good", from_ref(&one));
    let again = files.answers_of("again", "good", &[two.clone(), one.clone()]);
    let mixed = files.text("mixed.jsonl", {
        let line = |answer: &Answer, id: &str| {
            serde_json::to_string(&Answer {
                model_id: id.into(),
                ..answer.clone()
            })
            .unwrap()
                + "\n"
        };
        line(&one, "x") + &line(&two, "y")
    });
    let cases = [
        (
            vec![good.clone(), again.clone()],
            vec![good.clone()],
            "again.jsonl: question 1 of good is in",
        ),
        (
            vec![good.clone(), good.clone()],
            vec![good.clone()],
            "good.jsonl: question 1 of good is in",
        ),
        (
            vec![mixed],
            vec![good.clone()],
            "mixed.jsonl: holds answers of both x and y",
        ),
        (
            vec![good.clone()],
            vec![good.clone(), files.answers("third", &[two])],
            "third.jsonl: holds answers of third, but",
        ),
        (
            vec![files.text("empty.jsonl", "\n")],
            vec![good.clone()],
            "empty.jsonl: holds no answers",
        ),
        (
            vec![files.path("absent.jsonl")],
            vec![good.clone()],
            "absent.jsonl: cannot read",
        ),
        (
            vec![files.text("prose.jsonl", "Dear all,\n")],
            vec![good.clone()],
            "prose.jsonl:1: not an answer record",
        ),
        (vec![good.clone()], vec![], "no base given"),
        (vec![], vec![good.clone()], "no answers given"),
    ];
    for (answers, base, message) in cases {
        let said = report(&answers, &base).unwrap_err().to_string();
        assert!(said.contains(message) && !said.contains('\n'), "{said}");
    }
    // As repeated runs the same files are fine.
    let runs = mean_report(&[good.clone(), again], &[good]).unwrap();
    assert_eq!(runs.methods[0].runs, 2);
    assert!(
        runs.notices
            .iter()
            .any(|notice| notice.contains("run 1 of good has 1 of its 2 questions"))
    );
}

#[test]
fn a_repeat_number_puts_slices_into_their_run() {
    let files = Files::new();
    let slice = |id: i64, repeat: u32, seconds: f64| {
        let answer = Answer {
            repeat: Some(repeat),
            ..answer(id, "qa", &[4], seconds)
        };
        files.answers_of(&format!("q{id}r{repeat}"), "m", &[answer])
    };
    // By question numbers alone, the second slice of run 7 would complete run 3.
    let slices = [
        slice(1, 3, 1.0),
        slice(1, 7, 2.0),
        slice(2, 7, 2.0),
        slice(2, 3, 1.0),
    ];
    let base = files.answers(
        "b",
        &[answer(1, "qa", &[4], 4.0), answer(2, "qa", &[4], 4.0)],
    );
    let report = mean_report(&slices, &[base]).unwrap();
    let deviation = row(&report.methods[0], "qa").deviation.clone().unwrap();
    // Speedups of 4 and 2.
    assert!((deviation.speedup.unwrap() - 2.0_f64.sqrt()).abs() < 1e-12);
}

#[test]
fn notices_of_the_files_are_passed_on() {
    let files = Files::new();
    let good = files.answers("good", &[answer(1, "qa", &[1], 1.0)]);
    let line = std::fs::read_to_string(&good).unwrap();
    let bad = files.text("bad.jsonl", format!("{line}{line}{}", &line[..30]));
    let report = report(&[bad], &[good]).unwrap();
    assert_eq!(report.notices.len(), 2);
    assert!(report.notices[0].contains("bad.jsonl:2: question 1 is on line 1 too"));
    assert!(report.notices[1].contains("bad.jsonl:3: the last line is half a record (30 bytes)"));
}

#[test]
fn what_lies_beside_answer_files_may_be_named_with_them() {
    let files = Files::new();
    let one = [answer(1, "qa", &[1], 1.0)];
    let (a, b) = (files.answers("a", &one), files.answers("b", &one));
    let beside = ["a.manifest.json", "a.skipped.json"].map(|name| files.path(name));
    Manifest::default().write(&beside[0]).unwrap();
    std::fs::write(&beside[1], "[]").unwrap();
    let all = [a, beside[0].clone(), beside[1].clone()];
    let named = report(&all, &[b.clone(), beside[0].clone()]).unwrap();
    assert_eq!(named.methods.len(), 1);
    assert_eq!(row(&named.methods[0], "overall").questions, 1);
    // Alone they are a mistake.
    let error = report(&beside[..1], &[b]).unwrap_err();
    assert!(error.to_string().contains("a.manifest.json"), "{error}");
}

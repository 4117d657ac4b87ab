//! What a run leaves: answer files, manifests, figures.

use logitspec::bench::Manifest;
use logitspec::engine::Method;
use logitspec::runtime::llama::{Model, ModelOptions};

use super::*;

fn all_methods() -> String {
    Method::ALL.map(Method::name).join(",")
}

#[test]
fn every_method_answers_every_question_alike() {
    let set = Set::of(4);
    let output = set.done(&["--methods", &all_methods(), "--json"]);
    let said = object(&output);
    assert_eq!(said["interrupted"], false);
    assert_eq!(said["model_id"], "tiny");
    let base = timeless(&set.answers("baseline"));
    assert_eq!(base.keys().copied().collect::<Vec<_>>(), [81, 82, 83, 84]);
    for (method, figures) in Method::ALL.iter().zip(said["methods"].as_array().unwrap()) {
        assert_eq!(figures["method"], method.name());
        assert_eq!(
            (&figures["answers"], &figures["skipped"]),
            (&json!(4), &json!(0))
        );
        assert!(figures["tokens_per_second"].as_f64().unwrap() > 0.0);
        assert!(figures["ratio_to_baseline"].as_f64().unwrap() > 0.0);
        let answers = timeless(&set.answers(method.name()));
        for (id, answer) in &answers {
            let (ours, theirs) = (&answer.choices[0], &base[id].choices[0]);
            assert_eq!(ours.token_ids, theirs.token_ids, "{method}, question {id}");
            assert_eq!(
                (&ours.turns, &ours.new_tokens),
                (&theirs.turns, &theirs.new_tokens)
            );
            assert_eq!(answer.method.as_deref(), Some(method.name()));
            let committed: u64 = ours.accept_lengths.iter().sum();
            assert_eq!(committed, ours.total_new_tokens());
            let steps: u64 = ours.decoding_steps.iter().sum();
            assert_eq!(steps, ours.accept_lengths.len() as u64);
        }
        assert_eq!(answers.len(), base.len());
    }
    let ones = |answer: &Answer| answer.choices[0].accept_lengths.iter().all(|&it| it == 1);
    assert!(base.values().all(ones));
    assert!(!timeless(&set.answers("logitspec")).values().all(ones));
}

#[test]
fn the_record_has_what_the_format_and_the_report_ask_for() {
    let set = Set::of(2);
    set.done(&["--methods", "logitspec"]);
    let text = std::fs::read_to_string(set.answers("logitspec")).unwrap();
    let record: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    let keys: Vec<&String> = record.as_object().unwrap().keys().collect();
    let format = [
        "question_id",
        "category",
        "answer_id",
        "model_id",
        "choices",
        "tstamp",
    ];
    assert_eq!(keys[..6], format);
    let choice = record["choices"][0].as_object().unwrap();
    let keys: Vec<&String> = choice.keys().take(6).collect();
    let format = [
        "index",
        "turns",
        "decoding_steps",
        "new_tokens",
        "wall_time",
        "accept_lengths",
    ];
    assert_eq!(keys, format);

    let choice: Choice = serde_json::from_value(record["choices"][0].clone()).unwrap();
    let timings = choice.timings.clone().unwrap();
    for turn in 0..2 {
        let parts: f64 = timings
            .parts()
            .iter()
            .map(|(_, seconds)| seconds[turn])
            .sum();
        // The wall time is all of it, and little more.
        assert!(choice.wall_time[turn] >= parts - 1e-9, "{choice:?}");
        assert!(timings.prefill[turn] > 0.0 && timings.decode[turn] > 0.0);
    }
    // The second turn goes on with the cache of the first: it computes its own tokens only, and
    // perhaps the answer's last ones: those that no pass has seen yet (two), and of a pass of 64
    // those that were to be decoded again (eight).
    let prompts = choice.prompt_tokens.unwrap();
    let computed = choice.prefill_tokens.unwrap();
    assert_eq!(prompts[0], computed[0]);
    assert!(prompts[1] > prompts[0] + choice.new_tokens[0]);
    let own = prompts[1] - prompts[0] - choice.new_tokens[0];
    assert!(
        (own..=own + 2 + 8).contains(&computed[1]),
        "{prompts:?} {computed:?} {own}"
    );
    let steps: usize = choice.step_us.unwrap().iter().map(Vec::len).sum();
    assert_eq!(steps, choice.accept_lengths.len());
}

#[test]
fn the_manifest_says_what_a_run_was_made_with() {
    let set = Set::of(2);
    set.done(&[
        "--methods",
        "baseline,again=logitspec",
        "--seed",
        "7",
        "-c",
        "512",
    ]);
    let read = |method: &str| {
        let path = Manifest::path_beside(set.answers(method));
        Manifest::read(path).unwrap().unwrap()
    };
    let (plain, drafting) = (read("baseline"), read("again"));
    assert_eq!(
        (plain.method.as_str(), drafting.method.as_str()),
        ("baseline", "again")
    );
    let sha256 = logitspec::bench::sha256_of_file(model_path("tiny-llama.gguf")).unwrap();
    assert_eq!(plain.model.sha256, sha256);
    assert!(!plain.model.quantization.is_empty() && !plain.devices.is_empty());
    assert!(plain.llama_cpp.starts_with("llama-cpp-sys-2 "));
    assert!(plain.commit.starts_with(env!("CARGO_PKG_VERSION")));
    assert_eq!(plain.threads, 1);
    assert!(plain.time > 1.7e9);
    for (flag, value) in [
        ("seed", json!(7)),
        ("ctx-size", json!(512)),
        ("max-new-tokens", json!(24)),
        ("ubatch-size", json!(256)),
    ] {
        assert_eq!(plain.flags[flag], value, "{flag}");
    }
    // The baseline's speed does not depend on these.
    assert!(!plain.flags.contains_key("draft-tree-capacity"));
    assert_eq!(drafting.flags["draft-tree-capacity"], 64);
    assert_eq!(drafting.flags["method"], "logitspec");
}

#[test]
fn the_manifest_names_kernels_where_they_are_used() {
    let set = Set::of(1);
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/data/models/logitspec-demo.gguf"
    );
    let model = Model::load(file.as_ref(), &ModelOptions::default()).unwrap();
    let ours = model.few_token_kernels();
    let args = |name: &str| ["-m", file, "--methods", name].map(String::from);
    let kernels = |name: &str, method: &str, more: &[&str]| {
        let args = args(method);
        let args: Vec<_> = args
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        set.done(&args);
        let manifest = Manifest::read(Manifest::path_beside(set.answers(name)))
            .unwrap()
            .unwrap();
        let kernels = manifest.flags.get("few-token-kernels")?;
        Some(kernels.as_str().unwrap().to_owned())
    };
    assert_eq!(kernels("ours", "ours=logitspec", &[]), ours);
    assert_eq!(
        kernels("llama", "llama=logitspec", &["--llama-kernels"]),
        None
    );
    // The tiny model is narrower than what they are made for.
    set.done(&[]);
    let tiny = Manifest::read(Manifest::path_beside(set.answers("logitspec"))).unwrap();
    assert!(!tiny.unwrap().flags.contains_key("few-token-kernels"));
    // A run is not gone on with by other kernels.
    if ours.is_some() {
        let args = args("ours=logitspec");
        let args: Vec<_> = args
            .iter()
            .map(String::as_str)
            .chain(["--llama-kernels"])
            .collect();
        let refused = set.bench(&args);
        assert_eq!(refused.status.code(), Some(2));
        assert!(
            stderr(&refused).contains("few-token-kernels"),
            "{}",
            stderr(&refused)
        );
    }
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let set = Set::of(3);
    set.done(&[]);
    let before = std::fs::read(set.answers("logitspec")).unwrap();
    let output = set.done(&[]);
    assert!(
        stderr(&output).contains("6 of 6 answers already exist"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read(set.answers("logitspec")).unwrap(), before);
    // More of the same is added.
    set.done(&["--methods", "baseline,logitspec,prompt-lookup"]);
    assert_eq!(timeless(&set.answers("prompt-lookup")).len(), 3);
    assert_eq!(std::fs::read(set.answers("logitspec")).unwrap(), before);
}

#[test]
fn slices_report_as_the_whole() {
    let set = Set::of(5);
    set.done(&[]);
    for (begin, end) in [("0", "2"), ("2", "3"), ("3", "99")] {
        let folder = format!("slices/{begin}");
        let slice = [
            "--answer-dir",
            &folder,
            "--question_begin",
            begin,
            "--question-end",
            end,
        ];
        set.done(&slice);
    }
    let file = |folder: &str, method: &str| format!("{folder}/tiny-{method}-temp-0.0.jsonl");
    let slices =
        |method: &str| ["0", "2", "3"].map(|begin| file(&format!("slices/{begin}"), method));
    let mut all = BTreeMap::new();
    for slice in slices("logitspec") {
        for (id, answer) in timeless(&set.path(&slice)) {
            assert!(
                all.insert(id, answer).is_none(),
                "question {id} is in two slices"
            );
        }
    }
    assert_eq!(all, timeless(&set.answers("logitspec")));

    let (ours, base) = (slices("logitspec"), slices("baseline"));
    let args = [
        &ours[0], &ours[1], &ours[2], "--base", &base[0], &base[1], &base[2], "--json",
    ];
    let output = set.report(&args.map(AsRef::as_ref));
    assert_eq!(stderr(&output), "");
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let method = &report["methods"][0];
    assert_eq!(
        (&method["questions"], &method["runs"]),
        (&json!(5), &json!(1))
    );
    assert_eq!(method["identity"]["identical"], 5);
    assert_eq!(method["identity"]["compared_as_tokens"], 5);
}

#[test]
fn slices_that_were_made_otherwise_are_told() {
    let set = Set::of(2);
    let slice = |folder: &str, begin: &str, end: &str, tokens: &str| {
        let args = [
            "--answer-dir",
            folder,
            "--question-begin",
            begin,
            "--question-end",
            end,
            "-n",
            tokens,
        ];
        set.done(&args);
    };
    slice("a", "0", "1", "8");
    slice("b", "1", "2", "9");
    let name = "tiny-logitspec-temp-0.0.jsonl";
    let base = "tiny-baseline-temp-0.0.jsonl";
    let [a, b, base_a, base_b] = [("a", name), ("b", name), ("a", base), ("b", base)]
        .map(|(folder, name)| format!("{folder}/{name}"));
    let output = set.report(&[&a, &b, "--base", &base_a, &base_b]);
    let notices = stderr(&output);
    assert!(
        notices.contains(&format!(
            "{b} has other settings than {a}, though both are of logitspec"
        )),
        "{notices}"
    );
    assert!(notices.contains("max-new-tokens was 8, is 9"), "{notices}");
}

#[test]
fn repeats_have_files_of_their_own_and_report_as_means() {
    let set = Set::of(2);
    let output = set.done(&["--repeat", "2"]);
    let second = set.path("data/set/model_answer/tiny-logitspec-temp-0.0-repeat-1.jsonl");
    assert!(
        timeless(&second)
            .values()
            .all(|answer| answer.repeat == Some(1))
    );
    // The hint is the command that reports on them.
    let said = stdout(&output);
    let hint = said
        .lines()
        .find_map(|line| line.strip_prefix("all figures: logitspec report "));
    let args: Vec<&str> = hint.unwrap().split(' ').chain(["--json"]).collect();
    let report: Value = serde_json::from_str(&stdout(&set.report(&args))).unwrap();
    assert_eq!(report["methods"][0]["runs"], 2);
    let overall = report["methods"][0]["categories"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert!(overall["deviation"]["speedup"].is_number());
}

#[test]
fn choices_are_drawn_apart_and_come_again_with_the_seed() {
    let set = Set::of(2);
    let args = [
        "--methods",
        "logitspec",
        "--num-choices",
        "2",
        "--temperature",
        "0.9",
        "--answer-file",
    ];
    set.done(&[&args[..], &["one.jsonl"]].concat());
    set.done(&[&args[..], &["two.jsonl", "--methods", "logitspec"]].concat()[2..]);
    let one = timeless(&set.path("one.jsonl"));
    assert_eq!(one, timeless(&set.path("two.jsonl")));
    for answer in one.values() {
        let [first, second] = &answer.choices[..] else {
            panic!("two choices were asked for");
        };
        assert_eq!((first.index, second.index), (0, 1));
        assert_ne!(first.token_ids, second.token_ids);
    }
}

#[test]
fn neither_jobs_nor_the_order_change_an_answer() {
    let set = Set::of(6);
    set.done(&["--answer-dir", "plain"]);
    set.done(&["--answer-dir", "jobs", "--jobs", "3"]);
    set.done(&["--answer-dir", "sequential", "--sequential"]);
    for method in ["baseline", "logitspec"] {
        let read =
            |folder: &str| timeless(&set.path(&format!("{folder}/tiny-{method}-temp-0.0.jsonl")));
        assert_eq!(read("plain").len(), 6);
        assert_eq!(read("plain"), read("jobs"));
        assert_eq!(read("plain"), read("sequential"));
    }
}

#[test]
fn a_question_is_drafted_for_as_generate_does() {
    let set = Set::of(1);
    for capacity in ["8", "200"] {
        let tree = ["--draft-tree-capacity", capacity];
        set.done(&[&["--methods", "logitspec", "--overwrite"], &tree[..]].concat());
        let answer = &read_answers(set.answers("logitspec")).unwrap().answers[0];
        let ours = &answer.choices[0];

        let prompt = ["-p", "one two three 0 one two three", "-n", "24"];
        let same = ["-fa", "off", "--fill-tree", "--json"];
        let said = program::json(&program::generate(&[&prompt[..], &same, &tree].concat()));
        let sources = ours.sources.as_ref().unwrap().values();
        let drafted: u64 = sources.map(|of| of.drafted).sum();
        let record = json!([
            ours.token_ids.as_ref().unwrap()[0],
            ours.accept_lengths,
            drafted,
            ours.graphs_reused.as_ref().unwrap()[0],
        ]);
        let keys = [
            "tokens",
            "accept_lengths",
            "drafted_tokens",
            "graphs_reused",
        ];
        assert_eq!(record, json!(keys.map(|key| &said[key])), "{capacity}");
        assert!(record[3].as_u64().unwrap() > 0, "full trees are alike");
    }
}

#[test]
fn methods_take_turns_on_one_context_for_each_thread() {
    // Enough for either of two threads to get some.
    let set = Set::of(8);
    for jobs in ["1", "2"] {
        let run = ["--methods", &all_methods(), "--jobs", jobs, "--overwrite"];
        let output = set.done(&[&run[..], &["--verbose"]].concat());
        let contexts = stderr(&output)
            .matches("constructing llama_context")
            .count();
        assert_eq!(contexts.to_string(), jobs);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_the_answers_are_kept() {
    let set = Set::of(2);
    for format in [&[][..], &["--json"]] {
        let run = ["--methods", "baseline", "--overwrite"];
        program::assert_full_disk_is_said(set.command(&[&run, format].concat()));
        assert_eq!(timeless(&set.answers("baseline")).len(), 2);
    }
    let base = set.answers("baseline");
    let base = base.to_str().unwrap();
    let report = ["report", base, "--base", base];
    program::assert_full_disk_is_said(logitspec(&report, set.0.path()));
}

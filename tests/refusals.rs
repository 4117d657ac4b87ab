//! Bad input: refused in one line that names the mend, or answered with a word of warning.
#![cfg(feature = "cli")]

mod program;

use program::{assert_refused, command, generate, json, model_path, run, stderr};

#[test]
fn bad_input_is_refused_in_one_line_that_names_the_mend() {
    let tiny = model_path("tiny-llama.gguf");
    let long = "word ".repeat(3000);
    let folder = env!("CARGO_TARGET_TMPDIR");
    assert_refused(
        &run(&["generate", "-m", "none.gguf", "-p", "x"]),
        &["none.gguf", "-m"],
    );
    assert_refused(&run(&["generate", "-m", folder, "-p", "x"]), &[folder]);
    assert_refused(
        &run(&["generate", "-m", &model_path("tiny-bert.gguf"), "-p", "x"]),
        &["tiny-bert"],
    );
    assert_refused(&generate(&["-p", ""]), &["empty", "-p"]);
    assert_refused(&generate(&[]), &["empty", "standard input"]);
    assert_refused(
        &generate(&["-f", "/no/such/file"]),
        &["/no/such/file", "-f"],
    );
    assert_refused(&generate(&["-p", &long]), &["2048", "shorten the prompt"]);
    assert_refused(&generate(&["-p", &long, "-c", "64"]), &["64", "raise -c"]);
    assert_refused(
        &generate(&["-p", "x", "--draft-tree-capacity", "0"]),
        &["1 (no draft)"],
    );
    assert_refused(
        &generate(&["-p", "x", "--draft-tree-capacity", "5000"]),
        &["1024"],
    );
    assert_refused(
        &generate(&["-p", "x", "--draft-tree-capacity", "x"]),
        &["x"],
    );
    assert_refused(
        &generate(&["-p", "x", "--method", "eagle"]),
        &["eagle", "prompt-lookup"],
    );
    assert_refused(
        &generate(&["-p", "x", "--temperature", "-1"]),
        &["--temperature"],
    );
    assert_refused(&generate(&["-p", "x", "--bogus"]), &["--bogus"]);
    assert_refused(
        &generate(&["-p", "x", "--trace", "/no/such/dir/t"]),
        &["/no/such/dir/t"],
    );
    assert_refused(&generate(&["-p", "x", "-ctk", "q9"]), &["q9", "q8_0"]);
    assert_refused(&run(&["inspect", &format!("{tiny}.missing")]), &["missing"]);
}

#[test]
fn numbers_that_would_crash_are_out_of_range() {
    for (flag, value, named) in [
        (
            "--max-ngram-size",
            "1000000000000",
            ["--max-ngram-size", "1..=1024"],
        ),
        ("--max-ngram-size", "0", ["--max-ngram-size", "1..=1024"]),
        (
            "--num-pred-tokens",
            "65537",
            ["--num-pred-tokens", "0..=65536"],
        ),
        ("-n", "-3", ["--max-new-tokens", "-1 for no limit"]),
        ("-c", "-3", ["--ctx-size", "0 for as many"]),
        ("--top-k", "-1", ["--top-k", "digit"]),
        ("-s", "-2", ["--seed", "-1 for a random"]),
        ("-ngl", "-2", ["--n-gpu-layers", "or all"]),
        ("--pool-max-tokens", "-1", ["--pool-max-tokens", "1..="]),
    ] {
        let output = generate(&["-p", "x", flag, value]);
        assert_refused(&output, &[&named[..], &[value]].concat());
    }
    let tiny = model_path("tiny-llama.gguf");
    for threads in ["-1", "0", "513", "100000"] {
        let output = run(&["generate", "-m", &tiny, "-p", "x", "-t", threads]);
        assert_refused(&output, &["--threads", threads, "1..=512"]);
    }
}

#[test]
fn flags_that_cannot_go_together_are_refused() {
    assert_refused(
        &generate(&["-p", "x", "-ctv", "q4_0", "-fa", "off"]),
        &["-ctv q4_0", "-fa on"],
    );
    let halves = ["-p", "x", "-n", "2", "--json", "-ctv", "f16", "-fa", "off"];
    json(&generate(&halves));
    for trace in ["/dev/stdout", "/dev/fd/1"] {
        let output = generate(&["-p", "x", "--json", "--trace", trace]);
        assert_refused(&output, &["--trace", trace, "--json"]);
    }
}

#[test]
fn white_space_is_a_text_to_go_on_with_but_no_question() {
    assert_refused(
        &generate(&["-p", " \n ", "--chat"]),
        &["-p is empty", "-f FILE"],
    );
    let bare = json(&generate(&["-p", " \n ", "-n", "2", "--json"]));
    assert_eq!(bare["new_tokens"], 2);
}

#[test]
fn a_template_that_leaves_out_the_question_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |template: &str| {
        let file = folder.path().join("template");
        std::fs::write(&file, template).unwrap();
        let file = file.to_str().unwrap();
        let output = generate(&["-p", "Who are you?", "-n", "2", "--template", file]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stderr(&output)
    };
    let told = ask("USER: ASSISTANT:");
    let warnings = || told.lines().filter(|line| line.starts_with("warning: "));
    assert_eq!(warnings().count(), 1, "{told}");
    assert!(warnings().all(|line| line.contains("leaves out")), "{told}");
    let told = ask("USER: {{ messages[-1].content }} ASSISTANT:");
    assert!(!told.contains("warning"), "{told}");
}

/// `generate` and `chat`, which is told `lines`.
#[cfg(target_os = "linux")]
fn talks(lines: &str, options: &[&str]) -> [std::process::Command; 2] {
    let name = format!("{}_lines.txt", lines.len());
    let told = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&told, lines).unwrap();
    let tiny = model_path("tiny-llama.gguf");
    let common = ["-t", "1", "-m", &tiny, "-n", "2"];
    [&["generate", "-p", "x"][..], &["chat"]].map(|args| {
        let mut command = program::command(&[args, &common, options].concat());
        command.stdin(std::fs::File::open(&told).unwrap());
        command
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_that_of_standard_output() {
    for format in [&[][..], &["--json"]] {
        let inspect = ["inspect", "-m", &model_path("tiny-llama.gguf")];
        let inspect = program::command(&[&inspect[..], format].concat());
        for command in talks("x\n", format).into_iter().chain([inspect]) {
            program::assert_full_disk_is_said(command);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_lost_where_standard_error_takes_nothing() {
    let lines = "x\n/stats\n/nonsense\n";
    let said = |mut command: std::process::Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert!(!output.stdout.is_empty());
        output.stdout
    };
    for (heard, mut unheard) in talks(lines, &[]).into_iter().zip(talks(lines, &[])) {
        unheard.stderr(program::full_disk());
        assert_eq!(said(heard), said(unheard));
    }
    let mut wrong = program::command(&["generate", "-m", "nowhere.gguf", "-p", "x"]);
    let status = wrong.stderr(program::full_disk()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_trace_writes_over_nothing_but_traces() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let name = file.to_str().unwrap();
    let weights = std::fs::read(model_path("tiny-llama.gguf")).unwrap();
    let request = br#"{"model": "gpt", "messages": [{"role": "user", "content": "x"}]}"#;
    for foreign in [&b"Once upon a time"[..], b"{", request, &weights] {
        std::fs::write(&file, foreign).unwrap();
        let output = generate(&["-p", "x", "--trace", name]);
        assert_refused(&output, &["--trace", name, "not a trace", "another file"]);
        assert_eq!(std::fs::read(&file).unwrap(), foreign);
    }
    // Whatever the flags call it.
    let mut named = command(&["generate", "-p", "x", "--trace", name]);
    let output = named.env("LOGITSPEC_MODEL", &file).output().unwrap();
    assert_refused(&output, &["--trace", name]);
    let new = folder.path().join("new");
    let new = new.to_str().unwrap();
    let output = generate(&["-p", "x", "--trace", new, "--pool-file", new]);
    assert_refused(&output, &["--trace", new, "--pool-file"]);
    let roundabout = folder.path().join(".").join("new");
    let roundabout = roundabout.to_str().unwrap();
    let output = generate(&["-p", "x", "--trace", new, "--pool-file", roundabout]);
    assert_refused(&output, &["--trace", new, "--pool-file"]);
    assert_refused(&generate(&["-p", "x", "--trace", "-"]), &["--trace -"]);
    std::fs::write(&file, "").unwrap();
    for _ in 0..2 {
        let output = generate(&["-p", "x", "-n", "2", "--trace", name]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(std::fs::read(&file).unwrap().ends_with(b"}\n"));
    }
}

#[test]
fn an_answer_that_the_context_cuts_off_says_so() {
    let note = |args: &[&str]| {
        let output = generate(&[&["-p", "Once upon a time", "-c", "32"], args].concat());
        assert_eq!(output.status.code(), Some(0));
        stderr(&output).contains("context of 32 tokens is full: raise -c")
    };
    assert!(note(&["-n", "100"]));
    assert!(!note(&["-n", "4"]), "there is room for that");
    assert!(!note(&["-n", "-1"]), "as many as there is room for");
}

#[test]
fn an_answer_that_the_limit_cuts_off_says_so() {
    let told = |args: &[&str]| stderr(&generate(&[&["-p", "Hi", "-c", "64"], args].concat()));
    let note = "note: stopped after -n 4 tokens; -n -1 sets no limit\n";
    assert!(told(&["-n", "4"]).ends_with(note));
    assert!(!told(&["-n", "-1"]).contains("stopped after"));
    assert_eq!(told(&["-n", "4", "--json"]), "");
    let chat = program::tiny("chat", &["-n", "4"]);
    let output = program::with_stdin(chat, b"Who are you?\n");
    assert!(stderr(&output).ends_with(note), "{}", stderr(&output));
}

#[test]
fn a_flag_of_another_method_is_told() {
    let output = generate(&[
        "-p",
        "x",
        "-n",
        "1",
        "--method",
        "suffix",
        "--leave-out",
        "text",
    ]);
    assert!(stderr(&output).contains("--leave-out does nothing with --method suffix"));
    let output = generate(&["-p", "x", "-n", "1", "--leave-out", "text"]);
    assert!(!stderr(&output).contains("does nothing"));
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_no_success() {
    let mut help = command(&["generate", "--help"]);
    let output = help.stdout(program::full_disk()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write to standard output"));
}

#[test]
fn a_bare_word_is_told_from_a_flag() {
    assert_refused(&generate(&["hi there"]), &["hi there", "-p TEXT"]);
    assert_refused(&generate(&["--prompd", "x"]), &["--prompd", "--help"]);
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_is_no_reason_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let pipe = pipe.to_str().unwrap();
    assert_refused(&run(&["inspect", pipe]), &[pipe, "not a GGUF"]);
    assert_refused(&run(&["generate", "-m", pipe, "-p", "x"]), &[pipe]);
    for subcommand in ["generate", "chat"] {
        let here = std::fs::File::open(folder.path()).unwrap();
        let output = program::tiny(subcommand, &["-n", "1", "--template", "vicuna"])
            .stdin(here)
            .output()
            .unwrap();
        assert_refused(&output, &["standard input", "directory"]);
    }
}

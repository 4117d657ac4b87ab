//! llama.cpp's flags at the command line. Their table has tests of its own.
#![cfg(feature = "cli")]

mod program;

use program::{assert_refused, generate, json, model_path, prompt_of, run, stderr};

/// The tokens of a prompt that is asked with these flags.
fn asked(args: &[&str]) -> Vec<u64> {
    let tiny = model_path("tiny-llama.gguf");
    prompt_of(&[&["-m", &tiny, "--chat"], args].concat())
}

#[test]
fn a_command_of_llama_cli_works_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("system.txt");
    std::fs::write(&file, "Be brief.\n").unwrap();
    let ours = asked(&["-p", "Hi", "--system", "Be brief."]);
    assert_eq!(asked(&["-p", "Hi", "-sys", "Be brief."]), ours);
    assert_eq!(asked(&["-p", "Hi", "-sysf", file.to_str().unwrap()]), ours);
    assert_ne!(asked(&["-p", "Hi"]), ours);
    let jinja = "{{ messages[0].content }}";
    assert_eq!(
        asked(&["-p", "Hi", "--chat-template", jinja]),
        prompt_of(&["-m", &model_path("tiny-llama.gguf"), "-p", "Hi"])
    );
    assert_eq!(asked(&["-e", "-p", r"a\tb"]), asked(&["-p", "a\tb"]));
    assert_ne!(asked(&["-p", r"a\tb"]), asked(&["-p", "a\tb"]));

    let like_theirs = [
        "-p",
        "one two",
        "--n-predict",
        "12",
        "-no-cnv",
        "--jinja",
        "--no-warmup",
        "-ngl",
        "all",
        "--mlock",
        "-np",
        "1",
    ];
    let output = generate(&like_theirs);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = stderr(&output);
    let note = told.lines().next().unwrap();
    let left_out = "note: left out --jinja (chat templates are always Jinja); --no-warmup (";
    assert!(
        note.starts_with(left_out) && note.contains("--mlock ("),
        "{note}"
    );
}

#[test]
fn seed_minus_one_is_another_one_every_time() {
    let draw = |seed: &str| {
        let flags = [
            "-p", "one two", "-n", "2", "--json", "--temp", "1", "--seed", seed,
        ];
        json(&generate(&flags))["parameters"]["seed"].clone()
    };
    assert_ne!(draw("-1"), draw("-1"));
    assert_eq!(draw("7"), 7);
}

#[test]
fn a_flag_without_a_counterpart_is_refused_in_one_line() {
    let draft = generate(&["-p", "x", "-md", "draft.gguf"]);
    assert_refused(
        &draft,
        &["-md of llama.cpp", "logitspec generate", "--method"],
    );
    let tiny = model_path("tiny-llama.gguf");
    let shift = run(&["generate", "-m", &tiny, "-p", "x", "--context-shift"]);
    assert_refused(&shift, &["--context-shift", "-c sets a larger context"]);
    // It is the beginning of -h as clap reads it.
    assert_refused(
        &run(&["generate", "-hfr"]),
        &["--hf-repo", "value is required"],
    );
    assert_refused(
        &generate(&["-p", "x", "-sysf", "/no/such"]),
        &["/no/such", "cannot read"],
    );
}

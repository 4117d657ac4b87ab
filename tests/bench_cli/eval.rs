//! `scripts/eval.sh`, from a question set to the page.
#![cfg(unix)]

use super::*;

fn eval(set: &Set, args: &[&str]) -> Output {
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "scripts", "eval.sh"]
        .iter()
        .collect();
    Command::new("bash")
        .arg(script)
        .args(args)
        .current_dir(set.0.path())
        .env("LOGITSPEC", env!("CARGO_BIN_EXE_logitspec"))
        .env("DATA_DIR", "data")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn one_command_goes_from_questions_to_the_report() {
    // The folder of the answers has a name that a shell would take apart.
    let set = Set::of(3);
    std::fs::rename(set.path("data/set"), set.path("data/it's a set")).unwrap();
    let tiny = model_path("tiny-llama.gguf");
    let flags = [
        "--",
        "--template",
        "none",
        "-t",
        "1",
        "-fa",
        "off",
        "-n",
        "16",
        "--warmup",
        "0",
    ];
    let args = [&[&tiny[..], "it's a set"], &flags[..]].concat();
    let output = eval(&set, &args);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        said.contains("logitspec against baseline") && said.contains("3/3"),
        "{said}"
    );
    let page = set.path("data/it's a set/model_answer/tiny-llama-report.html");
    assert!(std::fs::read_to_string(page).unwrap().contains("<svg"));
    let again = eval(&set, &args);
    assert!(
        stderr(&again).contains("6 of 6 answers already exist"),
        "{}",
        stderr(&again)
    );
    assert_eq!(again.status.code(), Some(0));

    // The page is beside the answers, wherever those are.
    let elsewhere = [&args[..], &["--answer-dir", "my answers"]].concat();
    let output = eval(&set, &elsewhere);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = std::fs::read_to_string(set.path("my answers/tiny-llama-report.html"));
    assert!(page.unwrap().contains("Made with"));

    let alone = [&args[..], &["--methods", "baseline"]].concat();
    let output = eval(&set, &alone);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("eval: no report"));
}

#[test]
fn the_table_is_there_even_if_the_page_cannot_be() {
    let set = Set::of(1);
    set.done(&[]);
    let [ours, base] = ["logitspec", "baseline"].map(|method| set.answers(method));
    let files = [ours.to_str().unwrap(), "--base", base.to_str().unwrap()];
    let args = [&["report"], &files[..], &["--html", "no/such/folder.html"]].concat();
    let output = logitspec(&args, set.0.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("logitspec against baseline"));
    let said = stderr(&output);
    assert!(
        said.contains("no/such/folder.html: cannot write the page"),
        "{said}"
    );
}

#[test]
fn a_folder_of_answers_has_its_base_in_it() {
    let set = Set::of(2);
    set.done(&[]);
    let [ours, base] = ["logitspec", "baseline"].map(|method| set.answers(method));
    let [ours, base] = [ours.to_str().unwrap(), base.to_str().unwrap()];
    let named = set.report(&[ours, "--base", base]);
    let folder = set.report(&["data/set/model_answer"]);
    let whole = |output: &Output| stdout(output).replace(set.0.path().to_str().unwrap(), "");
    assert_eq!(whole(&folder), whole(&named));
    let with_base = set.report(&["data/set/model_answer", "--base", base]);
    assert_eq!(whole(&with_base), whole(&named));
    let alone = logitspec(&["report", ours], set.0.path()).output().unwrap();
    program::assert_refused(&alone, &["plain decoding", "--base"]);
}

#[test]
fn what_cannot_be_run_is_said() {
    let set = Set::of(1);
    let tiny = model_path("tiny-llama.gguf");
    let cases: [(&[&str], &str); 6] = [
        (&[], "usage:"),
        (&["--help"], "usage:"),
        (&["nosuch.gguf"], "nosuch.gguf cannot be read"),
        (
            &[&tiny, "nosuch"],
            "nosuch/question.jsonl is missing; scripts/fetch_data.sh nosuch",
        ),
        (
            &[&tiny, "set", "--", "--json"],
            "eval: the report cannot be made with --json",
        ),
        (
            &[&tiny, "set", "--", "--methods", "nosuch"],
            "unknown method",
        ),
    ];
    for (args, words) in cases {
        let output = eval(&set, args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?} {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{args:?} {}",
            stderr(&output)
        );
    }
}

//! A `llama-server` as one more method, played by a stand-in: this test program again, which speaks
//! `/health`, `/props` and `/completion` on loopback, writes down what it is told, and answers with
//! figures known beforehand.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use logitspec::bench::Manifest;

use super::*;

const METHOD: &str = "llama-server-ngram-simple";
const ANSWER: [u32; 5] = [300, 301, 302, 303, 304];

/// Writes a program into the set's folder that becomes the stand-in with its own arguments.
fn stand_in_of(set: &Set) -> String {
    let this = std::env::current_exe().unwrap();
    // The test harness would take the arguments for its own, so they go through the environment, a
    // line each.
    let script = format!(
        "#!/bin/sh\nexport STAND_IN_LOG='{}' STAND_IN_ARGS=\"$(printf '%s\\n' \"$@\")\"\n\
         exec '{}' --exact server::stand_in --ignored --nocapture\n",
        set.path("log.jsonl").display(),
        this.display()
    );
    program(set, &script)
}

fn program(set: &Set, script: &str) -> String {
    let path = set.path("server.sh");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn log(set: &Set) -> Vec<Value> {
    let text = std::fs::read_to_string(set.path("log.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_comparison_has_a_server_too() {
    let set = Set::of(1);
    let server = stand_in_of(&set);
    let tiny = model_path("tiny-llama.gguf");
    let args = [
        "compare",
        "-m",
        &tiny,
        "-t",
        "1",
        "-n",
        "5",
        "--runs",
        "1",
        "--json",
        "-p",
        "one two",
        "--llama-server",
        &server,
    ];
    let said = object(&logitspec(&args, set.0.path()).output().unwrap());
    let theirs = &said["overall"][2];
    assert_eq!(
        (&theirs["name"], &theirs["same_text"]),
        (&"llama-server".into(), &false.into())
    );
    assert!((theirs["tokens_per_second"].as_f64().unwrap() - 10.0).abs() < 1e-9);
    assert!(
        said["sentence"]
            .as_str()
            .unwrap()
            .contains("times as fast as llama-server")
    );
}

#[test]
fn a_server_is_asked_what_we_are_asked_and_its_own_timings_count() {
    let set = Set::of(2);
    let server = stand_in_of(&set);
    let args = [
        "--methods",
        "baseline",
        "--llama-server",
        &server,
        "--llama-server-args",
        "--spec-type ngram-simple --title 'two words'",
        "--json",
    ];
    let said = object(&set.done(&args));
    assert_eq!(said["methods"][1]["method"], METHOD);
    // Ten tokens a second: 5 in 0.1 s of prefill and 0.4 s of decoding.
    assert!((said["methods"][1]["tokens_per_second"].as_f64().unwrap() - 10.0).abs() < 1e-9);

    let log = log(&set);
    let begun: Vec<&str> = log[0]["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    let model = model_path("tiny-llama.gguf");
    for pair in [
        ["-m", &model],
        ["-np", "1"],
        ["-t", "1"],
        ["-ub", "256"],
        ["-fa", "off"],
        ["--spec-type", "ngram-simple"],
        ["--title", "two words"],
        ["--host", "127.0.0.1"],
    ] {
        assert!(
            begun.windows(2).any(|window| window == pair),
            "{pair:?} is not in {begun:?}"
        );
    }
    let asked: Vec<&Value> = log.iter().filter(|it| it["prompt"].is_array()).collect();
    // Question 81 has one turn, 82 has two.
    assert_eq!(asked.len(), 3);
    let tokens = |at: usize| asked[at]["prompt"].as_array().unwrap();
    assert_eq!(asked[0]["n_predict"], 24);
    assert_eq!(asked[0]["temperature"], 0.0);
    let caches = [0, 1, 2].map(|at| asked[at]["cache_prompt"].as_bool().unwrap());
    assert_eq!(caches, [false, false, true]);
    let base = timeless(&set.answers("baseline"));
    for (at, id) in [(0, 81), (1, 82)] {
        let prompts = base[&id].choices[0].prompt_tokens.as_ref().unwrap();
        assert_eq!(
            tokens(at).len() as u64,
            prompts[0],
            "the prompt is the one that our engine has"
        );
    }
    let so_far = [tokens(1).clone(), ANSWER.map(Value::from).to_vec()].concat();
    assert!(tokens(2).starts_with(&so_far) && tokens(2).len() > so_far.len());

    let answers = read_answers(set.answers(METHOD)).unwrap().answers;
    let choice = &answers[1].choices[0];
    assert_eq!(choice.wall_time, [0.5, 0.5]);
    assert_eq!(
        (&choice.new_tokens[..], &choice.decoding_steps[..]),
        (&[5, 5][..], &[2, 2][..])
    );
    // The server says that three drafted tokens were accepted: five tokens in two steps.
    assert_eq!(choice.accept_lengths, [3, 2, 3, 2]);
    assert_eq!(choice.extra["accept_lengths_spread"], true);
    assert_eq!(choice.token_ids, Some(vec![ANSWER.to_vec(); 2]));
    assert_eq!(
        choice.prompt_tokens,
        Some(vec![tokens(1).len() as u64, tokens(2).len() as u64])
    );
    assert_eq!(choice.timings.as_ref().unwrap().prefill, [0.1, 0.1]);
    let manifest = Manifest::read(Manifest::path_beside(set.answers(METHOD)))
        .unwrap()
        .unwrap();
    assert_eq!(manifest.llama_cpp, "b123-stand-in");
    assert_eq!(manifest.flags["llama-server-args"], args[5]);

    let (ours, theirs) = (set.answers(METHOD), set.answers("baseline"));
    let report = set.report(&[
        ours.to_str().unwrap(),
        "--base",
        theirs.to_str().unwrap(),
        "--json",
    ]);
    assert!(stderr(&report).contains("recorded only the mean of its accept lengths"));
    let report: Value = serde_json::from_str(&stdout(&report)).unwrap();
    assert_eq!(report["methods"][0]["name"], METHOD);

    let pid = log[0]["pid"].to_string();
    let alive = Command::new("kill")
        .args(["-0", &pid])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!alive.success(), "the server outlives the run");

    // Nothing is asked again.
    set.done(&args);
    assert_eq!(
        self::log(&set)
            .iter()
            .filter(|it| it["prompt"].is_array())
            .count(),
        3
    );
}

#[test]
fn a_server_that_does_not_begin_is_quoted() {
    let set = Set::of(2);
    let server = program(
        &set,
        "#!/bin/sh\necho loading\necho 'error: invalid argument: --nope' >&2\nexit 1\n",
    );
    let output = set.bench(&["--llama-server", &server, "--llama-server-args", "--nope"]);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    let last = error.lines().last().unwrap();
    assert!(
        last.contains("error: invalid argument: --nope") && last.contains("--llama-server-args"),
        "{error}"
    );
    let output = set.bench(&["--llama-server", &server, "--llama-server-args", "'open"]);
    assert!(stderr(&output).contains("is not closed"));
}

#[test]
fn what_a_server_refuses_is_left_out_and_what_breaks_it_ends_the_run() {
    let set = Set::of(1);
    let server = stand_in_of(&set);
    let run = |fails: &str, folder: &str| {
        let args = format!("--spec-type ngram-simple --fail {fails}");
        let args = [
            "--methods",
            "baseline",
            "--llama-server",
            &server,
            "--llama-server-args",
            &args,
        ];
        set.bench(&[&args[..], &["--answer-dir", folder]].concat())
    };
    let output = run("exceed_context_size_error", "a");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let note = format!("question 81 left out for {METHOD}: it failed on demand");
    assert!(stderr(&output).contains(&note), "{}", stderr(&output));
    assert!(
        set.path(&format!("a/tiny-{METHOD}-temp-0.0.skipped.json"))
            .exists()
    );

    let output = run("server_error", "b");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let error = stderr(&output);
    let last = error.lines().last().unwrap();
    assert!(
        last.contains("question 81, llama-server-ngram-simple: no answer"),
        "{error}"
    );
    assert!(last.contains("it failed on demand"), "{error}");
    assert!(
        last.contains("the same command without --overwrite"),
        "{error}"
    );
    // What the other method said is kept.
    assert_eq!(
        timeless(&set.path("b/tiny-baseline-temp-0.0.jsonl")).len(),
        1
    );
}

/// The server; no test by itself.
#[test]
#[ignore = "run by the tests above, as a program"]
fn stand_in() {
    let (Ok(args), Ok(log)) = (
        std::env::var("STAND_IN_ARGS"),
        std::env::var("STAND_IN_LOG"),
    ) else {
        return;
    };
    // Whoever started it may have been killed.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(600));
        std::process::exit(1);
    });
    let args: Vec<&str> = args.lines().collect();
    let value = |flag: &str| Some(args[args.iter().position(|arg| *arg == flag)? + 1]);
    let listener =
        TcpListener::bind(("127.0.0.1", value("--port").unwrap().parse().unwrap())).unwrap();
    let note = |value: &Value| {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        writeln!(file, "{value}").unwrap();
    };
    note(&json!({"args": args, "pid": std::process::id()}));
    let mut loading = 2;
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        let Some((path, body)) = request(&mut stream) else {
            continue;
        };
        let (status, reply) = match path.as_str() {
            "/health" if loading > 0 => {
                loading -= 1;
                (503, json!({"error": {"message": "Loading model"}}))
            }
            "/health" => (200, json!({"status": "ok"})),
            "/props" => (200, json!({"build_info": "b123-stand-in"})),
            "/completion" => {
                note(&body);
                completion(&body, value("--fail"))
            }
            _ => (404, json!({})),
        };
        let reply = reply.to_string();
        let head = format!(
            "HTTP/1.1 {status} As it is\r\nContent-Type: application/json\r\nConnection: close\r\n"
        );
        let _ = write!(
            stream.get_mut(),
            "{head}Content-Length: {}\r\n\r\n{reply}",
            reply.len()
        );
    }
}

fn completion(request: &Value, fail: Option<&str>) -> (u32, Value) {
    if let Some(kind) = fail {
        return (
            500,
            json!({"error": {"code": 500, "type": kind, "message": "it failed on demand"}}),
        );
    }
    let reply = json!({
        "content": "what it said",
        "tokens": ANSWER,
        "tokens_predicted": ANSWER.len(),
        "timings": {
            "prompt_n": request["prompt"].as_array().unwrap().len(),
            "prompt_ms": 100.0,
            "predicted_ms": 400.0,
            "draft_n": 6,
            "draft_n_accepted": 3,
        },
    });
    (200, reply)
}

/// The path and the JSON of a request; `None` where the other side hung up.
fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

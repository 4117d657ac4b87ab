//! What replayed methods copy from beside the request: pool files and corpora.

use std::path::Path;

use logitspec::corpus::Corpus;
use logitspec::pool::SharedPool;

use crate::command::{Folder, assert_refused, json, row};
use crate::program::{self, model_path, stderr};

/// A request that nothing in itself helps to answer.
const LINE: &str = r#"{"prompt": "e", "response": "a b c d a c b"}"#;

/// Flags that replay [`LINE`] with `logitspec`.
fn flags(folder: &Folder) -> Vec<String> {
    let log = folder.write("log.jsonl", LINE);
    let tokenizer = folder.path("tokenizer.json");
    let flags = ["--jsonl", &log, "--tokenizer-path", &tokenizer];
    flags.map(String::from).to_vec()
}

/// Steps and what the source `source` gave, with `more` flags.
fn replayed(flags: &[String], more: &[&str], source: &str) -> (u64, Option<u64>) {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let report = json(&[&flags[..], &["--methods", "logitspec"], more].concat());
    let overall = row(&report, 0, "overall");
    let accepted = overall["sources"][source]["accepted"].as_u64();
    (overall["steps"].as_u64().unwrap(), accepted)
}

/// A corpus that holds the response.
fn corpus(folder: &Folder) -> String {
    let text = folder.write("text.txt", "e a b c d a c b");
    let (corpus, tokenizer) = (folder.path("corpus"), folder.path("tokenizer.json"));
    let build = ["corpus", "build", &text, "--tokenizer-path", &tokenizer];
    let output = program::run(&[&build[..], &["-o", &corpus]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    corpus
}

#[test]
fn a_corpus_is_copied_from() {
    let folder = Folder::new();
    let flags = flags(&folder);
    let (alone, none) = replayed(&flags, &[], "corpus");
    let corpus = corpus(&folder);
    let (steps, accepted) = replayed(&flags, &["--corpus", &corpus], "corpus");
    assert_eq!(none, None);
    assert!(steps < alone, "{steps} of {alone}");
    assert!(accepted.unwrap() > 3);
}

#[test]
fn a_pool_file_is_begun_with_and_left_as_it_is() {
    let folder = Folder::new();
    let flags = flags(&folder);
    // Whose tokens these are, a corpus made with the tokenizer says.
    let corpus = Corpus::open(Path::new(&corpus(&folder)), None).unwrap();
    let pool = SharedPool::new(100);
    pool.insert(&[7, 3, 4, 5, 6, 3, 5, 4]);
    let file = folder.path("pool");
    let vocabulary = corpus.info().vocabulary;
    pool.save(Path::new(&file), &vocabulary).unwrap();
    let before = std::fs::read(&file).unwrap();

    let (alone, _) = replayed(&flags, &[], "history");
    let (steps, accepted) = replayed(&flags, &["--pool-file", &file], "history");
    assert!(steps < alone && accepted.unwrap() > 3, "{steps} of {alone}");
    replayed(&flags, &["--pool-file", &file, "--history"], "history");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // Nothing fits into a pool of one token but the last one.
    let small = ["--pool-file", &file, "--pool-max-tokens", "1"];
    assert_eq!(replayed(&flags, &small, "history").0, alone);
}

#[test]
fn memory_that_cannot_be_used_is_refused_or_noted() {
    let folder = Folder::new();
    let flags = flags(&folder);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let corpus = corpus(&folder);
    let absent = folder.path("absent");
    let logitspec = ["--methods", "logitspec"];
    for (file, words) in [
        (&absent, ["absent", "no such file"]),
        (&corpus, ["corpus", "is no pool"]),
    ] {
        let pool = ["--pool-file", file];
        assert_refused(&[&flags[..], &logitspec, &pool].concat(), &words);
    }
    let log = folder.write("log.jsonl", r#"{"prompt": [3], "response": [4]}"#);
    let tiny = model_path("tiny-llama.gguf");
    let foreign = ["--jsonl", &log, "-m", &tiny, "--corpus", &corpus];
    assert_refused(
        &[&foreign[..], &logitspec].concat(),
        &["corpus", "another vocabulary"],
    );
    let output = program::run(
        &[
            &["simulate"],
            &flags[..],
            &["--corpus", &corpus, "--methods", "suffix,logitspec"],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("note: --corpus does nothing for suffix\n"));
}

//! `logitspec corpus`: what goes in comes out, and what cannot go in is refused.
#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use logitspec::TokenId;
use logitspec::corpus::Corpus;
use logitspec::pool::{Retrieve, SuffixMatch};
use serde_json::json;

mod program;

use program::{assert_refused, command, json as json_of, model_path};

fn run(args: &[&str]) -> Output {
    command(&[&["corpus"], args].concat()).output().unwrap()
}

/// A folder with a tokenizer of whole words, each of which is its own number.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let mut words: serde_json::Map<_, _> =
            (1..100).map(|n| (n.to_string(), json!(n))).collect();
        words.insert("[UNK]".into(), json!(0));
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
        });
        folder.write("words.json", tokenizer.to_string());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    /// Builds `out.corpus` from these texts.
    fn build(&self, texts: &[&str], more: &[&str]) -> Output {
        let texts: Vec<_> = texts.iter().map(|name| self.name(name)).collect();
        let (tokenizer, out) = (self.name("words.json"), self.name("out.corpus"));
        let mut args = vec![
            "build",
            "--json",
            "--tokenizer-path",
            &tokenizer,
            "-o",
            &out,
        ];
        args.extend(texts.iter().map(String::as_str));
        args.extend(more);
        run(&args)
    }

    fn documents(&self) -> Vec<Vec<TokenId>> {
        let corpus = Corpus::open(&self.path("out.corpus"), None).unwrap();
        let mut next = 1;
        let mut document = || {
            let mut tokens = Vec::new();
            corpus.continuation_into(SuffixMatch { len: 1, next }, 1 << 30, &mut tokens);
            next += tokens.len() + 1;
            tokens
        };
        (0..corpus.info().documents).map(|_| document()).collect()
    }
}

#[test]
fn files_lines_and_folders_become_documents_in_order() {
    let folder = Folder::new();
    folder.write("first.txt", "1 2 3\n4");
    folder.write(
        "lines.jsonl",
        "{\"text\": \"5 6\", \"id\": 1}\n\n{\"text\": [\"7\", \"8 9\"]}\n",
    );
    folder.write("tree/b.rs", "20 21");
    folder.write("tree/a/x.py", "22");
    folder.write("tree/.hidden", "90");
    folder.write("tree/.gitignore", "build/\n");
    folder.write("tree/build/made.rs", "91");
    folder.write("tree/picture.png", b"\x89PNG\0\0");
    folder.write("tree/server.log", "93");
    folder.write("tree/c/page.min.js", "94");
    folder.write("tree/empty", "");
    folder.write(
        "tree/c/lines.ndjson",
        "{\"text\": \"30\"}\n{\"text\": \"31 32\"}\n",
    );
    folder.write(
        "tree/c/others.jsonl",
        "{\"text\": \"33\"}\n{\"words\": \"92\"}\n",
    );
    let output = folder.build(&["first.txt", "lines.jsonl", "tree"], &[]);
    let built = json_of(&output);
    let documents = [
        vec![1, 2, 3, 4],
        vec![5, 6],
        vec![7],
        vec![8, 9],
        vec![22],
        vec![20, 21],
        vec![30],
        vec![31, 32],
        vec![33],
    ];
    assert_eq!(folder.documents(), documents);
    assert_eq!(
        (&built["tokens"], &built["documents"]),
        (&json!(16), &json!(9))
    );
    assert_eq!(built["left_out"], 4);
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(
        notes.contains("taking 5 files: 1 .ndjson (") && notes.contains("1 .rs ("),
        "{notes}"
    );
    for (kind, name) in [
        ("1 file that is not text", "picture.png"),
        ("1 log", "server.log"),
        ("1 minified file", "page.min.js"),
    ] {
        let line = notes
            .lines()
            .find(|line| line.contains("name a file to take it"));
        let line = line.unwrap_or_default();
        assert!(line.contains(kind) && line.contains(name), "{notes}");
    }
    let line = "others.jsonl: left out: everything from line 2 on, which has no text in \"text\"";
    assert!(notes.contains(line), "{notes}");

    let info = json_of(&run(&["info", "--json", &folder.name("out.corpus")]));
    for key in ["tokens", "documents", "file_size", "vocabulary", "n_vocab"] {
        assert_eq!(info[key], built[key], "{key}");
    }
    let text = run(&["inspect", &folder.name("out.corpus")]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("tokens      16"));

    // Whoever names a log means it.
    let built = json_of(&folder.build(&["tree/server.log", "tree/c/page.min.js"], &[]));
    assert_eq!(
        (&built["documents"], &built["left_out"]),
        (&json!(2), &json!(0))
    );
}

#[test]
fn a_text_of_many_pieces_is_one_document() {
    let folder = Folder::new();
    // Lines of uneven length, some characters of several bytes, more than one batch of pieces.
    let line = |n: usize| format!("{} ü {}\n", n % 100, "7 ".repeat(n % 13));
    let text: String = (0..900_000).map(line).collect();
    assert!(text.len() > 1 << 24);
    folder.write("long.txt", &text);
    json_of(&folder.build(&["long.txt"], &[]));
    let expected: Vec<TokenId> = text
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(0))
        .collect();
    let documents = folder.documents();
    assert_eq!(documents.len(), 1);
    assert!(documents[0] == expected);
}

/// Some tokenizers put a space before every text that they are given; a piece in mid-document is
/// none.
#[test]
fn pieces_in_mid_document_get_no_space_of_their_own() {
    let folder = Folder::new();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Prepend", "prepend": "_"},
        "model": {"type": "BPE", "vocab": {"_": 0, "a": 1, "\n": 2, "\u{1}": 3}, "merges": []}
    });
    folder.write("words.json", tokenizer.to_string());
    folder.write("long.txt", "a\n".repeat(300_000));
    json_of(&folder.build(&["long.txt"], &[]));
    let documents = folder.documents();
    let spaces = documents[0].iter().filter(|&&token| token == 0).count();
    assert_eq!(
        (documents.len(), documents[0].len(), spaces),
        (1, 600_001, 1)
    );
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let folder = Folder::new();
    let text = "ü".repeat(700_001);
    folder.write("line.txt", &text);
    // Whatever the cuts, no character becomes another: one unknown word a piece.
    json_of(&folder.build(&["line.txt"], &[]));
    let documents = folder.documents();
    assert!(documents.len() == 1 && documents[0].iter().all(|&token| token == 0));
}

#[test]
fn a_gguf_tokenizes_too() {
    let folder = Folder::new();
    folder.write("text.txt", "one two three one two");
    let tiny = model_path("tiny-llama.gguf");
    let (text, out) = (folder.name("text.txt"), folder.name("out.corpus"));
    let built = json_of(&run(&["build", "--json", "-m", &tiny, "-o", &out, &text]));
    assert_eq!(built["documents"], 1);
    let document = folder.documents().remove(0);
    assert_eq!(built["tokens"], document.len());
    assert!(
        document
            .iter()
            .all(|&token| u64::from(token) < built["n_vocab"].as_u64().unwrap())
    );
}

#[test]
fn only_a_corpus_is_replaced() {
    let folder = Folder::new();
    folder.write("text.txt", "1 2");
    let (text, tokenizer) = (folder.name("text.txt"), folder.name("words.json"));
    let build = |out: &str| run(&["build", &text, "--tokenizer-path", &tokenizer, "-o", out]);
    for input in [&text, &tokenizer] {
        let before = std::fs::read(input).unwrap();
        assert_refused(&build(input), &[input, "is not a corpus"]);
        assert_eq!(&std::fs::read(input).unwrap(), &before);
    }
    #[cfg(unix)]
    {
        let pipe = folder.name("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        assert_refused(&build(&pipe), &["pipe", "is not a corpus"]);
    }
    let out = folder.name("out.corpus");
    for _ in 0..2 {
        assert_eq!(build(&out).status.code(), Some(0));
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_name() {
    let folder = Folder::new();
    folder.write("text.txt", "1 2");
    folder.write("picture.png", b"\x89PNG\0\0");
    folder.write("lines.jsonl", "{\"text\": \"1\"}\n{\"texts\": \"2\"}\n");
    folder.write("broken.jsonl", "{\"text\": \"1\"}\nnothing\n");
    folder.write("empty.txt", " \n");
    folder.write("bare/.hidden", "1");
    let refused = |texts: &[&str], more: &[&str], words: &[&str]| {
        assert_refused(&folder.build(texts, more), words);
        assert!(!folder.path("out.corpus").exists());
    };
    refused(&["missing.txt"], &[], &["missing.txt", "check its name"]);
    refused(&["picture.png"], &[], &["picture.png", "UTF-8"]);
    refused(&["lines.jsonl"], &[], &["lines.jsonl: line 2", "--field"]);
    refused(
        &["text.txt", "lines.jsonl"],
        &["--field", "id"],
        &["line 1", "--field"],
    );
    refused(
        &["broken.jsonl"],
        &[],
        &["broken.jsonl: line 2", "not JSON"],
    );
    refused(&["empty.txt"], &[], &["no text"]);
    refused(&["bare"], &[], &["no text"]);

    let (text, tokenizer) = (folder.name("text.txt"), folder.name("words.json"));
    let nowhere = folder.name("no/folder/x");
    let output = run(&[
        "build",
        &text,
        "-o",
        &nowhere,
        "--tokenizer-path",
        &tokenizer,
    ]);
    assert_refused(&output, &["no/folder/x", "--output"]);
    let out = folder.name("out.corpus");
    assert_refused(
        &run(&["build", &text, "-o", &out]),
        &["--model-path", "--tokenizer-path"],
    );
    let output = run(&["build", &text, "-o", &out, "--tokenizer-path", &text]);
    assert_refused(&output, &["text.txt", "--tokenizer-path"]);
    assert_refused(&run(&["info", &text]), &["text.txt", "no corpus"]);
    assert_refused(&run(&["info", &out]), &["out.corpus", "cannot read"]);
}

#[test]
fn a_corpus_that_lies_in_the_folder_it_is_built_from_stays_out() {
    let folder = Folder::new();
    folder.write("tree/text.txt", "1 2 3");
    let (tree, tokenizer) = (folder.name("tree"), folder.name("words.json"));
    let out = folder.name("tree/out.corpus");
    let build = || {
        json_of(&run(&[
            "build",
            "--json",
            &tree,
            "-o",
            &out,
            "--tokenizer-path",
            &tokenizer,
        ]))
    };
    let first = build();
    let again = build();
    assert_eq!(first["documents"], 1);
    assert_eq!(again["left_out"], 0);
    assert!(Path::new(&out).exists());
}

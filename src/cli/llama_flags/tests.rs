use std::collections::BTreeMap;
use std::process::Command as Process;

use clap::CommandFactory;

use super::table::FLAGS;
use super::*;
use crate::cli::{Cli, with_negative_numbers};

fn command() -> Command {
    with_negative_numbers(Cli::command())
}

fn rewritten(args: &[&str]) -> anyhow::Result<Rewritten> {
    let all = ["logitspec"].iter().chain(args).map(OsString::from);
    rewrite(all.collect(), &command())
}

/// The arguments behind the program's name.
fn args(given: &[&str]) -> Vec<String> {
    let args = rewritten(given).unwrap().args;
    let args = args.into_iter().skip(1);
    args.map(|arg| arg.into_string().unwrap()).collect()
}

/// A value that the flags of these names take.
fn value(names: &[&str]) -> &'static str {
    let has = |name: &str| names.contains(&name);
    match () {
        () if has("-ctk") || has("-ctv") => "q8_0",
        () if has("-hf") => "USER/REPO:Q8_0",
        () if has("--load-mode") => "none",
        () if has("--system-prompt-file") => concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        () if has("--json-schema") => "{}",
        () if has("--samplers") => "top_k",
        () if has("--sampler-seq") || has("--sampling-seq") => "k",
        () if has("--grammar") => "root ::= \"a\"",
        () if has("--logit-bias") => "1+1",
        () if has("--device") => "none",
        () if has("--split-mode") => "row",
        () if has("--override-tensor") => "x=CPU",
        () => "1",
    }
}

/// What happens to a flag of these names: its note or error, or nothing.
fn fate(subcommand: &str, flag: &Flag, name: &str) -> Result<Option<String>, String> {
    let count = match flag.takes {
        Takes::Exactly(count) => count,
        Takes::Word(_) => 1,
    };
    let value = match &flag.takes {
        Takes::Word(words) => words[0],
        Takes::Exactly(_) => value(&flag.names),
    };
    let given = [&[subcommand, name][..], &vec![value; count]].concat();
    let rewritten = rewritten(&given).map_err(|error| error.to_string())?;
    let passed: Vec<_> = rewritten
        .args
        .iter()
        .map(|arg| arg.to_str().unwrap())
        .collect();
    let parsed = command().try_get_matches_from(&passed);
    match parsed {
        Err(error) if error.use_stderr() => {
            let line = error.to_string();
            panic!("{given:?} became {passed:?}: {line}")
        }
        _ => Ok(rewritten.ignored.first().cloned()),
    }
}

#[test]
fn every_flag_is_accepted_or_told_or_refused_by_its_name() {
    let mut fates: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for subcommand in ["generate", "chat"] {
        for flag in FLAGS.iter() {
            for name in &flag.names {
                let (kind, said) = match fate(subcommand, flag, name) {
                    Ok(None) => ("accepted", String::new()),
                    Ok(Some(note)) => ("told", note),
                    Err(error) => ("refused", error),
                };
                *fates.entry((subcommand, kind)).or_default() += 1;
                if kind != "accepted" {
                    let names_it = said.starts_with(&format!("{name} "));
                    assert!(names_it && said.len() > name.len() + 10, "{said}");
                    assert!(!said.contains('\n') && said.len() < 160, "{said}");
                }
                // What the table says is ours is ours.
                assert!(
                    kind == "accepted" || *flag.does(subcommand) != Does::Ours,
                    "{said}"
                );
            }
        }
    }
    assert_eq!(fates.len(), 6, "{fates:?}");
    assert!(fates.values().all(|&count| count > 40), "{fates:?}");
}

/// The names in the source of llama.cpp that this crate is built with, for its command line and its
/// server, each with the number of values it takes.
fn names_in_llama_cpp() -> Vec<(String, usize)> {
    let rustc = Process::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(rustc.stdout).unwrap();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    // Packages for other hosts may not be here.
    let metadata = Process::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--filter-platform",
            host,
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|it| it["name"] == "llama-cpp-sys-2")
        .unwrap();
    let manifest = std::path::Path::new(package["manifest_path"].as_str().unwrap());
    let source = manifest.with_file_name("llama.cpp").join("common/arg.cpp");
    let source = std::fs::read_to_string(source).unwrap();
    let mut names = Vec::new();
    for option in source.split("add_opt(common_arg(").skip(1) {
        // Options without a list of programs are those of all programs.
        let programs = option.split_once("set_examples({").map_or("", |(_, list)| {
            list.split_once('}').map_or("", |(list, _)| list)
        });
        let ours = ["_CLI", "_COMPLETION", "_SERVER", "_COMMON"];
        if !programs.is_empty() && !ours.iter().any(|it| programs.contains(it)) {
            continue;
        }
        let (lists, handler) = option.split_once("[](common_params").unwrap();
        let values = handler
            .split_once(')')
            .unwrap()
            .0
            .matches("std::string")
            .count()
            + usize::from(handler.split_once(')').unwrap().0.contains(", int"));
        let lists = lists.trim_start().split_inclusive('}');
        for list in
            lists.take_while(|list| list.trim_start_matches([',', ' ', '\n']).starts_with('{'))
        {
            let quoted = list.split('"').skip(1).step_by(2);
            names.extend(quoted.map(|name| (name.to_owned(), values)));
        }
    }
    names
}

#[test]
fn the_table_has_every_flag_of_the_llama_cpp_that_is_built_in() {
    let names = names_in_llama_cpp();
    assert!(names.len() > 400, "{}", names.len());
    for (name, values) in names {
        let Some(flag) = Flag::named(&name) else {
            panic!("{name} is not in src/cli/llama_flags/flags.txt");
        };
        match flag.takes {
            Takes::Exactly(count) => assert_eq!(count, values, "{name}"),
            Takes::Word(_) => assert_eq!(values, 1, "{name}"),
        }
    }
}

#[test]
fn names_and_dashes_of_llama_cpp_become_ours() {
    for (given, expected) in [
        (
            &["generate", "-sys", "hello"][..],
            &["generate", "--system=hello"][..],
        ),
        (&["generate", "-ngl", "-1"], &["generate", "--ngl", "-1"]),
        (&["generate", "-hfr", "a/b"], &["generate", "--hf", "a/b"]),
        (&["generate", "--n-predict", "5"], &["generate", "-n", "5"]),
        (&["generate", "--n_predict=5"], &["generate", "-n", "5"]),
        (&["generate", "--model", "x"], &["generate", "-m", "x"]),
        (&["generate", "-cnv"], &["generate", "--cnv"]),
        (&["generate", "-no-cnv"], &["generate", "--no-cnv"]),
        (
            &["generate", "--chat-template", "vicuna"],
            &["generate", "--template=vicuna"],
        ),
        (&["generate", "-lm", "none"], &["generate", "--no-mmap"]),
        (&["generate", "-lm", "mmap", "-v"], &["generate", "-v"]),
        (
            &["generate", "--jinja", "-co", "off", "-co", "-v"],
            &["generate", "-v"],
        ),
        (&["generate", "--keep", "-1", "-v"], &["generate", "-v"]),
        (
            &["generate", "--draft_tree_capacity", "8"],
            &["generate", "--draft-tree-capacity", "8"],
        ),
        (&["chat", "-cnv", "-i", "-v"], &["chat", "-v"]),
        // A flag of the subcommand's own goes before the table.
        (&["bench", "--warmup", "2"], &["bench", "--warmup", "2"]),
        (
            &["corpus", "build", "-o", "x"],
            &["corpus", "build", "-o", "x"],
        ),
        // Neither prompts nor what is behind -- are flags.
        (&["generate", "-p", "-sys"], &["generate", "-p", "-sys"]),
        (
            &["generate", "--prompt", "--jinja"],
            &["generate", "--prompt", "--jinja"],
        ),
        (&["inspect", "--", "-ngl"], &["inspect", "--", "-ngl"]),
        (&["generate", "-n5", "-t2"], &["generate", "-n5", "-t2"]),
        (
            &["generate", "--bogus", "-x"],
            &["generate", "--bogus", "-x"],
        ),
        (&["nonsense", "-ngl"], &["nonsense", "-ngl"]),
    ] {
        assert_eq!(args(given), expected, "{given:?}");
    }
}

#[test]
fn what_has_no_counterpart_is_refused_with_what_to_use() {
    for (given, words) in [
        (
            &["generate", "-md", "x.gguf"][..],
            "no draft model is needed",
        ),
        (&["generate", "-hff", "x.gguf"], "-hf USER/REPO:FILE"),
        (&["chat", "-p", "Hi"], "use logitspec generate"),
        (&["chat", "-no-cnv"], "use logitspec generate --raw"),
        (&["generate", "--port", "8080"], "a flag of a server"),
        (&["generate", "-lm", "fast"], "is none of auto, mmap"),
    ] {
        let error = rewritten(given).unwrap_err().to_string();
        assert!(
            error.starts_with(given[1]) && error.contains(words),
            "{error}"
        );
    }
}

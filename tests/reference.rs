//! `docs/reference.md` has every flag of every subcommand, and no other.
#![cfg(all(feature = "cli", feature = "server"))]

use std::collections::BTreeSet;
use std::process::Command;

const REFERENCE: &str = include_str!("../docs/reference.md");

/// What `--help` prints for these words behind the program's name.
fn help(words: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_logitspec");
    let output = Command::new(program).args(words).arg("--help").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

/// The flags that a help text describes: `-p` and `--prompt` for `-p, --prompt <TEXT>`.
fn flags(help: &str) -> impl Iterator<Item = &str> {
    // Descriptions are indented further.
    let described = help
        .lines()
        .filter(|line| line.starts_with("  -") || line.starts_with("      --"));
    described.flat_map(|line| {
        let words = line.split([' ', ',']);
        words.take_while(|word| word.is_empty() || word.starts_with('-'))
    })
}

/// The long flags in the tables of the reference. A row that names a Cargo feature may have flags
/// that this build lacks.
fn flags_of_reference() -> BTreeSet<&'static str> {
    let rows = REFERENCE.lines().filter(|line| line.starts_with('|'));
    let rows = rows.filter(|row| !row.contains("`--features"));
    let words = rows.flat_map(|row| row.split(|c: char| !c.is_ascii_alphanumeric() && c != '-'));
    words
        .filter(|word| word.starts_with("--") && !word.starts_with("---"))
        .collect()
}

#[test]
fn the_reference_has_every_flag_and_no_other() {
    let top = help(&[]);
    let mut helps = Vec::new();
    for name in subcommands(&top) {
        let text = help(&[name]);
        for inner in subcommands(&text) {
            helps.push(help(&[name, inner]));
        }
        helps.push(text);
    }
    assert!(helps.len() > 10, "{top}");
    let all: BTreeSet<&str> = helps.iter().flat_map(|text| flags(text)).collect();
    let all: BTreeSet<&str> = all.into_iter().filter(|flag| !flag.is_empty()).collect();
    assert!(all.contains("-p") && all.contains("--draft-tree-capacity"));

    let written = |flag: &str| {
        let mut words = REFERENCE.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.any(|word| word == flag)
    };
    let everywhere = ["--help", "--version"];
    let missing = all
        .iter()
        .filter(|flag| !written(flag) && !everywhere.contains(flag));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "docs/reference.md lacks {missing:?}");

    let made_up: Vec<_> = flags_of_reference()
        .into_iter()
        .filter(|it| !all.contains(it))
        .collect();
    assert!(made_up.is_empty(), "no command has {made_up:?}");
}

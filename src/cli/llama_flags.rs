//! llama.cpp's flags, as its users type them.
//!
//! A flag that the subcommand has under one of the flag's names is passed on. All others are looked
//! up in a table: they are ours by another name, or left out with a note, or refused by a line that
//! says what to use. Flags of several letters may have one dash (`-ngl 99`), and words may be
//! joined by underscores.

mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::Command;

use crate::cli::exit::user_error;
use table::{Does, Flag, Takes};

/// Arguments that clap understands.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub args: Vec<OsString>,
    /// Flags that were left out, each with the reason.
    ignored: Vec<String>,
}

impl Rewritten {
    /// Prints a note if flags were left out.
    pub(super) fn tell(&self) {
        if !self.ignored.is_empty() {
            tell_line!("note: left out {}", self.ignored.join("; "));
        }
    }
}

/// Replaces llama.cpp's flags among the arguments of `command` by flags of ours.
///
/// # Errors
/// If there is a flag of llama.cpp that has no counterpart here.
pub(super) fn rewrite(args: Vec<OsString>, command: &Command) -> anyhow::Result<Rewritten> {
    let mut command = command;
    let mut rewritten = Rewritten::default();
    let mut args = args.into_iter();
    rewritten.args.extend(args.next());
    let mut rest = args.peekable();
    while let Some(word) = rest.next_if(|word| command.find_subcommand(word).is_some()) {
        command = command.find_subcommand(&word).unwrap_or(command);
        rewritten.args.push(word);
    }
    let mut rewriter = Rewriter {
        command,
        rest: rest.collect::<Vec<_>>().into_iter(),
        done: rewritten,
    };
    while let Some(arg) = rewriter.rest.next() {
        if arg == "--" {
            rewriter.done.args.push(arg);
            break;
        }
        rewriter.arg(arg)?;
    }
    rewriter.done.args.extend(rewriter.rest);
    Ok(rewriter.done)
}

struct Rewriter<'c> {
    command: &'c Command,
    /// The arguments still to come.
    rest: std::vec::IntoIter<OsString>,
    done: Rewritten,
}

impl Rewriter<'_> {
    fn arg(&mut self, arg: OsString) -> anyhow::Result<()> {
        let Some((name, value)) = arg.to_str().and_then(split) else {
            self.done.args.push(arg);
            return Ok(());
        };
        if let Some(ours) = self.ours(&name) {
            self.push(&ours, value);
            return Ok(());
        }
        match Flag::named(&name) {
            Some(flag) => self.foreign(flag, &name, value),
            None => {
                self.done.args.push(arg);
                Ok(())
            }
        }
    }

    /// The name by which the subcommand knows a flag: with two dashes if it has several letters.
    fn ours(&self, name: &str) -> Option<String> {
        let is_long = |long: &str| {
            let mut args = self.command.get_arguments();
            args.any(|arg| {
                arg.get_long() == Some(long)
                    || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
            }) || ["help", "version"].contains(&long)
        };
        let is_short = |short: char| {
            let mut args = self.command.get_arguments();
            args.any(|arg| arg.get_short() == Some(short)) || ['h', 'V'].contains(&short)
        };
        let letters = name.trim_start_matches('-');
        let mut chars = letters.chars();
        match (chars.next(), chars.next(), name.starts_with("--")) {
            (Some(short), None, false) if is_short(short) => Some(name.to_owned()),
            (Some(_), Some(_), _) if is_long(letters) => Some(format!("--{letters}")),
            _ => None,
        }
    }

    /// Adds a flag of ours, and its value if it may look like a flag.
    fn push(&mut self, name: &str, value: Option<String>) {
        match (value, name.starts_with("--")) {
            (Some(value), true) => self.done.args.push(format!("{name}={value}").into()),
            (Some(value), false) => self.done.args.extend([name.into(), value.into()]),
            (None, _) => {
                self.done.args.push(name.into());
                let letters = name.trim_start_matches('-');
                let mut args = self.command.get_arguments();
                let takes_any = args.any(|arg| {
                    let is_it = arg.get_long() == Some(letters)
                        || arg
                            .get_short()
                            .is_some_and(|short| letters == short.to_string());
                    is_it && arg.is_allow_hyphen_values_set()
                });
                if takes_any {
                    self.done.args.extend(self.rest.next());
                }
            }
        }
    }

    /// A flag that the subcommand does not have under this name.
    fn foreign(
        &mut self,
        flag: &'static Flag,
        name: &str,
        value: Option<String>,
    ) -> anyhow::Result<()> {
        let subcommand = self.command.get_name().to_owned();
        let does = flag.does(&subcommand);
        let known = flag.names.iter().find_map(|name| self.ours(name));
        if let Some(ours) = known {
            self.push(&ours, value);
            return Ok(());
        }
        let refused = |why: &str| {
            Err(user_error(format!(
                "{name} of llama.cpp is no flag of logitspec {subcommand}: {why}"
            )))
        };
        match does {
            // clap says that there is no such flag here.
            Does::Ours => self.push(name, value),
            Does::Same(ours) => match self.ours(ours) {
                Some(ours) => {
                    let value = value.or_else(|| self.value_of(flag));
                    self.push(&ours, value);
                }
                None => return refused("there is no such option"),
            },
            Does::Choice(choices) => {
                let value = value.or_else(|| self.value_of(flag)).unwrap_or_default();
                match choices.iter().find(|(choice, _)| *choice == value) {
                    Some((_, Some(ours))) => self.push(ours, None),
                    Some((_, None)) => self.done.ignored.push(format!("{name} {value}")),
                    None => {
                        let all: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
                        return Err(user_error(format!(
                            "{name} {value:?} is none of {}",
                            all.join(", ")
                        )));
                    }
                }
            }
            Does::Nothing(why) => {
                if value.is_none() {
                    self.value_of(flag);
                }
                self.done.ignored.push(format!("{name} ({why})"));
            }
            Does::Refused(instead) => return refused(instead),
        }
        Ok(())
    }

    /// Takes the values that follow a flag.
    fn value_of(&mut self, flag: &Flag) -> Option<String> {
        let next = self.rest.as_slice().first()?.to_str()?.to_owned();
        let count = match &flag.takes {
            Takes::Exactly(count) => *count,
            Takes::Word(words) => usize::from(words.contains(&next.as_str())),
        };
        let taken = self.rest.by_ref().take(count).count();
        (taken > 0).then_some(next)
    }
}

/// The name of a flag, with dashes between its words, and the value behind `=`. `None` for other
/// words: values, negative numbers, a dash.
fn split(arg: &str) -> Option<(String, Option<String>)> {
    let letters = arg.trim_start_matches('-');
    let is_flag = arg.starts_with('-') && letters.starts_with(|c: char| c.is_ascii_alphabetic());
    if !is_flag {
        return None;
    }
    let (name, value) = match arg.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (arg, None),
    };
    Some((name.replace('_', "-"), value))
}

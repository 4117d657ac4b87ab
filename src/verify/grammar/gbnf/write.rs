//! Writes the parser's format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::Part;

/// Writes the parser's format.
pub(super) struct Writer<'r> {
    rules: &'r BTreeMap<String, Part>,
    /// The rules that lead back to themselves, or to such rules.
    recursive: BTreeSet<&'r str>,
    terminals: BTreeMap<String, String>,
    lark: String,
}

impl<'r> Writer<'r> {
    pub(super) fn new(rules: &'r BTreeMap<String, Part>) -> Self {
        let used: BTreeMap<&str, BTreeSet<String>> = rules
            .iter()
            .map(|(name, part)| {
                let mut used = BTreeSet::new();
                part.rules(&mut used);
                (name.as_str(), used)
            })
            .collect();
        // Rules that are made of texts and of such rules, until there are no more.
        let mut plain: BTreeSet<&str> = BTreeSet::new();
        loop {
            let before = plain.len();
            for (name, used) in &used {
                if used.iter().all(|it| plain.contains(it.as_str())) {
                    plain.insert(name);
                }
            }
            if plain.len() == before {
                break;
            }
        }
        Self {
            rules,
            recursive: used.into_keys().filter(|it| !plain.contains(it)).collect(),
            terminals: BTreeMap::new(),
            lark: String::new(),
        }
    }

    pub(super) fn lark(mut self) -> Result<String, String> {
        let start = Part::Rule("root".to_owned());
        let start = self.node(&start)?;
        let _ = writeln!(self.lark, "start: {start}");
        let rules = self.rules;
        for (name, part) in rules {
            if self.recursive.contains(name.as_str()) {
                let node = self.node(part)?;
                let _ = writeln!(self.lark, "{}: {node}", rule_name(name));
            }
        }
        for (text, name) in &self.terminals {
            let _ = writeln!(self.lark, "{name}: /{text}/");
        }
        Ok(self.lark)
    }

    fn is_recursive(&self, part: &Part) -> bool {
        let mut used = BTreeSet::new();
        part.rules(&mut used);
        used.iter().any(|it| self.recursive.contains(it.as_str()))
    }

    /// The regular expression of a part that is not recursive.
    fn regex(&self, part: &Part) -> Result<String, String> {
        const MAX_REGEX: usize = 1 << 20;
        let regex = match part {
            Part::Regex(regex) => regex.clone(),
            Part::Rule(name) => format!("(?:{})", self.regex(&self.rules[name])?),
            Part::Sequence(parts) => {
                let parts: Result<Vec<String>, String> =
                    parts.iter().map(|it| self.regex(it)).collect();
                parts?.concat()
            }
            Part::Choice(parts) => {
                let parts: Result<Vec<String>, String> =
                    parts.iter().map(|it| self.regex(it)).collect();
                format!("(?:{})", parts?.join("|"))
            }
            Part::Repeat(part, min, max) => {
                let max = max.map_or(String::new(), |max| max.to_string());
                format!("(?:{}){{{min},{max}}}", self.regex(part)?)
            }
        };
        match regex.len() > MAX_REGEX {
            true => Err("it is too large: its rules repeat each other too often".to_owned()),
            false => Ok(regex),
        }
    }

    /// A part as the rules see it.
    fn node(&mut self, part: &Part) -> Result<String, String> {
        if !self.is_recursive(part) {
            return self.terminal(part);
        }
        Ok(match part {
            Part::Regex(_) => unreachable!("it uses no rule"),
            Part::Rule(name) => rule_name(name),
            Part::Sequence(parts) => {
                let mut nodes = Vec::new();
                let recursive: Vec<bool> = parts.iter().map(|it| self.is_recursive(it)).collect();
                let mut at = 0;
                for run in recursive.chunk_by(|a, b| !a && !b) {
                    let parts = &parts[at..at + run.len()];
                    at += run.len();
                    nodes.push(match parts {
                        [part] => self.node(part)?,
                        parts => self.terminal(&Part::Sequence(parts.to_vec()))?,
                    });
                }
                format!("({})", nodes.join(" "))
            }
            Part::Choice(parts) => {
                let nodes: Result<Vec<String>, String> =
                    parts.iter().map(|it| self.node(it)).collect();
                format!("({})", nodes?.join(" | "))
            }
            Part::Repeat(part, min, max) => {
                let node = self.node(part)?;
                match (*min, *max) {
                    (0, None) => format!("({node})*"),
                    (1, None) => format!("({node})+"),
                    (0, Some(1)) => format!("({node})?"),
                    (min, None) => format!("({node}){{{min},}}"),
                    (min, Some(max)) => format!("({node}){{{min},{max}}}"),
                }
            }
        })
    }

    /// The name of a regular expression.
    fn terminal(&mut self, part: &Part) -> Result<String, String> {
        let regex = self.regex(part)?;
        if regex.is_empty() {
            return Ok("\"\"".to_owned());
        }
        let number = self.terminals.len();
        let name = self.terminals.entry(regex);
        Ok(name.or_insert_with(|| format!("T{number}")).clone())
    }
}

/// A rule's name as the parser reads it.
fn rule_name(name: &str) -> String {
    let mut plain = String::from("r_");
    for letter in name.chars() {
        match letter {
            'a'..='z' | '0'..='9' => plain.push(letter),
            other => {
                let _ = write!(plain, "_{:x}_", u32::from(other));
            }
        }
    }
    plain
}

//! llama.cpp's grammar format (GBNF), translated for the parser.
//!
//! The parser reads text in two layers: regular expressions, which see bytes, and rules, which see
//! what the expressions matched. A rule that does not lead back to itself is one regular
//! expression, whatever it is made of; so is what stands between two rules that do.

mod read;
mod write;

use std::collections::BTreeSet;

use read::Reader;
use write::Writer;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A regular expression for one character, or a text.
    Regex(String),
    Rule(String),
    Sequence(Vec<Part>),
    Choice(Vec<Part>),
    /// At least and at most so many copies.
    Repeat(Box<Part>, u32, Option<u32>),
}

/// The grammar as the parser reads it.
pub(super) fn to_lark(text: &str) -> Result<String, String> {
    let rules = Reader::new(text).rules()?;
    if !rules.contains_key("root") {
        return Err("it has no rule root: begin with root ::= ...".to_owned());
    }
    for (name, part) in &rules {
        let mut used = BTreeSet::new();
        part.rules(&mut used);
        if let Some(missing) = used.iter().find(|it| !rules.contains_key(it.as_str())) {
            return Err(format!("rule {name} uses {missing}, which is not defined"));
        }
    }
    Writer::new(&rules).lark()
}

impl Part {
    /// Adds the names of the rules that it uses.
    fn rules(&self, found: &mut BTreeSet<String>) {
        match self {
            Self::Regex(_) => {}
            Self::Rule(name) => {
                found.insert(name.clone());
            }
            Self::Sequence(parts) | Self::Choice(parts) => {
                parts.iter().for_each(|part| part.rules(found));
            }
            Self::Repeat(part, ..) => part.rules(found),
        }
    }
}

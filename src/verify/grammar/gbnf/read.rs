//! Reads llama.cpp's format.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Part;

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 200;

/// Most copies of a repetition.
const MAX_REPEAT: u32 = 2000;

/// Reads the format.
pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    pub(super) fn rules(mut self) -> Result<BTreeMap<String, Part>, String> {
        let mut rules = BTreeMap::new();
        self.skip_space(true);
        while !self.rest().is_empty() {
            let name = self.name().ok_or_else(|| self.error("a rule's name"))?;
            self.skip_space(true);
            if !self.take("::=") {
                return Err(self.error("::="));
            }
            self.skip_space(true);
            let part = self.choice(false)?;
            if rules.insert(name.clone(), part).is_some() {
                return Err(format!("rule {name} is defined twice"));
            }
            self.skip_space(true);
        }
        Ok(rules)
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, expected: &str) -> String {
        let line = 1 + self.text[..self.at].matches('\n').count();
        let found: String = self.rest().chars().take(20).collect();
        format!("line {line}: {expected} is expected at {found:?}")
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Skips spaces and comments, and line ends if they end nothing.
    fn skip_space(&mut self, line_ends: bool) {
        loop {
            let rest = self.rest();
            match rest.chars().next() {
                Some('#') => self.at += rest.find('\n').unwrap_or(rest.len()),
                Some(' ' | '\t') => self.at += 1,
                Some('\n' | '\r') if line_ends => self.at += 1,
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Option<String> {
        let is_part = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
        let rest = self.rest();
        let length = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then(|| rest[..length].to_owned())
    }

    /// Alternatives; in parentheses, line ends are like spaces.
    fn choice(&mut self, nested: bool) -> Result<Part, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("parentheses are nested deeper than {MAX_DEPTH}"));
        }
        let mut options = vec![self.sequence(nested)?];
        while self.take("|") {
            self.skip_space(true);
            options.push(self.sequence(nested)?);
        }
        self.depth -= 1;
        Ok(match options.len() {
            1 => options.remove(0),
            _ => Part::Choice(options),
        })
    }

    fn sequence(&mut self, nested: bool) -> Result<Part, String> {
        let mut parts = Vec::new();
        loop {
            let part = match self.rest().chars().next() {
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.at += 1;
                    Part::Regex(r"[\s\S]".to_owned())
                }
                Some('(') => {
                    self.at += 1;
                    self.skip_space(true);
                    let inner = self.choice(true)?;
                    if !self.take(")") {
                        return Err(self.error(")"));
                    }
                    inner
                }
                Some('<' | '!') => {
                    return Err(self.error("text (tokens like <think> are not supported)"));
                }
                _ => match self.name() {
                    Some(name) => Part::Rule(name),
                    None => return Ok(Part::Sequence(parts)),
                },
            };
            self.skip_space(nested);
            let part = self.repeated(part, nested)?;
            parts.push(part);
        }
    }

    /// A part with the repetitions behind it.
    fn repeated(&mut self, part: Part, nested: bool) -> Result<Part, String> {
        let (min, max) = match self.rest().chars().next() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                let rest = self.rest();
                let end = rest.find('}').ok_or_else(|| self.error("a } behind"))?;
                let (min, max) = match rest[1..end].split_once(',') {
                    Some((min, "")) => (min, None),
                    Some((min, max)) => (min, Some(max)),
                    None => (&rest[1..end], Some(&rest[1..end])),
                };
                let number = |text: &str| text.trim().parse::<u32>().ok();
                let min = number(min).ok_or_else(|| self.error("{m}, {m,} or {m,n}"))?;
                let max = max.map(|it| number(it).ok_or_else(|| self.error("{m}, {m,} or {m,n}")));
                let max = max.transpose()?;
                if max.is_some_and(|max| max < min) || max.unwrap_or(min) > MAX_REPEAT {
                    return Err(self.error(&format!("at most {MAX_REPEAT} repetitions")));
                }
                self.at += end;
                (min, max)
            }
            _ => return Ok(part),
        };
        self.at += 1;
        self.skip_space(nested);
        self.repeated(Part::Repeat(Box::new(part), min, max), nested)
    }

    fn literal(&mut self) -> Result<Part, String> {
        self.at += 1;
        let mut regex = String::new();
        while !self.take("\"") {
            let letter = self.character()?;
            push_escaped(&mut regex, letter);
        }
        Ok(Part::Regex(regex))
    }

    /// A class of characters.
    fn class(&mut self) -> Result<Part, String> {
        self.at += 1;
        let mut regex = String::from(if self.take("^") { "[^" } else { "[" });
        let start = regex.len();
        while !self.take("]") {
            let first = self.character()?;
            push_escaped(&mut regex, first);
            if self.rest().starts_with('-') && !self.rest().starts_with("-]") {
                self.at += 1;
                regex.push('-');
                let last = self.character()?;
                if last < first {
                    return Err(self.error("a range in ascending order"));
                }
                push_escaped(&mut regex, last);
            }
        }
        if regex.len() == start {
            return Err(self.error("a character within []"));
        }
        regex.push(']');
        Ok(Part::Regex(regex))
    }

    /// A character, which may be an escape.
    fn character(&mut self) -> Result<char, String> {
        let end = "a closing \" or ]";
        match self.next().ok_or_else(|| self.error(end))? {
            '\\' => {}
            '\n' => {
                self.at -= 1;
                return Err(self.error(end));
            }
            plain => return Ok(plain),
        }
        match self.next().ok_or_else(|| self.error(end))? {
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'x' => self.hexadecimal(2),
            'u' => self.hexadecimal(4),
            'U' => self.hexadecimal(8),
            itself @ ('"' | '[' | ']' | '\\' | '-' | '^') => Ok(itself),
            _ => {
                self.at -= 1;
                Err(self
                    .error("an escape that is known (\\n \\r \\t \\x \\u \\U \\\" \\[ \\] \\\\)"))
            }
        }
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<char, String> {
        let code = self.rest().get(..digits);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        let letter = code.and_then(char::from_u32);
        let letter =
            letter.ok_or_else(|| self.error(&format!("a character in {digits} digits")))?;
        self.at += digits;
        Ok(letter)
    }
}

/// Adds a character to a regular expression, for itself.
fn push_escaped(regex: &mut String, letter: char) {
    if letter.is_alphanumeric() {
        regex.push(letter);
    } else {
        let _ = write!(regex, "\\x{{{:X}}}", u32::from(letter));
    }
}

//! Filters and tests of jinja2 that minijinja lacks, or has with other results.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::filters;

use super::json;
use super::methods::{is_space, lines, pad, strip};

pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("trim", trim);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("forceescape", |text: &Value| {
        Value::from_safe_string(escaped(&text.to_string()))
    });
    environment.add_filter("random", random);
    environment.add_filter("center", center);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("wordwrap", wordwrap);
    environment.add_filter("xmlattr", xmlattr);
    environment.add_filter("truncate", truncate);
    environment.add_filter("indent", indent);
    environment.add_filter("int", int);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("filesizeformat", filters::filesizeformat);
    environment.add_filter("striptags", filters::striptags);
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_test("iterable", |value: &Value| {
        is_sequence(value) || matches!(value.kind(), ValueKind::Iterable | ValueKind::Undefined)
    });
    environment.add_test("sequence", is_sequence);
}

fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String | ValueKind::Seq | ValueKind::Map
    )
}

fn trim(text: &Value, chars: Option<Value>) -> String {
    let text = text.to_string();
    strip(&text, chars.as_ref(), "strip").to_owned()
}

fn center(text: &Value, width: Option<i64>) -> String {
    pad(&text.to_string(), width.unwrap_or(80), " ", "center")
}

fn wordcount(text: &Value) -> usize {
    let text = text.to_string();
    let is_word = |char: char| char == '_' || char.is_alphanumeric();
    text.split(|char| !is_word(char))
        .filter(|word| !word.is_empty())
        .count()
}

/// At most `length` characters, and `leeway` more where that saves the cut.
fn truncate(
    text: &Value,
    length: Option<usize>,
    kill_words: Option<bool>,
    end: Option<String>,
    keywords: Kwargs,
) -> Result<String, Error> {
    let length = length.or(keywords.get("length")?).unwrap_or(255);
    let kill_words = kill_words.or(keywords.get("killwords")?).unwrap_or(false);
    let end = end.or(keywords.get("end")?).unwrap_or("...".into());
    let leeway: Option<usize> = keywords.get("leeway")?;
    keywords.assert_all_used()?;
    let text = text.to_string();
    if text.chars().count() <= length + leeway.unwrap_or(5) {
        return Ok(text);
    }
    let kept = length.saturating_sub(end.chars().count());
    let kept: String = text.chars().take(kept).collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !kill_words => words,
        _ => &kept,
    };
    Ok(kept.to_owned() + &end)
}

/// All lines but the first with an indent before them, blank ones left out.
fn indent(
    text: &Value,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    keywords: Kwargs,
) -> Result<String, Error> {
    let width = width.or(keywords.get("width")?);
    let first = first.or(keywords.get("first")?).unwrap_or(false);
    let blank = blank.or(keywords.get("blank")?).unwrap_or(false);
    keywords.assert_all_used()?;
    let indent = width.map_or("    ".into(), |width| json::indent_of(&width));
    let text = text.to_string() + "\n";
    let mut out = String::new();
    for (number, line) in lines(&text, false).into_iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let indented = match number {
            0 => first,
            _ => blank || !line.is_empty(),
        };
        if indented {
            out.push_str(&indent);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// A whole number, or `default` (0) for what is none.
fn int(
    state: &State,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    keywords: Kwargs,
) -> Result<Value, Error> {
    let default = match keywords.has("default") {
        true => default,
        false => default.or(Some(Value::from(0))),
    };
    minijinja::filters::int(state, value, default, base, keywords)
}

/// A text for a URL, or the pairs of a map for its query.
fn urlencode(value: &Value) -> Result<String, Error> {
    let quoted = |value: &Value, in_query: bool| -> String {
        let quote = |byte: &u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                char::from(*byte).to_string()
            }
            b'/' if !in_query => "/".into(),
            b' ' if in_query => "+".into(),
            other => format!("%{other:02X}"),
        };
        value.to_string().as_bytes().iter().map(quote).collect()
    };
    if value.kind() != ValueKind::Map {
        return Ok(quoted(value, false));
    }
    let pairs = value.try_iter()?.map(|key| {
        let of_key = value.get_item(&key)?;
        Ok(format!("{}={}", quoted(&key, true), quoted(&of_key, true)))
    });
    Ok(pairs.collect::<Result<Vec<_>, Error>>()?.join("&"))
}

/// Lines of at most `width` characters, broken between words.
fn wordwrap(
    text: &Value,
    width: Option<usize>,
    break_long_words: Option<bool>,
    line_end: Option<String>,
    keywords: Kwargs,
) -> Result<String, Error> {
    let width = width.or(keywords.get("width")?).unwrap_or(79).max(1);
    let cut = break_long_words
        .or(keywords.get("break_long_words")?)
        .unwrap_or(true);
    let line_end = line_end.or(keywords.get("wrapstring")?);
    let _: Option<bool> = keywords.get("break_on_hyphens")?;
    keywords.assert_all_used()?;
    let text = text.to_string();
    let lines: Vec<String> = text
        .lines()
        .flat_map(|line| wrap(line, width, cut))
        .collect();
    Ok(lines.join(line_end.as_deref().unwrap_or("\n")))
}

/// One line as lines of at most `width` characters.
fn wrap(line: &str, width: usize, cut: bool) -> Vec<String> {
    let mut lines = vec![String::new()];
    let length = |text: &str| text.chars().count();
    for word in line.split_inclusive(is_space) {
        let bare = strip(word, None, "rstrip");
        let full = lines.last().map_or(0, |line| length(line));
        if full > 0 && full + length(bare) > width {
            lines.push(String::new());
        }
        let mut rest = word;
        while cut && length(strip(rest, None, "rstrip")) > width {
            let at = rest
                .char_indices()
                .nth(width)
                .map_or(rest.len(), |(at, _)| at);
            let (piece, after) = rest.split_at(at);
            lines.insert(lines.len() - 1, piece.to_owned());
            rest = after;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(rest);
        }
    }
    for line in &mut lines {
        line.truncate(strip(line, None, "rstrip").len());
    }
    lines
}

/// Attributes of an XML element.
fn xmlattr(attributes: &Value, space: Option<bool>) -> Result<String, Error> {
    let mut out = String::new();
    for key in attributes.try_iter()? {
        let value = attributes.get_item(&key)?;
        if value.is_none() || value.is_undefined() {
            continue;
        }
        if !out.is_empty() || space.unwrap_or(true) {
            out.push(' ');
        }
        out += &format!("{key}=\"{}\"", escaped(&value.to_string()));
    }
    Ok(out)
}

fn escape(text: &Value) -> Value {
    match text.is_safe() {
        true => text.clone(),
        false => Value::from_safe_string(escaped(&text.to_string())),
    }
}

/// A text with HTML escapes, as Python's markupsafe writes them.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// Any item of a sequence.
fn random(items: &Value) -> Result<Value, Error> {
    let items: Vec<Value> = items.try_iter()?.collect();
    let any = fastrand::choice(&items).cloned();
    any.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "random of an empty sequence"))
}

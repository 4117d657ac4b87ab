//! Methods of Python's values that minijinja lacks, or has with other results.

use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Methods that change a list or a map. The sandbox of transformers refuses them.
const CHANGING: [&str; 12] = [
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
    "__setitem__",
];

/// Calls a method of a value.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let own = match value.kind() {
        ValueKind::String => of_text(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map | ValueKind::Seq if CHANGING.contains(&method) => {
            let message = format!("{method} would change a value, which templates must not do");
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
        ValueKind::Map | ValueKind::Seq if method == "copy" => {
            let () = from_args(args)?;
            Ok(value.clone())
        }
        ValueKind::Seq if method == "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let items = value.try_iter()?;
            position(items.into_iter().position(|item| item == *wanted))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    };
    match own {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {
            pycompat::unknown_method_callback(state, value, method, args)
        }
        done => done,
    }
}

/// A place that must exist.
fn position(place: Option<usize>) -> Result<Value, Error> {
    let missing = || Error::new(ErrorKind::InvalidOperation, "the value was not found");
    place.map(Value::from).ok_or_else(missing)
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<Value>,) = from_args(args)?;
            Value::from(strip(text, chars.as_ref(), method))
        }
        "split" | "rsplit" => split(text, args, method == "rsplit")?,
        "splitlines" => {
            let (keep, keywords): (Option<bool>, Kwargs) = from_args(args)?;
            let named: Option<bool> = keywords.get("keepends")?;
            keywords.assert_all_used()?;
            Value::from_iter(lines(text, keep.or(named).unwrap_or(false)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            partition(text, separator, method == "rpartition")?
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "startswith" | "endswith" => starts_or_ends(text, args, method == "endswith")?,
        "find" | "rfind" | "index" | "rindex" => find(text, args, method)?,
        "count" => {
            let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            let (_, part) = slice(text, start, end);
            let count = part.matches(what).count();
            Value::from(count)
        }
        _ => return of_characters(text, method, args),
    })
}

/// Methods that look at single characters, or add some.
fn of_characters(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match method {
        "center" | "ljust" | "rjust" => {
            let (width, fill): (i64, Option<&str>) = from_args(args)?;
            Value::from(pad(text, width, fill.unwrap_or(" "), method))
        }
        "zfill" => {
            let (width,): (i64,) = from_args(args)?;
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let (sign, digits) = text.split_at(text.len() - digits.len());
            let width = width - i64::from(!sign.is_empty());
            Value::from(sign.to_owned() + &pad(digits, width, "0", "rjust"))
        }
        "title" => Value::from(capitalize_words(text)),
        "capitalize" => Value::from(capitalize(text)),
        "swapcase" => Value::from(text.chars().map(swap_case).collect::<String>()),
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "expandtabs" => {
            let (size,): (Option<usize>,) = from_args(args)?;
            Value::from(expand_tabs(text, size.unwrap_or(8)))
        }
        "istitle" => {
            Value::from(text.chars().any(char::is_alphabetic) && capitalize_words(text) == text)
        }
        "isidentifier" => {
            let mut chars = text.chars();
            let begins = chars
                .next()
                .is_some_and(|it| it == '_' || it.is_alphabetic());
            Value::from(begins && chars.all(|it| it == '_' || it.is_alphanumeric()))
        }
        "isprintable" => Value::from(!text.chars().any(char::is_control)),
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|it| it.is_ascii_digit())),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// White space as Python's `str.isspace` knows it.
pub(super) fn is_space(char: char) -> bool {
    char.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&char)
}

/// `strip`, `lstrip` or `rstrip`.
pub(super) fn strip<'t>(text: &'t str, chars: Option<&Value>, method: &str) -> &'t str {
    let chars = chars.and_then(Value::as_str);
    let goes = |char: char| chars.map_or_else(|| is_space(char), |chars| chars.contains(char));
    match method {
        "lstrip" => text.trim_start_matches(goes),
        "rstrip" => text.trim_end_matches(goes),
        _ => text.trim_matches(goes),
    }
}

fn split(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (separator, most, keywords): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(keywords.get("sep")?);
    let separator = separator.as_ref().and_then(Value::as_str);
    let most = most.or(keywords.get("maxsplit")?);
    keywords.assert_all_used()?;
    let most = most.and_then(|most| usize::try_from(most).ok());
    let parts: Vec<&str> = match (separator, most) {
        (Some(""), _) => {
            let message = "the separator of split is empty";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        (Some(separator), None) => text.split(separator).collect(),
        (Some(separator), Some(most)) if from_end => {
            let mut parts: Vec<_> = text.rsplitn(most + 1, separator).collect();
            parts.reverse();
            parts
        }
        (Some(separator), Some(most)) => text.splitn(most + 1, separator).collect(),
        (None, most) => words(text, most.unwrap_or(usize::MAX), from_end),
    };
    Ok(Value::from_iter(parts))
}

/// The words of a text. After `most` splits, the rest is one part.
fn words(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = strip(text, None, if from_end { "rstrip" } else { "lstrip" });
    while !rest.is_empty() {
        let place = match from_end {
            _ if parts.len() == most => None,
            true => rest.rfind(is_space),
            false => rest.find(is_space),
        };
        let Some(place) = place else {
            parts.push(strip(rest, None, if from_end { "lstrip" } else { "" }));
            break;
        };
        if from_end {
            let space = rest[place..].chars().next().map_or(1, char::len_utf8);
            parts.push(&rest[place + space..]);
            rest = strip(&rest[..place], None, "rstrip");
        } else {
            parts.push(&rest[..place]);
            rest = strip(&rest[place..], None, "lstrip");
        }
    }
    if from_end {
        parts.reverse();
    }
    parts
}

/// The lines of a text, as Python's `splitlines` finds them.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    const ENDS: [char; 9] = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
    ];
    let is_end = |char: char| ENDS.contains(&char) || char == '\u{2029}';
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_end) {
        let end = match rest[at..].starts_with("\r\n") {
            true => 2,
            false => rest[at..].chars().next().map_or(1, char::len_utf8),
        };
        lines.push(&rest[..if keep_ends { at + end } else { at }]);
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn partition(text: &str, separator: &str, from_end: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        let message = "the separator of partition is empty";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let parts = match from_end {
        true => text.rsplit_once(separator),
        false => text.split_once(separator),
    };
    let parts = match parts {
        Some((before, after)) => [before, separator, after],
        None if from_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// The characters from `start` to `end` as Python counts them, and where they begin.
fn slice(text: &str, start: Option<i64>, end: Option<i64>) -> (usize, &str) {
    let length = text.chars().count();
    let place = |at: i64| {
        let from_end = length.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(length));
        if at < 0 {
            from_end
        } else {
            usize::try_from(at).unwrap_or(length).min(length)
        }
    };
    let start = start.map_or(0, place);
    let end = end.map_or(length, place).max(start);
    let byte = |place| {
        text.char_indices()
            .nth(place)
            .map_or(text.len(), |(at, _)| at)
    };
    (start, &text[byte(start)..byte(end)])
}

fn starts_or_ends(text: &str, args: &[Value], ends: bool) -> Result<Value, Error> {
    let (wanted, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let (_, part) = slice(text, start, end);
    let fits = |wanted: &str| match ends {
        true => part.ends_with(wanted),
        false => part.starts_with(wanted),
    };
    let refused = || {
        let message = "startswith and endswith take a text or a tuple of texts";
        Error::new(ErrorKind::InvalidOperation, message)
    };
    if let Some(wanted) = wanted.as_str() {
        return Ok(Value::from(fits(wanted)));
    }
    if wanted.kind() != ValueKind::Seq {
        return Err(refused());
    }
    for wanted in wanted.try_iter()? {
        if fits(wanted.as_str().ok_or_else(refused)?) {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

fn find(text: &str, args: &[Value], method: &str) -> Result<Value, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let (offset, part) = slice(text, start, end);
    let found = match method {
        "rfind" | "rindex" => part.rfind(what),
        _ => part.find(what),
    };
    let place = found.map(|at| offset + part[..at].chars().count());
    match place {
        None if method.ends_with("find") => Ok(Value::from(-1)),
        place => position(place),
    }
}

/// `center`, `ljust` or `rjust`.
pub(super) fn pad(text: &str, width: i64, fill: &str, method: &str) -> String {
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        _ => missing / 2 + (missing & width & 1),
    };
    fill.repeat(left) + text + &fill.repeat(missing - left)
}

fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    first + &chars.as_str().to_lowercase()
}

/// Each run of letters with a capital at its start.
fn capitalize_words(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for char in text.chars() {
        match inside {
            true => out.extend(char.to_lowercase()),
            false => out.extend(char.to_uppercase()),
        }
        inside = char.is_alphabetic();
    }
    out
}

fn swap_case(char: char) -> String {
    match char.is_uppercase() {
        true => char.to_lowercase().collect(),
        false => char.to_uppercase().collect(),
    }
}

fn expand_tabs(text: &str, size: usize) -> String {
    let mut column = 0;
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '\t' => {
                let spaces = if size == 0 { 0 } else { size - column % size };
                out.push_str(&" ".repeat(spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                out.push(char);
                column = 0;
            }
            _ => {
                out.push(char);
                column += 1;
            }
        }
    }
    out
}

//! `tojson` as transformers defines it: Python's `json.dumps` without HTML escapes.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind, Value};

/// How to write JSON: the keyword arguments of `json.dumps`.
struct Style {
    ensure_ascii: bool,
    /// The text of one level. `None` for a single line.
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sort_keys: bool,
}

/// The filter `tojson`.
pub(super) fn tojson(value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let arguments = arguments.into_values();
    let (ensure_ascii, indent, separators, sort_keys, keywords): (_, _, _, _, Kwargs) =
        from_args(&arguments)?;
    let argument = |name: &str, positional: Option<Value>| -> Result<Option<Value>, Error> {
        let named: Option<Value> = keywords.get(name)?;
        Ok(positional.or(named).filter(|value| !value.is_none()))
    };
    let ensure_ascii = argument("ensure_ascii", ensure_ascii)?;
    let indent = argument("indent", indent)?.map(|value| indent_of(&value));
    let separators = argument("separators", separators)?;
    let sort_keys = argument("sort_keys", sort_keys)?;
    keywords.assert_all_used()?;
    let (between_items, after_key) = match &separators {
        Some(pair) => (
            pair.get_item_by_index(0)?.to_string(),
            pair.get_item_by_index(1)?.to_string(),
        ),
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let style = Style {
        ensure_ascii: ensure_ascii.is_some_and(|value| value.is_true()),
        indent,
        between_items,
        after_key,
        sort_keys: sort_keys.is_some_and(|value| value.is_true()),
    };
    let mut out = String::new();
    write_value(&mut out, value, &style, 0)?;
    Ok(out)
}

/// A number of spaces, or a text.
pub(super) fn indent_of(value: &Value) -> String {
    match value.as_i64() {
        Some(spaces) => " ".repeat(usize::try_from(spaces).unwrap_or(0)),
        None => value.to_string(),
    }
}

fn write_value(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), style),
        ValueKind::Map => write_map(out, value, style, depth)?,
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
            write_items(out, ['[', ']'], &items, style, depth, |out, item| {
                write_value(out, item, style, depth + 1)
            })?;
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("{kind} cannot be written as JSON"),
            ));
        }
    }
    Ok(())
}

fn write_map(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    let keys = value.try_iter()?.checked();
    let mut entries = keys
        .map(|key| key.and_then(|key| Ok((key_text(&key), value.get_item(&key)?))))
        .collect::<Result<Vec<(String, Value)>, Error>>()?;
    if style.sort_keys {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    write_items(
        out,
        ['{', '}'],
        &entries,
        style,
        depth,
        |out, (key, value)| {
            write_string(out, key, style);
            out.push_str(&style.after_key);
            write_value(out, value, style, depth + 1)
        },
    )
}

/// Items between brackets, each on a line of its own if there is an indent.
fn write_items<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: &[T],
    style: &Style,
    depth: usize,
    mut write: impl FnMut(&mut String, &T) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    out.push(open);
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            out.push_str(&style.between_items);
        }
        new_line(out, depth + 1);
        write(out, item)?;
    }
    if !items.is_empty() {
        new_line(out, depth);
    }
    out.push(close);
    Ok(())
}

/// A key. Python writes keys that are no text as it writes them as values.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".into(),
        ValueKind::Bool if key.is_true() => "true".into(),
        ValueKind::Bool => "false".into(),
        ValueKind::Number => number(key),
        _ => key.to_string(),
    }
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if value.is_integer() || float.is_nan() => value.to_string(),
        Ok(float) if float.is_infinite() && float > 0.0 => "Infinity".into(),
        Ok(float) if float.is_infinite() => "-Infinity".into(),
        Ok(float) => float_text(float),
        Err(_) => value.to_string(),
    }
}

/// A finite number as Python writes it: 1e16 has an exponent, and 1e15 has none.
pub(super) fn float_text(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{float:?}"),
    }
}

fn write_string(out: &mut String, text: &str, style: &Style) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(char),
            _ if char >= ' ' && !style.ensure_ascii => out.push(char),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a string takes everything");
                }
            }
        }
    }
    out.push('"');
}

//! Functions of jinja2 and transformers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Zoned;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Object, Rest, Tuple, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::globals;

use super::expression::{REMAINDER, SUM};
use super::filters::escaped;

pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: &str| {
        strftime(format, &Zoned::now())
    });
    environment.add_function("cycler", |items: Rest<Value>| {
        Value::from_object(Cycler {
            items: items.to_vec(),
            at: AtomicUsize::new(0),
        })
    });
    environment.add_function("joiner", globals::joiner);
    environment.add_function(REMAINDER, remainder);
    environment.add_function(SUM, sum);
}

/// Gives its items one after the other, again and again.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Cycler {
    /// The current item, which the next call passes over if it asks for that.
    fn item(&self, pass_over: bool) -> Value {
        let step = usize::from(pass_over);
        let at = self.at.fetch_add(step, Ordering::Relaxed);
        let item = self.items.get(at % self.items.len().max(1));
        item.cloned().unwrap_or_default()
    }
}

impl Object for Cycler {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.item(false))
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let () = from_args(args)?;
        match method {
            "next" => Ok(self.item(true)),
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
}

/// The letters that Python and the C library know.
const DIRECTIVES: &str = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyY%";

/// A time in a format of Python's `strftime`, for a time without a zone.
///
/// Directives that Python does not know stay as they are.
fn strftime(format: &str, time: &Zoned) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let directive = &rest[at..];
        let flags = directive[1..]
            .find(|char: char| !"-_0^#".contains(char) && !char.is_ascii_digit())
            .map_or(directive.len(), |flags| 1 + flags);
        let letter = directive[flags..].chars().next();
        let end = flags + letter.map_or(0, char::len_utf8);
        let directive = &directive[..end];
        match letter {
            Some('f') => text.push_str(&format!("{:06}", time.subsec_nanosecond() / 1000)),
            Some('z' | 'Z') => {}
            Some(letter) if DIRECTIVES.contains(letter) => {
                text.push_str(&one_directive(directive, time));
            }
            _ => text.push_str(directive),
        }
        rest = &rest[at + end..];
    }
    text + rest
}

fn one_directive(directive: &str, time: &Zoned) -> String {
    let config = Config::new().custom(PosixCustom::new());
    let mut text = String::new();
    match BrokenDownTime::from(time).format_with_config(&config, directive, &mut text) {
        Ok(()) => text,
        Err(_) => directive.to_owned(),
    }
}

/// Python's `%`: formats a text, or the remainder of a division.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        let arguments = match right.downcast_object_ref::<Tuple>() {
            Some(tuple) => tuple.to_vec(),
            None => vec![right.clone()],
        };
        return format(FormatStyle::Printf, text, &arguments).map(Value::from);
    }
    let impossible = || impossible("%", left, right);
    if !is_number(left) || !is_number(right) {
        return Err(impossible());
    }
    // The remainder has the sign of the divisor.
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => {
            let rest = left.checked_rem(right).ok_or_else(impossible)?;
            let wrong_sign = rest != 0 && (rest < 0) != (right < 0);
            Ok(Value::from(if wrong_sign { rest + right } else { rest }))
        }
        _ => {
            let (left, right) = (f64::try_from(left.clone())?, f64::try_from(right.clone())?);
            if right == 0.0 {
                return Err(impossible());
            }
            let rest = left % right;
            let wrong_sign = rest != 0.0 && (rest < 0.0) != (right < 0.0);
            Ok(Value::from(if wrong_sign { rest + right } else { rest }))
        }
    }
}

/// Python's `+` where some text may be safe: it escapes the other text.
fn sum(left: &Value, right: &Value) -> Result<Value, Error> {
    let impossible = || impossible("+", left, right);
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        return Ok(match (left.is_safe(), right.is_safe()) {
            (true, false) => Value::from_safe_string(a.to_owned() + &escaped(b)),
            (false, true) => Value::from_safe_string(escaped(a) + b),
            (true, true) => Value::from_safe_string(a.to_owned() + b),
            (false, false) => Value::from(a.to_owned() + b),
        });
    }
    if is_number(left) && is_number(right) {
        let sum = left.as_i64().zip(right.as_i64());
        return match sum.and_then(|(a, b)| a.checked_add(b)) {
            Some(sum) => Ok(Value::from(sum)),
            None => Ok(Value::from(
                f64::try_from(left.clone())? + f64::try_from(right.clone())?,
            )),
        };
    }
    if left.kind() != ValueKind::Seq || right.kind() != ValueKind::Seq {
        return Err(impossible());
    }
    let items: Vec<Value> = left.try_iter()?.chain(right.try_iter()?).collect();
    match (left.is_tuple(), right.is_tuple()) {
        (true, true) => Ok(Value::from(Tuple::from(items))),
        (false, false) => Ok(Value::from(items)),
        _ => Err(impossible()),
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
}

fn impossible(operator: &str, left: &Value, right: &Value) -> Error {
    let (left, right) = (left.kind(), right.kind());
    let message = format!("tried to use {operator} on {left} and {right}");
    Error::new(ErrorKind::InvalidOperation, message)
}

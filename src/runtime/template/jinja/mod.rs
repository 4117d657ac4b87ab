//! Jinja as transformers sets it up for chat templates.
//!
//! minijinja is the engine. This module adds what Python's jinja2 and transformers have and
//! minijinja lacks: [`source`] rewrites syntax, the other modules add filters, tests, functions and
//! methods.

mod expression;
mod filters;
mod functions;
mod json;
mod methods;
mod source;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, Output, State, Value, escape_formatter};

/// The name of the template in its environment.
pub(super) const NAME: &str = "chat";

/// Variables that are none where transformers has nothing to pass.
const NONE: [&str; 2] = ["tools", "documents"];

/// An environment with a chat template, under [`NAME`].
pub(super) fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("these settings never clash");
    environment.set_syntax(syntax);
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(write_value);
    environment.add_filter("tojson", json::tojson);
    filters::add_to(&mut environment);
    functions::add_to(&mut environment);
    for name in NONE {
        environment.add_global(name, Value::from(()));
    }
    environment.add_template_owned(NAME, source::rewrite(source))?;
    Ok(environment)
}

/// Writes a value as jinja2 does.
fn write_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if *state.auto_escape() == AutoEscape::Html && !value.is_safe() {
        let escaped = Value::from_safe_string(filters::escaped(&value.to_string()));
        return escape_formatter(out, state, &escaped);
    }
    match f64::try_from(value.clone()) {
        Ok(float) if value.is_number() && !value.is_integer() && float.is_finite() => {
            let text = Value::from_safe_string(json::float_text(float));
            escape_formatter(out, state, &text)
        }
        _ => escape_formatter(out, state, value),
    }
}

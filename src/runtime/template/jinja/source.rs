//! Rewrites the source of a template where jinja2 knows syntax that minijinja lacks.
//!
//! - Line ends are `\n`, as in jinja2.
//! - `{% generation %}` marks the answers for training. It becomes `{% with %}`, which prints its
//!   body and keeps assignments to itself, as the tag does in transformers.
//! - `a % b` becomes a call of [`REMAINDER`](expression::REMAINDER), because minijinja cannot
//!   format text with `%`.
//! - `a + b` becomes a call of [`SUM`](expression::SUM) in templates with safe text, because `+`
//!   escapes a text that it adds to a safe one.
//! - `{{ a, b }}` gets parentheses, and `+a` loses its sign.
//!
//! Raw blocks, comments and strings stay as they are, and so do line numbers.

use super::expression::{self, Kind, Operator, PERCENT, PLUS, Token};

/// The source for minijinja.
pub(super) fn rewrite(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let operators = match has_safe_text(&source) {
        true => &[PERCENT, PLUS][..],
        false => &[PERCENT],
    };
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = next_tag(rest) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("{#") {
            let end = rest.find("#}").map_or(rest.len(), |at| at + 2);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else if let Some((begin, end)) = raw_block(rest) {
            // jinja2 keeps a line end after the tag; minijinja does with a plus.
            let tag = &rest[..begin];
            match tag
                .strip_suffix("%}")
                .filter(|tag| !tag.ends_with(['-', '+']))
            {
                Some(tag) => out.extend([tag, "+%}"]),
                None => out.push_str(tag),
            }
            out.push_str(&rest[begin..end]);
            rest = &rest[end..];
        } else {
            let (tag, after) = tag(rest, operators);
            out.push_str(&tag);
            rest = after;
        }
    }
    out + rest
}

/// Whether a filter that makes text safe may be used.
fn has_safe_text(source: &str) -> bool {
    let mut after_bars = source.split('|').skip(1).map(str::trim_start);
    after_bars.any(|filter| filter.starts_with("safe") || filter.starts_with('e'))
}

/// Where the next `{{`, `{%` or `{#` begins.
fn next_tag(text: &str) -> Option<usize> {
    let mut pairs = text.as_bytes().windows(2);
    pairs.position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

/// The ends of the first tag and of the whole of a raw block, if `text` begins with one.
fn raw_block(text: &str) -> Option<(usize, usize)> {
    let begin = bare_tag(text, "raw")?;
    let mut at = begin;
    loop {
        at += text[at..].find("{%")?;
        match bare_tag(&text[at..], "endraw") {
            Some(length) => return Some((begin, at + length)),
            None => at += 2,
        }
    }
}

/// The length of the tag at the start of `text`, if it is `{% name %}`.
fn bare_tag(text: &str, name: &str) -> Option<usize> {
    let inner = text.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start();
    let inner = inner.strip_prefix(name)?.trim_start();
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let after = inner.strip_prefix("%}")?;
    Some(text.len() - after.len())
}

/// The rewritten tag at the start of `text`, and what follows it.
fn tag<'t>(text: &'t str, operators: &[Operator]) -> (String, &'t str) {
    let (open, inner) = text.split_at(2);
    let is_block = open == "{%";
    let close = if is_block { "%}" } else { "}}" };
    let (sign, inner) = match inner.strip_prefix(['-', '+']) {
        Some(after) => inner.split_at(inner.len() - after.len()),
        None => ("", inner),
    };
    let mut tokens = Vec::new();
    let mut depth = 0usize;
    let mut rest = inner;
    loop {
        let trimmed = rest.trim_start();
        let space = &rest[..rest.len() - trimmed.len()];
        let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
        if trimmed.is_empty() || (depth == 0 && unsigned.starts_with(close)) {
            let end = unsigned.strip_prefix(close).unwrap_or("");
            let closing = &trimmed[..trimmed.len() - end.len()];
            let inner = expression::rewrite(tokens, is_block, operators);
            return (format!("{open}{sign}{inner}{space}{closing}"), end);
        }
        let (kind, length) = token(trimmed);
        match kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        tokens.push(Token {
            kind,
            space: space.into(),
            text: trimmed[..length].into(),
        });
        rest = &trimmed[length..];
    }
}

/// The kind and length of the token at the start of `text`.
fn token(text: &str) -> (Kind, usize) {
    let first = text.chars().next().unwrap_or(' ');
    let is_word = |char: char| char == '_' || char.is_alphanumeric();
    let word = || text.find(|char| !is_word(char)).unwrap_or(text.len());
    match first {
        '"' | '\'' => (Kind::Value, string_length(text, first)),
        '(' | '[' | '{' => (Kind::Open, 1),
        ')' | ']' | '}' => (Kind::Close, 1),
        '0'..='9' => (Kind::Value, word()),
        _ if is_word(first) => (Kind::Name, word()),
        _ => {
            let double = ["**", "//", "==", "!=", "<=", ">="];
            let is_double = double.iter().any(|operator| text.starts_with(operator));
            (Kind::Operator, if is_double { 2 } else { first.len_utf8() })
        }
    }
}

fn string_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::super::expression::{REMAINDER, SUM};
    use super::rewrite;

    /// Rewrites with a short name for the function.
    fn rewritten(source: &str) -> String {
        rewrite(source)
            .replace(REMAINDER, "mod")
            .replace(SUM, "sum")
    }

    #[test]
    fn generation_becomes_with_and_keeps_its_white_space_control() {
        let source =
            "a {%- generation -%} b {%+endgeneration+%}\n{% generation\n%}{%endgeneration-%}";
        let expected = "a {%- with -%} b {%+endwith+%}\n{% with\n%}{%endwith-%}";
        assert_eq!(rewritten(source), expected);
    }

    #[test]
    fn raw_blocks_comments_strings_and_text_stay() {
        for source in [
            "{%- raw -%}{% generation %}{{ a % b }}{%- endraw -%}",
            "{% raw +%}{% generation %}{{ a % b }}{% endraw %}",
            "{# {% generation %} {{ a % b }} #}",
            "{{ '{% generation %}' }}{{ \"100 % \\\" %\" }}",
            "100 % generation %} {% if generation %}{% endif %}",
            "{% set generation = '%' %}",
            "{{ {'a': {'b': '}}'}} }}",
        ] {
            assert_eq!(rewritten(source), source);
        }
    }

    #[test]
    fn operands_of_a_remainder_are_those_of_jinja() {
        for (source, expected) in [
            ("'%s' % x", "mod('%s', x)"),
            ("a + b % c + d", "a + mod(b, c) + d"),
            ("a * b % c * d", "mod(a * b, c) * d"),
            ("a % b % c", "mod(mod(a, b), c)"),
            ("-a % -b - c", "mod(-a, -b) - c"),
            ("a - -b % c ** -d", "a - mod(-b, c ** -d)"),
            ("'%s' % a|upper ~ b", "mod('%s', a|upper) ~ b"),
            (
                "f(a % 2, x[i % 3]) % 4",
                "mod(f(mod(a, 2), x[mod(i, 3)]), 4)",
            ),
            (
                "a % 2 == 0 and not b % 2",
                "mod(a, 2) == 0 and not mod(b, 2)",
            ),
            ("'%s %s' % (a, b)", "mod('%s %s', (a, b))"),
            ("x if a.b[0] % 2 else y", "x if mod(a.b[0], 2) else y"),
        ] {
            let (source, expected) = (
                format!("{{{{ {source} }}}}"),
                format!("{{{{ {expected} }}}}"),
            );
            assert_eq!(rewritten(&source), expected);
        }
        assert_eq!(rewritten("{%-if a%2-%}"), "{%-if mod(a,2)-%}");
        assert_eq!(
            rewritten("{% set a = -b % c %}"),
            "{% set a = mod(-b, c) %}"
        );
    }

    #[test]
    fn sums_are_rewritten_where_text_is_safe() {
        assert_eq!(rewritten("{{ a + b }}"), "{{ a + b }}");
        let source = "{{ 'x'|safe + a ~ b + -c * +d == e - f + g }}";
        let expected = "{{ sum(sum('x'|safe, a ~ b), -c * d) == sum(e - f, g) }}";
        assert_eq!(rewritten(source), expected);
    }

    #[test]
    fn tuples_and_signs_that_minijinja_lacks_are_written_otherwise() {
        assert_eq!(rewritten("{{ a, (b, c) }}"), "{{ ( a, (b, c)) }}");
        assert_eq!(rewritten("{{ f(a, b) }}"), "{{ f(a, b) }}");
        let source = "{% for a, b in c, d if a %}";
        assert_eq!(rewritten(source), "{% for a, b in ( c, d) if a %}");
        assert_eq!(rewritten("{{ +a + +b }}"), "{{ a + b }}");
    }

    #[test]
    fn a_line_end_after_raw_stays() {
        let source = "{% raw %}\n{{ a % b }}{% endraw %}";
        assert_eq!(rewritten(source), "{% raw +%}\n{{ a % b }}{% endraw %}");
    }

    #[test]
    fn line_ends_are_those_of_unix() {
        assert_eq!(rewritten("a\r\nb\rc\n{{ '\r\n' }}"), "a\nb\nc\n{{ '\n' }}");
    }

    #[test]
    fn what_is_no_template_stays() {
        for source in [
            "{{",
            "{%",
            "{#",
            "{% raw %}",
            "{{ 'a",
            "{{ % }}",
            "{% % %}",
            "{",
            "",
        ] {
            let _ = rewritten(source);
        }
    }
}

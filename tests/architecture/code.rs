//! Reads Rust source just well enough to find names in it.

/// The source with comments, strings and character literals blanked out. Line breaks stay, so
/// lines keep their numbers.
pub fn without_comments_and_strings(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut after_name = false;
    while let Some(first) = rest.chars().next() {
        let skipped = literal_or_comment(rest, after_name);
        let len = skipped.unwrap_or(first.len_utf8());
        let (taken, after) = rest.split_at(len);
        if skipped.is_some() {
            code.extend(taken.chars().filter(|&c| c == '\n'));
            code.push(' ');
        } else {
            code.push_str(taken);
        }
        after_name = first.is_alphanumeric() || first == '_';
        rest = after;
    }
    code
}

/// Length of the comment, string or character literal that `text` begins with. `after_name` says
/// that a letter stands before it, which then does not begin a prefix such as `r`.
fn literal_or_comment(text: &str, after_name: bool) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    if text.starts_with('"') {
        return Some(quoted(text, '"'));
    }
    if text.starts_with('\'') {
        return char_literal(text);
    }
    let raw = text.strip_prefix('r')?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let body = raw[hashes..].strip_prefix('"')?;
    if after_name {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body_len = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(2 + hashes + body_len)
}

/// Length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of a literal between two quotes, with escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Length of a character literal; `None` for a lifetime.
fn char_literal(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    let (at, second) = chars.next()?;
    if first == '\\' {
        return Some(quoted(text, '\''));
    }
    (second == '\'').then_some(at + 1)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every place where `word` stands as a whole word: offsets into `code`.
fn word_starts<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let joined_before = code[..at].ends_with(is_name);
            let joined_after = code[at + word.len()..].starts_with(is_name);
            !joined_before && !joined_after
        })
}

fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// The lines in which `word` stands as a whole word.
pub fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    word_starts(code, word)
        .map(|at| line_of(code, at))
        .collect()
}

/// The first name of every path that begins at the crate's root, with its line: `pool` for
/// `crate::pool::Retrieve`, `pool` and `tree` for `crate::{pool, tree::ROOT}`.
pub fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for at in word_starts(code, "crate") {
        let Some(rest) = code[at + "crate".len()..].strip_prefix("::") else {
            continue;
        };
        let start = code.len() - rest.len();
        for offset in first_names(rest) {
            let name: String = rest[offset..].chars().take_while(|&c| is_name(c)).collect();
            if !name.is_empty() {
                paths.push((line_of(code, start + offset), name));
            }
        }
    }
    paths
}

/// Where the names begin that follow `crate::`: one, or those at the first level of braces.
fn first_names(rest: &str) -> Vec<usize> {
    if !rest.starts_with('{') {
        return vec![0];
    }
    let mut names = Vec::new();
    let mut depth = 0;
    let mut expects_name = false;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => {
                depth += 1;
                expects_name = depth == 1;
            }
            '}' => depth -= 1,
            ',' => expects_name = depth == 1,
            c if expects_name && is_name(c) => {
                names.push(at);
                expects_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

#[test]
fn comments_and_literals_are_blanked_out() {
    let source = r##"a // b "c
/* d /* e */ f */ g "h // \" i" 'j' '\'' &'k l r#"m " n"# o"##;
    let words = without_comments_and_strings(source);
    let words: Vec<_> = words.split_whitespace().collect();
    assert_eq!(words, ["a", "g", "&'k", "l", "o"]);
}

#[test]
fn words_are_found_whole() {
    assert_eq!(lines_with_word("unsafe_code\nunsafe {}", "unsafe"), [2]);
}

#[test]
fn paths_are_read_through_braces() {
    let code = "use crate::{\n    a::{b, c},\n    d,\n};\ncrate::e::f(); pub(crate) g";
    let expected = [(2, "a".into()), (3, "d".into()), (5, "e".into())];
    assert_eq!(crate_paths(code), expected);
}

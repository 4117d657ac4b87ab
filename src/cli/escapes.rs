//! Escapes in values of flags, as llama.cpp reads them.

/// `text` with the escapes \n, \r, \t, \', \" and \\ replaced. Other backslashes stay.
pub(super) fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        let escaped = match (letter, rest.clone().next()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('t')) => '\t',
            ('\\', Some(quoted @ ('\'' | '"' | '\\'))) => quoted,
            _ => {
                plain.push(letter);
                continue;
            }
        };
        rest.next();
        plain.push(escaped);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn known_escapes_are_replaced_and_others_stay() {
        assert_eq!(unescaped(r"a\n\tb\\n\q\"), "a\n\tb\\n\\q\\");
    }
}

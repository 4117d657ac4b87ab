//! Rewrites the expression of a tag, token by token.

/// The function that `%` becomes.
pub(super) const REMAINDER: &str = "_logitspec_remainder";

/// The function that `+` becomes where some text is safe.
pub(super) const SUM: &str = "_logitspec_sum";

/// A binary operator that becomes a function.
pub(super) struct Operator {
    text: &'static str,
    function: &'static str,
    /// Operators that end its left operand, besides comparisons, commas and the like.
    ends_left: &'static [&'static str],
    /// Operators that end its right operand.
    ends_right: &'static [&'static str],
}

pub(super) const PERCENT: Operator = Operator {
    text: "%",
    function: REMAINDER,
    ends_left: &["~", "+", "-"],
    ends_right: &["~", "+", "-", "*", "/", "//", "%"],
};

pub(super) const PLUS: Operator = Operator {
    text: "+",
    function: SUM,
    ends_left: &[],
    ends_right: &["+", "-"],
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    /// A text, a number, or an expression that is rewritten already.
    Value,
    Open,
    Close,
    Operator,
}

/// A token of a tag, and the white space before it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub space: String,
    pub text: String,
}

/// The text of a tag's tokens.
pub(super) fn rewrite(mut tokens: Vec<Token>, is_block: bool, operators: &[Operator]) -> String {
    if let ([only], true) = (&mut tokens[..], is_block) {
        match only.text.as_str() {
            "generation" => only.text = "with".into(),
            "endgeneration" => only.text = "endwith".into(),
            _ => {}
        }
    }
    // A block begins with its own name.
    let first = usize::from(is_block);
    drop_plus_signs(&mut tokens, first);
    add_parentheses(&mut tokens, is_block);
    for operator in operators {
        while let Some(at) = position(&tokens, first, operator) {
            let from = start_of_left(&tokens[..at], first, operator);
            let to = at + 1 + length_of_right(&tokens[at + 1..], operator);
            let call = Token {
                kind: Kind::Value,
                space: tokens[from].space.clone(),
                text: format!(
                    "{}({},{})",
                    operator.function,
                    text_of(&tokens[from..at]).trim_start(),
                    text_of(&tokens[at + 1..to])
                ),
            };
            tokens.splice(from..to, [call]);
        }
    }
    text_of(&tokens)
}

/// Drops the sign of `+a`, which minijinja does not know.
fn drop_plus_signs(tokens: &mut Vec<Token>, first: usize) {
    let mut at = first;
    while at < tokens.len() {
        if tokens[at].text == "+" && is_sign(&tokens[at]) && is_prefix(&tokens[..at], first) {
            let sign = tokens.remove(at);
            if let Some(token) = tokens.get_mut(at) {
                token.space.insert_str(0, &sign.space);
            }
        } else {
            at += 1;
        }
    }
}

/// Puts the tuple of `{{ a, b }}` and of `{% for x in a, b %}` into parentheses.
fn add_parentheses(tokens: &mut Vec<Token>, is_block: bool) {
    let is_for = tokens.first().is_some_and(|token| token.text == "for");
    let from = match (is_block, is_for) {
        (false, _) => 0,
        (true, true) => match tokens.iter().position(|token| token.text == "in") {
            Some(at) => at + 1,
            None => return,
        },
        (true, false) => return,
    };
    let mut depth = 0usize;
    let mut has_comma = false;
    let mut to = tokens.len();
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match (token.kind, token.text.as_str()) {
            (Kind::Open, _) => depth += 1,
            (Kind::Close, _) => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            (Kind::Operator, ",") => has_comma = true,
            (Kind::Name, "if" | "recursive") if is_for => {
                to = at;
                break;
            }
            _ => {}
        }
    }
    if has_comma {
        let parenthesis = |kind, space: &str, text: &str| Token {
            kind,
            space: space.into(),
            text: text.into(),
        };
        tokens.insert(to, parenthesis(Kind::Close, "", ")"));
        tokens.insert(from, parenthesis(Kind::Open, " ", "("));
    }
}

fn text_of(tokens: &[Token]) -> String {
    let parts = tokens
        .iter()
        .flat_map(|token| [&*token.space, &*token.text]);
    parts.collect()
}

/// The index of the first use of an operator between two operands.
fn position(tokens: &[Token], first: usize, operator: &Operator) -> Option<usize> {
    (0..tokens.len()).find(|&at| is_binary(tokens, at, first, &[operator.text]))
}

/// Whether any operand ends here.
fn ends_operand(token: &Token) -> bool {
    const WORDS: [&str; 9] = [
        "and",
        "or",
        "not",
        "if",
        "else",
        "elif",
        "in",
        "is",
        "recursive",
    ];
    const OPERATORS: [&str; 9] = ["==", "!=", "<", "<=", ">", ">=", ",", ":", "="];
    match token.kind {
        Kind::Name => WORDS.contains(&token.text.as_str()),
        Kind::Operator => OPERATORS.contains(&token.text.as_str()),
        _ => false,
    }
}

fn is_sign(token: &Token) -> bool {
    token.kind == Kind::Operator && matches!(token.text.as_str(), "+" | "-")
}

/// Whether a sign after these tokens belongs to the operand that follows it.
fn is_prefix(before: &[Token], first: usize) -> bool {
    match before.last() {
        Some(last) if before.len() > first => {
            matches!(last.kind, Kind::Open | Kind::Operator) || ends_operand(last)
        }
        _ => true,
    }
}

/// Whether the token at `at` is one of these operators, and between two operands.
fn is_binary(tokens: &[Token], at: usize, first: usize, operators: &[&str]) -> bool {
    let token = &tokens[at];
    token.kind == Kind::Operator
        && operators.contains(&token.text.as_str())
        && !(is_sign(token) && is_prefix(&tokens[..at], first))
}

/// The index of the first token of the left operand, which ends with the last of `tokens`.
fn start_of_left(tokens: &[Token], first: usize, operator: &Operator) -> usize {
    let mut at = tokens.len();
    let mut depth = 0usize;
    while at > first {
        let token = &tokens[at - 1];
        match token.kind {
            Kind::Close => depth += 1,
            Kind::Open if depth == 0 => break,
            Kind::Open => depth -= 1,
            _ if depth > 0 => {}
            _ if ends_operand(token) => break,
            _ if is_binary(tokens, at - 1, first, operator.ends_left) => break,
            _ => {}
        }
        at -= 1;
    }
    at
}

/// The number of tokens of the right operand, which begins with the first of `tokens`.
fn length_of_right(tokens: &[Token], operator: &Operator) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 0 => return at,
            Kind::Close => depth -= 1,
            _ if depth > 0 => {}
            _ if ends_operand(token) => return at,
            _ if is_binary(tokens, at, 0, operator.ends_right) => return at,
            _ => {}
        }
    }
    tokens.len()
}

//! Synthetic texts, by scenario.

use logitspec::TokenId;

/// A usual size of a vocabulary.
pub const VOCABULARY: TokenId = 32_000;

/// A synthetic text with token frequencies of 1/rank. A quarter of its tokens repeat earlier
/// passages.
pub fn natural(len: usize, seed: u64) -> Vec<TokenId> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = Vec::with_capacity(len + 64);
    let ranks = f64::from(VOCABULARY - 1).ln();
    while text.len() < len {
        if text.len() > 64 && random.f32() < 0.01 {
            let from = random.usize(..text.len() - 64);
            let count = random.usize(4..64);
            text.extend_from_within(from..from + count);
        } else {
            // Uniform in the logarithm of the rank. Token 0 does not occur.
            text.push((random.f64() * ranks).exp() as TokenId);
        }
    }
    text.truncate(len);
    text
}

/// A text and the tails to look up in it.
pub struct Scenario {
    pub name: &'static str,
    pub text: Vec<TokenId>,
    /// Tails of 33 tokens. Each lookup takes the next one.
    pub tails: Vec<Vec<TokenId>>,
}

const TAIL: usize = 33;

/// Tails as a drafter looks them up: half occur in the text, half differ from some token on.
pub fn usual_tails(text: &[TokenId], count: usize) -> Vec<Vec<TokenId>> {
    let mut random = fastrand::Rng::with_seed(8);
    let mut somewhere = || random.usize(TAIL..text.len() - 1);
    let tails = (0..count).map(|n| {
        let end = somewhere();
        let mut tail = text[end - TAIL..end].to_vec();
        let own = [0, 1, 2, 3, 5, 9][n % 6];
        let other = somewhere();
        if n % 2 == 0 {
            tail[..TAIL - own].copy_from_slice(&text[other - TAIL..other - own]);
        }
        tail
    });
    tails.collect()
}

/// The scenarios at `len` tokens.
pub fn scenarios(len: usize) -> Vec<Scenario> {
    let text = natural(len, 7);
    let usual = usual_tails(&text, 512);
    let with_last = |last: &dyn Fn() -> TokenId| -> Vec<Vec<TokenId>> {
        (TAIL..TAIL + 64)
            .map(|end| [&text[end - TAIL + 1..end], &[last()]].concat())
            .collect()
    };
    let never = with_last(&|| VOCABULARY);
    let common = with_last(&|| 1);
    let rarest = {
        let mut counts = vec![0u32; VOCABULARY as usize];
        text.iter().for_each(|&token| counts[token as usize] += 1);
        let once = (0..VOCABULARY).filter(|&t| (1..=4).contains(&counts[t as usize]));
        once.take(64).collect::<Vec<_>>()
    };
    let rare = rarest
        .iter()
        .filter_map(|token| {
            let at = text[TAIL..].iter().position(|t| t == token)? + TAIL;
            Some(text[at + 1 - TAIL..=at].to_vec())
        })
        .collect();
    let period: Vec<_> = (0..len).map(|n| (n % 3) as TokenId).collect();
    vec![
        Scenario {
            name: "usual",
            text: text.clone(),
            tails: usual,
        },
        Scenario {
            name: "never",
            text: text.clone(),
            tails: never,
        },
        Scenario {
            name: "rare",
            text: text.clone(),
            tails: rare,
        },
        Scenario {
            name: "common",
            text: text.clone(),
            tails: common,
        },
        Scenario {
            name: "pathological",
            tails: (0..3).map(|n| period[n..n + TAIL].to_vec()).collect(),
            text: period,
        },
    ]
}

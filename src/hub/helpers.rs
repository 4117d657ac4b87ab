//! Which GGUF files of a repository belong beside a model, but are not one.
//!
//! Vision projectors, importance matrices, LoRA adapters and draft heads are recognized by the
//! words of their paths: `mmproj-F16.gguf`, `MTP/model-Q8_0.gguf`, `eagle3-head.gguf`. But such a
//! word may also be part of a model's name: all files of `Eagle-7B` have it. So a word counts only
//! if some file of the repository lacks it.

/// Words of helper files. Earlier ones are safer signs.
const WORDS: [&[&str]; 5] = [
    &["imatrix"],
    &["lora", "loras", "qlora", "adapter", "adapters"],
    &["mtp", "nextn"],
    &[
        "draft",
        "drafts",
        "drafter",
        "drafters",
        "dflash",
        "eagle2",
        "eagle3",
        "medusa",
        "speculator",
        "speculators",
    ],
    &["eagle"],
];

/// Whether `text` has a word of helper files.
pub(super) fn names_a_helper(text: &str) -> bool {
    is_projector(text) || WORDS.iter().any(|words| has_word(text, words))
}

/// The paths that name models, in order.
pub(super) fn without_helpers<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let never = |path: &str| is_projector(path) || is_imatrix(path);
    let mut models: Vec<&str> = paths.filter(|path| !never(path)).collect();
    for words in WORDS {
        keep_those_without(&mut models, |path| lies_in_folder(path, words));
        keep_those_without(&mut models, |path| has_word(path, words));
    }
    models
}

/// Drops the paths that `is_helper`, unless that is all of them.
fn keep_those_without(paths: &mut Vec<&str>, is_helper: impl Fn(&str) -> bool) {
    if !paths.iter().all(|path| is_helper(path)) {
        paths.retain(|path| !is_helper(path));
    }
}

/// No model is called so.
fn is_projector(path: &str) -> bool {
    path.to_lowercase().contains("mmproj")
}

/// Whether this is an importance matrix. A model made with one may have the word beside its
/// quantization: `model-imatrix-Q4_K_M.gguf`.
fn is_imatrix(path: &str) -> bool {
    let is_quant = |word: String| {
        let bits = word.strip_prefix("iq").or(word.strip_prefix('q'));
        bits.is_some_and(|bits| bits.starts_with(|c: char| c.is_ascii_digit()))
    };
    has_word(path, WORDS[0]) && !words_of(path).any(is_quant)
}

/// Whether a folder of the path is called exactly so.
fn lies_in_folder(path: &str, names: &[&str]) -> bool {
    let folders = path.rsplit('/').skip(1);
    folders.into_iter().any(|folder| {
        let folder = folder.to_lowercase();
        names.contains(&&*folder)
    })
}

fn has_word(path: &str, words: &[&str]) -> bool {
    words_of(path).any(|word| words.contains(&&*word))
}

/// The words of a path in lower case.
fn words_of(path: &str) -> impl Iterator<Item = String> {
    let words = path.split(|c: char| !c.is_alphanumeric());
    words.map(str::to_lowercase)
}

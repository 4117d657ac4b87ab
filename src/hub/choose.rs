//! Chooses the files of a model in a repository.

use std::collections::BTreeMap;

use crate::hub::helpers::{names_a_helper, without_helpers};
use crate::hub::listing::RepoFile;
use crate::hub::{HubError, ModelName};

/// The order of preference if the name has no quantization: a small and good one first, then by
/// quality.
pub const PREFERRED: [&str; 9] = [
    "Q4_K_M", "Q8_0", "Q5_K_M", "Q6_K", "Q4_K_S", "Q4_0", "F16", "BF16", "F32",
];

/// Most models that an error lists.
const MOST_LISTED: usize = 24;

/// The files of the model `name`: one, or all parts of a split model in order.
///
/// A quantization matches a whole word of the file's path, in upper or lower case: `Q4_K` does not
/// match `Q4_K_M`. Without one, the only model of the repository is taken, or else the first of
/// [`PREFERRED`]. Vision projectors, importance matrices, adapters and draft heads are GGUF files,
/// but no models: they are taken only if the name has their file name or such a word (`u/r:mtp`).
///
/// # Errors
/// [`HubError::NoGguf`], [`HubError::NoSuchQuant`], [`HubError::Unclear`],
/// [`HubError::MissingParts`].
pub fn choose(name: &ModelName, files: &[RepoFile]) -> Result<Vec<RepoFile>, HubError> {
    let models = models(name, files);
    let candidates = match name.quant() {
        Some(quant) => called(name, quant, &models)?,
        None if models.is_empty() => return Err(no_gguf(name)),
        None if models.len() == 1 => models.iter().collect(),
        None => {
            let found = PREFERRED.iter().map(|quant| matching(&models, quant));
            let found = found.into_iter().find(|found| !found.is_empty());
            found.unwrap_or_else(|| models.iter().collect())
        }
    };
    match &candidates[..] {
        [model] => model.complete(name),
        several => Err(HubError::Unclear {
            repo: name.repo().into(),
            have: several.iter().map(|model| model.files()).collect(),
        }),
    }
}

/// The models of a repository, or only those that match the quantization of `name`. The parts of a
/// split model are together and in order.
///
/// # Errors
/// With a quantization: [`HubError::NoSuchQuant`] or [`HubError::NoGguf`].
pub fn list(name: &ModelName, files: &[RepoFile]) -> Result<Vec<Vec<RepoFile>>, HubError> {
    let models = models(name, files);
    let listed = match name.quant() {
        Some(quant) => called(name, quant, &models)?,
        None => models.iter().collect(),
    };
    Ok(listed.into_iter().map(Model::files).collect())
}

/// The models that match `quant`, at least one.
fn called<'a>(
    name: &ModelName,
    quant: &str,
    models: &'a [Model],
) -> Result<Vec<&'a Model>, HubError> {
    if models.is_empty() {
        return Err(no_gguf(name));
    }
    let found = matching(models, quant);
    if found.is_empty() {
        return Err(HubError::NoSuchQuant {
            repo: name.repo().into(),
            quant: quant.into(),
            have: models.iter().map(Model::files).collect(),
        });
    }
    Ok(found)
}

fn no_gguf(name: &ModelName) -> HubError {
    HubError::NoGguf {
        repo: name.repo().into(),
    }
}

/// The models with this file name, or else with this word in their path.
fn matching<'a>(models: &'a [Model], quant: &str) -> Vec<&'a Model> {
    let named = |model: &&Model| model.is_called(quant);
    let exact: Vec<&Model> = models.iter().filter(named).collect();
    if !exact.is_empty() {
        return exact;
    }
    let has_word = |model: &&Model| has_word(&model.parts[0].1.name, quant);
    models.iter().filter(has_word).collect()
}

#[derive(Clone)]
struct Model {
    /// The parts with their numbers, in order. At least one.
    parts: Vec<(usize, RepoFile)>,
    /// Number of parts that the model should have.
    of: usize,
}

impl Model {
    fn files(&self) -> Vec<RepoFile> {
        self.parts.iter().map(|(_, file)| file.clone()).collect()
    }

    /// Whether `name` is the name of one of its files.
    fn is_called(&self, name: &str) -> bool {
        self.parts.iter().any(|(_, file)| is_called(file, name))
    }

    fn complete(&self, name: &ModelName) -> Result<Vec<RepoFile>, HubError> {
        let in_order = self.parts.iter().map(|(number, _)| *number);
        if in_order.eq(1..=self.of) {
            return Ok(self.files());
        }
        Err(HubError::MissingParts {
            repo: name.repo().into(),
            file: self.parts[0].1.name.clone(),
            have: self.parts.len(),
            of: self.of,
        })
    }
}

/// The models that `name` may mean: those that it names by file, or else all of the repository.
fn models(name: &ModelName, files: &[RepoFile]) -> Vec<Model> {
    let given = name.quant().unwrap_or_default();
    // llama.cpp does not load `imatrix.gguf_file`, but one may want to download it.
    let is_gguf = |file: &&RepoFile| {
        strip_extension(&file.name).is_some()
            || is_called(file, given) && file.name.to_lowercase().contains(".gguf")
    };
    let ggufs = || files.iter().filter(is_gguf);
    let all = grouped(ggufs());
    let paths = without_helpers(ggufs().map(|file| file.name.as_str()));
    let own = grouped(ggufs().filter(|file| paths.contains(&&*file.name)));
    // A whole path says more than the last part of one, and models come before helpers.
    let has_path = |file: &RepoFile| file.name == given;
    let has_name = |file: &RepoFile| last_part(&file.name) == given;
    let named = with_file(&all, has_path)
        .or_else(|| with_file(&own, has_name))
        .or_else(|| with_file(&all, has_name));
    match named {
        Some(named) => named,
        None if names_a_helper(given) => all,
        None => own,
    }
}

/// The models with such a file, if there are any.
fn with_file(models: &[Model], is_such: impl Fn(&RepoFile) -> bool) -> Option<Vec<Model>> {
    let has_one = |model: &&Model| model.parts.iter().any(|(_, file)| is_such(file));
    let found: Vec<Model> = models.iter().filter(has_one).cloned().collect();
    (!found.is_empty()).then_some(found)
}

/// Whether `name` is the file's path, or the last part of it.
fn is_called(file: &RepoFile, name: &str) -> bool {
    file.name == name || last_part(&file.name) == name
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Puts the parts of split models together.
fn grouped<'a>(files: impl Iterator<Item = &'a RepoFile>) -> Vec<Model> {
    let mut models: BTreeMap<(&str, usize), Model> = BTreeMap::new();
    for file in files {
        let stem = strip_extension(&file.name).unwrap_or(&file.name);
        let (stem, number, of) = split_part(stem).unwrap_or((stem, 1, 1));
        let model = models.entry((stem, of)).or_insert_with(|| Model {
            parts: Vec::new(),
            of,
        });
        model.parts.push((number, file.clone()));
    }
    let mut models: Vec<Model> = models.into_values().collect();
    for model in &mut models {
        model.parts.sort_by_key(|(number, _)| *number);
    }
    models
}

fn strip_extension(name: &str) -> Option<&str> {
    let cut = name.len().checked_sub(".gguf".len())?;
    let extension = name.get(cut..)?;
    extension
        .eq_ignore_ascii_case(".gguf")
        .then(|| &name[..cut])
}

/// `model-00002-of-00003` as `model`, 2, 3.
fn split_part(stem: &str) -> Option<(&str, usize, usize)> {
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (rest, number) = rest.rsplit_once('-')?;
    let count = |digits: &str| {
        let all_digits = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        all_digits.then(|| digits.parse().ok()).flatten()
    };
    let (number, of) = (count(number)?, count(of)?);
    (of > 0).then_some((rest, number, of))
}

/// Whether a path contains `word` as a whole word, not as a part of another quantization.
fn has_word(path: &str, word: &str) -> bool {
    let path = path.to_lowercase();
    let word = word.to_lowercase();
    path.match_indices(&word).any(|(at, _)| {
        let before = path[..at].chars().next_back();
        let after = path[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric)
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Models with their sizes, on one line.
pub(super) fn text_of(models: &[Vec<RepoFile>]) -> String {
    let one = |parts: &Vec<RepoFile>| {
        let size: u64 = parts.iter().map(|part| part.size).sum();
        let more = match parts.len() {
            1 => String::new(),
            n => format!(" in {n} parts"),
        };
        let name = parts.first().map_or("", |part| &part.name);
        format!("{name} ({}{more})", size_text(size))
    };
    let mut texts: Vec<String> = models.iter().take(MOST_LISTED).map(one).collect();
    if models.len() > MOST_LISTED {
        texts.push(format!("and {} more", models.len() - MOST_LISTED));
    }
    texts.join(", ")
}

/// A size in MB or GB.
pub fn size_text(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 {
        format!("{:.1} GB", bytes / 1e9)
    } else {
        format!("{:.1} MB", bytes / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<RepoFile> {
        let file = |name: &&str| RepoFile {
            name: (*name).into(),
            size: 4_100_000_000,
            sha256: None,
            etag: String::new(),
        };
        names.iter().map(file).collect()
    }

    fn chosen(name: &str, names: &[&str]) -> Vec<String> {
        let name: ModelName = name.parse().unwrap();
        let files = choose(&name, &files(names)).unwrap();
        files.into_iter().map(|file| file.name).collect()
    }

    fn refused(name: &str, names: &[&str]) -> String {
        let name: ModelName = name.parse().unwrap();
        choose(&name, &files(names)).unwrap_err().to_string()
    }

    const VICUNA: [&str; 7] = [
        "README.md",
        "config.json",
        "vicuna-7b-v1.5.Q2_K.gguf",
        "vicuna-7b-v1.5.Q4_K_M.gguf",
        "vicuna-7b-v1.5.Q4_K_S.gguf",
        "vicuna-7b-v1.5.Q8_0.gguf",
        "mmproj-vicuna-f16.gguf",
    ];

    #[test]
    fn a_quantization_is_a_whole_word_in_any_case() {
        assert_eq!(chosen("u/r:Q8_0", &VICUNA), [VICUNA[5]]);
        assert_eq!(chosen("u/r:q4_k_m", &VICUNA), [VICUNA[3]]);
        let error = refused("u/r:Q4_K", &VICUNA);
        assert!(error.contains("nothing called Q4_K"), "{error}");
        assert!(error.contains("Q4_K_S.gguf (4.1 GB)"), "{error}");
        assert_eq!(
            chosen("u/r:Q4_0", &["m_q4_0.gguf", "iq4_0.gguf"]),
            ["m_q4_0.gguf"]
        );
        assert_eq!(
            chosen("u/r:Q4_K_M", &["Q4_K_M/m.gguf", "Q8_0/m.gguf"]),
            ["Q4_K_M/m.gguf"]
        );
    }

    #[test]
    fn a_file_can_be_named() {
        assert_eq!(chosen(&format!("u/r:{}", VICUNA[2]), &VICUNA), [VICUNA[2]]);
        let both = ["m-Q4_K_M.gguf", "UD/m-Q4_K_M.gguf"];
        assert_eq!(chosen("u/r:UD/m-Q4_K_M.gguf", &both), [both[1]]);
    }

    #[test]
    fn without_a_quantization_there_is_an_order() {
        assert_eq!(chosen("u/r", &VICUNA), [VICUNA[3]]);
        assert_eq!(
            chosen("u/r", &["m.Q2_K.gguf", "m.Q8_0.gguf"]),
            ["m.Q8_0.gguf"]
        );
        assert_eq!(chosen("u/r", &["any.GGUF", "README.md"]), ["any.GGUF"]);
    }

    #[test]
    fn what_is_unclear_is_listed() {
        let error = refused("u/r", &["a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "c-Q2_K.gguf"]);
        assert!(
            error.contains("a-Q4_K_M.gguf (4.1 GB), b-Q4_K_M"),
            "{error}"
        );
        assert!(!error.contains("c-Q2_K"), "{error}");
        let error = refused("u/r", &["a.Q2_K.gguf", "b.Q3_K_M.gguf"]);
        assert!(error.contains("u/r:QUANT"), "{error}");
        let many: Vec<String> = (0..40).map(|n| format!("m{n}-IQ1_S.gguf")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(refused("u/r", &many).contains("and 16 more"));
    }

    #[test]
    fn sizes_are_said_as_people_say_them() {
        assert_eq!(size_text(4_100_000_000), "4.1 GB");
        let error = HubError::NoSpace {
            folder: "hub".into(),
            needed: 4_100_000_000,
            free: 12_000_000,
        };
        let said = error.to_string();
        assert!(said.contains("12.0 MB, but 4.1 GB are needed"), "{said}");
    }

    #[test]
    fn repositories_without_models_say_so() {
        let error = refused("u/r", &["model.safetensors", "mmproj.gguf", "imatrix.gguf"]);
        assert!(error.contains("no GGUF file"), "{error}");
        assert!(refused("u/r:Q8_0", &[]).contains("no GGUF file"));
        let listed = |name: &str| list(&name.parse().unwrap(), &files(&["mmproj.gguf"]));
        let error = listed("u/r:Q8_0").unwrap_err().to_string();
        assert!(error.contains("no GGUF file"), "{error}");
        assert!(listed("u/r").unwrap().is_empty());
    }

    /// A model of two quantizations among all the helpers that repositories hold beside models.
    #[test]
    fn helper_files_are_not_taken_for_models() {
        let files = [
            "m-Q4_K_M.gguf",
            "m-Q8_0.gguf",
            "m-Q4_K_M-mmproj.gguf",
            "mmproj/m-Q8_0.gguf",
            "mmproj-model-f16.gguf",
            "imatrix.gguf",
            "m.imatrix.gguf",
            "imatrix_unsloth.gguf_file",
            "MTP/m-Q4_K_M.gguf",
            "m-mtp-Q8_0.gguf",
            "m-NextN.Q8_0.gguf",
            "m-draft-Q4_K_M.gguf",
            "draft/q/m-Q8_0.gguf",
            "eagle3-m-Q8_0.gguf",
            "m_EAGLE-Q4_K_M.gguf",
            "lora/m-Q4_K_M.gguf",
            "adapter_model.gguf",
            "m-lora-r16-Q8_0.gguf",
            "ggml-adapter-model-Q4_K_M.gguf",
        ];
        assert_eq!(chosen("u/r", &files), ["m-Q4_K_M.gguf"]);
        assert_eq!(chosen("u/r:Q4_K_M", &files), ["m-Q4_K_M.gguf"]);
        assert_eq!(chosen("u/r:Q8_0", &files), ["m-Q8_0.gguf"]);
        let error = refused("u/r:F16", &files);
        assert!(error.contains("nothing called F16"), "{error}");
        assert!(!error.contains("mmproj"), "{error}");
        for file in &files {
            assert_eq!(chosen(&format!("u/r:{file}"), &files), [*file], "as named");
        }
        assert_eq!(chosen("u/r:eagle3", &files), ["eagle3-m-Q8_0.gguf"]);
        let folders = ["Q4_K_M/m.gguf", "MTP/m.gguf"];
        assert_eq!(chosen("u/r:m.gguf", &folders), folders[..1]);
        assert_eq!(chosen("u/r:MTP/m.gguf", &folders), folders[1..]);
    }

    #[test]
    fn a_helpers_word_in_the_name_of_all_files_is_the_models_own() {
        let cases: [&[&str]; 9] = [
            &["Eagle-7B-Q4_K_M.gguf", "Eagle-7B-F16.gguf"],
            &["Eagle-7B-Q4_K_M.gguf", "mmproj-F16.gguf", "imatrix.gguf"],
            &["Eagle-Q4_K_M.gguf", "eagle/Eagle-Q4_K_M.gguf"],
            &["Eagle-Q4_K_M.gguf", "Eagle-Q4_K_M-mtp.gguf", "lora/E.gguf"],
            &["m-MTP-Q4_K_M.gguf", "MTP/m-MTP-Q4_K_M.gguf"],
            &["Explora-8B-Q4_K_M.gguf", "Explora-8B-lora.gguf"],
            &["mtpX-Q4_K_M.gguf", "mtpX-mtp.gguf"],
            &["m-imatrix-Q4_K_M.gguf", "m-imatrix-IQ2_M.gguf"],
            &["Draft-1B.gguf"],
        ];
        for files in cases {
            assert_eq!(chosen("u/r", files), files[..1]);
        }
        assert_eq!(chosen("u/r:F16", cases[0]), cases[0][1..]);
    }

    #[test]
    fn split_models_come_whole_and_in_order() {
        let parts = [
            "q8/m-Q8_0-00003-of-00003.gguf",
            "q8/m-Q8_0-00001-of-00003.gguf",
            "q8/m-Q8_0-00002-of-00003.gguf",
            "m-Q4_K_M.gguf",
        ];
        assert_eq!(chosen("u/r:Q8_0", &parts), [parts[1], parts[2], parts[0]]);
        assert_eq!(chosen("u/r:m-Q8_0-00001-of-00003.gguf", &parts).len(), 3);
        let error = refused("u/r:Q8_0", &parts[1..]);
        assert!(error.contains("only 2 of the 3 parts"), "{error}");
        let every: ModelName = "u/r".parse().unwrap();
        assert_eq!(list(&every, &files(&parts)).unwrap().len(), 2);
    }
}

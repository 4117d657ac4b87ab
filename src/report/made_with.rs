//! What the figures were made with, for the page.

use jiff::Timestamp;

use crate::bench::Manifest;

use super::sections::Section;
use super::{MethodReport, Report};

/// Enough of a hash to tell files apart.
const SHORT: usize = 12;

/// A column for everyone who has a manifest; without rows where nobody has.
pub(super) fn section(report: &Report) -> Section {
    let known: Vec<(&MethodReport, &Manifest)> = report
        .everyone()
        .filter_map(|method| Some((method, method.manifest.as_ref()?)))
        .collect();
    let mut rows = Vec::new();
    if !known.is_empty() {
        let names = known.iter().map(|(method, _)| method.name.clone());
        rows.push([String::new()].into_iter().chain(names).collect());
        for (name, value) in SETTINGS {
            let values = known.iter().map(|(_, manifest)| value(manifest));
            rows.push([name.to_string()].into_iter().chain(values).collect());
        }
    }
    Section {
        title: "Made with".into(),
        note:
            "As the manifests beside the answer files say, for each method that of its first file."
                .into(),
        rows,
    }
}

/// What a manifest says of one thing.
type Value = fn(&Manifest) -> String;

const SETTINGS: [(&str, Value); 8] = [
    ("model file", |it| {
        // Its folder is nobody else's business.
        let name = it.model.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }),
    ("quantization", |it| it.model.quantization.clone()),
    ("model sha256", |it| {
        it.model.sha256.chars().take(SHORT).collect()
    }),
    ("devices", |it| it.devices.join(", ")),
    ("threads", |it| it.threads.to_string()),
    ("llama.cpp", |it| it.llama_cpp.clone()),
    ("logitspec", |it| it.commit.clone()),
    ("begun", |it| {
        let time = Timestamp::from_second(it.time as i64).unwrap_or_default();
        time.strftime("%Y-%m-%d %H:%M UTC").to_string()
    }),
];

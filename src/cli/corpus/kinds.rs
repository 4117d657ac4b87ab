//! Which files of a folder become documents, by kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How much of a file tells what it is.
pub(super) const START_BYTES: u64 = 8192;

/// A script or a style sheet without a line end in this many bytes is minified.
const LONGEST_LINE: usize = 2000;

/// Kinds and names that a message lists at most.
const LISTED: usize = 8;

/// A file that is not taken from a folder, only if it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unwanted {
    Binary,
    Log,
    Minified,
}

impl Unwanted {
    /// Whether a file is unwanted, by its name and its first bytes.
    pub(super) fn of(path: &Path, start: &[u8]) -> Option<Self> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let ending = ending_of(path);
        let is_binary = match std::str::from_utf8(start) {
            Ok(text) => text.contains('\0'),
            // A character may be cut at the end.
            Err(error) => error.error_len().is_some() || start[..error.valid_up_to()].contains(&0),
        };
        let has_long_line = start.iter().take(LONGEST_LINE).count() == LONGEST_LINE
            && !start[..LONGEST_LINE].contains(&b'\n');
        let is_code = ["js", "mjs", "cjs", "css"].contains(&ending.as_str());
        if is_binary {
            Some(Self::Binary)
        } else if ending == "log" || name.contains(".log.") {
            Some(Self::Log)
        } else if name.contains(".min.") || ending == "map" || is_code && has_long_line {
            Some(Self::Minified)
        } else {
            None
        }
    }

    fn name(self, count: usize) -> &'static str {
        match (self, count) {
            (Self::Binary, 1) => "file that is not text",
            (Self::Binary, _) => "files that are not text",
            (Self::Log, 1) => "log",
            (Self::Log, _) => "logs",
            (Self::Minified, 1) => "minified file",
            (Self::Minified, _) => "minified files",
        }
    }
}

fn ending_of(path: &Path) -> String {
    path.extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase()
}

/// The files of folders, by kind.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// Files and bytes by the endings of names.
    taken: BTreeMap<String, (usize, u64)>,
    unwanted: BTreeMap<Unwanted, Vec<PathBuf>>,
}

impl Kinds {
    pub(super) fn take(&mut self, path: &Path, size: u64) {
        let (files, bytes) = self.taken.entry(ending_of(path)).or_default();
        *files += 1;
        *bytes += size;
    }

    pub(super) fn leave(&mut self, path: PathBuf, kind: Unwanted) {
        self.unwanted.entry(kind).or_default().push(path);
    }

    /// Number of files that are left out.
    pub(super) fn left_out(&self) -> usize {
        self.unwanted.values().map(Vec::len).sum()
    }

    /// Two lines at most: what is taken, and what is left out.
    pub(super) fn lines(&self) -> Vec<String> {
        let taken = self.taken_line();
        taken.into_iter().chain(self.left_out_line()).collect()
    }

    fn taken_line(&self) -> Option<String> {
        let mut kinds: Vec<_> = self.taken.iter().collect();
        kinds.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
        let all: usize = self.taken.values().map(|(files, _)| files).sum();
        let kind = |(ending, (files, bytes)): &(&String, &(usize, u64))| {
            let size = indicatif::HumanBytes(*bytes);
            match ending.as_str() {
                "" => format!("{files} without an ending ({size})"),
                ending => format!("{files} .{ending} ({size})"),
            }
        };
        let files = if all == 1 { "file" } else { "files" };
        (all > 0).then(|| format!("taking {all} {files}: {}", listed(&kinds, kind)))
    }

    fn left_out_line(&self) -> Option<String> {
        let kinds = self.unwanted.iter().map(|(kind, paths)| {
            let name = |path: &PathBuf| path.display().to_string();
            let count = paths.len();
            format!("{count} {} ({})", kind.name(count), listed(paths, name))
        });
        let kinds: Vec<String> = kinds.collect();
        let left = || {
            format!(
                "note: left out {}; name a file to take it",
                kinds.join(", ")
            )
        };
        (!kinds.is_empty()).then(left)
    }
}

/// The first of these, and how many more there are.
fn listed<T>(all: &[T], shown: impl Fn(&T) -> String) -> String {
    let first: Vec<String> = all.iter().take(LISTED).map(shown).collect();
    match all.len().saturating_sub(LISTED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_name_and_content() {
        let of = |name: &str, start: &[u8]| Unwanted::of(Path::new(name), start);
        assert_eq!(of("a/x.rs", "fn é".as_bytes()), None);
        // Cut within a character.
        assert_eq!(of("x.rs", &"fn é".as_bytes()[..4]), None);
        assert_eq!(of("x.txt", b"a\0b"), Some(Unwanted::Binary));
        assert_eq!(of("x.txt", b"a\0b\xc3"), Some(Unwanted::Binary));
        assert_eq!(of("x.txt", b"\xff\xfe\xff"), Some(Unwanted::Binary));
        assert_eq!(of("x.log", b"started"), Some(Unwanted::Log));
        assert_eq!(of("X.LOG.1", b"started"), Some(Unwanted::Log));
        assert_eq!(of("login.rs", b"fn"), None);
        assert_eq!(of("jquery.min.js", b"x"), Some(Unwanted::Minified));
        assert_eq!(of("app.js", &[b'x'; 3000]), Some(Unwanted::Minified));
        assert_eq!(of("app.js", &[b'x'; 1000]), None);
        assert_eq!(of("text.md", &[b'x'; 3000]), None);
    }

    #[test]
    fn the_largest_kinds_come_first_and_long_lists_are_cut() {
        let mut kinds = Kinds::default();
        assert!(kinds.lines().is_empty());
        kinds.take(Path::new("a.md"), 10);
        kinds.take(Path::new("b.RS"), 2048);
        kinds.take(Path::new("c.rs"), 2048);
        kinds.take(Path::new("LICENSE"), 1);
        for number in 0..10 {
            kinds.leave(format!("{number}.log").into(), Unwanted::Log);
        }
        kinds.leave("x.png".into(), Unwanted::Binary);
        let [taken, left] = &kinds.lines()[..] else {
            panic!("two lines")
        };
        let expected = "taking 4 files: 2 .rs (4.00 KiB), 1 .md (10 B), 1 without an ending (1 B)";
        assert_eq!(taken, expected);
        assert!(left.starts_with("note: left out 1 file that is not text (x.png), 10 logs (0.log"));
        assert!(
            left.ends_with("7.log and 2 more); name a file to take it"),
            "{left}"
        );
        assert_eq!(kinds.left_out(), 11);
    }
}

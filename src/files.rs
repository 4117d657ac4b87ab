//! Small pieces of file handling that the formats share.

mod mapped;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub use mapped::MappedFile;

/// The folder that holds `path`; `.` where the path is a bare file name.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Whether there is something at `path` that is no file of the disk: a folder, a pipe, a device.
/// Reading one may never end, and what is written to it does not stay.
pub(crate) fn is_no_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| !it.is_file())
}

/// Whether both names lead to one place, if there is a file or not yet.
#[cfg(feature = "cli")]
pub(crate) fn is_same_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let folder = folder_of(path).canonicalize().ok()?;
        Some((folder, path.file_name()?.to_owned()))
    };
    is_same_file(a, b) || place(a).is_some_and(|a| place(b) == Some(a))
}

/// Whether both names lead to one file that is there.
#[cfg(any(feature = "cli", feature = "hub"))]
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().ok();
    place(a).is_some_and(|a| place(b) == Some(a))
}

/// The first `most` bytes of what writing to `path` would replace: nothing where there is no file,
/// or a pipe or a device.
pub(crate) fn start_of(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    if path.is_file() {
        File::open(path)?.take(most).read_to_end(&mut start)?;
    }
    Ok(start)
}

/// Writes `bytes` to `path` so that a reader, or a crash at any moment, sees the old file or the
/// new one and never a half of either: a temporary file beside it, flushed to the disk, then
/// renamed over it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomically_with(path, FOR_ALL, |file| file.write_all(bytes))
}

/// Unix permissions of a new file that everybody may read.
pub(crate) const FOR_ALL: u32 = 0o644;

/// Unix permissions of a new file that only its owner may read.
pub(crate) const FOR_OWNER: u32 = 0o600;

/// [`write_atomically`] for what is too large to have in memory at once: `write` fills the
/// temporary file. `mode` is for a new file; an old one's stays.
pub(crate) fn write_atomically_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    // What a link leads to is replaced, not the link.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let folder = folder_of(path);
    let mut temporary = temporary_in(&folder)?;
    write(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    share_permissions(path, mode, temporary.as_file())?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(&folder)
}

/// Whether [`write_atomically`] could begin: for asking before a long answer, not after it.
pub(crate) fn check_writable(path: &Path) -> io::Result<()> {
    temporary_in(&folder_of(path)).map(drop)
}

fn temporary_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".logitspec-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(without_its_name)
}

/// The system's word alone: nobody knows the temporary file that the error names.
fn without_its_name(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((cause, _)) => io::Error::new(error.kind(), cause),
        None => error,
    }
}

/// Temporary files are private to their owner; what replaces a shared file has to stay as readable
/// as it was.
#[cfg(unix)]
fn share_permissions(path: &Path, mode: u32, temporary: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = match std::fs::metadata(path) {
        Ok(existing) => existing.permissions(),
        Err(_) => std::fs::Permissions::from_mode(mode),
    };
    temporary.set_permissions(permissions)
}

#[cfg(not(unix))]
fn share_permissions(_path: &Path, _mode: u32, _temporary: &File) -> io::Result<()> {
    Ok(())
}

/// Makes a new or renamed entry of a folder last through a power cut.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The lines of a file with their numbers from 1, the line ends (`\n` or `\r\n`) left out.
///
/// The last line is marked as unfinished where no line end follows it. A UTF-8 byte order mark at
/// the start is skipped, as some editors put one there.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let mut offset = if bytes.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let mut number = 0;
    std::iter::from_fn(move || {
        let rest = &bytes[offset..];
        if rest.is_empty() {
            return None;
        }
        let (text, finished) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], true),
            None => (rest, false),
        };
        let start = offset;
        offset += text.len() + usize::from(finished);
        number += 1;
        let text = if finished {
            text.strip_suffix(b"\r").unwrap_or(text)
        } else {
            text
        };
        Some(Line {
            number,
            start,
            text,
            finished,
        })
    })
}

/// One line of a file.
pub(crate) struct Line<'a> {
    pub(crate) number: usize,
    /// Offset of its first byte in the file.
    pub(crate) start: usize,
    pub(crate) text: &'a [u8],
    /// Whether a line end follows.
    pub(crate) finished: bool,
}

impl Line<'_> {
    pub(crate) fn is_blank(&self) -> bool {
        self.text.iter().all(u8::is_ascii_whitespace)
    }
}

/// What `serde_json` says about one line, without its own "line 1" that would contradict ours, and
/// without the text of a long value that it may quote.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    const LONGEST: usize = 120;
    let text = error.to_string();
    let reason = text
        .rfind(" at line ")
        .map_or(text.as_str(), |end| &text[..end]);
    let short = match reason.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &reason[..end]),
        None => reason.to_string(),
    };
    match error.column() {
        0 => short,
        column => format!("{short} (column {column})"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_goes_on_leading_to_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn asking_whether_a_file_can_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("file")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = check_writable(&folder.path().join("missing/file")).unwrap_err();
        assert!(!error.to_string().contains("path"), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

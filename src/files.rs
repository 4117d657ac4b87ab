//! Reading and writing files: atomic writes, lines, mapped files.

mod mapped;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub use mapped::MappedFile;

/// The folder of `path`; `.` if the path is a bare file name.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Whether `path` exists and is not a regular file, but a folder, a pipe or a device. Reading a
/// pipe
/// or a device may never end.
pub(crate) fn is_not_regular_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| !it.is_file())
}

/// Whether both paths name the same file. The file need not exist.
#[cfg(feature = "cli")]
pub(crate) fn is_same_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let folder = folder_of(path).canonicalize().ok()?;
        Some((folder, path.file_name()?.to_owned()))
    };
    is_same_file(a, b) || place(a).is_some_and(|a| place(b) == Some(a))
}

/// Whether both paths name the same existing file.
#[cfg(any(feature = "cli", feature = "hub"))]
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().ok();
    place(a).is_some_and(|a| place(b) == Some(a))
}

/// The first `most` bytes of a file. Empty if `path` is not a regular file.
pub(crate) fn start_of(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    if path.is_file() {
        File::open(path)?.take(most).read_to_end(&mut start)?;
    }
    Ok(start)
}

/// Writes a file atomically: readers see the old file or the new one, even after a crash.
///
/// Writes a temporary file in the same folder, flushes it to the disk and renames it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomically_with(path, FOR_ALL, |file| file.write_all(bytes))
}

/// Unix permissions of a new file that everybody can read.
pub(crate) const FOR_ALL: u32 = 0o644;

/// Unix permissions of a new file that only its owner can read.
pub(crate) const FOR_OWNER: u32 = 0o600;

/// [`write_atomically`] for content that does not fit into memory: `write` fills the temporary
/// file.
/// A new file gets the permissions `mode`. An existing file keeps its own.
pub(crate) fn write_atomically_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    replace_atomically(path, mode, |temporary| write(temporary.as_file_mut()))
}

/// [`write_atomically_with`] for writers that open the temporary file themselves, by its path. It
/// is removed if `write` fails.
#[cfg(feature = "cli")]
pub(crate) fn write_atomically_at<E: From<io::Error>>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    replace_atomically(path, mode, |temporary| write(temporary.path()))
}

fn replace_atomically<E: From<io::Error>>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut tempfile::NamedTempFile) -> Result<(), E>,
) -> Result<(), E> {
    // Replace the target of a link, not the link.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let folder = folder_of(path);
    let mut temporary = temporary_in(&folder)?;
    write(&mut temporary)?;
    temporary.as_file().sync_all()?;
    copy_permissions(path, mode, temporary.as_file())?;
    temporary.persist(path).map_err(|error| error.error)?;
    Ok(sync_folder(&folder)?)
}

/// Checks that a file can be created in the folder of `path`. Call this before long work.
pub(crate) fn check_writable(path: &Path) -> io::Result<()> {
    temporary_in(&folder_of(path)).map(drop)
}

fn temporary_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".logitspec-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(without_temporary_name)
}

/// Removes the name of the temporary file, which means nothing to users, from an error.
fn without_temporary_name(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((cause, _)) => io::Error::new(error.kind(), cause),
        None => error,
    }
}

/// Gives the temporary file the permissions of the file it replaces. Temporary files are private.
#[cfg(unix)]
fn copy_permissions(path: &Path, mode: u32, temporary: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = match std::fs::metadata(path) {
        Ok(existing) => existing.permissions(),
        Err(_) => std::fs::Permissions::from_mode(mode),
    };
    temporary.set_permissions(permissions)
}

#[cfg(not(unix))]
fn copy_permissions(_path: &Path, _mode: u32, _temporary: &File) -> io::Result<()> {
    Ok(())
}

/// Flushes a new or renamed entry of a folder to the disk.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The lines of a file, without line ends (`\n` or `\r\n`), numbered from 1.
///
/// Skips a UTF-8 byte order mark at the start. Some editors write one.
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
    /// Offset of the first byte in the file.
    pub(crate) start: usize,
    pub(crate) text: &'a [u8],
    /// Whether the line has a line end.
    pub(crate) finished: bool,
}

impl Line<'_> {
    pub(crate) fn is_blank(&self) -> bool {
        self.text.iter().all(u8::is_ascii_whitespace)
    }
}

/// The message of `serde_json` for one line of a file. Leaves out its line number, which is always
/// 1,
/// and the end of long values that it quotes.
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
    fn writing_to_a_link_replaces_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn check_writable_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("file")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = check_writable(&folder.path().join("missing/file")).unwrap_err();
        assert!(!error.to_string().contains("path"), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

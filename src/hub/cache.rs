//! The cache folder that all Hugging Face tools share.
//!
//! `models--USER--REPO/` holds `blobs/` (files named by their checksum), `snapshots/COMMIT/` (links
//! to them with their names in the repository) and `refs/main` (the commit last seen). This is the
//! layout of the `hf-hub` crate and the `huggingface_hub` package, so each can use the files of the
//! others. As in `hf-hub`, a download in progress is `blobs/CHECKSUM.part`, locked by
//! `blobs/CHECKSUM.lock`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo};

use crate::files::is_same_file;
use crate::hub::HubError;
use crate::hub::listing::RepoFile;

/// One repository's part of the cache.
pub(super) struct Store {
    folder: PathBuf,
    repo: CacheRepo,
}

impl Store {
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        let repo = Repo::model(repo.into());
        Self {
            folder: cache.join(repo.folder_name()),
            repo: Cache::new(cache.into()).repo(repo),
        }
    }

    /// The path of a file's blob.
    pub(super) fn blob(&self, file: &RepoFile) -> PathBuf {
        self.repo.blob_path(&file.etag)
    }

    /// The path of an incomplete blob.
    pub(super) fn part(&self, file: &RepoFile) -> PathBuf {
        self.blob(file).with_extension("part")
    }

    /// Creates the folder for blobs.
    pub(super) fn make_folder(&self) -> Result<(), HubError> {
        let blobs = self.folder.join("blobs");
        fs::create_dir_all(&blobs).map_err(|error| HubError::Disk { path: blobs, error })
    }

    /// Locks a blob, if no other process has locked it. Dropping the file releases the lock.
    pub(super) fn try_lock(&self, file: &RepoFile) -> Result<Option<File>, HubError> {
        let path = self.blob(file).with_extension("lock");
        let lock = File::create(&path).map_err(|error| HubError::Disk { path, error })?;
        match <File as fs4::FileExt>::try_lock(&lock) {
            Err(fs4::TryLockError::WouldBlock) => Ok(None),
            // Some file systems have no locks. The download goes on without one.
            Ok(()) | Err(fs4::TryLockError::Error(_)) => Ok(Some(lock)),
        }
    }

    /// The path of a file of a commit, if a file of the right size is there.
    pub(super) fn find(&self, file: &RepoFile, commit: &str) -> Option<PathBuf> {
        // Without links, the file is in the snapshot folder.
        [self.blob(file), self.path(file, commit)]
            .into_iter()
            .find(|path| fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() == file.size))
    }

    /// Links a blob to its name in a commit. Returns the path of the link.
    pub(super) fn point(&self, file: &RepoFile, commit: &str) -> Result<PathBuf, HubError> {
        let blob = self.blob(file);
        let path = self.repo.pointer_path(commit).join(&file.name);
        if is_same_file(&path, &blob) || !blob.exists() && path.exists() {
            return Ok(path);
        }
        let link = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Up from snapshots/COMMIT/ and from the folders in the name.
            let up = "../".repeat(2 + file.name.matches('/').count());
            symlink(&Path::new(&up).join("blobs").join(&file.etag), &path)
                // Without links, the file moves to the snapshot folder, as in other tools.
                .or_else(|_| fs::rename(&blob, &path))
        };
        link().map_err(|error| HubError::Disk {
            path: path.clone(),
            error,
        })?;
        Ok(path)
    }

    /// Records the commit last seen.
    pub(super) fn set_commit(&self, commit: &str) -> Result<(), HubError> {
        if self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        self.repo
            .create_ref(commit)
            .map_err(|error| HubError::Disk {
                path: self.folder.join("refs").join("main"),
                error,
            })
    }

    /// The commit last seen.
    fn commit(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join("main")).ok()?;
        Some(text.trim().to_owned())
    }

    /// The cached files by commit, starting with the commit last seen.
    pub(super) fn listings(&self) -> Vec<(String, Vec<RepoFile>)> {
        let last = self.commit();
        let snapshots = fs::read_dir(self.folder.join("snapshots"));
        let entries = snapshots.into_iter().flatten().flatten();
        let mut commits: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        commits.sort_unstable_by_key(|commit| Some(commit) != last.as_ref());
        let files_of = |commit: String| {
            let mut files = Vec::new();
            list(&self.repo.pointer_path(&commit), "", &mut files);
            (commit, files)
        };
        commits.into_iter().map(files_of).collect()
    }

    /// The path of a file of a commit.
    pub(super) fn path(&self, file: &RepoFile, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit).join(&file.name)
    }
}

/// Adds the files below a folder. Skips what cannot be read.
fn list(folder: &Path, prefix: &str, files: &mut Vec<RepoFile>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{prefix}{name}");
        // This follows links, so a broken link is not a file.
        match fs::metadata(entry.path()) {
            Ok(it) if it.is_dir() => list(&entry.path(), &format!("{name}/"), files),
            Ok(it) => files.push(RepoFile {
                name,
                size: it.len(),
                sha256: None,
                etag: String::new(),
            }),
            Err(_) => {}
        }
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

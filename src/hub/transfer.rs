//! Downloads one file, and resumes when the connection breaks.
//!
//! Bytes are appended to the file `SHA256.part` as they arrive, so that a killed process loses
//! nothing, and are hashed on the way. `docs/decisions/` says why `hf-hub`'s own download is not
//! used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use crate::hub::http::{Failure, Failures, Http, notify};
use crate::hub::listing::RepoFile;
use crate::hub::{Event, HubError, Watch};

/// Bytes per read.
const CHUNK: usize = 256 << 10;

/// The source of a file.
pub(super) struct Source<'a> {
    pub(super) http: &'a Http,
    pub(super) repo: &'a str,
    pub(super) url: &'a str,
}

/// Downloads `file` into `path`, and continues a part that is already there. Afterwards, `path` has
/// the right size and SHA-256.
///
/// If a file with an earlier part has the wrong SHA-256, it is downloaded once more from the start.
///
/// # Errors
/// [`HubError::Checksum`], [`HubError::BrokenOff`], [`HubError::Disk`], errors of the server.
pub(super) fn transfer(
    source: &Source<'_>,
    file: &RepoFile,
    path: &Path,
    watch: &mut Watch<'_>,
) -> Result<(), HubError> {
    let mut part = Part::open(path, file.size, watch)?;
    let mut is_fresh = part.len == 0;
    loop {
        complete(source, file, &mut part, watch)?;
        let got = part.sha256();
        match &file.sha256 {
            Some(expected) if *expected != got => {
                if is_fresh {
                    part.discard();
                    return Err(HubError::Checksum {
                        file: file.name.clone(),
                        expected: expected.clone(),
                        got,
                    });
                }
                notify(watch, &Event::StartedOver)?;
                part.clear()?;
                is_fresh = true;
            }
            _ => return part.file.sync_all().map_err(|error| part.disk(error)),
        }
    }
}

/// Appends until the file is complete.
fn complete(
    source: &Source<'_>,
    file: &RepoFile,
    part: &mut Part,
    watch: &mut Watch<'_>,
) -> Result<(), HubError> {
    let settings = &source.http.settings;
    let mut failures = Failures::new(settings.retry);
    let mut started_over = false;
    while part.len < file.size {
        let before = part.len;
        let answer = source.http.get_from(source.url, before);
        let failure = match answer {
            Ok(response) => append(response, file.size, part, watch)?,
            Err(failure) => failure,
        };
        if part.len == file.size {
            break;
        }
        if part.len > before {
            failures.count = 0;
        }
        // The server's size differs from its own listing. Start over once.
        if matches!(failure, Failure::Status { status: 416, .. }) && !started_over {
            started_over = true;
            part.clear()?;
            continue;
        }
        if !failures.another_try(&failure, watch)? {
            let tries = failures.count;
            return Err(match failure {
                Failure::Status { .. } => failure.error(settings, source.repo, &file.name, tries),
                Failure::Unreachable(_) if part.len == 0 => {
                    failure.error(settings, source.repo, &file.name, tries)
                }
                _ => HubError::BrokenOff {
                    file: file.name.clone(),
                    done: part.len,
                    size: file.size,
                    tries,
                    cause: failure.cause(),
                },
            });
        }
    }
    Ok(())
}

/// Appends the bytes of an answer. Returns why it ended.
fn append(
    response: Response<Body>,
    size: u64,
    part: &mut Part,
    watch: &mut Watch<'_>,
) -> Result<Failure, HubError> {
    // A server may ignore the range, or send another one.
    let begins = match begin_of(&response) {
        Some(at) if at <= part.len => at,
        Some(at) => return Ok(Failure::Broken(format!("the server starts at byte {at}"))),
        None => return Ok(Failure::Broken("the server sends no usable range".into())),
    };
    let mut to_skip = part.len - begins;
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; CHUNK];
    loop {
        let wanted = (size - part.len + to_skip).min(CHUNK as u64) as usize;
        let count = match body.read(&mut buffer[..wanted]) {
            Ok(0) => return Ok(Failure::Broken("the connection was closed early".into())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Failure::Broken(error.to_string())),
        };
        let skipped = to_skip.min(count as u64);
        to_skip -= skipped;
        part.append(&buffer[skipped as usize..count])?;
        notify(watch, &Event::Received { done: part.len })?;
        if part.len == size {
            return Ok(Failure::Broken("complete".into()));
        }
    }
}

/// The byte of the file that an answer starts with.
fn begin_of(response: &Response<Body>) -> Option<u64> {
    if response.status().as_u16() != 206 {
        return Some(0);
    }
    let range = response.headers().get("Content-Range")?.to_str().ok()?;
    let (begin, _) = range.trim().strip_prefix("bytes ")?.split_once('-')?;
    begin.trim().parse().ok()
}

/// The SHA-256 of a file.
///
/// # Errors
/// [`HubError::Disk`]; [`HubError::Cancelled`].
pub(super) fn sha256_of(path: &Path, watch: &mut Watch<'_>) -> Result<String, HubError> {
    let disk = |error| HubError::Disk {
        path: path.into(),
        error,
    };
    let mut file = File::open(path).map_err(disk)?;
    let mut hash = Sha256::new();
    hash_rest(&mut file, &mut hash, path, watch)?;
    Ok(hex(&hash))
}

/// Hashes the rest of a file. Returns its number of bytes.
fn hash_rest(
    file: &mut File,
    hash: &mut Sha256,
    path: &Path,
    watch: &mut Watch<'_>,
) -> Result<u64, HubError> {
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    loop {
        let count = file.read(&mut buffer).map_err(|error| HubError::Disk {
            path: path.into(),
            error,
        })?;
        if count == 0 {
            return Ok(done);
        }
        hash.update(&buffer[..count]);
        done += count as u64;
        notify(watch, &Event::Checking { done })?;
    }
}

fn hex(hash: &Sha256) -> String {
    let bytes = hash.clone().finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The part that has arrived, on disk and hashed.
struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    hash: Sha256,
}

impl Part {
    fn open(path: &Path, size: u64, watch: &mut Watch<'_>) -> Result<Self, HubError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path);
        let file = file.map_err(|error| HubError::Disk {
            path: path.into(),
            error,
        })?;
        let mut part = Self {
            path: path.into(),
            file,
            len: 0,
            hash: Sha256::new(),
        };
        let there = part.file.metadata().map_err(|error| part.disk(error))?;
        if there.len() > size {
            part.clear()?;
        } else {
            part.len = hash_rest(&mut part.file, &mut part.hash, path, watch)?;
        }
        Ok(part)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| self.disk(error))?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), HubError> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(|error| self.disk(error))?;
        self.len = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    /// Deletes the part, so that no download continues from it.
    fn discard(&self) {
        // If this fails, the next download finds the wrong SHA-256 and starts over.
        let _ = fs::remove_file(&self.path);
    }

    fn sha256(&self) -> String {
        hex(&self.hash)
    }

    fn disk(&self, error: io::Error) -> HubError {
        HubError::Disk {
            path: self.path.clone(),
            error,
        }
    }
}

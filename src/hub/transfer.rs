//! One file, from the server to the disk, however often the connection breaks.
//!
//! What has arrived is appended to the file `SUM.part` at once, so that a killed process loses
//! nothing, and goes into the sum as it passes. `hf-hub`'s own download is not used: see
//! `docs/decisions.md`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use crate::hub::http::{Failures, Http, Trouble, tell};
use crate::hub::listing::RepoFile;
use crate::hub::{Event, HubError, Watch};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// Where a file comes from.
pub(super) struct Source<'a> {
    pub(super) http: &'a Http,
    pub(super) repo: &'a str,
    pub(super) url: &'a str,
}

/// Fetches `file` into `path`, going on from what is there. Afterwards `path` has the right size
/// and sum.
///
/// A wrong sum over something that was begun earlier starts the transfer over, once.
///
/// # Errors
/// [`HubError::Sum`], [`HubError::BrokenOff`], [`HubError::Disk`], refusals of the server.
pub(super) fn transfer(
    source: &Source<'_>,
    file: &RepoFile,
    path: &Path,
    watch: &mut Watch<'_>,
) -> Result<(), HubError> {
    let mut part = Part::open(path, file.size, watch)?;
    let mut all_from_here = part.len == 0;
    loop {
        complete(source, file, &mut part, watch)?;
        let got = part.sum();
        match &file.sha256 {
            Some(expected) if *expected != got => {
                if all_from_here {
                    part.discard();
                    return Err(HubError::Sum {
                        file: file.name.clone(),
                        expected: expected.clone(),
                        got,
                    });
                }
                tell(watch, &Event::StartedOver)?;
                part.clear()?;
                all_from_here = true;
            }
            _ => return part.file.sync_all().map_err(|error| part.disk(error)),
        }
    }
}

/// Appends until all is there.
fn complete(
    source: &Source<'_>,
    file: &RepoFile,
    part: &mut Part,
    watch: &mut Watch<'_>,
) -> Result<(), HubError> {
    let settings = &source.http.settings;
    let mut failures = Failures::new(settings.patience);
    let mut stubborn = false;
    while part.len < file.size {
        let before = part.len;
        let answer = source.http.get_from(source.url, before);
        let trouble = match answer {
            Ok(response) => append(response, file.size, part, watch)?,
            Err(trouble) => trouble,
        };
        if part.len == file.size {
            break;
        }
        if part.len > before {
            failures.count = 0;
        }
        // The server has another idea of the file's size than its own listing: once from the start,
        // then no more.
        if matches!(trouble, Trouble::Status { status: 416, .. }) && !stubborn {
            stubborn = true;
            part.clear()?;
            continue;
        }
        if !failures.another_try(&trouble, watch)? {
            let tries = failures.count;
            return Err(match trouble {
                Trouble::Status { .. } => trouble.error(settings, source.repo, &file.name, tries),
                Trouble::Unreachable(_) if part.len == 0 => {
                    trouble.error(settings, source.repo, &file.name, tries)
                }
                _ => HubError::BrokenOff {
                    file: file.name.clone(),
                    done: part.len,
                    size: file.size,
                    tries,
                    cause: trouble.cause(),
                },
            });
        }
    }
    Ok(())
}

/// Appends what an answer brings; returns why it ended, if it brought too little.
fn append(
    response: Response<Body>,
    size: u64,
    part: &mut Part,
    watch: &mut Watch<'_>,
) -> Result<Trouble, HubError> {
    // A server that ignores ranges, or gives another than was asked for, begins elsewhere.
    let begins = match begin_of(&response) {
        Some(at) if at <= part.len => at,
        Some(at) => return Ok(Trouble::Broken(format!("the server begins at byte {at}"))),
        None => return Ok(Trouble::Broken("the server gives no usable range".into())),
    };
    let mut to_skip = part.len - begins;
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; CHUNK];
    loop {
        let wanted = (size - part.len + to_skip).min(CHUNK as u64) as usize;
        let count = match body.read(&mut buffer[..wanted]) {
            Ok(0) => return Ok(Trouble::Broken("the connection was closed early".into())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Trouble::Broken(error.to_string())),
        };
        let skipped = to_skip.min(count as u64);
        to_skip -= skipped;
        part.append(&buffer[skipped as usize..count])?;
        tell(watch, &Event::Received { done: part.len })?;
        if part.len == size {
            return Ok(Trouble::Broken("complete".into()));
        }
    }
}

/// The byte of the file with which an answer begins.
fn begin_of(response: &Response<Body>) -> Option<u64> {
    if response.status().as_u16() != 206 {
        return Some(0);
    }
    let range = response.headers().get("Content-Range")?.to_str().ok()?;
    let (begin, _) = range.trim().strip_prefix("bytes ")?.split_once('-')?;
    begin.trim().parse().ok()
}

/// The sum of a file.
///
/// # Errors
/// [`HubError::Disk`]; [`HubError::Cancelled`].
pub(super) fn sum_of(path: &Path, watch: &mut Watch<'_>) -> Result<String, HubError> {
    let disk = |error| HubError::Disk {
        path: path.into(),
        error,
    };
    let mut file = File::open(path).map_err(disk)?;
    let mut hash = Sha256::new();
    add_to_sum(&mut file, &mut hash, path, watch)?;
    Ok(hex(&hash))
}

/// Adds the rest of a file to a sum; returns how many bytes that were.
fn add_to_sum(
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
        tell(watch, &Event::Checking { done })?;
    }
}

fn hex(hash: &Sha256) -> String {
    let bytes = hash.clone().finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What has arrived, on the disk and in the sum.
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
            part.len = add_to_sum(&mut part.file, &mut part.hash, path, watch)?;
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

    /// Nobody should go on from this.
    fn discard(&self) {
        // Then it is found wrong again, and cleared.
        let _ = fs::remove_file(&self.path);
    }

    fn sum(&self) -> String {
        hex(&self.hash)
    }

    fn disk(&self, error: io::Error) -> HubError {
        HubError::Disk {
            path: self.path.clone(),
            error,
        }
    }
}

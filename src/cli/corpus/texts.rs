//! Reads the texts of a corpus piece by piece.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::WalkBuilder;
use serde_json::Value;

use super::kinds::{Kinds, START_BYTES, Unwanted};
use crate::cli::exit::user_error;
use crate::files::start_of;

/// Longer texts are tokenized in pieces of about this many bytes, cut at a line end.
const PIECE_BYTES: usize = 1 << 18;

/// About this many bytes are read before they are tokenized.
const BATCH_BYTES: usize = 1 << 24;

/// A document, or a part of a long one.
#[derive(Debug)]
pub(super) struct Piece {
    pub text: String,
    /// The file it is from.
    pub path: Arc<Path>,
    pub starts_document: bool,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    is_jsonl: bool,
    /// Named by the user, not found in a folder: then any fault is an error.
    is_named: bool,
}

/// All texts of a corpus, in order.
#[derive(Debug)]
pub(super) struct Texts {
    /// The files still to read, in reverse.
    sources: Vec<Source>,
    current: Option<Reader>,
    field: String,
    size: u64,
    done: u64,
    left_out: Vec<(PathBuf, String)>,
    /// The files of folders.
    kinds: Kinds,
}

impl Texts {
    /// Finds all files, except `output`.
    pub(super) fn gather(paths: &[PathBuf], field: &str, output: &Path) -> anyhow::Result<Self> {
        let output = output.canonicalize().ok();
        let is_output = |path: &Path| output.is_some() && path.canonicalize().ok() == output;
        let mut texts = Self {
            sources: Vec::new(),
            current: None,
            field: field.into(),
            size: 0,
            done: 0,
            left_out: Vec::new(),
            kinds: Kinds::default(),
        };
        for path in paths {
            if !path.is_dir() {
                let size = path.metadata().map_err(|error| unreadable(path, &error))?;
                texts.take(path.clone(), true, size.len());
                continue;
            }
            for entry in WalkBuilder::new(path)
                .sort_by_file_path(Ord::cmp)
                .require_git(false)
                .build()
            {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        texts.left_out.push((path.clone(), error.to_string()));
                        continue;
                    }
                };
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                if metadata.is_file() && !is_output(entry.path()) {
                    texts.found(entry.into_path(), metadata.len());
                }
            }
        }
        texts.sources.reverse();
        Ok(texts)
    }

    /// A file in a folder.
    fn found(&mut self, path: PathBuf, size: u64) {
        // One that cannot be read is told later.
        let start = start_of(&path, START_BYTES).unwrap_or_default();
        match Unwanted::of(&path, &start) {
            Some(kind) => self.kinds.leave(path, kind),
            None => {
                self.kinds.take(&path, size);
                self.take(path, false, size);
            }
        }
    }

    /// The files of folders, by kind.
    pub(super) fn kinds(&mut self) -> Kinds {
        std::mem::take(&mut self.kinds)
    }

    fn take(&mut self, path: PathBuf, is_named: bool, size: u64) {
        let extension = path.extension().unwrap_or_default();
        let is_jsonl = ["jsonl", "ndjson"]
            .iter()
            .any(|name| extension.eq_ignore_ascii_case(name));
        self.size += size;
        self.sources.push(Source {
            path,
            is_jsonl,
            is_named,
        });
    }

    /// Bytes in all files.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes read so far.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Leaves out a text of this file.
    pub(super) fn leave_out(&mut self, path: &Path, reason: String) {
        self.left_out.push((path.into(), reason));
    }

    /// Files with texts that are left out, with the reason.
    pub(super) fn left_out(self) -> Vec<(PathBuf, String)> {
        self.left_out
    }

    /// Reads the next pieces into `batch`; `false` if there are none left.
    pub(super) fn next_batch(&mut self, batch: &mut Vec<Piece>) -> anyhow::Result<bool> {
        batch.clear();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let reader = match &mut self.current {
                Some(reader) => reader,
                None => match self.sources.pop() {
                    Some(source) => match Reader::open(source) {
                        Ok(reader) => self.current.insert(reader),
                        Err((source, error)) if source.is_named => {
                            return Err(unreadable(&source.path, &error));
                        }
                        Err((source, error)) => {
                            self.left_out.push((source.path, error.to_string()));
                            continue;
                        }
                    },
                    None => break,
                },
            };
            let (read, before) = (reader.read, batch.len());
            let more = reader.next(&self.field, batch)?;
            self.done += reader.read - read;
            bytes += batch[before..]
                .iter()
                .map(|piece| piece.text.len())
                .sum::<usize>();
            if !more {
                let reader = self.current.take();
                let wrong = reader.and_then(|it| Some((it.source.path, it.fault?)));
                self.left_out.extend(wrong);
            }
        }
        Ok(!batch.is_empty())
    }
}

fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    user_error(format!(
        "{}: cannot read the text: {error}; check its name and permissions",
        path.display()
    ))
}

/// A file being read.
#[derive(Debug)]
struct Reader {
    source: Source,
    path: Arc<Path>,
    file: BufReader<File>,
    /// Bytes read so far.
    read: u64,
    line: usize,
    /// The first bytes of a character whose rest is not read yet.
    incomplete: Vec<u8>,
    /// Why the rest of the file is left out.
    fault: Option<String>,
}

impl Reader {
    fn open(source: Source) -> Result<Self, (Source, io::Error)> {
        match File::open(&source.path) {
            Ok(file) => Ok(Self::new(source, file)),
            Err(error) => Err((source, error)),
        }
    }

    fn new(source: Source, file: File) -> Self {
        Self {
            path: Arc::from(source.path.as_path()),
            source,
            file: BufReader::new(file),
            read: 0,
            line: 0,
            incomplete: Vec::new(),
            fault: None,
        }
    }

    /// Reads on and adds pieces to `batch`; `false` at the end of the file.
    fn next(&mut self, field: &str, batch: &mut Vec<Piece>) -> anyhow::Result<bool> {
        if self.source.is_jsonl {
            self.next_line(field, batch)
        } else {
            self.next_piece(batch)
        }
    }

    fn next_piece(&mut self, batch: &mut Vec<Piece>) -> anyhow::Result<bool> {
        let starts_document = self.read == 0;
        let mut bytes = std::mem::take(&mut self.incomplete);
        let read = |file: &mut BufReader<File>, bytes: &mut Vec<u8>| {
            let limit = PIECE_BYTES as u64;
            let first = file.by_ref().take(limit).read_to_end(bytes)?;
            let rest = file.by_ref().take(limit).read_until(b'\n', bytes)?;
            io::Result::Ok((first + rest) as u64)
        };
        let count = read(&mut self.file, &mut bytes)
            .map_err(|error| unreadable(&self.source.path, &error))?;
        self.read += count;
        if bytes.is_empty() {
            return Ok(false);
        }
        let wrong = match std::str::from_utf8(&bytes) {
            Ok(text) => text.contains('\0'),
            // The piece ends within a character.
            Err(error) if error.error_len().is_none() && count > 0 => {
                self.incomplete = bytes.split_off(error.valid_up_to());
                false
            }
            Err(_) => true,
        };
        if wrong && self.source.is_named {
            return Err(user_error(format!(
                "{}: not UTF-8 text; convert it first, or leave it out",
                self.source.path.display()
            )));
        }
        if wrong && starts_document {
            self.fault = Some("it is not UTF-8 text".into());
            return Ok(false);
        }
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        batch.push(Piece {
            text,
            path: Arc::clone(&self.path),
            starts_document,
        });
        Ok(count > 0)
    }

    fn next_line(&mut self, field: &str, batch: &mut Vec<Piece>) -> anyhow::Result<bool> {
        let mut line = Vec::new();
        let count = self.file.read_until(b'\n', &mut line);
        let count = count.map_err(|error| unreadable(&self.source.path, &error))?;
        self.read += count as u64;
        self.line += 1;
        if count == 0 {
            return Ok(false);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(true);
        }
        let object: Value = match serde_json::from_slice(&line) {
            Ok(object) => object,
            Err(error) => {
                let fault = format!("is not JSON (column {})", error.column());
                return self.bad_line(&fault, "correct it or leave it out");
            }
        };
        let mut push = |text: &str| {
            batch.push(Piece {
                text: text.into(),
                path: Arc::clone(&self.path),
                starts_document: true,
            });
        };
        let strings = match object.get(field) {
            Some(Value::String(text)) => {
                push(text);
                return Ok(true);
            }
            Some(Value::Array(items)) => {
                items.iter().map(Value::as_str).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        let Some(strings) = strings else {
            let fault = format!("has no text in {field:?}");
            return self.bad_line(&fault, "name the key of the text with --field");
        };
        strings.into_iter().for_each(push);
        Ok(true)
    }

    /// Refuses a file that the user named. Leaves out the rest of a file found in a folder.
    fn bad_line(&mut self, fault: &str, hint: &str) -> anyhow::Result<bool> {
        if self.source.is_named {
            let path = self.source.path.display();
            return Err(user_error(format!(
                "{path}: line {} {fault}; {hint}",
                self.line
            )));
        }
        self.fault = Some(format!(
            "everything from line {} on, which {fault}; {hint}",
            self.line
        ));
        Ok(false)
    }
}

//! Memory-mapped files.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A read-only memory map of a file. The system reads pages when they are needed.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: The map is read-only and lives as long as this value. This crate never changes a
        // mapped file: it replaces token files by a rename, which leaves the mapped file as it is.
        // Another program may still write to the file. Then reads give other bytes, and after a
        // truncation they end the process. All reads are of plain bytes and check bounds, so no
        // content breaks a type.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

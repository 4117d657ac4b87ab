//! Files as memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A file that is read where it lies, page by page as it is needed.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// A file that cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: The map is read-only and lives as long as this value. Nobody who keeps to this
        // crate changes the bytes beneath it: token files are only ever replaced whole, by a rename
        // that leaves the mapped file as it was. Whoever writes into a mapped file by other means
        // can change what is read from it, and if they cut it short, reading it ends the process;
        // every read is of plain bytes, checked against bounds, so no state of them breaks a type.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

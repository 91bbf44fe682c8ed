//! An image on its way to the disk.
//!
//! Its blocks are reserved at once, so that a full disk is found before anything is read, and so
//! that they lie together; its length grows with what has landed. A file of the same content that
//! an interrupted fetch left behind is therefore gone on with: as many bytes as it has are there.
//!
//! # Caveats
//! After a loss of power a file system may show bytes that were never written. Whoever goes on with
//! a file reads all of it again, for the state of a hash cannot be kept, and finds that out; reading
//! from the disk takes a fraction of what the network takes.

use super::error::CacheError;
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};
use std::{
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// A file that is being written; removed when it is dropped, unless it was kept or left.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    landed_bytes: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Remove,
    Stay,
}

impl Part {
    /// Opens the file at `path`, or makes it, and reserves room for `size_bytes`.
    pub(super) fn open(path: PathBuf, size_bytes: u64) -> Result<Self, CacheError> {
        let opened =
            File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let unusable = |source| CacheError::Create { path: path.clone(), source };
        let file = opened.map_err(unusable)?;
        let mut landed_bytes = file.metadata().map_err(unusable)?.len();
        if landed_bytes > size_bytes {
            file.set_len(0).map_err(unusable)?;
            landed_bytes = 0;
        }
        let part = Self { file, path, landed_bytes, fate: Fate::Remove };
        part.reserve(size_bytes)?;
        Ok(part)
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes are there, from the image's start on.
    pub(super) fn landed_bytes(&self) -> u64 {
        self.landed_bytes
    }

    /// Reads what is there, from the image's start on.
    pub(super) fn landed(&mut self) -> io::Result<impl Read> {
        self.file.rewind()?;
        Ok((&self.file).take(self.landed_bytes))
    }

    /// Writes the bytes that follow.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.landed_bytes))?;
        self.file.write_all(bytes)?;
        self.landed_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Makes what was written durable, and gives the file its name.
    pub(super) fn keep(mut self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.fate = Fate::Stay;
        Ok(())
    }

    /// Leaves the file, so that a later fetch goes on with it.
    pub(super) fn leave(mut self) {
        self.fate = Fate::Stay;
    }

    fn reserve(&self, size_bytes: u64) -> Result<(), CacheError> {
        let length = size_bytes.try_into().unwrap_or(i64::MAX);
        match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
            // Nothing to reserve, or a file or a file system that cannot: writing will show.
            Ok(()) | Err(Errno::EINVAL | Errno::ENODEV | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                Ok(())
            }
            Err(errno) => Err(CacheError::Create { path: self.path.clone(), source: errno.into() }),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.fate == Fate::Stay {
            return;
        }
        if let Err(err) = fs::remove_file(&self.path) {
            let path = self.path.display().to_string();
            log::warn!(path = path.as_str(), error = err.to_string().as_str(); "unfinished image not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn room_is_reserved_and_the_length_says_what_has_landed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.part");
        let mut part = Part::open(path.clone(), 1 << 20).unwrap();
        part.append(b"abc").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 3);
        assert!(metadata.blocks() * 512 >= 1 << 20, "{} blocks", metadata.blocks());
    }

    #[test]
    fn what_was_left_is_gone_on_with_and_what_was_dropped_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.part");
        let mut part = Part::open(path.clone(), 6).unwrap();
        part.append(b"abc").unwrap();
        part.leave();
        let mut part = Part::open(path.clone(), 6).unwrap();
        let mut landed = Vec::new();
        part.landed().unwrap().read_to_end(&mut landed).unwrap();
        assert_eq!((part.landed_bytes(), landed.as_slice()), (3, &b"abc"[..]));
        part.append(b"def").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcdef");
        drop(part);
        assert_eq!(Part::open(path, 6).unwrap().landed_bytes(), 0);
    }

    #[test]
    fn a_file_that_is_longer_than_the_image_is_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.part");
        fs::write(&path, "longer").unwrap();
        assert_eq!(Part::open(path, 5).unwrap().landed_bytes(), 0);
    }
}

//! Unpacking the ramdisks of an image.
//!
//! The kernel unpacks all ramdisks of an image over one another; so does this. It takes regular
//! files, directories and symbolic links, and leaves out what a process on the parent cannot have
//! (device nodes) or must not have (links that lead out of the directory).

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use bailey_eif::{ReadError, SectionKind, SectionReader};
use cpio::newc;
use flate2::bufread::MultiGzDecoder;

/// The most that the ramdisks of one image may unpack to, in bytes.
const MAX_UNPACKED: u64 = 1 << 30;

/// The most entries that the ramdisks of one image may have.
const MAX_ENTRIES: u32 = 100_000;

/// The longest target of a symbolic link, in bytes (`PATH_MAX`).
const MAX_LINK: u32 = 4_096;

/// The first bytes of everything that gzip wrote (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// The bits of a mode that say what kind of file it is, and the kinds that are taken.
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Unpacks every ramdisk of the image into `target`, which exists and is empty.
pub fn extract(image: &Path, target: &Path) -> Result<(), ExtractError> {
    let open = |source| ExtractError::Io { path: image.to_owned(), source };
    let file = fs::File::open(image).map_err(open)?;
    let mut reader = SectionReader::open(file).map_err(ExtractError::Image)?;
    let ramdisks: Vec<_> = reader.of_kind(SectionKind::Ramdisk).collect();
    let mut unpacking = Unpacking { target, bytes_left: MAX_UNPACKED, entries_left: MAX_ENTRIES };
    for (index, ramdisk) in ramdisks.into_iter().enumerate() {
        let body = BufReader::new(reader.body(ramdisk).map_err(ExtractError::Image)?);
        unpacking.ramdisk(body).map_err(|err| match err {
            ExtractError::Archive { source, .. } => ExtractError::Archive { index, source },
            other => other,
        })?;
    }
    Ok(())
}

struct Unpacking<'a> {
    target: &'a Path,
    bytes_left: u64,
    entries_left: u32,
}

impl Unpacking<'_> {
    /// A ramdisk is compressed, or it is not.
    fn ramdisk(&mut self, mut body: impl BufRead) -> Result<(), ExtractError> {
        if body.fill_buf().map_err(archive)?.starts_with(&GZIP) {
            return self.archives(BufReader::new(MultiGzDecoder::new(body)));
        }
        self.archives(body)
    }

    /// A ramdisk may be several archives in a row, with zeros between them.
    fn archives(&mut self, mut stream: impl BufRead) -> Result<(), ExtractError> {
        while skip_zeros(&mut stream).map_err(archive)? {
            stream = self.archive(stream)?;
        }
        Ok(())
    }

    fn archive<R: BufRead>(&mut self, mut stream: R) -> Result<R, ExtractError> {
        loop {
            let mut entry = newc::Reader::new(stream).map_err(archive)?;
            if entry.entry().is_trailer() {
                return entry.finish().map_err(archive);
            }
            self.entries_left = self.entries_left.checked_sub(1).ok_or(ExtractError::TooLarge)?;
            let size = u64::from(entry.entry().file_size());
            self.bytes_left = self.bytes_left.checked_sub(size).ok_or(ExtractError::TooLarge)?;
            self.entry(&mut entry)?;
            stream = entry.finish().map_err(archive)?;
        }
    }

    fn entry(&self, entry: &mut newc::Reader<impl Read>) -> Result<(), ExtractError> {
        let (mode, size) = (entry.entry().mode(), entry.entry().file_size());
        let Some(inside) = path_inside(entry.entry().name()) else { return Ok(()) };
        let depth = inside.components().count().saturating_sub(1);
        let path = self.target.join(&inside);
        let failed = |source| ExtractError::Io { path: path.clone(), source };
        self.real_parents(&inside)?;
        match mode & KIND {
            DIRECTORY => self.directory(&inside),
            REGULAR => {
                remove_file(&path).map_err(failed)?;
                write_file(entry, &path, mode & 0o777).map_err(failed)
            }
            LINK if size <= MAX_LINK => {
                let mut link = String::new();
                entry.read_to_string(&mut link).map_err(archive)?;
                if leads_out(&link, depth) {
                    return Ok(());
                }
                remove_file(&path).map_err(failed)?;
                symlink(link, &path).map_err(failed)
            }
            _ => Ok(()),
        }
    }

    /// Makes the directories that `inside` lies in; none of them may be a link.
    fn real_parents(&self, inside: &Path) -> Result<(), ExtractError> {
        let mut parents: Vec<_> = inside.ancestors().skip(1).collect();
        parents.reverse();
        parents.into_iter().try_for_each(|parent| self.directory(parent))
    }

    fn directory(&self, inside: &Path) -> Result<(), ExtractError> {
        let path = self.target.join(inside);
        let made = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            Err(_) => fs::create_dir(&path),
        };
        made.map_err(|source| ExtractError::Io { path, source })
    }
}

/// Moves to the next byte that is not zero; `false` at the end.
fn skip_zeros(stream: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = stream.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let more = zeros < buffer.len();
        stream.consume(zeros);
        if more {
            return Ok(true);
        }
    }
}

/// The path of an entry below the root; `None` for the root itself and for paths that leave it.
fn path_inside(name: &str) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => inside.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!inside.as_os_str().is_empty()).then_some(inside)
}

/// Whether a link in a directory `depth` levels below the root may lead out of the root.
///
/// `..` is accepted at the start only: behind another link it would mean something else.
fn leads_out(link: &str, depth: usize) -> bool {
    let mut components = Path::new(link).components().peekable();
    let mut ups = 0_usize;
    while components.next_if_eq(&Component::ParentDir).is_some() {
        ups += 1;
    }
    ups > depth || !components.all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn write_file(content: &mut impl Read, path: &Path, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    io::copy(content, &mut file)?;
    file.set_permissions(Permissions::from_mode(mode))
}

fn archive(source: io::Error) -> ExtractError {
    ExtractError::Archive { index: 0, source }
}

/// Why the ramdisks of an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// A ramdisk is no archive of the form `newc`, compressed or not.
    #[error("ramdisk {index} is no cpio archive")]
    Archive {
        /// Which ramdisk, from 0.
        index: usize,
        /// The reader's reason.
        source: io::Error,
    },
    /// The image's sections could not be read.
    #[error("the image's ramdisks cannot be read")]
    Image(#[source] ReadError),
    /// A file could not be used.
    #[error("cannot unpack to `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The ramdisks have more in them than any image for tests needs.
    #[error("the ramdisks unpack to more than {MAX_UNPACKED} bytes or {MAX_ENTRIES} files")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
        let size = u32::try_from(content.len()).unwrap();
        let mut writer = newc::Builder::new(name).mode(mode).write(archive, size);
        writer.write_all(content).unwrap();
        writer.finish().unwrap();
    }

    fn unpack(archive: &[u8]) -> (tempfile::TempDir, Result<(), ExtractError>) {
        let dir = tempfile::tempdir().unwrap();
        let mut unpacking = Unpacking { target: dir.path(), bytes_left: 1_000, entries_left: 10 };
        let result = unpacking.ramdisk(archive);
        (dir, result)
    }

    fn finished(mut archive: Vec<u8>) -> Vec<u8> {
        newc::trailer(&mut archive).unwrap();
        archive
    }

    #[test]
    fn files_directories_and_links_are_unpacked_with_their_modes() {
        let mut archive = Vec::new();
        entry(&mut archive, "etc", DIRECTORY | 0o755, b"");
        entry(&mut archive, "etc/motd", REGULAR | 0o640, b"hello");
        entry(&mut archive, "keep", REGULAR | 0o755, b"#!");
        entry(&mut archive, "init", LINK | 0o777, b"keep");
        let (dir, result) = unpack(&finished(archive));
        result.unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("etc/motd")).unwrap(), "hello");
        let mode = |name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!((mode("keep") & 0o777, mode("etc/motd") & 0o777), (0o755, 0o640));
        assert_eq!(fs::read_link(dir.path().join("init")).unwrap(), Path::new("keep"));
    }

    #[test]
    fn nothing_is_written_outside_of_the_target() {
        let mut archive = Vec::new();
        entry(&mut archive, "../escaped", REGULAR | 0o644, b"x");
        entry(&mut archive, "a/../../escaped", REGULAR | 0o644, b"x");
        entry(&mut archive, "out", LINK | 0o777, b"/etc");
        entry(&mut archive, "up", LINK | 0o777, b"../..");
        entry(&mut archive, "console", 0o020_600, b"");
        let (dir, result) = unpack(&finished(archive));
        result.unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!dir.path().with_file_name("escaped").exists());
    }

    #[test]
    fn no_entry_goes_through_a_link() {
        let mut archive = Vec::new();
        entry(&mut archive, "real", DIRECTORY | 0o755, b"");
        entry(&mut archive, "link", LINK | 0o777, b"real");
        entry(&mut archive, "link/file", REGULAR | 0o644, b"x");
        let (_dir, result) = unpack(&finished(archive));
        assert!(matches!(result, Err(ExtractError::Io { .. })));
    }

    #[test]
    fn compressed_and_concatenated_archives_are_unpacked() {
        let mut first = Vec::new();
        entry(&mut first, "one", REGULAR | 0o644, b"1");
        let mut second = Vec::new();
        entry(&mut second, "two", REGULAR | 0o644, b"2");
        let both = [finished(first), vec![0; 100], finished(second)].concat();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&both).unwrap();
        let (dir, result) = unpack(&gzip.finish().unwrap());
        result.unwrap();
        assert!(dir.path().join("one").exists() && dir.path().join("two").exists());
    }

    #[test]
    fn an_archive_beyond_the_limits_is_given_up() {
        let mut archive = Vec::new();
        entry(&mut archive, "big", REGULAR | 0o644, &[0; 1_001]);
        let (_dir, result) = unpack(&finished(archive));
        assert!(matches!(result, Err(ExtractError::TooLarge)));
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let (_dir, result) = unpack(b"plain text");
        assert!(matches!(result, Err(ExtractError::Archive { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpack(&bytes);
        }
    }
}

//! The list of a ramdisk's files: cpio archives in the `newc` format, one after the other, packed with
//! gzip or not (the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`).

use flate2::bufread::MultiGzDecoder;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read},
};

/// One file of a ramdisk.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FileEntry {
    /// Its path, relative to the root.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// Its size, in bytes.
    pub size: u64,
    /// Where a link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A device, pipe or socket.
    Device,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// The length of an entry's header: a magic of 6 and 13 numbers of 8 hexadecimal digits.
const HEADER_LEN: u64 = 110;

/// The longest name: what Linux has as the longest path.
const MAX_NAME_LEN: u32 = 4096;

/// More files than any enclave has; a file that claims more is hostile.
const MAX_ENTRIES: usize = 1_000_000;

/// Lists an archive, and fills in the contents of the files that are `wanted`, each up to `limit` bytes.
pub(super) fn list(
    source: impl Read,
    limit: u64,
    wanted: &mut BTreeMap<&str, Option<Vec<u8>>>,
) -> Result<Vec<FileEntry>, ListError> {
    let mut source = BufReader::new(source);
    let is_gzip = source.fill_buf().map_err(ListError::Read)?.starts_with(&[0x1f, 0x8b]);
    let unpacked: Box<dyn Read + '_> =
        if is_gzip { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) };
    let mut archive = Archive { source: BufReader::new(unpacked), offset: 0 };
    let mut entries = Vec::new();
    // Archives may follow each other, with zero bytes between them.
    while archive.skip_zeros()? {
        while let Some((entry, body)) = archive.entry(limit, wanted)? {
            if let Some(place) = wanted.get_mut(entry.path.as_str()) {
                *place = Some(body);
            }
            if entries.len() == MAX_ENTRIES {
                return Err(ListError::TooMany);
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

struct Archive<R> {
    source: BufReader<R>,
    offset: u64,
}

impl<R: Read> Archive<R> {
    /// Whether anything follows.
    fn skip_zeros(&mut self) -> Result<bool, ListError> {
        loop {
            let buffer = self.source.fill_buf().map_err(ListError::Read)?;
            let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
            if buffer.is_empty() || zeros < buffer.len() {
                let more = !buffer.is_empty();
                self.source.consume(zeros);
                self.offset = 0;
                return Ok(more);
            }
            self.source.consume(zeros);
        }
    }

    /// The next entry, with its body when that is wanted or a link's target; `None` at the trailer.
    fn entry(
        &mut self,
        limit: u64,
        wanted: &BTreeMap<&str, Option<Vec<u8>>>,
    ) -> Result<Option<(FileEntry, Vec<u8>)>, ListError> {
        let header = Header::parse(&self.take(HEADER_LEN)?)?;
        if header.name_len == 0 || header.name_len > MAX_NAME_LEN {
            return Err(ListError::Malformed);
        }
        let mut name = self.take(header.name_len.into())?;
        name.pop();
        let path = String::from_utf8_lossy(&name).into_owned();
        if path == "TRAILER!!!" {
            return Ok(None);
        }
        self.align()?;
        let (kind, size) = (header.kind(), u64::from(header.size));
        let is_read = kind == FileKind::Link || wanted.contains_key(path.as_str());
        let body = if is_read && size <= limit { self.take(size)? } else { self.skip(size)? };
        self.align()?;
        let target = (kind == FileKind::Link).then(|| String::from_utf8_lossy(&body).into_owned());
        let Header { mode, uid, gid, .. } = header;
        Ok(Some((FileEntry { path, kind, mode: mode & 0o7777, uid, gid, size, target }, body)))
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>, ListError> {
        let mut bytes = Vec::new();
        let count =
            self.source.by_ref().take(length).read_to_end(&mut bytes).map_err(ListError::Read)?;
        self.advance(u64::try_from(count).unwrap_or_default(), length)?;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> Result<Vec<u8>, ListError> {
        let mut rest = self.source.by_ref().take(length);
        let count = io::copy(&mut rest, &mut io::sink()).map_err(ListError::Read)?;
        self.advance(count, length)?;
        Ok(Vec::new())
    }

    fn advance(&mut self, count: u64, wanted: u64) -> Result<(), ListError> {
        self.offset = self.offset.saturating_add(count);
        if count == wanted { Ok(()) } else { Err(ListError::Cut) }
    }

    /// Names and bodies are padded to multiples of 4.
    fn align(&mut self) -> Result<(), ListError> {
        let padding = self.offset.next_multiple_of(4) - self.offset;
        self.take(padding).map(drop)
    }
}

struct Header {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u32,
    name_len: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, ListError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ListError::Malformed)?;
        if !matches!(text.get(..6), Some("070701" | "070702")) {
            return Err(ListError::Malformed);
        }
        let number = |index: usize| {
            let start = 6 + index * 8;
            let digits = text.get(start..start + 8).ok_or(ListError::Malformed)?;
            u32::from_str_radix(digits, 16).map_err(|_| ListError::Malformed)
        };
        Ok(Self {
            mode: number(1)?,
            uid: number(2)?,
            gid: number(3)?,
            size: number(6)?,
            name_len: number(11)?,
        })
    }

    fn kind(&self) -> FileKind {
        match self.mode & 0o170_000 {
            0o040_000 => FileKind::Directory,
            0o100_000 => FileKind::File,
            0o120_000 => FileKind::Link,
            _ => FileKind::Device,
        }
    }
}

/// Why a ramdisk's files cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The archive ends in the middle.
    #[error("the archive ends in the middle of an entry")]
    Cut,
    /// It is no cpio archive, or another kind than the kernel unpacks.
    #[error("an entry is not one of a cpio archive in the newc format")]
    Malformed,
    /// It cannot be read or unpacked; other ways of packing than gzip are not known here.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// There are too many files.
    #[error("there are more than {MAX_ENTRIES} files")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An archive by another writer.
    fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, mode, body) in files {
            let kind = match mode & 0o170_000 {
                0o040_000 => cpio::newc::ModeFileType::Directory,
                0o120_000 => cpio::newc::ModeFileType::Symlink,
                _ => cpio::newc::ModeFileType::Regular,
            };
            let entry = cpio::newc::Builder::new(name).mode(mode & 0o7777).uid(7).gid(8);
            let entry = entry.set_mode_file_type(kind);
            let mut writer = entry.write(&mut bytes, body.len().try_into().unwrap());
            io::Write::write_all(&mut writer, body).unwrap();
            writer.finish().unwrap();
        }
        cpio::newc::trailer(&mut bytes).unwrap();
        bytes
    }

    fn listed(bytes: &[u8]) -> Result<Vec<String>, ListError> {
        let mut wanted = BTreeMap::from([("etc/x", None)]);
        let entries = list(bytes, 100, &mut wanted)?;
        let text = |entry: FileEntry| {
            let FileEntry { path, kind, mode, uid, gid, size, target } = entry;
            format!("{path} {kind:?} {mode:o} {uid}:{gid} {size} {}", target.unwrap_or_default())
        };
        let mut lines: Vec<_> = entries.into_iter().map(text).collect();
        lines.extend(
            wanted.remove("etc/x").flatten().map(|x| String::from_utf8_lossy(&x).into_owned()),
        );
        Ok(lines)
    }

    #[test]
    fn archives_are_listed_packed_or_not_and_one_after_the_other() {
        let first = archive(&[("etc", 0o040_755, b""), ("etc/x", 0o100_644, b"hello")]);
        let second = archive(&[("init", 0o120_777, b"keep")]);
        let both = [first, vec![0; 512], second, vec![0; 3]].concat();
        let expected = [
            "etc Directory 755 7:8 0 ",
            "etc/x File 644 7:8 5 ",
            "init Link 777 7:8 4 keep",
            "hello",
        ];
        assert_eq!(listed(&both).unwrap(), expected);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, &both).unwrap();
        assert_eq!(listed(&gzip.finish().unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_is_cut_or_no_archive_is_refused() {
        let whole = archive(&[("etc/x", 0o100_644, b"hello")]);
        // The padding after the trailer may be missing.
        for length in 1..whole.len() - 3 {
            assert!(listed(&whole[..length]).is_err(), "{length}");
        }
        assert!(matches!(listed(&[b'x'; 200]), Err(ListError::Malformed)));
        // A name of 4 GiB is not made room for.
        let mut huge = whole;
        huge[94..102].copy_from_slice(b"FFFFFFFF");
        assert!(matches!(listed(&huge), Err(ListError::Malformed)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            let mut bytes = archive(&[("etc", 0o040_755, b""), ("etc/x", 0o100_644, b"hello")]);
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let _ = listed(&bytes);
        }
    }
}

//! Laying an image out.

use crate::{
    format::{
        Architecture, CRC_LEN, HEADER_LEN, Header, MAX_SECTIONS, SectionSpan, encode_section,
        u64_from,
    },
    kind::SectionKind,
    metadata::ImageMetadata,
};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// What an image is made of.
#[derive(Debug)]
pub struct ImageParts<'a, R> {
    /// The kernel image.
    pub kernel: R,
    /// The kernel command line, without a terminating zero.
    pub cmdline: &'a str,
    /// The ramdisks in the order in which the kernel sees them: at least one. The first is
    /// measured by PCR1, the others by PCR2, all by PCR0.
    pub ramdisks: Vec<R>,
    /// The metadata section.
    pub metadata: &'a ImageMetadata,
    /// What the kernel runs on.
    pub architecture: Architecture,
}

/// Memory that the header suggests: nobody reads it today, and the reference writes 1 GiB.
const DEFAULT_MEMORY_BYTES: u64 = 1 << 30;

/// vCPUs that the header suggests: nobody reads it today, and the reference writes 2.
const DEFAULT_CPUS: u64 = 2;

/// Writes an unsigned image to `target` from its position 0, and leaves it at the image's end.
///
/// Same parts, same bytes; and the same bytes as `EifBuilder` of `aws-nitro-enclaves-image-format`
/// writes: kernel, command line, metadata, ramdisks. The parts are streamed, never held in memory.
pub fn write<R: Read>(
    parts: ImageParts<'_, R>,
    target: &mut (impl Write + Seek),
) -> Result<(), WriteError> {
    let cmdline = checked_cmdline(&parts)?;
    let metadata =
        serde_json::to_vec(parts.metadata).map_err(|source| WriteError::Metadata { source })?;
    // The header needs the sizes and the checksum of everything that follows it.
    let start = u64_from(HEADER_LEN);
    target.seek(SeekFrom::Start(start)).map_err(write_failed)?;
    let mut body = Body { target, offset: start, spans: Vec::new(), crc: crc32fast::Hasher::new() };
    body.section(SectionKind::Kernel, parts.kernel)?;
    body.section(SectionKind::Cmdline, cmdline)?;
    body.section(SectionKind::Metadata, metadata.as_slice())?;
    for ramdisk in parts.ramdisks {
        body.section(SectionKind::Ramdisk, ramdisk)?;
    }
    body.finish(parts.architecture)
}

/// Kernel, command line and metadata are the sections beside the ramdisks.
const OTHER_SECTIONS: usize = 3;

fn checked_cmdline<'a, R>(parts: &ImageParts<'a, R>) -> Result<&'a [u8], WriteError> {
    let found = parts.ramdisks.len();
    if found == 0 || found > MAX_SECTIONS - OTHER_SECTIONS {
        return Err(WriteError::RamdiskCount { found });
    }
    if parts.cmdline.contains('\0') {
        return Err(WriteError::CmdlineZero);
    }
    Ok(parts.cmdline.as_bytes())
}

/// The sections written so far.
struct Body<'a, W> {
    target: &'a mut W,
    /// Where the next section starts.
    offset: u64,
    spans: Vec<SectionSpan>,
    crc: crc32fast::Hasher,
}

impl<W: Write + Seek> Body<'_, W> {
    /// Streams a body, then goes back and puts its header, which holds its size, before it.
    fn section(&mut self, kind: SectionKind, mut source: impl Read) -> Result<(), WriteError> {
        let header_len = u64_from(encode_section(kind, 0).len());
        let start = self.offset.saturating_add(header_len);
        self.target.seek(SeekFrom::Start(start)).map_err(write_failed)?;
        let mut body_crc = crc32fast::Hasher::new();
        let size = copy(&mut source, self.target, &mut body_crc, kind)?;
        let header = encode_section(kind, size);
        self.target.seek(SeekFrom::Start(self.offset)).map_err(write_failed)?;
        self.target.write_all(&header).map_err(write_failed)?;
        self.crc.update(&header);
        self.crc.combine(&body_crc);
        self.spans.push(SectionSpan { offset: self.offset, size });
        self.offset = start.saturating_add(size);
        Ok(())
    }

    fn finish(self, architecture: Architecture) -> Result<(), WriteError> {
        let mut header = Header {
            architecture,
            crc32: 0,
            default_memory_bytes: DEFAULT_MEMORY_BYTES,
            default_cpus: DEFAULT_CPUS,
            sections: self.spans,
        };
        let mut crc = crc32fast::Hasher::new();
        let without_crc = header.encode();
        crc.update(without_crc.get(..HEADER_LEN - CRC_LEN).unwrap_or_default());
        crc.combine(&self.crc);
        header.crc32 = crc.finalize();
        self.target.rewind().map_err(write_failed)?;
        self.target.write_all(&header.encode()).map_err(write_failed)?;
        self.target.seek(SeekFrom::Start(self.offset)).map_err(write_failed)?;
        self.target.flush().map_err(write_failed)
    }
}

/// Copies `source` to `target` and into the checksum; how many bytes it was.
fn copy(
    source: &mut impl Read,
    target: &mut impl Write,
    crc: &mut crc32fast::Hasher,
    kind: SectionKind,
) -> Result<u64, WriteError> {
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0_u64;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok(size),
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(WriteError::Source { kind, source }),
        };
        let bytes = buffer.get(..count).unwrap_or(&buffer);
        crc.update(bytes);
        target.write_all(bytes).map_err(write_failed)?;
        size = size.saturating_add(u64_from(count));
    }
}

fn write_failed(source: io::Error) -> WriteError {
    WriteError::Target { source }
}

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The kernel would take the command line to end at the zero.
    #[error("the kernel command line holds a zero byte")]
    CmdlineZero,
    /// The metadata cannot be written as JSON.
    #[error("cannot write the metadata as JSON")]
    Metadata {
        /// The writer's reason.
        source: serde_json::Error,
    },
    /// There is no ramdisk, or there are more than the header has room for.
    #[error("an image has 1 to {} ramdisks, {found} were given", MAX_SECTIONS - OTHER_SECTIONS)]
    RamdiskCount {
        /// How many were given.
        found: usize,
    },
    /// One of the parts cannot be read.
    #[error("cannot read the {kind} to be written")]
    Source {
        /// Which part.
        kind: SectionKind,
        /// The system's reason.
        source: io::Error,
    },
    /// The image cannot be written.
    #[error("cannot write the image")]
    Target {
        /// The system's reason.
        source: io::Error,
    },
}

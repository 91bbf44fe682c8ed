//! The fixed layouts: the file's header and the sections' headers.

use crate::{error::EifError, kind::SectionKind};
use serde::{Deserialize, Serialize};

/// The first four bytes of every EIF.
const MAGIC: [u8; 4] = *b".eif";

/// The version written and read. Versions 1 to 3 lack the metadata section; nitro-cli has written
/// version 4 since 1.2.
pub(crate) const VERSION: u16 = 4;

/// How many sections the header's table holds.
pub const MAX_SECTIONS: usize = 32;

/// The length of the file's header, in bytes.
pub const HEADER_LEN: usize = 548;

/// The length of a section's header, in bytes.
pub const SECTION_HEADER_LEN: usize = 12;

/// The CRC is the header's last field, and the only bytes that it does not cover.
pub(crate) const CRC_LEN: usize = 4;

/// Flag bit 0 of the header: the image is for aarch64.
const FLAG_ARM64: u16 = 1;

/// The processor architecture that an image is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// AWS Graviton.
    Aarch64,
    /// Intel and AMD.
    X86_64,
}

/// Where a section lies, as the file's header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SectionSpan {
    /// Offset of the section's header from the start of the file, in bytes.
    pub offset: u64,
    /// Size of the body, in bytes.
    pub size: u64,
}

impl SectionSpan {
    /// Where the next section starts, in bytes; `None` beyond what a file can have.
    fn end(self) -> Option<u64> {
        self.offset.checked_add(u64_from(SECTION_HEADER_LEN))?.checked_add(self.size)
    }
}

/// A section of an image.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SectionInfo {
    /// What it holds.
    pub kind: SectionKind,
    /// Offset of the section's header from the start of the file, in bytes.
    pub offset: u64,
    /// Size of the body, in bytes.
    pub size: u64,
}

/// The header of an image, its table of sections checked to be gapless.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// What the image runs on.
    pub architecture: Architecture,
    /// CRC-32 (ISO-HDLC) over everything but this field.
    pub crc32: u32,
    /// Memory to run the image with when nobody says otherwise, in bytes.
    pub default_memory_bytes: u64,
    /// vCPUs to run the image with when nobody says otherwise.
    pub default_cpus: u64,
    /// The sections in file order, at most [`MAX_SECTIONS`].
    pub sections: Vec<SectionSpan>,
}

impl Header {
    /// Reads a header and checks that its table is gapless from the header's end on.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, EifError> {
        let mut fields = Fields { rest: bytes };
        if fields.take::<4>()? != MAGIC {
            return Err(EifError::NotAnEif);
        }
        let version = fields.u16()?;
        if version != VERSION {
            return Err(EifError::UnsupportedVersion { found: version });
        }
        let flags = fields.u16()?;
        let default_memory_bytes = fields.u64()?;
        let default_cpus = fields.u64()?;
        let _reserved = fields.u16()?;
        let count = fields.u16()?;
        let sections = parse_table(&mut fields, count)?;
        let _unused = fields.u32()?;
        Ok(Self {
            architecture: if flags & FLAG_ARM64 == 0 {
                Architecture::X86_64
            } else {
                Architecture::Aarch64
            },
            crc32: fields.u32()?,
            default_memory_bytes,
            default_cpus,
            sections,
        })
    }

    /// The header's bytes, its CRC field last. Sections beyond [`MAX_SECTIONS`] are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = match self.architecture {
            Architecture::Aarch64 => FLAG_ARM64,
            Architecture::X86_64 => 0,
        };
        let sections = self.sections.get(..MAX_SECTIONS).unwrap_or(&self.sections);
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(flags.to_be_bytes());
        bytes.extend(self.default_memory_bytes.to_be_bytes());
        bytes.extend(self.default_cpus.to_be_bytes());
        bytes.extend(0_u16.to_be_bytes());
        bytes.extend(u16::try_from(sections.len()).unwrap_or(u16::MAX).to_be_bytes());
        let padded = |numbers: Vec<u64>| {
            numbers
                .into_iter()
                .chain(std::iter::repeat(0))
                .take(MAX_SECTIONS)
                .flat_map(u64::to_be_bytes)
        };
        bytes.extend(padded(sections.iter().map(|section| section.offset).collect()));
        bytes.extend(padded(sections.iter().map(|section| section.size).collect()));
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(self.crc32.to_be_bytes());
        bytes
    }

    /// How long the whole file is by this header, in bytes.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        // The table was checked to be gapless and not to overflow.
        self.sections.last().and_then(|last| last.end()).unwrap_or_else(|| u64_from(HEADER_LEN))
    }
}

/// Reads the two arrays of the table; entries beyond `count` have no meaning and are skipped.
fn parse_table(fields: &mut Fields<'_>, count: u16) -> Result<Vec<SectionSpan>, EifError> {
    let used = usize::from(count);
    if used > MAX_SECTIONS {
        return Err(EifError::TooManySections { found: count });
    }
    let mut offsets = [0; MAX_SECTIONS];
    for offset in &mut offsets {
        *offset = fields.u64()?;
    }
    let mut sections = Vec::with_capacity(used);
    let mut expected = u64_from(HEADER_LEN);
    for (index, stated) in offsets.into_iter().enumerate() {
        let size = fields.u64()?;
        if index >= used {
            continue;
        }
        if stated != expected {
            return Err(EifError::SectionOffset { index, stated, expected });
        }
        let section = SectionSpan { offset: stated, size };
        expected = section.end().ok_or(EifError::SizeOverflow { index })?;
        sections.push(section);
    }
    Ok(sections)
}

/// Reads the header of section `index` and compares it with the file's table.
pub(crate) fn parse_section(
    bytes: &[u8; SECTION_HEADER_LEN],
    index: usize,
    span: SectionSpan,
) -> Result<SectionInfo, EifError> {
    let mut fields = Fields { rest: bytes };
    let number = fields.u16()?;
    let kind =
        SectionKind::from_number(number).ok_or(EifError::UnknownSection { index, kind: number })?;
    let _flags = fields.u16()?;
    let found = fields.u64()?;
    if found != span.size {
        return Err(EifError::SectionMismatch { index, stated: span.size, found });
    }
    Ok(SectionInfo { kind, offset: span.offset, size: span.size })
}

/// The bytes of a section's header.
pub(crate) fn encode_section(kind: SectionKind, size: u64) -> Vec<u8> {
    [&kind.number().to_be_bytes()[..], &0_u16.to_be_bytes(), &size.to_be_bytes()].concat()
}

/// Whether `start` agrees with the magic as far as it goes.
pub(crate) fn could_start_an_eif(start: &[u8]) -> bool {
    start.iter().zip(&MAGIC).all(|(found, wanted)| found == wanted)
}

/// Lengths of memory fit in 64 bits on every machine that this is built for.
pub(crate) fn u64_from(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Big-endian fields, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EifError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or_else(|| EifError::Truncated {
            at: u64_from(self.rest.len()),
            wanted: u64_from(N),
        })?;
        self.rest = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, EifError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, EifError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, EifError> {
        self.take().map(u64::from_be_bytes)
    }
}

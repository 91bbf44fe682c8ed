//! Reading single sections of an image.

use crate::{
    error::{EifError, ReadError},
    format::{
        HEADER_LEN, Header, SECTION_HEADER_LEN, SectionInfo, could_start_an_eif, parse_section,
        u64_from,
    },
    kind::SectionKind,
};
use std::io::{Read, Seek, SeekFrom, Take};

/// Hands out the sections of an image.
///
/// Checks the headers only: neither the checksum nor any measurement. Measure an image that is not
/// trusted before taking anything out of it.
#[derive(Debug)]
pub struct SectionReader<R> {
    source: R,
    sections: Vec<SectionInfo>,
}

impl<R: Read + Seek> SectionReader<R> {
    /// Reads the headers of the image in `source`, which starts at its position 0.
    pub fn open(mut source: R) -> Result<Self, ReadError> {
        source.rewind().map_err(ReadError::Io)?;
        let header =
            Header::parse(&read_array::<HEADER_LEN>(&mut source, 0)?).map_err(ReadError::Eif)?;
        let mut sections = Vec::with_capacity(header.sections.len());
        for (index, span) in header.sections.into_iter().enumerate() {
            source.seek(SeekFrom::Start(span.offset)).map_err(ReadError::Io)?;
            let bytes = read_array::<SECTION_HEADER_LEN>(&mut source, span.offset)?;
            sections.push(parse_section(&bytes, index, span).map_err(ReadError::Eif)?);
        }
        Ok(Self { source, sections })
    }

    /// The sections in file order.
    #[must_use]
    pub fn sections(&self) -> &[SectionInfo] {
        &self.sections
    }

    /// The sections of one kind in file order, for example the ramdisks.
    pub fn of_kind(&self, kind: SectionKind) -> impl Iterator<Item = SectionInfo> {
        self.sections.iter().filter(move |section| section.kind == kind).copied()
    }

    /// A stream of a section's body. It ends early where the file does.
    pub fn body(&mut self, section: SectionInfo) -> Result<Take<&mut R>, ReadError> {
        let start = section.offset.saturating_add(u64_from(SECTION_HEADER_LEN));
        self.source.seek(SeekFrom::Start(start)).map_err(ReadError::Io)?;
        Ok(self.source.by_ref().take(section.size))
    }

    /// A section's body in memory, if it has at most `limit` bytes.
    pub fn read(&mut self, section: SectionInfo, limit: u64) -> Result<Vec<u8>, ReadError> {
        let SectionInfo { kind, offset, size } = section;
        if size > limit {
            return Err(ReadError::Eif(EifError::SectionTooLarge { kind, size, limit }));
        }
        // Grows with what is really there, not with what the header claims.
        let mut body = Vec::new();
        let count = self.body(section)?.read_to_end(&mut body).map_err(ReadError::Io)?;
        if u64_from(count) == size {
            return Ok(body);
        }
        let start = offset.saturating_add(u64_from(SECTION_HEADER_LEN));
        Err(ReadError::Eif(EifError::Truncated {
            at: start.saturating_add(u64_from(count)),
            wanted: start.saturating_add(size),
        }))
    }
}

/// Reads a structure that starts at `offset` of the file, where `source` stands.
fn read_array<const N: usize>(source: &mut impl Read, offset: u64) -> Result<[u8; N], ReadError> {
    let mut bytes = Vec::with_capacity(N);
    source.take(u64_from(N)).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    bytes.try_into().map_err(|short: Vec<u8>| {
        ReadError::Eif(if offset == 0 && !could_start_an_eif(&short) {
            EifError::NotAnEif
        } else {
            EifError::Truncated {
                at: offset.saturating_add(u64_from(short.len())),
                wanted: offset.saturating_add(u64_from(N)),
            }
        })
    })
}

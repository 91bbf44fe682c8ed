//! Measuring an image while its bytes pass by.

use crate::{
    error::{EifError, ReadError},
    format::{
        CRC_LEN, HEADER_LEN, Header, SECTION_HEADER_LEN, SectionInfo, SectionSpan,
        could_start_an_eif, parse_section, u64_from,
    },
    kind::SectionKind,
    measurement::Measurement,
    metadata::MAX_METADATA_LEN,
    partial::Partial,
    pcr::extend_from_zero,
    signature::{self, MAX_SIGNATURE_LEN},
};
use bailey_model::Pcr;
use sha2::{Digest, Sha384};
use std::io::{ErrorKind, Read};

/// Measures everything that `source` yields.
pub fn measure(mut source: impl Read) -> Result<Measurement, ReadError> {
    let mut measurer = Measurer::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return measurer.finish().map_err(ReadError::Eif),
            Ok(count) => {
                measurer.push(buffer.get(..count).unwrap_or(&buffer)).map_err(ReadError::Eif)?;
            }
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(ReadError::Io(err)),
        }
    }
}

/// Measures an image that is pushed through it in pieces of any size.
///
/// Memory is bounded whatever the image claims: two hash states, a section header, and the bodies
/// of the metadata and signature sections up to their limits. The first error is final.
#[derive(Clone, Debug)]
pub struct Measurer {
    position: Position,
    /// Bytes accepted so far.
    at: u64,
    header: Option<Header>,
    sections: Vec<SectionInfo>,
    crc: crc32fast::Hasher,
    /// Kernel, command line, ramdisks.
    image: Sha384,
    /// A copy of `image` taken after the first ramdisk: PCR1 costs no pass of its own.
    bootstrap: Option<Sha384>,
    /// The ramdisks after the first.
    application: Sha384,
    metadata: Vec<u8>,
    signature: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Clone, Debug)]
enum Position {
    Header(Box<Partial<HEADER_LEN>>),
    SectionHeader { span: SectionSpan, partial: Partial<SECTION_HEADER_LEN> },
    Body { kind: SectionKind, remaining: u64 },
    End,
    Failed,
}

impl Default for Measurer {
    fn default() -> Self {
        Self::new()
    }
}

impl Measurer {
    /// A measurer that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            position: Position::Header(Box::default()),
            at: 0,
            header: None,
            sections: Vec::new(),
            crc: crc32fast::Hasher::new(),
            image: Sha384::new(),
            bootstrap: None,
            application: Sha384::new(),
            metadata: Vec::new(),
            signature: Vec::new(),
        }
    }

    /// Takes the image's next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), EifError> {
        while !bytes.is_empty() {
            let before = bytes.len();
            match self.step(&mut bytes) {
                Ok(next) => self.position = next,
                Err(err) => {
                    self.position = Position::Failed;
                    return Err(err);
                }
            }
            self.at = self.at.saturating_add(u64_from(before.saturating_sub(bytes.len())));
        }
        Ok(())
    }

    /// How long the image is by its header, in bytes, once the header was seen.
    #[must_use]
    pub fn stated_size(&self) -> Option<u64> {
        self.header.as_ref().map(Header::file_size)
    }

    /// Says that the image ends here.
    pub fn finish(self) -> Result<Measurement, EifError> {
        let header = match (self.position, self.header) {
            (Position::Failed, _) => return Err(EifError::AlreadyFailed),
            (Position::End, Some(header)) => header,
            (_, header) => {
                let wanted =
                    header.as_ref().map_or_else(|| u64_from(HEADER_LEN), Header::file_size);
                return Err(EifError::Truncated { at: self.at, wanted });
            }
        };
        // The checksum comes first: if it is wrong, whatever else is wrong follows from that.
        let computed = self.crc.finalize();
        if computed != header.crc32 {
            return Err(EifError::CrcMismatch { stated: header.crc32, computed });
        }
        for kind in [SectionKind::Kernel, SectionKind::Cmdline] {
            if !has(&self.sections, kind) {
                return Err(EifError::MissingSection { kind });
            }
        }
        let missing = EifError::MissingSection { kind: SectionKind::Ramdisk };
        Ok(Measurement {
            pcr0: extend_from_zero(self.image),
            pcr1: extend_from_zero(self.bootstrap.ok_or(missing)?),
            pcr2: extend_from_zero(self.application),
            pcr8: measure_certificate(&self.sections, &self.signature)?,
            size_bytes: self.at,
            architecture: header.architecture,
            metadata: parse_metadata(&self.sections, &self.metadata)?,
            sections: self.sections,
        })
    }

    /// Consumes at least one of `bytes` and says what the next one belongs to.
    fn step(&mut self, bytes: &mut &[u8]) -> Result<Position, EifError> {
        match std::mem::replace(&mut self.position, Position::Failed) {
            Position::Header(mut partial) => match partial.fill(bytes) {
                Some(whole) => self.enter_image(&whole),
                None if could_start_an_eif(partial.so_far()) => Ok(Position::Header(partial)),
                None => Err(EifError::NotAnEif),
            },
            Position::SectionHeader { span, mut partial } => match partial.fill(bytes) {
                Some(whole) => self.enter_section(span, &whole),
                None => Ok(Position::SectionHeader { span, partial }),
            },
            Position::Body { kind, remaining } => {
                let count = usize::try_from(remaining).unwrap_or(usize::MAX);
                let (body, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
                *bytes = rest;
                self.take_body(kind, body);
                Ok(self.after_body(kind, remaining.saturating_sub(u64_from(body.len()))))
            }
            Position::End => Err(EifError::TrailingBytes { at: self.at }),
            Position::Failed => Err(EifError::AlreadyFailed),
        }
    }

    fn enter_image(&mut self, bytes: &[u8; HEADER_LEN]) -> Result<Position, EifError> {
        let header = Header::parse(bytes)?;
        let (covered, _crc) = bytes.split_at(HEADER_LEN - CRC_LEN);
        self.crc.update(covered);
        self.header = Some(header);
        Ok(self.next_section())
    }

    /// The header of the next section, or the end.
    fn next_section(&self) -> Position {
        let index = self.sections.len();
        match self.header.as_ref().and_then(|header| header.sections.get(index)) {
            Some(span) => Position::SectionHeader { span: *span, partial: Partial::default() },
            None => Position::End,
        }
    }

    fn enter_section(
        &mut self,
        span: SectionSpan,
        bytes: &[u8; SECTION_HEADER_LEN],
    ) -> Result<Position, EifError> {
        self.crc.update(bytes);
        let section = parse_section(bytes, self.sections.len(), span)?;
        check_place(&self.sections, section)?;
        self.sections.push(section);
        Ok(self.after_body(section.kind, section.size))
    }

    fn take_body(&mut self, kind: SectionKind, body: &[u8]) {
        self.crc.update(body);
        match kind {
            SectionKind::Kernel | SectionKind::Cmdline => self.image.update(body),
            SectionKind::Ramdisk => {
                self.image.update(body);
                if self.bootstrap.is_some() {
                    self.application.update(body);
                }
            }
            SectionKind::Metadata => self.metadata.extend_from_slice(body),
            SectionKind::Signature => self.signature.extend_from_slice(body),
        }
    }

    /// Stays in the body while some of it remains; an empty body ends at once.
    fn after_body(&mut self, kind: SectionKind, remaining: u64) -> Position {
        if remaining > 0 {
            return Position::Body { kind, remaining };
        }
        if kind == SectionKind::Ramdisk && self.bootstrap.is_none() {
            self.bootstrap = Some(self.image.clone());
        }
        self.next_section()
    }
}

/// Checks that `section` may follow the `earlier` ones, so that each PCR is well defined.
fn check_place(earlier: &[SectionInfo], section: SectionInfo) -> Result<(), EifError> {
    let SectionInfo { kind, size, .. } = section;
    let index = earlier.len();
    if kind != SectionKind::Ramdisk && has(earlier, kind) {
        return Err(EifError::DuplicateSection { index, kind });
    }
    let limit = match kind {
        SectionKind::Kernel | SectionKind::Cmdline if has(earlier, SectionKind::Ramdisk) => {
            return Err(EifError::SectionOrder { index, kind });
        }
        SectionKind::Kernel | SectionKind::Cmdline | SectionKind::Ramdisk => return Ok(()),
        SectionKind::Metadata => MAX_METADATA_LEN,
        SectionKind::Signature => MAX_SIGNATURE_LEN,
    };
    if size > limit { Err(EifError::SectionTooLarge { kind, size, limit }) } else { Ok(()) }
}

fn has(sections: &[SectionInfo], kind: SectionKind) -> bool {
    sections.iter().any(|section| section.kind == kind)
}

fn parse_metadata(
    sections: &[SectionInfo],
    body: &[u8],
) -> Result<Option<serde_json::Value>, EifError> {
    if !has(sections, SectionKind::Metadata) {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(|source| EifError::Metadata { source })
}

fn measure_certificate(sections: &[SectionInfo], body: &[u8]) -> Result<Option<Pcr>, EifError> {
    if !has(sections, SectionKind::Signature) {
        return Ok(None);
    }
    let der = signature::certificate_der(body).map_err(|source| EifError::Signature { source })?;
    Ok(Some(extend_from_zero(Sha384::new_with_prefix(der))))
}

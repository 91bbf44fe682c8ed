//! Which bytes of an image are what, and whether they are a good image: everything but the hashes.

use crate::{
    error::EifError,
    format::{
        Architecture, CRC_LEN, HEADER_LEN, Header, SECTION_HEADER_LEN, SectionInfo, SectionSpan,
        could_start_an_eif, parse_section, u64_from,
    },
    kind::SectionKind,
    metadata::MAX_METADATA_LEN,
    partial::Partial,
    pcr::extend_from_zero,
    sha384::Sha384,
    signature::{self, MAX_SIGNATURE_LEN},
};
use bailey_model::Pcr;
use std::ops::Range;

/// What a piece of the bytes means to the registers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Mark {
    /// These bytes are of a ramdisk after the first: PCR0 and PCR2 measure them.
    Application(Range<usize>),
    /// These bytes are of the kernel, the command line or the first ramdisk: PCR0 measures them.
    Boot(Range<usize>),
    /// What PCR1 measures ends here.
    FirstRamdiskEnds,
}

/// Reads an image that is pushed through it in pieces of any size. The first error is final.
///
/// Memory is bounded whatever the image claims: the headers, and the bodies of the metadata and
/// signature sections up to their limits.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    position: Position,
    /// Bytes accepted so far.
    at: u64,
    header: Option<Header>,
    sections: Vec<SectionInfo>,
    crc: crc32fast::Hasher,
    /// Whether the first ramdisk has ended.
    is_booted: bool,
    metadata: Vec<u8>,
    signature: Vec<u8>,
}

/// What an image says beside its hashes.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) size_bytes: u64,
    pub(crate) architecture: Architecture,
    pub(crate) sections: Vec<SectionInfo>,
    pub(crate) pcr8: Option<Pcr>,
    pub(crate) metadata: Option<serde_json::Value>,
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

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            position: Position::Header(Box::default()),
            at: 0,
            header: None,
            sections: Vec::new(),
            crc: crc32fast::Hasher::new(),
            is_booted: false,
            metadata: Vec::new(),
            signature: Vec::new(),
        }
    }

    /// Takes the image's next bytes, and tells what of them is measured, in their order.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut tell: impl FnMut(Mark),
    ) -> Result<(), EifError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = bytes.len().saturating_sub(rest.len());
            let before = rest.len();
            match self.step(start, &mut rest, &mut tell) {
                Ok(next) => self.position = next,
                Err(err) => {
                    self.position = Position::Failed;
                    return Err(err);
                }
            }
            self.at = self.at.saturating_add(u64_from(before.saturating_sub(rest.len())));
        }
        Ok(())
    }

    pub(crate) fn stated_size(&self) -> Option<u64> {
        self.header.as_ref().map(Header::file_size)
    }

    /// Says that the image ends here.
    pub(crate) fn finish(self) -> Result<Scanned, EifError> {
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
        for kind in [SectionKind::Kernel, SectionKind::Cmdline, SectionKind::Ramdisk] {
            if !has(&self.sections, kind) {
                return Err(EifError::MissingSection { kind });
            }
        }
        Ok(Scanned {
            size_bytes: self.at,
            architecture: header.architecture,
            pcr8: measure_certificate(&self.sections, &self.signature)?,
            metadata: parse_metadata(&self.sections, &self.metadata)?,
            sections: self.sections,
        })
    }

    /// Consumes at least one of `bytes` and says what the next one belongs to. The first of them
    /// is at `start` of what was pushed.
    fn step(
        &mut self,
        start: usize,
        bytes: &mut &[u8],
        tell: &mut impl FnMut(Mark),
    ) -> Result<Position, EifError> {
        match std::mem::replace(&mut self.position, Position::Failed) {
            Position::Header(mut partial) => match partial.fill(bytes) {
                Some(whole) => self.enter_image(&whole),
                None if could_start_an_eif(partial.so_far()) => Ok(Position::Header(partial)),
                None => Err(EifError::NotAnEif),
            },
            Position::SectionHeader { span, mut partial } => match partial.fill(bytes) {
                Some(whole) => self.enter_section(span, &whole, tell),
                None => Ok(Position::SectionHeader { span, partial }),
            },
            Position::Body { kind, remaining } => {
                let count = usize::try_from(remaining).unwrap_or(usize::MAX);
                let (body, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
                *bytes = rest;
                self.take_body(kind, start, body, tell);
                Ok(self.after_body(kind, remaining.saturating_sub(u64_from(body.len())), tell))
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
        tell: &mut impl FnMut(Mark),
    ) -> Result<Position, EifError> {
        self.crc.update(bytes);
        let section = parse_section(bytes, self.sections.len(), span)?;
        check_place(&self.sections, section)?;
        self.sections.push(section);
        Ok(self.after_body(section.kind, section.size, tell))
    }

    fn take_body(
        &mut self,
        kind: SectionKind,
        start: usize,
        body: &[u8],
        tell: &mut impl FnMut(Mark),
    ) {
        self.crc.update(body);
        let range = start..start.saturating_add(body.len());
        match kind {
            SectionKind::Ramdisk if self.is_booted => tell(Mark::Application(range)),
            SectionKind::Kernel | SectionKind::Cmdline | SectionKind::Ramdisk => {
                tell(Mark::Boot(range));
            }
            SectionKind::Metadata => self.metadata.extend_from_slice(body),
            SectionKind::Signature => self.signature.extend_from_slice(body),
        }
    }

    /// Stays in the body while some of it remains; an empty body ends at once.
    fn after_body(
        &mut self,
        kind: SectionKind,
        remaining: u64,
        tell: &mut impl FnMut(Mark),
    ) -> Position {
        if remaining > 0 {
            return Position::Body { kind, remaining };
        }
        if kind == SectionKind::Ramdisk && !self.is_booted {
            self.is_booted = true;
            tell(Mark::FirstRamdiskEnds);
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
    let mut hash = Sha384::new();
    hash.update(&der);
    Ok(Some(extend_from_zero(hash)))
}

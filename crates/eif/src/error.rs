//! Why bytes are not an image that can be trusted.

use crate::{
    format::{MAX_SECTIONS, VERSION},
    kind::SectionKind,
    signature::SignatureError,
};
use std::io;

/// Why bytes are not a whole and consistent EIF.
///
/// Each reason has a variant of its own, with the values that decided it.
#[derive(Debug, thiserror::Error)]
pub enum EifError {
    /// An earlier call on the same measurer failed; its error is the reason.
    #[error("the image was already found to be bad")]
    AlreadyFailed,
    /// The checksum in the header is not that of the bytes.
    #[error("the header states CRC {stated:#010x}, the bytes have {computed:#010x}")]
    CrcMismatch {
        /// CRC-32 that the header states.
        stated: u32,
        /// CRC-32 of everything but that field.
        computed: u32,
    },
    /// A section that may occur once occurs twice.
    #[error("section {index} is a second {kind}")]
    DuplicateSection {
        /// The second one's place, from 0.
        index: usize,
        /// What it is.
        kind: SectionKind,
    },
    /// The metadata section is not JSON.
    #[error("the metadata section is not JSON")]
    Metadata {
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A section without which nothing boots is absent.
    #[error("the image has no {kind}")]
    MissingSection {
        /// What is absent.
        kind: SectionKind,
    },
    /// The file does not start with the EIF magic.
    #[error("not an EIF: the file does not start with `.eif`")]
    NotAnEif,
    /// A section's header and the table in the file's header disagree about its size.
    #[error("section {index} has {found} bytes by its own header, {stated} by the file's")]
    SectionMismatch {
        /// The section's place, from 0.
        index: usize,
        /// Size in the file's header, in bytes.
        stated: u64,
        /// Size in the section's own header, in bytes.
        found: u64,
    },
    /// The table in the header leaves a gap or lets sections overlap.
    #[error("section {index} is said to start at {stated}, the one before it ends at {expected}")]
    SectionOffset {
        /// The section's place, from 0.
        index: usize,
        /// Offset in the file's header, in bytes.
        stated: u64,
        /// Where the section before it ends, in bytes.
        expected: u64,
    },
    /// A kernel or command line comes after a ramdisk, where PCR1 would not be well defined.
    #[error("section {index}, a {kind}, comes after a ramdisk")]
    SectionOrder {
        /// The section's place, from 0.
        index: usize,
        /// What it is.
        kind: SectionKind,
    },
    /// A section that has to be kept in memory is larger than any real one.
    #[error("the {kind} has {size} bytes, the limit is {limit}")]
    SectionTooLarge {
        /// What it is.
        kind: SectionKind,
        /// Its size, in bytes.
        size: u64,
        /// The largest accepted, in bytes.
        limit: u64,
    },
    /// The signature section cannot be read.
    #[error("the signature section is malformed")]
    Signature {
        /// What is wrong with it.
        source: SignatureError,
    },
    /// The sizes in the header add up to more than a file can have.
    #[error("the sizes up to section {index} exceed what a file can have")]
    SizeOverflow {
        /// The section's place, from 0.
        index: usize,
    },
    /// The header announces more sections than its table can hold.
    #[error("the header announces {found} sections, at most {MAX_SECTIONS} are possible")]
    TooManySections {
        /// The number found.
        found: u16,
    },
    /// Bytes follow the last section.
    #[error("the image ends at byte {at}, more bytes follow")]
    TrailingBytes {
        /// Where the image ends by its header, in bytes.
        at: u64,
    },
    /// The file ends too early.
    #[error("the image is cut: it ends at byte {at} of {wanted}")]
    Truncated {
        /// How many bytes there are.
        at: u64,
        /// How many there should be at least, as far as the bytes present tell.
        wanted: u64,
    },
    /// A section has a type that no version 4 image has.
    #[error("section {index} has the unknown type {kind}")]
    UnknownSection {
        /// The section's place, from 0.
        index: usize,
        /// The type found.
        kind: u16,
    },
    /// The image is of another version of the format.
    #[error("EIF version {found} is not supported, {VERSION} is")]
    UnsupportedVersion {
        /// The version found.
        found: u16,
    },
}

impl EifError {
    /// A stable name of the reason, for records, logs and metrics: the variant's name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyFailed => "AlreadyFailed",
            Self::CrcMismatch { .. } => "CrcMismatch",
            Self::DuplicateSection { .. } => "DuplicateSection",
            Self::Metadata { .. } => "Metadata",
            Self::MissingSection { .. } => "MissingSection",
            Self::NotAnEif => "NotAnEif",
            Self::SectionMismatch { .. } => "SectionMismatch",
            Self::SectionOffset { .. } => "SectionOffset",
            Self::SectionOrder { .. } => "SectionOrder",
            Self::SectionTooLarge { .. } => "SectionTooLarge",
            Self::Signature { .. } => "Signature",
            Self::SizeOverflow { .. } => "SizeOverflow",
            Self::TooManySections { .. } => "TooManySections",
            Self::TrailingBytes { .. } => "TrailingBytes",
            Self::Truncated { .. } => "Truncated",
            Self::UnknownSection { .. } => "UnknownSection",
            Self::UnsupportedVersion { .. } => "UnsupportedVersion",
        }
    }
}

/// Why an image could not be read from its source.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes were read, and they are not a good image.
    #[error("the image is bad")]
    Eif(#[source] EifError),
    /// The source failed.
    #[error("cannot read the image")]
    Io(#[source] io::Error),
}

//! Reading, measuring and writing enclave image files (EIF).
//!
//! An EIF is a [`Header`] of 548 bytes and up to 32 sections, each a header of 12 bytes and its
//! body: kernel, command line, metadata, ramdisks and, in a signed image, the signature. All
//! numbers are big endian. AWS publishes no specification; the format is the one that
//! `aws-nitro-enclaves-image-format` reads and writes, and `oracle/` compares the two.
//!
//! | item | does |
//! | --- | --- |
//! | [`Measurer`] | computes the measurements while the bytes of an image pass by |
//! | [`measure()`] | the same for a whole [`Read`](std::io::Read) |
//! | [`ParallelMeasurer`], [`measure_file()`] | the same on several threads, for large images |
//! | [`write()`] | lays an image out, byte for byte as the reference does |
//! | [`ImageSigner`], [`append_signature()`] | signs an image that was written |
//! | [`check_signature()`] | whether a signed image's signature is of this image |
//! | [`SectionReader`] | hands out single sections of an image that is already trusted |
//!
//! Nothing here allocates what a header claims: memory stays bounded whatever the bytes say.

mod error;
mod format;
mod kind;
mod measure;
mod measurement;
mod metadata;
mod parallel;
mod partial;
mod pcr;
mod scan;
mod section;
mod sha384;
mod sign;
mod signature;
#[cfg(test)]
mod tests;
mod write;

pub use bailey_model::Pcr;
pub use error::{EifError, ReadError};
pub use format::{
    Architecture, HEADER_LEN, Header, MAX_SECTIONS, SECTION_HEADER_LEN, SectionInfo, SectionSpan,
};
pub use kind::SectionKind;
pub use measure::{Measurer, measure};
pub use measurement::Measurement;
pub use metadata::{BuildMetadata, ImageMetadata, MAX_METADATA_LEN};
pub use parallel::{
    FileSha384, MeasuredFile, ParallelMeasurer, measure_file, measure_file_with_sha384,
};
pub use section::SectionReader;
pub use sha384::Sha384;
pub use sign::{ImageSigner, SignError, SignatureCheck, append_signature, check_signature};
pub use signature::{MAX_SIGNATURE_LEN, SignatureError};
pub use write::{ImageParts, WriteError, write};

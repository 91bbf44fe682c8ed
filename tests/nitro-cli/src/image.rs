//! What nitro-cli and the hypervisor make of an image file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use bailey_eif::{EifError, HEADER_LEN, Measurement, ReadError};

use crate::failure::{Failure, Reason};
use crate::output::{EifInfo, ImageInfo, measurements};

/// The version of the format that is read.
const EIF_VERSION: u16 = 4;

/// The first bytes of every image.
const MAGIC: [u8; 4] = *b".eif";

/// An image that is to be started, and what is known about it.
#[derive(Debug)]
pub(crate) struct Image {
    /// The file's size, in bytes.
    pub(crate) size_bytes: u64,
    /// What it measures to, or why it does not.
    measured: Result<Measurement, ReadError>,
}

impl Image {
    /// Reads the whole image; that it is damaged matters only later, as with the real one.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |operation: &'static str| {
            move |err: std::io::Error| Failure::file(path, operation, &err)
        };
        let file = File::open(path).map_err(failed("Open"))?;
        let size_bytes = file.metadata().map_err(failed("Metadata"))?.len();
        Ok(Self { size_bytes, measured: bailey_eif::measure(file) })
    }

    /// nitro-cli's walk over the sections in search of a signature, which is all that it reads of
    /// an image before the start (`PcrSignatureChecker` of `aws-nitro-enclaves-image-format`).
    ///
    /// It stumbles over a file without a whole header, an unknown section and a signature that it
    /// cannot read. Neither magic nor checksum are looked at.
    pub(crate) fn check_signature_walk(&self) -> Result<(), Failure> {
        let Err(ReadError::Eif(err)) = &self.measured else { return Ok(()) };
        let stumbles = match err {
            EifError::UnknownSection { .. } | EifError::Signature { .. } => true,
            _ => usize::try_from(self.size_bytes).is_ok_and(|size| size < HEADER_LEN),
        };
        if stumbles {
            let cause = format!("Failed to create EIF signature checker: {}", with_sources(err));
            return Err(Reason::SignatureChecker.because(cause));
        }
        Ok(())
    }

    /// The hypervisor's judgement. It boots nothing that is damaged in any way; nitro-cli learns
    /// that by waiting in vain for a sign of life.
    pub(crate) fn boot(&self) -> Result<&Measurement, Failure> {
        self.measured.as_ref().map_err(|err| {
            Reason::Boot.because(format!(
                "Waiting on enclave to boot failed with error: {}",
                with_sources(err)
            ))
        })
    }
}

/// What `describe-eif` says.
///
/// Like the real one it looks past a wrong magic and a wrong checksum and says `"CheckCRC": false`.
/// It is stricter about what is left: any other damage is E35.
pub fn describe(path: &Path) -> Result<EifInfo, Failure> {
    let unreadable = |err: &dyn std::error::Error| {
        let cause = format!("Failed to initialize EIF reader: {}", with_sources(err));
        Reason::EifParsing.because(cause)
    };
    let mut file = File::open(path).map_err(|err| unreadable(&err))?;
    let mut header = [0; HEADER_LEN];
    file.read_exact(&mut header).map_err(|err| unreadable(&err))?;
    let magic_is_right = header.starts_with(&MAGIC);
    if let Some(magic) = header.first_chunk_mut() {
        *magic = MAGIC;
    }
    let mut checksum_is_right = magic_is_right;
    let measured = match measure_behind(&header, &file) {
        Err(ReadError::Eif(EifError::CrcMismatch { computed, .. })) => {
            checksum_is_right = false;
            if let Some(checksum) = header.last_chunk_mut() {
                *checksum = computed.to_be_bytes();
            }
            measure_behind(&header, &file)
        }
        other => other,
    };
    let measured = measured.map_err(|err| unreadable(&err))?;
    Ok(EifInfo {
        version: EIF_VERSION,
        measurements: measurements(&measured),
        is_signed: measured.is_signed(),
        check_crc: checksum_is_right,
        image: measured.metadata.as_ref().and_then(ImageInfo::from_metadata),
    })
}

/// Measures an image whose header is replaced by `header`.
fn measure_behind(header: &[u8], mut file: &File) -> Result<Measurement, ReadError> {
    let offset = u64::try_from(header.len()).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(offset)).map_err(ReadError::Io)?;
    bailey_eif::measure(header.chain(file))
}

/// The error's text and those of its causes.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

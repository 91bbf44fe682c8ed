//! Bytes on their way to the disk, measured as they pass. Blocking.

use super::{cache::Part, progress::Progressing};
use bailey_eif::{EifError, Measurement, Measurer};
use bailey_model::Pcr;
use sha2::{Digest, Sha384};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// What the bytes of an image add up to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) measurement: Measurement,
    /// SHA-384 of the whole file.
    pub(super) sha384: Pcr,
}

/// Writes and measures `size_bytes` bytes, in the order in which they are received.
pub(super) fn land(
    part: &mut Part,
    size_bytes: u64,
    mut bytes: mpsc::Receiver<Vec<u8>>,
    progress: &Progressing,
) -> Result<Measured, LandError> {
    let mut gauge = Gauge::new();
    while let Some(bytes) = bytes.blocking_recv() {
        gauge.push(&bytes)?;
        let written = part.file.write_all(&bytes);
        written.map_err(|source| LandError::Write { path: part.path().to_owned(), source })?;
        progress.advance(bytes.len());
    }
    if gauge.size_bytes != size_bytes {
        return Err(LandError::Cut { at: gauge.size_bytes, wanted: size_bytes });
    }
    gauge.finish()
}

/// Measures a file that is already there.
pub(super) fn measure(path: &Path, progress: &Progressing) -> Result<Measured, LandError> {
    let unreadable = |source| LandError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut gauge = Gauge::new();
    let mut buffer = vec![0; 1_024 * 1_024];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return gauge.finish();
        }
        gauge.push(bytes)?;
        progress.advance(count);
    }
}

struct Gauge {
    measurer: Measurer,
    sha384: Sha384,
    size_bytes: u64,
}

impl Gauge {
    fn new() -> Self {
        Self { measurer: Measurer::new(), sha384: Sha384::new(), size_bytes: 0 }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), LandError> {
        self.size_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.sha384.update(bytes);
        self.measurer.push(bytes).map_err(LandError::Eif)
    }

    fn finish(self) -> Result<Measured, LandError> {
        let measurement = self.measurer.finish().map_err(LandError::Eif)?;
        Ok(Measured { measurement, sha384: Pcr(self.sha384.finalize().into()) })
    }
}

/// Why the bytes did not become an image on the disk.
#[derive(Debug, thiserror::Error)]
pub enum LandError {
    /// Fewer or more bytes came than the object has.
    #[error("{at} of {wanted} bytes were read")]
    Cut {
        /// How many bytes came.
        at: u64,
        /// How many there are by S3's word.
        wanted: u64,
    },
    /// The bytes are not a good EIF.
    #[error("the object is not a valid EIF")]
    Eif(#[source] EifError),
    /// A cached image cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The image cannot be written to the disk.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
